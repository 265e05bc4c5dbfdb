"""When a switch that holds flows already may be programmed."""

from __future__ import annotations

from collections.abc import Iterable

from chimera.model.control import SwitchUp

ADOPTION_S = 3.0  # without news of switches; those that have not come by then are not waited for


class Adoption:
    """Holds switches back that carry flows of an earlier controller until all ports are known.

    Programmed too early, a switch would lose flows towards ports that the controller has only not heard of
    yet. A switch that holds nothing has nothing to lose and is programmed at once.
    """

    def __init__(self, switches: Iterable[str]) -> None:
        self._databases = set(switches)
        self._ports = set(switches)
        self._held_back: dict[str, SwitchUp] = {}
        self.heard = 0  # news of switches so far

    def database(self, switch: str, reachable: bool) -> list[SwitchUp]:
        """The database's content is known; where it is not reachable, the switch is not running."""
        self.heard += 1
        self._databases.discard(switch)
        if not reachable:
            self._ports.discard(switch)
        return self._released()

    def ports(self, switch: str) -> list[SwitchUp]:
        """The switch's ports are known."""
        self.heard += 1
        self._ports.discard(switch)
        return self._released()

    def holds(self, up: SwitchUp) -> list[SwitchUp]:
        """The switch's flows are known."""
        self.heard += 1
        if not up.held:
            return [up]
        self._held_back[up.switch] = up
        return self._released()

    def lost(self, switch: str) -> None:
        """The session with the switch ended."""
        self._held_back.pop(switch, None)

    def deadline(self) -> list[SwitchUp]:
        """Wait for nobody any more."""
        self._databases.clear()
        self._ports.clear()
        return self._released()

    def _released(self) -> list[SwitchUp]:
        if self._databases or self._ports:
            return []
        released, self._held_back = list(self._held_back.values()), {}
        return released
