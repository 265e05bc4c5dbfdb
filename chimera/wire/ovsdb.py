"""What OVSDB operations are made of (RFC 7047 section 5): values, and the transactions the lab needs.

Pure functions that return plain dictionaries; :mod:`chimera.ovsdb` carries them to a server.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from chimera.model.ports import PortSpec

Operation = dict[str, Any]
Row = dict[str, Any]

ROOT = "Open_vSwitch"


# -- values (section 5.1) ------------------------------------------------------------------


def oset(items: Iterable[Any]) -> list[Any]:
    """A set."""
    return ["set", list(items)]


def omap(items: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> list[Any]:
    """A map."""
    return ["map", [[k, v] for k, v in dict(items).items()]]


def uuid(text: str) -> list[str]:
    """A reference to a row that exists."""
    return ["uuid", text]


def named_uuid(name: str) -> list[str]:
    """A reference to a row that the same transaction inserts under ``uuid-name``."""
    return ["named-uuid", name]


def python_value(value: Any) -> Any:
    """An OVSDB value as Python's: sets become lists, maps dictionaries, references their text."""
    match value:
        case ["uuid" | "named-uuid", text]:
            return text
        case ["set", items]:
            return [python_value(i) for i in items]
        case ["map", pairs]:
            return {python_value(k): python_value(v) for k, v in pairs}
    return value


def python_row(row: Row) -> Row:
    """A row with Python's values."""
    return {column: python_value(value) for column, value in row.items()}


# -- operations (section 5.2) ----------------------------------------------------------------


def by_name(name: str) -> list[list[Any]]:
    """The condition that selects the row of that name."""
    return [["name", "==", name]]


def insert(table: str, row: Row, name: str) -> Operation:
    """Insert ``row``; the transaction refers to it as ``named_uuid(name)``."""
    return {"op": "insert", "table": table, "row": row, "uuid-name": name}


def select(table: str, where: Sequence[Any] = (), columns: Sequence[str] = ()) -> Operation:
    """Rows of a table; no ``columns`` means all of them."""
    chosen = {"columns": list(columns)} if columns else {}
    return {"op": "select", "table": table, "where": list(where), **chosen}


def update(table: str, where: Sequence[Any], row: Row) -> Operation:
    """Overwrite columns of the rows that match."""
    return {"op": "update", "table": table, "where": list(where), "row": row}


def mutate(table: str, where: Sequence[Any], column: str, mutator: str, value: Any) -> Operation:
    """Change one column in place (``+=``, ``insert``, ``delete`` …) of the rows that match."""
    return {"op": "mutate", "table": table, "where": list(where), "mutations": [[column, mutator, value]]}


def _identifier(text: str) -> str:
    """``text`` as an RFC 7047 ``<id>``, injectively."""
    return "".join(c if c.isascii() and c.isalnum() else f"_{ord(c):x}_" for c in text)


def _insert_port(spec: PortSpec) -> tuple[list[Operation], list[str]]:
    """The operations that insert a port with its interface, and the reference to the port."""
    ident = _identifier(spec.name)
    interface: Row = {"name": spec.name, "type": spec.type}
    if spec.options:
        interface["options"] = omap(spec.options)
    if spec.external_ids:
        interface["external_ids"] = omap(spec.external_ids)
    if spec.ofport:
        interface["ofport_request"] = spec.ofport
    if spec.mac:
        interface["mac"] = spec.mac
    if spec.mtu:
        interface["mtu_request"] = spec.mtu
    port: Row = {"name": spec.name, "interfaces": named_uuid(f"if_{ident}")}
    if spec.tag or spec.untagged:
        port["tag"] = spec.tag
    operations = [insert("Interface", interface, f"if_{ident}"), insert("Port", port, f"port_{ident}")]
    return operations, named_uuid(f"port_{ident}")


def add_port(bridge: str, spec: PortSpec) -> list[Operation]:
    """Add a port to the bridge of that name, which exists."""
    operations, reference = _insert_port(spec)
    return [*operations, mutate("Bridge", by_name(bridge), "ports", "insert", oset([reference]))]


