"""``lab graph``."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

from chimera.cli.graph import graph
from chimera.model.errors import InputError


@pytest.mark.parametrize("name", ["rack", "dual-dc", "leaf-spine"])
def test_every_topology_that_ships_can_be_drawn(name: str, tmp_path: Path) -> None:
    printed = CliRunner().invoke(graph, [name], catch_exceptions=False)
    assert ElementTree.fromstring(printed.stdout).tag.endswith("svg")
    written = CliRunner().invoke(graph, [name, "--out", str(tmp_path / "map.svg")], catch_exceptions=False)
    assert (written.stdout, (tmp_path / "map.svg").read_text()) == ("", printed.stdout)


def test_an_unknown_topology_is_the_users_mistake() -> None:
    with pytest.raises(InputError):
        CliRunner().invoke(graph, ["no-such-thing"], catch_exceptions=False)
