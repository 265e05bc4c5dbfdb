"""Labs that stay beside runs that do not, and a lab whose run directory somebody removed."""

from __future__ import annotations

import shutil
import signal
import time
from pathlib import Path
from typing import Any

from lab_support import lab, needs_lab, on_a_host_of_its_own, start

pytestmark = needs_lab

WAITS = '''
"""It says that it runs, and waits."""

from pathlib import Path


def run(lab) -> None:
    Path({here!r}).touch()
    lab.wait(300)


def check(result, expect) -> None:
    pass
'''
RUNS = Path("/run/chimera")


def test_a_run_is_no_lab_and_a_lab_without_its_directory_is_found(tmp_path: Path) -> None:
    here = tmp_path / "here"
    (tmp_path / "waits.py").write_text(WAITS.format(here=str(here)))

    def act() -> dict[str, Any]:
        lab("up", "rack", "-q", "--name", "stays")
        run = start("run", str(tmp_path / "waits.py"), "-t", "rack", "-q")
        try:
            deadline = time.monotonic() + 60
            while not here.exists() and run.poll() is None and time.monotonic() < deadline:
                time.sleep(0.05)
            name = next(path.name for path in RUNS.iterdir() if path.name.startswith("run-"))
            found = {
                "status": lab("status").stdout,
                "without a name": lab("exec", "vm1", "--", "echo", "here").stdout,
                "of the run": [(done := lab("down", name, check=False)).returncode, done.stderr],
                "all": lab("down", "--all").stdout,
                "still runs": run.poll() is None,
            }
            lab("up", "rack", "-q", "--name", "lost")
            shutil.rmtree(RUNS / "lost")
            found["lost"] = lab("status").stdout
            found["no lab"] = lab("inspect", check=False).stderr
            found["all of it"] = lab("down", "--all").stdout
            found["after"] = lab("status").stdout
        finally:
            run.send_signal(signal.SIGINT)
            run.communicate()
        return {**found, "run": run.returncode}

    found = on_a_host_of_its_own(act)
    assert "stays: rack over vxlan" in found["status"] and ": a run of scenario waits\n" in found["status"]
    assert found["without a name"] == "here\n"
    status, said = found["of the run"]
    assert status == 2 and "is not a lab that stays up: it ends by itself" in said
    assert found["all"] == "lab stays is down\n" and found["still runs"] and found["run"] == 130
    assert "lost: it runs, but its run directory is gone; 'lab down --all' ends it\n" in found["lost"]
    assert "no lab is running" in found["no lab"]
    assert found["all of it"] == "lab lost, whose run directory was gone, is down\n"
    assert "lost" not in found["after"]
