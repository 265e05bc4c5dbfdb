"""Markup, figures and JSON: what every report is written with."""

from __future__ import annotations

from pathlib import Path

import pytest
import report_samples as samples

from chimera.model.errors import InputError
from chimera.report import figures
from chimera.report.json import read_json, write_json
from chimera.report.markup import Markup, join, number, tag


def test_text_and_attributes_are_escaped_and_markup_is_not() -> None:
    assert tag("p", "<b>", Markup("<i>"), title='"&') == '<p title="&quot;&amp;">&lt;b&gt;<i></p>'


def test_what_is_missing_is_left_out() -> None:
    assert tag("input", checked=True, name=None, disabled=False) == "<input checked>"
    assert join([None, False, "", ["a", ["b"]], 1.50]) == "ab1.5"


def test_characters_that_xml_forbids_are_replaced() -> None:
    assert join("a\x00b\x1bc\ud800") == "a�b�c�"


@pytest.mark.parametrize(("value", "text"), [(1.0, "1"), (0.125, "0.12"), (-0.001, "0"), (1234567.0, "1234567")])
def test_coordinates_are_short(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (float("nan"), "–"), (0, "0"), (0.1234, "0.123"), (44.123, "44.1"), (999.96, "1\u202f000"),
     (-3.5, "−3.5"), (21543, "21\u202f543"), (0.00004, "0")],
)  # fmt: skip
def test_three_significant_digits_and_whole_thousands(value: float | None, text: str) -> None:
    assert figures.decimal(value) == text


def test_units() -> None:
    assert figures.ms(52.21) == "52.2\u00a0ms"
    assert figures.ms(12_000) == "12\u00a0s"
    assert figures.ms(None) == "–"
    assert figures.count(1, "byte") == "1\u00a0byte"
    assert figures.byte_count(48_210) == "48.2\u00a0kB"


def test_a_result_comes_back_as_it_was(tmp_path: Path) -> None:
    write_json(samples.vmotion(), tmp_path / "deep" / "result.json")
    assert read_json(tmp_path / "deep" / "result.json") == samples.vmotion()


def test_series_take_one_line(tmp_path: Path) -> None:
    write_json(samples.vmotion(), tmp_path / "result.json")
    lines = (tmp_path / "result.json").read_text().splitlines()
    assert len(lines) < 1100
    assert any(line.strip().startswith('"sent_s": [') and line.count(",") > 3000 for line in lines)


def test_strings_that_look_like_lists_are_kept(tmp_path: Path) -> None:
    result = samples.bare()
    result.notes.append("[ 1,\n 2 ]")
    write_json(result, tmp_path / "result.json")
    assert read_json(tmp_path / "result.json").notes == ["[ 1,\n 2 ]"]


def test_what_is_not_a_result_is_said_to_be_none(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text('{"lab": 3}')
    with pytest.raises(InputError, match=r"result.json: is not a result of this lab: .*lab"):
        read_json(path)
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_json(tmp_path / "none.json")
