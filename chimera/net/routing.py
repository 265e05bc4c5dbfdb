"""The routes the lab has put into the kernel."""

from __future__ import annotations

from chimera.net import netns
from chimera.underlay.routes import RouteTable


class Routes(RouteTable):
    """A table of routes whose differences reach the kernel, in one batch per node.

    Its :meth:`replace` raises where the kernel refused one. A route that has gone with its interface counts as deleted.
    """

    def carry_out(self, node: str, lines: list[str]) -> None:
        """Have the kernel change a node's routes."""
        netns.ip_batch(node, lines, again=True)
