"""The comparison in a real browser: it loads alone, fits a phone, leads to the reports, and reads in both themes."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import report_samples as samples
from browser_support import CONTRAST, WIDTHS, accessibility, background, requested, show

from chimera.report.compare import write_comparison
from chimera.report.html import write_html


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A comparison of eight overlays beside the report of each, as ``lab run --overlay all --out`` leaves it."""
    folder = tmp_path_factory.mktemp("compare")
    columns = samples.comparison()
    for column in columns:
        if column.result:
            (folder / column.link).parent.mkdir()
            write_html(column.result, folder / column.link)
    write_comparison(columns, folder / "compare.html")
    return folder / "compare.html"


def test_it_loads_alone_and_without_complaint(browser: Any, page: Path) -> None:
    browser.get("about:blank")
    browser.get_log("performance"), browser.get_log("browser")
    show(browser, page)
    browser.execute_async_script("const done = arguments[0]; setTimeout(done, 200)")
    assert requested(browser) == [page.as_uri()]
    assert [entry["message"] for entry in browser.get_log("browser")] == []


@pytest.mark.parametrize("width", WIDTHS)
def test_only_tables_scroll_sideways(browser: Any, page: Path, width: int) -> None:
    show(browser, page, width)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    wide = "return [...document.querySelectorAll('.scroll')].some((e) => e.scrollWidth > e.clientWidth)"
    assert browser.execute_script(wide) is (width < 1600)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_from_their_ground(browser: Any, page: Path, scheme: str) -> None:
    show(browser, page, prefers_color_scheme=scheme)
    assert background(browser) == {"light": "rgb(255, 255, 255)", "dark": "rgb(18, 23, 30)"}[scheme]
    assert browser.execute_script(CONTRAST) == []


@pytest.mark.parametrize("width", (390, 1600))
def test_axe_finds_nothing(browser: Any, page: Path, width: int) -> None:
    show(browser, page, width)
    assert accessibility(browser) == []


def test_what_was_not_measured_is_folded_away_and_can_be_unfolded(browser: Any, page: Path) -> None:
    show(browser, page)
    folded = browser.find_elements("css selector", "details")
    assert folded and not any(e.find_element("css selector", "h3").is_displayed() for e in folded)
    folded[0].find_element("css selector", "summary").click()
    assert folded[0].find_element("css selector", "h3").is_displayed()
    shown = browser.find_elements("css selector", "section > .question, section > .finding")
    assert not any("Not measured: no overlay" in e.text for e in shown)


def test_an_overlay_leads_to_its_own_report(browser: Any, page: Path) -> None:
    show(browser, page)
    browser.find_element("css selector", "#figures ~ .scroll thead a[href^='mpls-wire=gre']").click()
    assert unquote(browser.current_url) == f"file://{page.parent}/mpls-wire=gre/report.html"
    assert "over mpls on dual-dc" in browser.title


def test_every_link_within_the_page_leads_to_what_it_says(browser: Any, page: Path) -> None:
    show(browser, page)
    inner = "[...document.querySelectorAll('[href^=\"#\"]')]"
    dead = f"return {inner}.filter((a) => !document.querySelector(a.hash)).length"
    assert browser.execute_script(dead) == 0
    browser.find_element("link text", "overhead a frame").click()
    top = browser.execute_script("return document.querySelector('#overhead').getBoundingClientRect().top")
    assert 0 <= top < 200


def test_a_failing_overlay_is_seen_to_fail(browser: Any, page: Path) -> None:
    show(browser, page)
    heads = browser.find_elements("css selector", "#figures ~ .scroll thead th")
    assert [h.text.splitlines()[-1] for h in heads[1:]].count("✗ no result") == 1
    assert "clang is not installed" in browser.find_element("css selector", ".reason").text


BARS = """
return [...document.querySelectorAll('.bars')].map((table) =>
  [...table.querySelectorAll('.bar')].map((bar) => bar.getBoundingClientRect().width));
"""


@pytest.mark.parametrize("width", WIDTHS)
def test_bars_of_a_table_have_one_scale(browser: Any, page: Path, width: int) -> None:
    show(browser, page, width)
    for widths in browser.execute_script(BARS):
        assert max(widths) - min(widths) < 2
        assert min(widths) > 60
