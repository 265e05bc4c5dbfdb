"""Which interfaces are attached where, from the two halves that Open vSwitch tells.

OVSDB says whose interface it is (``external_ids``), OpenFlow says that the port is there, its number, and that its
link is up. OpenFlow is the faster of the two: ``ovs-vswitchd`` writes status to OVSDB in batches.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from chimera.model.control import PortDown, PortUp

Name = str


@dataclass(frozen=True, slots=True)
class Identity:
    """``iface-id`` and ``attached-mac`` of an interface."""

    iface_id: str
    mac: str


def identity(external_ids: Mapping[str, str]) -> Identity | None:
    """Whose interface it is; nothing for ports of the lab itself."""
    iface_id = external_ids.get("iface-id", "")
    return Identity(iface_id, external_ids.get("attached-mac", "")) if iface_id else None


@dataclass
class Attachments:
    """The interfaces at one switch; every method returns the events that follow from the news."""

    switch: str
    _identities: dict[Name, Identity] = field(default_factory=dict)
    _ports: dict[Name, int] = field(default_factory=dict)
    _reported: dict[Name, PortUp] = field(default_factory=dict)

    def named(self, changes: Mapping[Name, Identity | None], *, complete: bool = False) -> list[PortUp | PortDown]:
        """Interfaces got or lost their identity; ``complete``: there are no others."""
        if complete:
            self._identities.clear()
        for name, who in changes.items():
            if who is None:
                self._identities.pop(name, None)
            else:
                self._identities[name] = who
        return self._changed(self._reported.keys() | changes.keys() if complete else changes)

    def port(self, name: Name, number: int | None) -> list[PortUp | PortDown]:
        """A port is up under this number, or down or gone (``None``)."""
        if number is None:
            self._ports.pop(name, None)
        else:
            self._ports[name] = number
        return self._changed([name])

    def ports(self, up: Mapping[Name, int]) -> list[PortUp | PortDown]:
        """These ports are up, and no others."""
        self._ports = dict(up)
        return self._changed(self._reported.keys() | up.keys())

    def again(self) -> list[PortUp | PortDown]:
        """Everything that is up, for somebody who knows nothing."""
        return [*self._reported.values()]

    def _changed(self, names: Iterable[Name]) -> list[PortUp | PortDown]:
        events: list[PortUp | PortDown] = []
        for name in sorted(names):
            old, new = self._reported.pop(name, None), self._present(name)
            if new is not None:
                self._reported[name] = new
            if old is not None and (new is None or new.iface_id != old.iface_id):
                events.append(PortDown(self.switch, old.iface_id))
            if new is not None and new != old:
                events.append(new)
        return events

    def _present(self, name: Name) -> PortUp | None:
        who, number = self._identities.get(name), self._ports.get(name)
        if who is None or number is None:
            return None
        return PortUp(self.switch, who.iface_id, who.mac, number)
