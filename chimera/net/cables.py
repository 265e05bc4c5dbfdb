"""Links made real: a veth pair, with a delay line or netem in the middle where the link is impaired.

::

    plain      node a [eth1]======================[eth2] node b
    impaired   node a [eth1]===[k1a] ‹middle› [k1b]===[eth2] node b

The middle stands in the sandbox's own namespace: netem on both of its interfaces, joined by a
bridge, where the kernel has netem; the userspace delay line (``chimera/native/delayline.c``) where
it has not. Taking the middle down takes the carrier from both nodes.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial

from chimera.deadline import ready
from chimera.model.errors import DeadlineError, SessionError
from chimera.model.topology import Impairment, Link, Port
from chimera.net import netns
from chimera.net.service import Says, Service
from chimera.net.services import Process, Supervisor
from chimera.net.tools import native_tool

QUEUE_PACKETS = 1000  # what may wait for the transmitter, as Linux's default txqueuelen
_FRAME_BYTES = 1500
_READY_S = 10
SERVICE = "delay-line"

Follow = Callable[[str], None]  # what is to be done about a link that went down, or came up, by itself


class Cable:
    """A plain link."""

    how = "plain veth"

    def __init__(self, link: Link, index: int, mtu: int, macs: Mapping[Port, str]) -> None:
        self.link, self.index, self.mtu, self._macs = link, index, link.mtu or mtu, macs
        self.up = True

    def lines(self) -> list[str]:
        """``ip`` commands that make the link, for a batch in the sandbox's own namespace."""
        a, b = self.link.ends()
        return [f"link add name {a.interface} netns {a.node} {self._end(a)} type veth "
                f"peer name {b.interface} netns {b.node} {self._end(b)}"]  # fmt: skip

    def _end(self, port: Port) -> str:
        return f"address {self._macs[port]} mtu {self.mtu}"

    def start(self) -> None:
        """Set the middle to work; a plain link has none."""

    def wait_ready(self) -> None:
        """Return when frames pass."""

    def set_up(self, up: bool) -> None:
        """Cut or restore the link."""
        self.up = up
        for port in self.link.ends():
            netns.run(port.node, ["ip", "link", "set", "dev", port.interface, "up" if up else "down"])

    @property
    def ends_up(self) -> bool:
        """Whether the interfaces at its ends are to be up; a plain link has no other way to be cut."""
        return self.up

    def follow(self) -> None:
        """Be up or down, as what is in the middle allows: it has ended, or is back."""

    def stats(self) -> dict[str, dict[str, float]]:
        """Counters per direction, where what impairs the link keeps any."""
        return {}

    def impair(self, forward: Impairment, backward: Impairment) -> None:
        """Change what the link does to frames while it runs.

        Raises:
            SessionError: a plain link has nothing that could.
        """
        raise SessionError(
            f"link {self.link.name} was made without impairments; give it a delay, loss or bandwidth in the topology "
            f"(delay: 0.01 ms will do) to change it while the lab runs"
        )


class _Middle(Cable):
    """A link with something in the middle."""

    def __init__(self, link: Link, index: int, mtu: int, macs: Mapping[Port, str]) -> None:
        super().__init__(link, index, mtu, macs)
        self.inner_a, self.inner_b = f"k{index}a", f"k{index}b"

    def lines(self) -> list[str]:
        a, b = self.link.ends()
        return [
            f"link add name {inner} mtu {self.mtu} type veth "
            f"peer name {port.interface} netns {port.node} {self._end(port)}"
            for inner, port in ((self.inner_a, a), (self.inner_b, b))
        ]

    @property
    def ends_up(self) -> bool:
        return True

    def set_up(self, up: bool) -> None:
        self.up = up
        state = "up" if up else "down"
        netns.ip_batch("", [f"link set dev {inner} {state}" for inner in (self.inner_a, self.inner_b)])


