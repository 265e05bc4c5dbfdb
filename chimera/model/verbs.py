"""What a running lab can be asked, and what it answers: a type for each verb's request, and for its answer.

:mod:`chimera.api` carries them as JSON. A change that a command of the version before could not live with raises
:data:`VERSION`; a command and a lab of different versions refuse each other.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, ClassVar, Generic, Literal, TypeVar, get_args

import msgspec
from msgspec import UNSET, Meta, UnsetType

from chimera.model.errors import InputError
from chimera.model.events import AgentNoted
from chimera.model.hop import Trace
from chimera.model.result import LinkReport, Mtu, NodeState, Round
from chimera.model.service import Lines, ServiceState
from chimera.model.topology import (
    MAX_BANDWIDTH_MBPS,
    MAX_DELAY_MS,
    MAX_LOSS_PERCENT,
    Endpoint,
    Impairment,
    Node,
    Segment,
)
from chimera.model.underlay import Address, FabricNode

VERSION = 1

A = TypeVar("A")
P = TypeVar("P", Node, Endpoint)


class Answer(msgspec.Struct, frozen=True):
    """What a verb comes to."""


class Request(msgspec.Struct, Generic[A], frozen=True, forbid_unknown_fields=True):
    """A request for an ``A``. Its fields are all that can be asked, checked before anything is done."""

    verb: ClassVar[str]


def answer_type(request: type[Request[A]]) -> type[A]:
    """The ``A`` of a request's class."""
    (base,) = request.__orig_bases__  # type: ignore[attr-defined]
    found: type[A] = get_args(base)[0]
    return found


# -- looking -------------------------------------------------------------------------------------


class Summary(Answer, frozen=True):
    """Which experiment a lab is, and how it is; ``cursor`` is its latest event.

    ``troubled`` are services that are, or were, not as they should be; ``refused`` says what switches refused and what
    else went wrong in the control plane.
    """

    topology: str
    overlay: str
    options: dict[str, str]
    up_s: float
    age_s: float
    hypervisors: dict[str, list[str]]  # with the VMs there
    stopped: list[str]
    cut_links: list[str]
    controller: str
    migrations: int
    troubled: list[ServiceState]
    refused: list[str]
    cursor: int


class LabStatus(Summary, frozen=True):
    """What is running, in short; ``addresses`` are those of VMs."""

    addresses: dict[str, str]


class Status(Request[LabStatus], frozen=True):
    """What is running, in short."""

    verb = "status"


class Known(Answer, frozen=True):
    """What there is to name, for the shell's completion."""

    nodes: list[str]
    hypervisors: list[str]
    vms: list[str]
    endpoints: list[str]
    links: list[str]
    settings: list[str]
    services: dict[str, list[str]]  # of nodes and links that have any; of 'controller' the lab's own


class Names(Request[Known], frozen=True):
    """What there is to name."""

    verb = "names"


class LinkState(Answer, frozen=True):
    """A link: its ends (``node:interface``), whether it is up, and what impairs it ``how``."""

    link: str
    ends: tuple[str, str]
    up: bool
    how: str
    forward: Impairment
    backward: Impairment
    counters: dict[str, dict[str, int | float]] | UnsetType = UNSET  # fwd, bwd: where they were asked for
    measured: list[LinkReport] | UnsetType = UNSET  # what it gave when the lab came up, where that was asked for
    services: list[ServiceState] | UnsetType = UNSET  # where they were asked for


class Links(Request[list[LinkState]], frozen=True):
    """Every link, and how it is."""

    verb = "links"


class FabricState(Answer, frozen=True):
    """What a node of a fabric forwards by, and what it did to frames."""

    planned: FabricNode
    counters: dict[str, int]


class Agents(Answer, frozen=True):
    """Agents by their nodes: how they are, the latest that they noted of themselves, and what they counted."""

    states: dict[str, str]  # running, waiting, stopped, failed
    notes: list[AgentNoted]
    counters: dict[str, int]  # "node: what"


class Place(msgspec.Struct, Generic[P], frozen=True):
    """A node, or a VM or host, with what belongs to it; ``at`` is where a VM is, ``vms`` those on a hypervisor."""

    node: P
    vms: list[str]
    at: str
    links: list[LinkState]
    addresses: list[Address]
    state: NodeState | None
    fabric: FabricState | None
    agents: Agents
    services: list[ServiceState]


class ControllerState(Answer, frozen=True):
    """What belongs to no node: the lab's own services, and the agent that is at none."""

    agents: Agents
    services: list[ServiceState]


class Everything(Summary, frozen=True):
    """The inventory, where VMs are, links and their state, forwarding state; ``addresses`` are those of nodes."""

    cables: list[LinkState]
    links: list[LinkReport]
    mtu: Mtu
    vtep: dict[str, str]
    location: dict[str, str]
    state: dict[str, NodeState]
    fabric: dict[str, FabricState]
    agents: Agents
    services: list[ServiceState]
    nodes: list[Node]
    endpoints: list[Endpoint]
    segments: list[Segment]
    addresses: list[Address]


