"""JSON Schema (draft 2020-12) of the files, drawn from the tables that read them."""

from __future__ import annotations

from chimera.load.records import Record, Table
from chimera.load.tables import TopologyRecord, UplinkRecord
from chimera.load.values import Schema

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema_of(record: type[Record], title: str, definitions: Schema | None = None) -> Schema:
    """The schema of a file that holds one record."""
    drawn: Schema = {"$schema": _DIALECT, "title": title, **Table(record).schema()}
    return drawn | ({"$defs": definitions} if definitions else {})


def schema() -> Schema:
    """The schema of topology files, for editors and other tools.

    It says what each key may hold; that references meet and addresses fit is for ``lab validate`` to say.
    """
    return schema_of(TopologyRecord, "Chimera Lab topology", {"uplink": Table(UplinkRecord).schema()})
