"""The JSON Schema is drawn from the tables that validate, and agrees with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from chimera.load import lab_schema, schema

jsonschema = pytest.importorskip("jsonschema", reason="the jsonschema package is not installed")

ROOT = Path(__file__).resolve().parents[2]
GOOD = sorted([*(ROOT / "topologies").glob("*.yaml"), *(ROOT / "tests/golden/topology").glob("*.yaml")])
SHAPES = (
    "unknown-key",
    "missing-name",
    "bad-name",
    "bad-role",
    "bad-link",
    "vni-and-vlan",
    "wrong-shapes",
    "bad-units",
)


def objects(drawn: Any) -> Any:
    """Every schema of an object with fixed keys inside a schema."""
    if isinstance(drawn, dict):
        if "properties" in drawn:
            yield drawn
        for value in drawn.values():
            yield from objects(value)
    elif isinstance(drawn, list):
        for value in drawn:
            yield from objects(value)


@pytest.mark.parametrize("drawn", [schema(), lab_schema()], ids=["topology", "lab"])
def test_it_is_a_schema_and_describes_every_key(drawn: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator.check_schema(drawn)
    assert all(each["description"] for found in objects(drawn) for each in found["properties"].values())


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_good_files_fit(path: Path) -> None:
    jsonschema.Draft202012Validator(schema()).validate(yaml.safe_load(path.read_text()))


@pytest.mark.parametrize("name", SHAPES)
def test_misshapen_files_do_not(name: str) -> None:
    content = yaml.safe_load((ROOT / "tests/golden/errors" / f"{name}.yaml").read_text())
    assert not jsonschema.Draft202012Validator(schema()).is_valid(content)


def test_a_lab_file_fits() -> None:
    lab = {
        "title": "T",
        "topology": "rack",
        "overlay": "vlan",
        "scenario": "vmotion",
        "expect": {"x": "<= 3", "y": True},
    }
    jsonschema.Draft202012Validator(lab_schema()).validate(lab)
    assert not jsonschema.Draft202012Validator(lab_schema()).is_valid(lab | {"expect": {"x": "about 3"}})
