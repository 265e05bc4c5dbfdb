"""Quantities, ranges and words of the topology language."""

from __future__ import annotations

import pytest

from chimera.load.problems import Refused, listed, shown
from chimera.load.ranges import Spread, expand
from chimera.load.units import BANDWIDTH, DELAY, DIRTY_RATE, LOSS, MEMORY, Quantity
from chimera.load.values import MAC, address, number, prefix


@pytest.mark.parametrize(
    ("quantity", "text", "value"),
    [
        (BANDWIDTH, "1 Gbit/s", 1000),
        (BANDWIDTH, "100Mbps", 100),
        (BANDWIDTH, "512 kbit/s", 0.512),
        (BANDWIDTH, "10", 10),
        (BANDWIDTH, "unlimited", 0),
        (DELAY, "10 ms", 10),
        (DELAY, "250us", 0.25),
        (DELAY, "+1.5 s", 1500),
        (DELAY, "0", 0),
        (LOSS, "0.5 %", 0.5),
        (LOSS, ".5", 0.5),
        (MEMORY, "2 GB", 2048),
        (MEMORY, "0.5 GiB", 512),
        (DIRTY_RATE, "512 kB/s", 0.5),
    ],
)
def test_quantities_in_the_models_unit(quantity: Quantity, text: str, value: float) -> None:
    assert quantity.parse(text) == pytest.approx(value)


@pytest.mark.parametrize(
    ("quantity", "text", "message"),
    [
        (BANDWIDTH, "0", "out of bounds"),  # a link that carries nothing is a cut one
        (BANDWIDTH, "1 MB/s", "unknown unit"),
        (DELAY, "-1 ms", "out of bounds"),
        (DELAY, "nan", "not a number"),
        (DELAY, "1e3", "unknown unit"),
        (DELAY, "1:30", "not a number|unknown unit"),
        (DELAY, "1,5 ms", "not a number|unknown unit"),
        (LOSS, "101", "out of bounds"),
        (LOSS, "9" * 400, "out of bounds"),
        (MEMORY, "1.5 MB", "whole"),
        (MEMORY, "", "not a number"),
        (MEMORY, "١٢٨ MB", "not a number"),  # digits, but not those of the language
    ],
)
def test_what_is_no_quantity_is_refused(quantity: Quantity, text: str, message: str) -> None:
    with pytest.raises(Refused, match=message):
        quantity.parse(text)


def test_a_unit_in_other_letters_is_suggested() -> None:
    with pytest.raises(Refused) as caught:
        BANDWIDTH.parse("1 gbit/s")
    assert caught.value.fix == "did you mean 'Gbit/s'?"


def test_ranges() -> None:
    assert tuple(expand("hv[1-3]")) == ("hv1", "hv2", "hv3")
    assert tuple(expand("hv[08-10]b")) == ("hv08b", "hv09b", "hv10b")
    assert tuple(expand("hv")) == ("hv",)
    assert len(expand("x[1-10000]")) == 10000


@pytest.mark.parametrize("text", ["x[", "x]", "x[]", "x[1]", "x[1-]", "x[2-1]", "x[1-2][3-4]", "x[1-10001]", "x[-1-2]"])
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(Refused):
        expand(text)


def test_names_spread_in_even_blocks() -> None:
    assert [Spread(("a", "b")).pick(i, 4) for i in range(4)] == ["a", "a", "b", "b"]
    assert [Spread(("a", "b", "c")).pick(i, 7) for i in range(7)] == ["a", "a", "a", "b", "b", "c", "c"]


def test_addresses_are_canonical() -> None:
    assert address(6).parse("FD00:0:0::00ff") == "fd00::ff"
    assert prefix(4, 8, 30).parse("10.0.0.0/8") == "10.0.0.0/8"
    assert MAC.parse("02:AB:00:00:00:01") == "02:ab:00:00:00:01"


@pytest.mark.parametrize("text", ["", "1.5", "1_000", "0x1", "07", "-0", "+", "9" * 30, "１"])
def test_what_is_no_whole_number_is_refused(text: str) -> None:
    with pytest.raises(Refused):
        number(1, 100).parse(text)


def test_text_for_the_terminal_is_short_and_clean() -> None:
    assert shown("a\tb\x1b[31m") == "a\\tb\\x1b[31m"
    assert len(shown("x" * 1000)) == 60
    assert listed([str(i) for i in range(10)]) == "0, 1, 2, 3, 4, 5, 6, 7 … and 2 more"
