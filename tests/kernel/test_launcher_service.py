"""While ./lab installs Open vSwitch, Debian's maintainer scripts are told not to start its service, and only that."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
POLICY = Path("/usr/sbin/policy-rc.d")

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: /usr/sbin is overlaid in a mount namespace")

# Asks the policy what maintainer scripts ask it, in place of installing anything.
APT = """#!/bin/sh
for unit in openvswitch-switch.service ovs-vswitchd.service ssh.service; do
  /usr/sbin/policy-rc.d "$unit" start; echo "$unit $?" >>"$STATE/answers"
done
[ ! -e "$STATE/kill" ] || { rm "$STATE/kill"; kill -9 $PPID; }
exit 100
"""
SCRIPT = """
set -e
mount -t tmpfs none "$STATE"/over && mkdir "$STATE"/over/upper "$STATE"/over/work
mount -t overlay overlay -o lowerdir=/usr/sbin,upperdir="$STATE"/over/upper,workdir="$STATE"/over/work /usr/sbin
rm -f /usr/sbin/policy-rc.d
if [ -n "$OWN_POLICY" ]; then
  printf '#!/bin/sh\\nexit 101\\n' >/usr/sbin/policy-rc.d
  chmod 755 /usr/sbin/policy-rc.d
fi
"$LAB" list 2>"$STATE/errors" || true
"$LAB" list 2>"$STATE/errors" || true
if [ -e /usr/sbin/policy-rc.d ]; then cp /usr/sbin/policy-rc.d "$STATE/left"; fi
"""


@pytest.fixture
def state(tmp_path: Path) -> Path:
    (tmp_path / "bin").mkdir()
    (tmp_path / "over").mkdir()
    (tmp_path / "home").mkdir()
    for name in ("lab", "requirements.txt", "requirements-test.txt", "chimera/cli/help.txt"):
        (tmp_path / "home" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "home" / name).write_bytes((ROOT / name).read_bytes())
    (tmp_path / "home" / "lab").chmod(0o755)
    for name, text in {"apt-get": APT, "dpkg-query": "#!/bin/sh\nexit 1\n", "dpkg": "#!/bin/sh\nexit 0\n"}.items():
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    return tmp_path


def first_runs(state: Path, own_policy: str = "") -> list[str]:
    """Two first runs whose installation fails; what the policy answered."""
    env = {
        **os.environ,
        "PATH": f"{state}/bin:{os.environ['PATH']}",
        "STATE": str(state),
        "LAB": str(state / "home/lab"),
        "OWN_POLICY": own_policy,
    }
    done = subprocess.run(["unshare", "--mount", "sh", "-c", SCRIPT], env=env, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no overlay over /usr/sbin here: {done.stderr.strip()}")
    return (state / "answers").read_text().splitlines()


def test_only_open_vswitch_is_kept_from_starting(state: Path) -> None:
    assert set(first_runs(state)) == {"openvswitch-switch.service 101", "ovs-vswitchd.service 101", "ssh.service 0"}


def test_the_policy_is_gone_after_a_failed_installation(state: Path) -> None:
    first_runs(state)
    assert "apt-get install failed" in (state / "errors").read_text()
    assert not (state / "left").exists()


def test_the_policy_of_a_killed_installation_is_removed_by_the_next_run(state: Path) -> None:
    (state / "kill").touch()
    first_runs(state)
    assert not (state / "left").exists()


def test_a_policy_that_was_there_is_left_as_it_is(state: Path) -> None:
    assert set(first_runs(state, own_policy="yes")) == {
        "openvswitch-switch.service 101",
        "ovs-vswitchd.service 101",
        "ssh.service 101",
    }
    assert (state / "left").read_text() == "#!/bin/sh\nexit 101\n"
