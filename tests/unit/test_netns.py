"""Batches for ``ip``: what it refused is an error, but for what was so already where that is expected."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from chimera.model.errors import SessionError
from chimera.net import netns

LINES = [
    "route del 10.1.0.11/32",
    "rule add iif g1 lookup 1001",
    "route replace 10.1.0.12/32 via 172.16.0.9 dev eth1",
    "rule del pref 0",
]
GONE = "RTNETLINK answers: No such process\nCommand failed -:1\n"
THERE = "RTNETLINK answers: File exists\nCommand failed -:2\n"
NO_RULE = "RTNETLINK answers: No such file or directory\nCommand failed -:4\n"
NO_WAY = "Error: Nexthop has invalid gateway.\nCommand failed -:3\n"


@pytest.fixture
def ip(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What ``ip`` says; an exit status other than 0 goes with it."""
    says: list[str] = []

    def run(argv: list[str], *, input: str, **options: Any) -> subprocess.CompletedProcess[str]:
        assert input == "\n".join(LINES)
        return subprocess.CompletedProcess(argv, int(bool(says)), "", "".join(says))

    monkeypatch.setattr(netns.subprocess, "run", run)
    return says


def test_a_batch_that_was_carried_out_raises_nothing(ip: list[str]) -> None:
    netns.ip_batch("r1", LINES)


def test_every_refused_line_is_named_with_its_reason(ip: list[str]) -> None:
    ip += [GONE, NO_WAY]
    with pytest.raises(SessionError) as caught:
        netns.ip_batch("r1", LINES)
    assert str(caught.value) == (
        "ip -batch in r1: 'route del 10.1.0.11/32': RTNETLINK answers: No such process; "
        "'route replace 10.1.0.12/32 via 172.16.0.9 dev eth1': Error: Nexthop has invalid gateway."
    )


def test_again_forgives_what_is_gone_or_there_already_and_nothing_else(ip: list[str]) -> None:
    ip += [GONE, THERE, NO_RULE]
    netns.ip_batch("r1", LINES, again=True)
    ip.append(NO_WAY)
    with pytest.raises(SessionError) as caught:
        netns.ip_batch("r1", LINES, again=True)
    assert str(caught.value).count("'") == 2 and "Nexthop" in str(caught.value)


@pytest.mark.parametrize("said", [GONE.replace("-:1", "-:3"), THERE.replace("-:2", "-:1")], ids=["replace", "del"])
def test_a_word_of_the_kernel_forgives_only_the_command_it_fits(ip: list[str], said: str) -> None:
    ip.append(said)
    with pytest.raises(SessionError):
        netns.ip_batch("r1", LINES, again=True)


def test_what_ip_cannot_read_ends_the_batch_and_is_an_error(ip: list[str]) -> None:
    """It exits there and then, also where it was told to go on."""
    ip += [GONE, 'Error: inet6 address is expected rather than "172.16.0.9".\n']
    with pytest.raises(SessionError, match="inet6 address is expected"):
        netns.ip_batch("r1", LINES, again=True)