def del_port(bridge: str, port_uuid: str) -> list[Operation]:
    """Take a port off a bridge; the server collects rows that nothing refers to any more."""
    return [mutate("Bridge", by_name(bridge), "ports", "delete", oset([uuid(port_uuid)]))]


CONTROLLER_RATE = 1000  # packets a second that one switch sends up at most, whatever its VMs send; port after port


def _insert_controllers(bridge: str, targets: Sequence[str], inactivity_probe_ms: int) -> tuple[list[Operation], Any]:
    ident = _identifier(bridge)
    names = [f"controller_{ident}_{n}" for n, _ in enumerate(targets)]
    row: Row = {
        "connection_mode": "out-of-band", "inactivity_probe": inactivity_probe_ms, "max_backoff": 1000,
        "controller_rate_limit": CONTROLLER_RATE, "controller_burst_limit": CONTROLLER_RATE,
    }  # fmt: skip
    operations = [insert("Controller", {**row, "target": t}, n) for n, t in zip(names, targets, strict=True)]
    return operations, oset(map(named_uuid, names))


def set_controller(bridge: str, targets: Sequence[str], inactivity_probe_ms: int = 5000) -> list[Operation]:
    """Replace the controllers (``tcp:ADDRESS:PORT``) of the bridge of that name.

    Open vSwitch connects to a new target at once, while from one that refused it backs off up to 8 s, whatever
    ``max_backoff`` says (3.1): a controller that returns does well to listen on another port. Removing the last
    controller makes Open vSwitch delete all flows of the bridge.
    """
    operations, references = _insert_controllers(bridge, targets, inactivity_probe_ms)
    return [*operations, update("Bridge", by_name(bridge), {"controller": references})]


def add_bridge(
    name: str,
    *,
    datapath_type: str = "netdev",
    fail_mode: str = "standalone",
    controllers: Sequence[str] = (),
    ports: Sequence[PortSpec] = (),
    hwaddr: str = "",
    datapath_id: int = 0,
    mtu: int = 0,
    protocols: Sequence[str] = ("OpenFlow13", "OpenFlow15"),
    other_config: Mapping[str, str] | None = None,
    external_ids: Mapping[str, str] | None = None,
    inactivity_probe_ms: int = 5000,
) -> list[Operation]:
    """A whole bridge, its ports and controllers, in one transaction.

    ``ports`` are those beyond the bridge's own LOCAL port. ``fail_mode`` is ``standalone`` (a learning switch while
    no controller is there) or ``secure``. ``datapath_id`` 0 leaves it to the switch, and so does ``mtu`` 0 for that of
    the LOCAL port (otherwise the least of the bridge's ports).
    """
    config = dict(other_config or {})
    config |= {"hwaddr": hwaddr} if hwaddr else {}
    config |= {"datapath-id": f"{datapath_id:016x}"} if datapath_id else {}
    inserted = [_insert_port(spec) for spec in (PortSpec(name, type="internal", mtu=mtu), *ports)]
    controller_rows, controller_references = _insert_controllers(name, controllers, inactivity_probe_ms)
    bridge: Row = {
        "name": name,
        "datapath_type": datapath_type,
        "fail_mode": fail_mode,
        "protocols": oset(protocols),
        "ports": oset(reference for _, reference in inserted),
        "controller": controller_references,
        "other_config": omap(config),
        "external_ids": omap(external_ids or {}),
    }
    return [
        *(operation for operations, _ in inserted for operation in operations),
        *controller_rows,
        insert("Bridge", bridge, f"bridge_{_identifier(name)}"),
        mutate(ROOT, [], "bridges", "insert", oset([named_uuid(f"bridge_{_identifier(name)}")])),
    ]


def bump() -> Operation:
    """Ask ``ovs-vswitchd`` to apply the transaction: it copies ``next_cfg`` to ``cur_cfg`` when done."""
    return mutate(ROOT, [], "next_cfg", "+=", 1)
