"""./lab against a machine made of stubs: apt-get, dpkg-query, id and Python write down what they are asked."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from chimera.cli import helps

ROOT = Path(__file__).resolve().parents[2]

APT = """#!/bin/bash
echo "apt-get $*" >>"$STATE/calls"
[[ ! -e $STATE/apt-fails ]] || { cat "$STATE/apt-fails"; exit 100; }
[[ " $* " != *' update '* ]] || { rm -f "$STATE/lists-stale"; exit 0; }
[[ ! -e $STATE/lists-stale ]] || { echo 'E: 404 Not Found'; exit 100; }
sleep "${APT_SECONDS:-0}"
for word; do printf '%s installed\\n' "$word" >>"$STATE/packages"; done
"""
DPKG_QUERY = """#!/bin/bash
cat "$STATE/packages"
exit 1
"""
PYTHON = """#!/bin/bash
case "$*" in
  '-m venv '*) mkdir -p "${@: -1}/bin" "${@: -1}/lib/python3.11/site-packages" && cp "$0" "${@: -1}/bin/python" ;;
  '-c '*) exit 0 ;;
  '-sP -c '*) exit 0 ;;
  '-sP -m chimera.cli'*) shift 3; for word; do printf '<%s>' "$word"; done; [[ $1 != exec ]] || cat; exit 0 ;;
