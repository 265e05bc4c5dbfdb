"""What a run could not record is said in its result and in its report."""

from __future__ import annotations

from pathlib import Path

from lab_support import lab, needs_lab, result

pytestmark = needs_lab

SCENARIO = '''
"""The capture of the inter-site links is stopped for a while in the middle of much traffic, as by a busy machine."""
import signal, socket, time
from chimera import namespaces
from chimera.net import kernel, netns

def run(lab):
    (_, capture), = lab.observer._running
    with namespaces.inside(namespaces.path("web1")):
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    to = lab.topology.vm("web4").ip.partition("/")[0]
    with lab.watch(lab.topology.vm("web1")):
        capture.recorder.signal(signal.SIGSTOP)
        end = time.monotonic() + 3
        while time.monotonic() < end:
            for _ in range(50):
                sender.sendto(b"", (to, 9))
            time.sleep(0.001)
        capture.recorder.signal(signal.SIGCONT)
'''


def test_frames_that_a_capture_had_to_drop_are_a_note_of_the_result(tmp_path: Path) -> None:
    scenario = tmp_path / "flood.py"
    scenario.write_text(SCENARIO)
    done = lab("run", str(scenario), "--topology", "dual-dc", "--overlay", "vxlan", "--out", str(tmp_path / "r"))
    (note,) = [n for n in result(tmp_path / "r")["notes"] if "is incomplete" in n]
    assert note.startswith("The capture of inter-site links is incomplete: the machine was too busy to record ")
    assert int(note.split("record ")[1].split(" of ")[0]) > 0
    assert note.split(":")[0] in " ".join(done.stdout.split())
    assert note.split(":")[0] in (tmp_path / "r" / "report.html").read_text()