class DelayLine(_Middle):
    """Impaired by the userspace delay line: a service of the link.

    The link is down when that has ended, and until it is started again; ``follow`` tells the network of both. One that
    its user has cut stays so.
    """

    how = "delay line"
    _process: Process

    def __init__(
        self, link: Link, index: int, mtu: int, macs: Mapping[Port, str], services: Supervisor, follow: Follow
    ) -> None:
        super().__init__(link, index, mtu, macs)
        self._services = services
        self._tell = partial(follow, link.name)
        self._cut = False  # by its user
        self._asking = threading.Lock()  # one question at a time: an answer does not say whose it is

    def start(self) -> None:
        netns.ip_batch("", [f"link set dev {inner} up" for inner in (self.inner_a, self.inner_b)])
        self._process = self._services.launch(self._service(), lost=self._tell, again=self._tell)

    def wait_ready(self) -> None:
        self._services.wait_ready([self._process])

    def _service(self) -> Service:
        argv = [str(native_tool("delayline")), self.inner_a, self.inner_b]
        argv += ["--fwd", _settings(self.link.forward), "--bwd", _settings(self.link.backward)]
        argv += ["--queue-packets", str(QUEUE_PACKETS), "--seed", str(self.index)]
        return Service(self.link.name, SERVICE, tuple(argv), ready=Says(), stdin=True, stdout=True, patience_s=_READY_S)

    def set_up(self, up: bool) -> None:
        self._cut = not up
        if up and not self._process.running:
            self._services.start_again(self._process)  # and then ``follow``: see ``again`` above
        else:
            super().set_up(up)

    def follow(self) -> None:
        super().set_up(self._process.running and not self._cut)

    def impair(self, forward: Impairment, backward: Impairment) -> None:
        self._send(f"set fwd {_settings(forward, whole=True)}\nset bwd {_settings(backward, whole=True)}\n")
        self.link = replace(self.link, forward=forward, backward=backward)
        self._process.service = self._service()  # where it is started again

    def stats(self) -> dict[str, dict[str, float]]:
        """Counters per direction: frames, bytes, drops by cause, longest queue; none where the delay line has ended."""
        if not self._process.running:
            return {}
        with self._asking:
            self._send("stats\n")
            return dict(json.loads(self._line("no counters")))

    def _send(self, text: str) -> None:
        assert self._process.stdin
        try:
            self._process.stdin.write(text.encode())
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise SessionError(self._ended()) from error

    def _line(self, failure: str) -> str:
        assert self._process.stdout
        if not ready(self._process.stdout, _READY_S):
            raise DeadlineError(f"link {self.link.name}: {failure} within {_READY_S} s")
        line = self._process.stdout.readline().decode()
        if not line:
            raise SessionError(self._ended())
        return line

    def _ended(self) -> str:
        said = self._process.said(1)
        why = f" ({said})" if said else ""
        name = self.link.name
        return f"link {name}: its delay line has ended{why}; 'lab link {name} restore' starts it again"


class Netem(_Middle):
    """Impaired by the kernel's netem qdisc (tc-netem(8))."""

    how = "netem"

    def lines(self) -> list[str]:
        bridge = f"k{self.index}"
        join = [f"link set dev {inner} master {bridge}" for inner in (self.inner_a, self.inner_b)]
        return [*super().lines(), f"link add {bridge} mtu {self.mtu} type bridge", *join]

    def start(self) -> None:
        names = (self.inner_a, self.inner_b, f"k{self.index}")
        netns.ip_batch("", [f"link set dev {name} up" for name in names])
        self._apply("add")

    def impair(self, forward: Impairment, backward: Impairment) -> None:
        self.link = replace(self.link, forward=forward, backward=backward)
        self._apply("replace")

    def _apply(self, verb: str) -> None:
        # Frames towards b leave the middle by its b side, and the reverse.
        for inner, impairment in ((self.inner_b, self.link.forward), (self.inner_a, self.link.backward)):
            netns.run("", ["tc", "qdisc", verb, "dev", inner, "root", *_netem(impairment)])


def make(
    links: Iterable[Link], mtu: int, macs: Mapping[Port, str], services: Supervisor, follow: Follow, *, netem: bool
) -> dict[str, Cable]:
    """A cable for each link, by name; ``netem`` says whether the kernel has it.

    Where it has not, delay lines are run by ``services``, and ``follow`` hears when one ends or is back.
    """

    def cable(link: Link, index: int) -> Cable:
        if link.impaired and not netem:
            return DelayLine(link, index, mtu, macs, services, follow)
        return (Netem if link.impaired else Cable)(link, index, mtu, macs)

    return {link.name: cable(link, index) for index, link in enumerate(links, start=1)}


def _settings(impairment: Impairment, *, whole: bool = False) -> str:
    """An impairment as the delay line reads it; with ``whole``, zeros are said too."""
    values = {
        "bandwidth_mbps": impairment.bandwidth_mbps,
        "delay_ms": impairment.delay_ms,
        "jitter_ms": impairment.jitter_ms,
        "loss": impairment.loss_percent,
    }
    return ",".join(f"{key}={value:g}" for key, value in values.items() if value or whole) or "delay_ms=0"


def _netem(impairment: Impairment) -> list[str]:
    """An impairment as ``tc`` reads it.

    netem's limit counts frames in delay as well as frames that wait for the transmitter, so it is the
    bandwidth-delay product plus the queue.
    """
    in_flight = impairment.bandwidth_mbps * 1000 * (impairment.delay_ms + impairment.jitter_ms) / (8 * _FRAME_BYTES)
    words = [
        "netem",
        "limit",
        str(int(in_flight) + (QUEUE_PACKETS if impairment.bandwidth_mbps else 100 * QUEUE_PACKETS)),
    ]
    if impairment.delay_ms or impairment.jitter_ms:
        words += ["delay", f"{impairment.delay_ms:g}ms"]
        words += [f"{impairment.jitter_ms:g}ms"] if impairment.jitter_ms else []
    words += ["loss", f"{impairment.loss_percent:g}%"] if impairment.loss_percent else []
    words += ["rate", f"{impairment.bandwidth_mbps:g}mbit"] if impairment.bandwidth_mbps else []
    return words