esac
echo "python $*" >>"$STATE/calls"
cat >/dev/null # a tool that reads must not eat what is meant for the command
[[ $* != *'pip install'* || ! -e $STATE/pip-fails ]] || { cat "$STATE/pip-fails"; exit 1; }
"""


class Machine:
    """A checkout with the real launcher, and a PATH of stubs before the real one."""

    def __init__(self, base: Path) -> None:
        self.home, self.state, bin_ = base / "check out", base / "state", base / "bin"
        for folder in (self.home / "chimera", self.home / "controllers", self.state, bin_):
            folder.mkdir(parents=True)
        for name in ("lab", "requirements.txt", "requirements-test.txt"):
            shutil.copy2(ROOT / name, self.home / name)
        (self.home / "chimera" / "cli").mkdir()
        shutil.copy2(helps.FILE, self.home / "chimera" / "cli")
        for name, text in {
            "apt-get": APT,
            "dpkg-query": DPKG_QUERY,
            "python": PYTHON,
            "id": "#!/bin/sh\necho 0",
        }.items():
            (bin_ / name).write_text(text)
            (bin_ / name).chmod(0o755)
        # never missing here: its installation writes below /usr/sbin (tests/kernel/test_launcher_service.py)
        self.packages = self.state / "packages"
        self.packages.write_text("openvswitch-switch installed\nethtool config-files\n")
        self.bin = bin_
        self.env = {
            "PATH": f"{bin_}:{os.environ['PATH']}",
            "STATE": str(self.state),
            "LAB_PYTHON": str(bin_ / "python"),
        }

    def lab(self, *arguments: str, command: Path | None = None, **options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(command or self.home / "lab"), *arguments],
            capture_output=True,
            text=True,
            cwd=self.state,
            env=self.env,
            timeout=30,
            **options,
        )

    def calls(self) -> list[str]:
        """What the stubs were asked since the last time."""
        path = self.state / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return lines


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def asked(calls: list[str], *words: str) -> list[str]:
    return [call for call in calls if all(word in call for word in words)]


def test_first_run_installs_what_is_missing_then_runs_the_command(machine: Machine) -> None:
    done = machine.lab("run", "two words", "--set=a='b'", "*")
    assert (done.returncode, done.stdout) == (0, "<run><two words><--set=a='b'><*>")
    calls = machine.calls()
    (install,) = asked(calls, "apt-get", "install")
    assert "--no-install-recommends mininet" in install
    assert " ethtool" in install, "a package that was removed but left its settings is missing"
    assert "openvswitch-switch" not in install, "a package that is there is not touched, so it is not upgraded either"
    assert asked(calls, "-m pip install", f"-r {machine.home}/requirements.txt")
    assert asked(calls, "-m chimera.net.tools")
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == ["lab"] * len(done.stderr.splitlines())


def test_second_run_asks_nothing_of_anyone(machine: Machine) -> None:
    machine.lab("list")
    machine.calls()
    (machine.state / "apt-fails").write_text("no network")
    done = machine.lab("list")
    assert (done.returncode, done.stdout, done.stderr, machine.calls()) == (0, "<list>", "", [])


def test_second_run_adds_less_than_50_ms(machine: Machine) -> None:
    machine.lab("list")

    def seconds() -> float:
        start = time.perf_counter()
        machine.lab("list")
        return time.perf_counter() - start

    assert min(seconds() for _ in range(5)) < 0.05


def test_standard_input_is_the_commands(machine: Machine) -> None:
    assert machine.lab("exec", input="text").stdout == "<exec>text"


def test_changed_requirements_are_installed_into_the_same_environment(machine: Machine) -> None:
    machine.lab("list")
    machine.calls()
    with (machine.home / "requirements.txt").open("a") as file:
        file.write("another==1.0\n")
    assert machine.lab("list").returncode == 0
    calls = machine.calls()
    assert asked(calls, "pip install")
    assert not asked(calls, "apt-get")
    assert (machine.home / ".venv/lib/python3.11/site-packages/chimera-lab.pth").read_text() == f"{machine.home}\n"


def test_failed_packages_stop_with_the_reason_and_can_be_repeated(machine: Machine) -> None:
    (machine.state / "apt-fails").write_text("E: Unable to fetch some archives")
    done = machine.lab("list")
    assert (done.returncode, done.stdout) == (3, "")
    assert "apt-get install failed" in done.stderr
    assert "    E: Unable to fetch some archives" in done.stderr
    (machine.state / "apt-fails").unlink()
    assert machine.lab("list").stdout == "<list>"


def test_stale_package_lists_are_fetched_once_and_the_installation_tried_again(machine: Machine) -> None:
    (machine.state / "lists-stale").touch()
    assert machine.lab("list").stdout == "<list>"
    assert len(asked(machine.calls(), "apt-get", "update")) == 1


@pytest.mark.parametrize("before", ["nothing", "an older set"])
def test_an_environment_that_pip_left_half_written_is_made_anew(machine: Machine, before: str) -> None:
    if before == "an older set":
        machine.lab("list")
        (machine.home / "requirements.txt").write_text("another==1.0\n")
    (machine.state / "pip-fails").write_text("ERROR: no space left on device")
    done = machine.lab("list")
    assert (done.returncode, done.stdout) == (3, "")
    assert "    ERROR: no space left on device" in done.stderr
    half = machine.home / ".venv/half-written"
    half.touch()
    (machine.state / "pip-fails").unlink()
    assert machine.lab("list").stdout == "<list>"
    assert not half.exists()


def test_a_user_without_rights_gets_one_line(machine: Machine) -> None:
    (machine.bin / "id").write_text("#!/bin/sh\necho 1000")
    done = machine.lab("run", "vmotion")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == f"lab: needs root to run labs: run sudo {machine.home}/lab run vmotion\n"
    assert machine.calls() == [] and not (machine.home / "build").exists(), "nothing is installed to say so"


def test_a_user_without_rights_cannot_install_system_packages(machine: Machine) -> None:
    (machine.bin / "id").write_text("#!/bin/sh\necho 1000")
    done = machine.lab("list")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("lab: needs root to install mininet ")
    assert done.stderr.endswith(f": run sudo {machine.home}/lab list\n")


# -- what needs no set-up ----------------------------------------------------------------------


def test_the_helps_that_the_launcher_has_are_those_of_the_commands() -> None:
    """To fix: ``.venv/bin/python -m chimera.cli.helps``."""
    assert helps.FILE.read_text() == helps.texts()


@pytest.mark.parametrize(
    ("words", "usage"),
    [
        ("--help", "lab [OPTIONS] COMMAND"),
        ("-h", "lab [OPTIONS] COMMAND"),
        ("run --help", "lab run [OPTIONS] SCENARIO"),
        ("run vmotion -o vlan --help", "lab run [OPTIONS] SCENARIO"),
        ("bench startup -h", "lab bench startup [OPTIONS]"),
        ("exec --help", "lab exec [OPTIONS] NODE"),
        ("test --help", "lab test [OPTIONS]"),
        ("setup --help", "lab setup [run|test]"),
    ],
)
def test_a_help_is_answered_and_installs_nothing(machine: Machine, words: str, usage: str) -> None:
    done = machine.lab(*words.split())
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"Usage: {usage}") and done.stdout.count("Usage:") == 1
    assert machine.calls() == [] and not (machine.home / "build").exists()


@pytest.mark.parametrize(("words", "said"), [("rnu vmotion", "Error: no command 'rnu'."), ("", "Usage: lab ")])
def test_words_that_mean_nothing_are_refused_and_install_nothing(machine: Machine, words: str, said: str) -> None:
    done = machine.lab(*words.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert machine.calls() == [] and not (machine.home / "build").exists()


def test_a_shell_that_asks_what_could_follow_installs_nothing(machine: Machine) -> None:
    machine.env["_LAB_COMPLETE"] = "bash_complete"
    done = machine.lab()
    assert (done.returncode, done.stdout, done.stderr, machine.calls()) == (0, "", "", [])


def test_once_set_up_the_commands_answer_themselves(machine: Machine) -> None:
    machine.lab("setup")
    assert machine.lab("run", "--help").stdout == "<run><--help>"
    assert machine.lab("test", "--help").stdout.startswith("Usage: lab test"), "what tests need is not there"


def test_a_user_without_rights_runs_what_root_has_set_up(machine: Machine) -> None:
    machine.lab("setup")
    (machine.bin / "id").write_text("#!/bin/sh\necho 1000")
    assert machine.lab("list").stdout == "<list>"


def test_another_system_is_told_of_the_vm_and_the_container(machine: Machine) -> None:
    (machine.bin / "apt-get").unlink()
    for name in ("bash", "env", "mkdir"):  # and no apt-get
        (machine.bin / name).symlink_to(str(shutil.which(name)))
    text = (machine.home / "lab").read_text()
    (machine.home / "lab").write_text(text.replace("PATH=$PATH:/usr/local/sbin", "PATH=$PATH #"))
    machine.env["PATH"] = str(machine.bin)
    done = machine.lab("list")
    assert (done.returncode, done.stdout) == (3, "")
    assert "vagrant up" in done.stderr
    assert "docker build" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_symbolic_link_elsewhere_works(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(machine.home / "lab")
    assert machine.lab("list", command=tmp_path / "link").stdout == "<list>"
    assert (machine.home / ".venv/.lab-run").exists()


def test_the_tests_need_more_and_what_they_installed_serves_the_rest(machine: Machine) -> None:
    machine.lab("list")
    machine.calls()
    assert machine.lab("test", "-q").stdout == "<test><-q>"
    calls = machine.calls()
    assert asked(calls, "apt-get", "install", "tshark", "chromium-driver")
    assert asked(calls, "pip install", "requirements.txt", "requirements-test.txt")
    machine.lab("list")
    machine.lab("test")
    assert machine.calls() == []


def test_setup_installs_and_runs_nothing(machine: Machine) -> None:
    done = machine.lab("setup", "test")
    assert (done.returncode, done.stdout) == (0, "")
    assert asked(machine.calls(), "requirements-test.txt")
    assert machine.lab("list").stdout == "<list>"
    assert machine.calls() == [], "the larger set holds the smaller"
    assert machine.lab("setup", "tset").returncode == 2


def test_first_runs_at_the_same_time_install_once(machine: Machine) -> None:
    machine.env["APT_SECONDS"] = "0.3"
    command = [str(machine.home / "lab"), "list"]
    runs = [
        subprocess.Popen(command, env=machine.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(3)
    ]
    assert [run.communicate()[0] for run in runs] == [b"<list>"] * 3
    assert len(asked(machine.calls(), "apt-get", "install")) == 1


def test_python_starts_with_the_signals_held_back_that_end_a_command(machine: Machine) -> None:
    machine.lab("list")
    python = machine.home / ".venv" / "bin" / "python"
    python.write_text("#!/bin/sh\nexec grep SigBlk /proc/self/status\n")
    name, mask = machine.lab("list").stdout.split()
    assert (name, int(mask, 16)) == ("SigBlk:", sum(1 << number - 1 for number in (1, 2, 15)))
