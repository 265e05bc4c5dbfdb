"""What the documentation says of overlays is what the code has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from chimera.overlay import registry
from chimera.overlay.base import check_options

PROJECT = Path(__file__).resolve().parents[2]
GUIDE = (PROJECT / "docs" / "new-overlay.md").read_text()
BLOCKS = re.findall(r"^```python\n# (\S+)\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
ROW = re.compile(r"^\| `(\w+)` \|.*\| (\d+)[^|]*\|$", re.MULTILINE)


@pytest.mark.parametrize(("path", "lines"), BLOCKS)
def test_the_guides_lines_are_the_projects(path: str, lines: str) -> None:
    assert lines in (PROJECT / path).read_text()


def test_the_guide_shows_every_file_that_geneve_is_in() -> None:
    assert GUIDE.count("```python") == len(BLOCKS)
    assert {path for path, _ in BLOCKS} == {
        "chimera/wire/formats.py", "chimera/overlay/geneve.py", "chimera/overlay/registry.py", "tests/wire_frames.py",
    }  # fmt: skip


def test_the_readme_has_a_row_for_every_overlay_with_its_bytes() -> None:
    text = (PROJECT / "README.md").read_text()
    table = text[text.index("## Overlays") : text.index("OpenFlow decides")]
    wires = {name: overlay.wire(check_options(overlay, {})) for name, overlay in registry.OVERLAYS.items()}
    assert {name: int(size) for name, size in ROW.findall(table)} == {n: w.overhead_bytes for n, w in wires.items()}
