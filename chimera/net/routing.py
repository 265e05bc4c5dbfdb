"""The routes the lab has put into the kernel."""

from __future__ import annotations

from collections.abc import Iterable

from chimera.model.underlay import Route
from chimera.net import netns
from chimera.underlay.routes import RouteTable


class Routes(RouteTable):
    """A table of routes whose differences reach the kernel, in one batch per node."""

    def replace(self, owner: str, routes: Iterable[Route]) -> dict[str, list[str]]:
        """Have exactly these routes of ``owner`` in the kernel; the batches that did it.

        Raises:
            SessionError: it refused one. A route that has gone with its interface counts as deleted.
        """
        batches = super().replace(owner, routes)
        for node, lines in batches.items():
            netns.ip_batch(node, lines, again=True)
        return batches
