"""The command line in this process: helps, exit statuses, and errors that are text and never a traceback."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chimera import share
from chimera.api import VersionError
from chimera.cli import COMMANDS, lab, main
from chimera.model import errors
from chimera.model.verbs import LabStatus, Status
from chimera.net import rundir


@dataclass(frozen=True)
class Said:
    status: int
    out: str
    err: str


Run = Callable[..., Said]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Run]:
    """``lab WORDS…`` as somebody without rights, in an empty folder, on a machine without labs."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(rundir, "ROOT", tmp_path / "labs")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}

    def words(*argv: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["lab", *argv])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return Said(int(ended.value.code or 0), captured.out, captured.err)

    yield words
    for number, handler in handlers.items():
        signal.signal(number, handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, handlers)


def commands(group: click.Group = lab, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every verb, and the verbs below it."""
    context = click.Context(group)
    for name in group.list_commands(context):
        yield (*path, name)
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


# -- helps -------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", list(commands()), ids=" ".join)
def test_every_help_has_an_example_of_itself(run: Run, verb: tuple[str, ...]) -> None:
    said = run(*verb, "--help")
    assert (said.status, said.err) == (0, "")
    assert said.out.startswith(f"Usage: lab {' '.join(verb)}")
    _, found, example = said.out.partition("Example:")
    assert found and f"lab {' '.join(verb)}" in example
    assert run(*verb, "-h") == said


def test_the_help_lists_every_verb_once(run: Run) -> None:
    listed = [line.split()[0] for line in run("--help").out.partition("Commands:")[2].splitlines() if line.strip()]
    assert listed == list(COMMANDS)


def test_the_table_leads_to_the_commands_and_alone_has_their_texts() -> None:
    for name, (where, _) in COMMANDS.items():
        module, _, attribute = where.partition(":")
        command = getattr(import_module(module), attribute)
        assert command.name == name
        assert command.short_help is None


def test_the_help_imports_nothing_heavy() -> None:
    """Instant: what a verb needs is imported when it is used."""
    code = (
        "import sys; sys.argv = ['lab', '--help']\n"
        "from chimera.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert end.code == 0\n"
        "heavy = {'mininet', 'os_ken', 'scapy', 'rich', 'yaml', 'msgspec', 'chimera.session', 'chimera.net'}\n"
        "sys.exit(', '.join(sorted(heavy & set(sys.modules))) or None)"
    )
    read, write = os.pipe()
    null = os.open(os.devnull, os.O_WRONLY)
    child = os.posix_spawn(
        sys.executable, [sys.executable, "-c", code], {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        file_actions=[(os.POSIX_SPAWN_DUP2, null, 1), (os.POSIX_SPAWN_DUP2, write, 2)],
    )  # fmt: skip
    os.close(write)
    os.close(null)
    with os.fdopen(read) as complaints:
        assert complaints.read() == ""
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


# -- words that are wrong ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["rnu", "vmotion"], "no command 'rnu'. did you mean 'run'?"),
        (["qqqq"], "no command 'qqqq'. lab --help lists them."),
        (["list", "topologeis"], "'topologeis' is not one of"),
        (["run"], "Missing argument 'SCENARIO'"),
        (["run", "vmotoin"], "fix: did you mean 'vmotion'?"),
        (["run", "vmotion", "--topology", "dual-cd"], "fix: did you mean 'dual-dc'?"),
        (["run", "vmotion", "--overlay", "vxlna"], "fix: did you mean 'vxlan'?"),
        (["run", "vmotion", "--set", "mode"], "not a valid setting\n    allowed: KEY=VALUE\n    fix: --set mode=…"),
        (["run", "vmotion", "--set", "=x"], "fix: --set mode=…"),
        (["run", "vmotion", "--set", "vm=a", "--set", "vm=b"], "vm is set twice"),
        (["run", "vmotion", "--set", "mod=flood"], "fix: did you mean 'mode'?"),
        (["run", "vmotion", "--capture"], "--capture needs a folder to write to\n    fix: add --out DIR"),
        (["run", "vmotion", "--oot", "x"], "No such option"),
        (["up", "dual-cd"], "fix: did you mean 'dual-dc'?"),
        (["graph", "rak"], "fix: did you mean 'rack'?"),
        (["graph", "a" * 300], "File name too long"),
        (["validate", "./nothing.yaml"], "cannot read nothing.yaml: No such file or directory"),
        (["validate", "\udcff"], "there is no topology '?'"),
        (["compare", "./nothing"], "nothing: cannot be read: No such file or directory"),
        (["status", "--lab", "x"], "No such option"),
        (["inspect"], "no lab is running; start one with 'lab up'"),
        (["link", "wan", "set", "--delay", "1_0"], "'1_0' is not a number"),
        (["link", "wan", "set", "--delay", "nan"], "'nan' is not a number"),
        (["bench", "dataplane", "--rounds", "\uff11"], "is not a whole number"),
        (["up", "rack", "--name", ""], "'' is not a usable name for a lab\n    allowed: letters, digits"),
        (["run", "vmotion", "--set", "pace_mbps=1_0"], "pace_mbps: '1_0' is not a valid value"),
        (["run", "vmotion", "--set", "downtime_ms=\uff11"], "downtime_ms: "),
        (["migrate", "web1", "hv3"], "no lab is running; start one with 'lab up'"),
        (["down", "mine"], "no lab called 'mine' is running (running: none)"),
        (["link", "wan", "set"], "nothing to set: give --delay, --jitter, --loss or --bandwidth"),
        (["link", "wan", "cut", "--delay", "5"], "--delay goes with 'set'"),
        (["completion", "tcsh"], "'tcsh' is not one of"),
    ],
)  # fmt: skip
def test_wrong_words_end_in_2_with_a_text_on_stderr(run: Run, argv: list[str], said: str) -> None:
    found = run(*argv)
    assert found.status == 2
    assert said in found.err
    assert found.out == ""


def test_a_bad_file_is_refused_with_every_problem_and_nothing_on_stdout(run: Run) -> None:
    Path("bad.yaml").write_text("name: bad\nswitchs: {tor: }\nhypervisors: {hv1: {uplink: nowhere}}\n")
    found = run("validate", "bad.yaml")
    assert (found.status, found.out) == (2, "")
    assert "bad.yaml:2:1: " in found.err and "did you mean 'switches'" in found.err
    assert "Traceback" not in found.err


def test_a_good_file_is_told_so(run: Run) -> None:
    assert run("validate", "rack") == Said(0, "rack: topology 'rack' is valid: 1 site, 3 nodes, 4 VMs, 2 links\n", "")


def test_without_root_a_lab_says_what_to_type_and_checks_its_input_first(run: Run) -> None:
    found = run("run", "vmotion", "--out", "results")
    assert found.status == 3
    assert "starting a lab needs root\n  to fix: sudo lab run vmotion --out results" in found.err
    assert not Path("results").exists()
    assert run("run", "vmotion", "--set", "announce=no").status == 2


@pytest.mark.parametrize("out", ["file", "file/deeper", "a" * 300])
def test_an_output_folder_that_cannot_be_is_refused_before_anything_starts(run: Run, out: str) -> None:
    Path("file").write_text("mine")
    assert run("run", "vmotion", "--out", out).status == 2
    assert Path("file").read_text() == "mine"


def test_a_result_is_replaced_only_by_force(run: Run) -> None:
    """Before anything starts; that it was let through shows in the want of root."""
    for folder in ("one", "all/vlan"):
        Path(folder).mkdir(parents=True)
        (Path(folder) / "result.json").write_text("old")
    for words in (["--out", "one"], ["--out", "all", "--overlay", "vxlan,vlan"]):
        refused = run("run", "vmotion", *words)
        assert refused.status == 2 and "fix: another --out, or --force" in refused.err
        assert run("run", "vmotion", *words, "--force").status == 3
    assert run("run", "vmotion", "--out", "all", "--overlay", "vxlan,lisp").status == 3, "other overlays, beside it"
    Path("links/vxlan").mkdir(parents=True)
    Path("links/vxlan/captures").symlink_to("/etc")
    led = run("run", "vmotion", "--out", "links", "--overlay", "vxlan,lisp", "--capture")
    assert led.status == 2 and "links/vxlan/captures is a link" in led.err


def test_a_lab_that_vanishes_while_status_asks_is_left_out(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    labs = [rundir.claim(name, rundir.LAB) for name in ("here", "gone")]
    facts = rundir.facts

    def vanish(path: Path) -> dict[str, Any]:
        found = facts(path)
        if path.name == "gone" and path.exists():
            labs[1].remove()
        return found

    monkeypatch.setattr(rundir, "facts", vanish)
    monkeypatch.setattr("chimera.api.ask", answer)
    found = run("status", "--json")
    assert (found.status, found.err) == (0, "")
    assert json.loads(found.out)["here"]["topology"] == "rack" and len(json.loads(found.out)) == 1
    labs[0].remove()


STATUS = LabStatus(
    "rack", "vxlan", {"gateway": "central"}, 1.5, 62.0, {"hv1": ["vm1", "vm2"], "hv2": []}, ["hv2"], ["hv2--tor"],
    "running", 3, [], ["a switch refused: OpenFlow error"], 42, {"vm1": "10.0.0.1", "vm2": "10.0.0.2"},
)  # fmt: skip


def answer(path: Path, request: Status) -> LabStatus:
    """What a lab says that is there."""
    if not path.parent.exists():
        raise errors.SessionError("it does not answer")
    return STATUS


def test_status_for_people(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    lab_dir = rundir.claim("here", rundir.LAB)
    monkeypatch.setattr("chimera.api.ask", answer)
    assert run("status").out == (
        "here: rack over vxlan (gateway=central), up for 62 s\n"
        "  hv1: vm1 (10.0.0.1), vm2 (10.0.0.2)\n"
        "  hv2 (stopped): –\n"
        "  cut: hv2--tor\n"
        "  controller: running; migrations so far: 3\n"
        "  a switch refused: OpenFlow error\n"
    )
    lab_dir.remove()


def test_a_lab_of_another_version_is_shown_as_such(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    lab_dir = rundir.claim("old", rundir.LAB)

    def refuse(path: Path, request: Status) -> LabStatus:
        raise VersionError("lab old", 0, 1)

    monkeypatch.setattr("chimera.api.ask", refuse)
    said = "old: lab old speaks version 0 of the API and this command version 1: "
    assert run("status").out.startswith(said)
    as_json = run("status", "--json")
    assert json.loads(as_json.out) == {} and as_json.err.startswith(said)
    lab_dir.remove()


@pytest.mark.parametrize("argv", [["graph", "rack", "--out", "file/x.svg"], ["compare", "file/x"]])
def test_a_path_through_a_file_is_refused(run: Run, argv: list[str]) -> None:
    Path("file").write_text("mine")
    found = run(*argv)
    assert found.status == 2
    assert found.err.startswith("lab: ")


def test_a_drawing_goes_where_a_link_leads_and_into_what_is_no_file(run: Run) -> None:
    """``--out /dev/stdout``, as root, must not put a file in the device's place."""
    drawing = run("graph", "rack").out
    Path("elsewhere").mkdir()
    Path("link.svg").symlink_to("elsewhere/rack.svg")
    assert run("graph", "rack", "--out", "link.svg").status == 0
    assert Path("link.svg").is_symlink() and Path("elsewhere/rack.svg").read_text() == drawing
    os.mkfifo("pipe")
    with open(os.open("pipe", os.O_RDONLY | os.O_NONBLOCK), encoding="utf-8") as reader:
        assert run("graph", "rack", "--out", "pipe").status == 0
        assert reader.read() == drawing
    assert Path("pipe").is_fifo()


def parameters(group: click.Group = lab) -> Iterator[click.Parameter]:
    """Every argument and option of every verb."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command
        yield from command.params
        if isinstance(command, click.Group):
            yield from parameters(command)


def test_no_number_is_read_as_only_python_would() -> None:
    kinds = [p.type for p in parameters() if isinstance(p.type, type(click.INT) | type(click.FLOAT))]
    assert len(kinds) >= 8
    for kind in kinds:
        for text in ("1_0", "\uff11", " 1", "nan", "1e1", ""):
            with pytest.raises(click.UsageError):
                kind.convert(text, None, None)


FOLDER = {
    "lab.yaml": "title: Mine\ntopology: net.yaml\noverlay: vxlan\nscenario: mine.py\n",
    "net.yaml": "name: net\nswitches: {tor: }\nhypervisors: {hv1: }\nvms: {vm1: {hypervisor: hv1}}\n",
    "mine.py": "import pathlib\npathlib.Path('/nowhere/ran').touch()\ndef run(lab): ...\n",
}


def test_a_folder_with_a_lab_of_ones_own_is_checked_and_run_from_anywhere(run: Run) -> None:
    Path("mylab").mkdir()
    for name, text in FOLDER.items():
        (Path("mylab") / name).write_text(text)
    for path in ("mylab", "./mylab/", "mylab/lab.yaml"):
        assert run("validate", path) == Said(0, f"{path}: lab 'Mine' is valid\n", ""), "and its scenario is not run"
    refused = run("run", "./mylab")
    assert refused.status == 2
    assert "mylab/mine.py:2:1: this scenario cannot be loaded: FileNotFoundError" in refused.err
    Path("mylab/mine.py").write_text("def run(lab): ...\n")
    assert run("run", "./mylab").err.startswith("lab: starting a lab needs root")
    assert run("run", "mylab/lab.yaml").err.startswith("lab: starting a lab needs root")
    Path("empty").mkdir()
    assert "cannot read empty/lab.yaml" in run("run", "./empty").err


def test_a_list_runs_no_scenario_and_shows_the_others_where_one_cannot_be_read(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("scripts", "labs/mine", "topologies"):
        Path(folder).mkdir(parents=True)
    Path("scripts/good.py").write_text('"""Good."""\nimport pathlib\npathlib.Path("ran").touch()\ndef run(lab): ...\n')
    Path("scripts/bad.py").write_text("def run(lab:\n")
    Path("labs/mine/lab.yaml").write_text("title: [\n")
    monkeypatch.setattr(share, "folder", lambda name: Path(name).absolute())
    said = run("list").out
    assert "  good  Good.\n" in said and "  bad   (cannot be read: " in said and "  mine  (cannot be read: " in said
    assert not Path("ran").exists()


# -- exit statuses -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.LabError("text"), 1),
        (errors.InputError("text"), 2),
        (errors.TopologyError([errors.Problem(errors.Place("f", 1, 1), "", "text")]), 2),
        (errors.MachineError("text", "apt-get install"), 3),
        (errors.SessionError("text"), 1),
        (errors.MigrationAborted("text"), 1),
        (errors.DeadlineError("text"), 1),
        (KeyboardInterrupt(), 130),
        (OSError(28, "No space left on device", "text"), 3),
        (IsADirectoryError(21, "Is a directory", "text"), 2),
        (BrokenPipeError(), 0),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_error_has_its_exit_status(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: BaseException, status: int
) -> None:
    def fail(*args: object, **options: object) -> None:
        raise error

    monkeypatch.setattr("chimera.load.schema", fail)
    monkeypatch.setattr(sys.stderr, "close", lambda: None)
    found = run("schema")
    assert found.status == status
    if isinstance(error, errors.LabError):
        assert found.err.startswith(f"lab: {error}")


def test_a_defect_is_not_hidden(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("chimera.load.schema", fail)
    monkeypatch.setattr(sys, "argv", ["lab", "schema"])
    with pytest.raises(ZeroDivisionError):
        main()


# -- any words ---------------------------------------------------------------------------------

VERBS = ["validate", "list", "schema", "graph", "compare", "run", "up", "down", "status", "migrate", "completion"]
WORDS = [
    "rack", "dual-dc", "vmotion", "vxlan", "vlan", "topologies", "labs", "lab", "bash", "file", "file/x", ".", "..", "",
    "--topology", "--overlay", "--set", "--json", "--out", "--capture", "--name", "--lab", "--all", "-o", "-t", "--",
    "mode=flood", "mode=", "vm=web9", "underlay_mtu=9", "max_rounds=x", "name=\udcff", "a" * 300,
]  # fmt: skip
ANY = st.text(st.characters(exclude_characters="/\0"), max_size=12)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(VERBS), st.lists(st.sampled_from(WORDS) | ANY, max_size=5))
def test_no_words_whatever_give_a_traceback(run: Run, verb: str, words: list[str]) -> None:
    Path("file").write_text("mine")
    found = run(verb, *words)
    assert found.status in (0, 2, 3)
    assert found.err or found.status == 0