class Inspected(Answer, frozen=True):
    """One of these: what was asked for."""

    lab: Everything | None = None
    node: Place[Node] | None = None
    endpoint: Place[Endpoint] | None = None
    link: LinkState | None = None
    controller: ControllerState | None = None


class Inspect(Request[Inspected], frozen=True):
    """Everything, or of one node, VM or link, or of the controller."""

    verb = "inspect"

    node: str = ""


class Logs(Request[dict[str, Lines]], frozen=True):
    """The last ``lines`` of the logs of a node's services, or of one; by service.

    With ``after``, what came after these positions in them, once anything does, within ``wait_s`` seconds.
    """

    verb = "logs"

    node: str
    service: str = ""
    lines: Annotated[int, Meta(ge=0)] = 0
    after: dict[str, int] | None = None
    wait_s: Annotated[float, Meta(ge=0, le=60)] = 0.0


class TracePacket(Request[Trace], frozen=True):
    """Follow a packet."""

    verb = "trace"

    source: str
    destination: str


# -- doing ---------------------------------------------------------------------------------------


class Migrated(Answer, frozen=True):
    """How a migration went; ``stun_ms`` is None where the VM's heartbeat was not recorded."""

    vm: str
    source: str
    destination: str
    stun_ms: float | None
    precopy_s: float
    rounds: list[Round]
    announce: str
    warnings: list[str]


class Migrate(Request[Migrated], frozen=True):
    """Move a VM; how, is in ``settings`` (those of ``--set``)."""

    verb = "migrate"

    vm: str
    to: str
    settings: dict[str, str] = {}


_Delay = Annotated[float, Meta(ge=0, le=MAX_DELAY_MS)]


class Changes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to change of an impairment: the figures that are given; a bandwidth of 0 is unlimited."""

    bandwidth_mbps: Annotated[float, Meta(ge=0, le=MAX_BANDWIDTH_MBPS)] | None = None
    delay_ms: _Delay | None = None
    jitter_ms: _Delay | None = None
    loss_percent: Annotated[float, Meta(ge=0, le=MAX_LOSS_PERCENT)] | None = None

    def of(self, impairment: Impairment) -> Impairment:
        """The impairment with the changes.

        Raises:
            InputError: frames would have to arrive before they were sent.
        """
        given = {name: value for name, value in msgspec.structs.asdict(self).items() if value is not None}
        changed = replace(impairment, **given)
        if changed.jitter_ms > changed.delay_ms:
            raise InputError(
                f"{changed.jitter_ms:g} ms of jitter are more than the delay: a frame would arrive before it was sent\n"
                f"    allowed: at most {changed.delay_ms:g} ms\n    fix: lower the jitter, or raise the delay"
            )
        return changed


class ChangeLink(Request[LinkState], frozen=True):
    """Cut, restore or change a link, or only show it."""

    verb = "link"

    name: str
    action: Literal["show", "cut", "restore", "set"] = "show"
    changes: Changes = Changes()
    direction: Literal["both", "forward", "backward"] = "both"


class Stopped(Answer, frozen=True):
    """It is stopped."""

    stopped: str


class Stop(Request[Stopped], frozen=True):
    """Power off a hypervisor or gateway, end the controller, or one ``service`` of a node or link."""

    verb = "stop"

    node: str
    service: str = ""


class Started(Answer, frozen=True):
    """It is running."""

    started: str


class Start(Request[Started], frozen=True):
    """Power on what was stopped, or start a ``service``."""

    verb = "start"

    node: str
    service: str = ""


class Capturing(Answer, frozen=True):
    """The link is being captured."""

    link: str


class CaptureStart(Request[Capturing], frozen=True):
    """Begin to capture a link, whole frames."""

    verb = "capture_start"

    link: str


class Captured(Answer, frozen=True):
    """A capture in the run directory's ``file``, whose reader removes it; ``note`` says what it lacks."""

    file: str
    bytes: int
    frames: int
    dropped: int
    note: str


class CaptureStop(Request[Captured], frozen=True):
    """End a capture."""

    verb = "capture_stop"

    link: str


# -- events --------------------------------------------------------------------------------------


class Told(Answer, frozen=True):
    """The events have been sent, up to this one."""

    cursor: int


class Events(Request[Told], frozen=True):
    """The events after ``cursor``, or of the last ``seconds``; with ``follow`` what comes, to the lab's end."""

    verb = "events"

    cursor: Annotated[int, Meta(ge=0)] = 0
    seconds: Annotated[float, Meta(ge=0)] | None = None
    follow: bool = False
