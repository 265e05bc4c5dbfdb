"""linkprobe on plain veth pairs: what an unimpaired link gives, several at once, and a dead one."""

from __future__ import annotations

import json
import subprocess
import time

import pytest
from native_support import namespaces, needs_root, tool

pytestmark = needs_root


@pytest.mark.alone
def test_several_links_are_measured_in_one_run() -> None:
    with namespaces(2) as (a, b):
        for name in ("one", "two"):
            a.link(name, b, name)
        ends = [f"{n.path}:{name}" for name in ("one", "two") for n in (a, b)]
        begin = time.monotonic()
        links = json.loads(a.run(tool("linkprobe"), *ends))["links"]
        took = time.monotonic() - begin
    assert [link["a"] for link in links] == ends[::2]
    for link in links:
        for way in (link["forward"], link["backward"]):
            assert (way["sent"], way["received"]) == (200, 200)
            assert 0 < way["delay_p50_ms"] < 1
            assert way["bandwidth_mbps"] > 500
    assert took < 3


def test_a_dead_link_has_no_delay_and_no_bandwidth() -> None:
    with namespaces(2) as (a, b):
        a.link("up", b, "down")
        b.run("ip", "link", "set", "dev", "down", "down")
        link = json.loads(a.run(tool("linkprobe"), f"{a.path}:up", f"{b.path}:down", "--frames", "20"))["links"][0]
    assert link["forward"]["loss_percent"] == 100
    assert link["forward"]["delay_ms"] is link["forward"]["bandwidth_mbps"] is None


def test_what_is_not_a_pair_of_ends_is_refused() -> None:
    for arguments, status in ((["lo"], 2), ([], 2), (["-:nosuch", "-:nosuch"], 1)):
        done = subprocess.run([tool("linkprobe"), *arguments], capture_output=True, text=True)
        assert (done.returncode, bool(done.stderr)) == (status, True)
