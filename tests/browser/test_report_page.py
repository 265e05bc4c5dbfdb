"""The report in a real browser: it loads alone, fits every width, and can be zoomed and pointed at."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import report_samples as samples
from browser_support import CONTRAST, COVERED, OVERLAPS, WIDTHS, accessibility, background, requested, show

from chimera.report.html import write_html

pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
from selenium.webdriver import ActionChains

PAGES = ("vmotion", "aborted", "bare", "fabric")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages")
    write_html(samples.vmotion(), folder / "vmotion.html")
    write_html(samples.aborted(), folder / "aborted.html")
    write_html(samples.bare(), folder / "bare.html")
    write_html(replace(samples.bare(), map=samples.fabric_map(40, 10, 8)), folder / "fabric.html")
    return folder


@pytest.mark.parametrize("name", PAGES)
def test_it_loads_alone_and_without_complaint(browser: Any, pages: Path, name: str) -> None:
    browser.get("about:blank")
    browser.get_log("performance"), browser.get_log("browser")
    show(browser, pages / f"{name}.html")
    browser.execute_async_script("const done = arguments[0]; setTimeout(done, 200)")
    assert [u for u in requested(browser) if not u.startswith("data:")] == [(pages / f"{name}.html").as_uri()]
    assert [entry["message"] for entry in browser.get_log("browser")] == []
    assert browser.find_element("tag name", "h1").is_displayed()


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", PAGES)
def test_the_page_never_scrolls_sideways(browser: Any, pages: Path, name: str, width: int) -> None:
    show(browser, pages / f"{name}.html", width)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width


WORDS = ("svg.map text:not(.badge-text)", ".tick", ".ruler span", ".value", ".lane-head", "h2, h3")


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("words", WORDS)
def test_words_do_not_overlap(browser: Any, pages: Path, words: str, width: int) -> None:
    show(browser, pages / "vmotion.html", width)
    found, overlapping = browser.execute_script(OVERLAPS, words)
    assert found > 4
    assert overlapping == []


@pytest.mark.parametrize("width", WIDTHS)
def test_no_label_is_over_what_is_drawn(browser: Any, pages: Path, width: int) -> None:
    show(browser, pages / "vmotion.html", width)
    words, drawings, covered = browser.execute_script(COVERED, ".row-name, .value", "svg.plot")
    assert words > 4 and drawings > 4 and covered == []
    words, badges, covered = browser.execute_script(COVERED, "svg.map text:not(.badge-text)", "svg.map .badge")
    assert words > 4 and badges > 1 and covered == []


@pytest.mark.parametrize("width", WIDTHS)
def test_the_contents_stay_in_sight(browser: Any, pages: Path, width: int) -> None:
    show(browser, pages / "vmotion.html", width)
    browser.execute_script("window.scrollTo(0, document.body.scrollHeight / 2)")
    box = browser.execute_script("return document.querySelector('body > nav').getBoundingClientRect().toJSON()")
    assert 0 <= box["top"] < 60 and box["bottom"] <= 1000
    browser.find_element("css selector", "body > nav a[href='#wire']").click()
    heading = browser.execute_script("return document.querySelector('#wire').getBoundingClientRect().top")
    assert heading >= (box["bottom"] if width < 1180 else 0)


@pytest.mark.parametrize("width", (390, 1600))
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing(browser: Any, pages: Path, name: str, width: int) -> None:
    show(browser, pages / f"{name}.html", width)
    assert accessibility(browser) == []


def test_what_scrolls_sideways_says_so(browser: Any, pages: Path) -> None:
    """A shadow that scrolls with nothing, under covers that scroll with the content."""
    show(browser, pages / "vmotion.html", 390)
    cue = "return [...document.querySelectorAll('.scroll')].map((e) => getComputedStyle(e).backgroundAttachment)"
    found = browser.execute_script(cue)
    assert found and set(found) == {"local, local, scroll, scroll"}


def test_forty_hypervisors_have_readable_names(browser: Any, pages: Path) -> None:
    show(browser, pages / "fabric.html")
    assert browser.execute_script(OVERLAPS, "svg.map text")[1] == []
    heights = "return [...document.querySelectorAll('svg.map text')].map((e) => e.getBoundingClientRect().height)"
    assert min(browser.execute_script(heights)) >= 8


def test_it_fits_a_printed_page(browser: Any, pages: Path) -> None:
    """A4 without its margins is 718 pixels wide, at 96 to the inch."""
    show(browser, pages / "vmotion.html", 718)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 718
        assert not browser.find_element("css selector", ".tools").is_displayed()
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_light_and_dark(browser: Any, pages: Path) -> None:
    show(browser, pages / "vmotion.html", prefers_color_scheme="light")
    assert background(browser) == "rgb(255, 255, 255)"
    show(browser, pages / "vmotion.html", prefers_color_scheme="dark")
    assert background(browser) == "rgb(18, 23, 30)"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_from_their_ground(browser: Any, pages: Path, scheme: str) -> None:
    """WCAG 2.1, success criterion 1.4.3: a contrast of 4.5 to 1."""
    show(browser, pages / "vmotion.html", prefers_color_scheme=scheme)
    assert browser.execute_script(CONTRAST) == []


def visible_layers(browser: Any) -> list[str]:
    found = browser.find_elements("css selector", "svg.map .layer")
    return sorted({e.get_attribute("class").split()[-1] for e in found if e.value_of_css_property("display") != "none"})


def test_the_map_shows_the_chosen_flow(browser: Any, pages: Path) -> None:
    show(browser, pages / "vmotion.html")
    assert visible_layers(browser) == ["flow-0"]
    browser.find_element("css selector", "label[for=flow-2]").click()
    assert visible_layers(browser) == ["flow-2"]
    assert browser.find_element("css selector", "div.flow-2").is_displayed()
    assert not browser.find_element("css selector", "div.flow-0").is_displayed()


def window_of(browser: Any, chart: Any) -> tuple[float, float]:
    plot = chart.find_element("css selector", "svg.plot")
    start, _, span, _ = map(float, plot.get_dom_attribute("viewBox").split())
    return start, start + span


def test_buttons_and_keys_zoom(browser: Any, pages: Path) -> None:
    show(browser, pages / "vmotion.html")
    chart = browser.find_element("css selector", ".chart.zoomable")
    start, end = window_of(browser, chart)
    browser.find_element("css selector", "button[aria-label='Zoom in']").click()
    narrow = window_of(browser, chart)
    assert narrow[1] - narrow[0] == pytest.approx((end - start) / 2, rel=0.01)
    assert chart.find_elements("css selector", ".tick")
    chart.send_keys("-")
    assert window_of(browser, chart) == pytest.approx((start, end), abs=0.1)
    browser.find_element("css selector", "button[aria-label='Show all of the migration']").click()
    assert window_of(browser, chart)[0] == pytest.approx(float(chart.get_dom_attribute("data-first")), abs=0.1)
    browser.find_element("css selector", "button[aria-label='Back to the first view']").click()
    assert window_of(browser, chart) == pytest.approx((start, end), abs=0.1)


def test_a_stretch_dragged_on_the_overview_is_enlarged_below(browser: Any, pages: Path) -> None:
    show(browser, pages / "vmotion.html")
    overview = browser.find_element("css selector", ".chart.overview")
    axis = overview.find_element("css selector", ".axis")
    browser.execute_script("arguments[0].scrollIntoView({behavior: 'instant', block: 'center'})", overview)
    width = axis.size["width"]
    ActionChains(browser).move_to_element_with_offset(axis, -width // 4, 0).click_and_hold().move_by_offset(
        width // 4, 0
    ).release().perform()
    start, end = window_of(browser, overview)
    enlarged = window_of(browser, browser.find_element("css selector", ".chart.zoomable"))
    expected = start + (end - start) / 4, start + (end - start) / 2
    assert enlarged == pytest.approx(expected, abs=(end - start) / 100)


def test_pointing_reads_the_round_trip(browser: Any, pages: Path) -> None:
    show(browser, pages / "vmotion.html")
    chart = browser.find_elements("css selector", ".chart.zoomable")[1]
    browser.execute_script("arguments[0].scrollIntoView({behavior: 'instant', block: 'center'})", chart)
    ActionChains(browser).move_to_element_with_offset(chart, -chart.size["width"] // 4, 0).perform()
    output = chart.find_element("xpath", "preceding-sibling::div[1]/output").text
    values = {part.split(" ")[0]: part for part in output.split(" · ")[1:]}
    assert 20 < float(values["peer"].split(" ")[1]) < 25
    assert 0.15 < float(values["app"].split(" ")[1]) < 0.5


def test_without_its_script_everything_is_there(browser: Any, pages: Path) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        show(browser, pages / "vmotion.html", scripted=False)
        plots = browser.find_elements("css selector", "svg.plot")
        assert len(plots) > 15
        assert all(plot.is_displayed() for plot in plots)
        assert not browser.find_elements("css selector", ".tools")
        assert visible_layers(browser) == ["flow-0"]
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
