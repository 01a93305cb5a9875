"""Debezium: change records of databases, with and without schema, of relational databases and of MongoDB.

Their ids are derived: connector, server, table, position in the log of the database, key of the row. The time is that
of the commit in the source database where it is given and possible, else that of the connector.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from streams.json_events import NotAnEvent, parse_json
from streams.sources.foreign import Foreign, Op, instant, mapping_of, refuse
from tidings import canonical
from tidings.errors import Refusal

OPS: Mapping[str, Op] = {"c": "create", "r": "read", "u": "update", "d": "delete"}
POSITION = (
    "lsn", "txId", "sequence", "scn", "commit_scn", "rs_id", "ssn", "change_lsn", "commit_lsn", "event_serial_no", "gtid",
    "file", "pos", "row", "ord", "h", "wallTime", "ts_ms", "ts_us", "ts_ns",
)  # fmt: skip
UNAVAILABLE = "__debezium_unavailable_value"
"""PostgreSQL leaves large values out that did not change."""
WRAPPED = ("$numberLong", "$numberInt", "$oid", "$date", "$numberDecimal")


def read(payload: Any, now: int) -> list[Foreign]:
    """Return the change of a record.

    Raises:
        BadContract: it is no change of a row.
    """
    body = mapping_of(payload, "the record")
    if "specversion" in body:
        return [_cloud_event(body)]
    if "schema" in body and "payload" in body:
        schema, body = body["schema"], mapping_of(body["payload"], "payload")
        return [_change(body, mapping_of(body.get("source", {}), "source"), _named(schema))]
    if "op" not in body:
        raise refuse(
            "there is no 'op': a flattened row does not say what changed; send the whole envelope (without "
            "ExtractNewRecordState)"
        )
    return [_change(body, mapping_of(body.get("source", {}), "source"), ())]


def _change(body: Mapping[str, Any], source: Mapping[str, Any], named: tuple[str, ...]) -> Foreign:
    op = body.get("op")
    table = source.get("table") or source.get("collection")
    names = _names(source.get("db"), source.get("schema"), table) or named
    if op == "t":
        text = f"{names[0] if names else 'a table'} was truncated: that names no rows"
        raise refuse(text, Refusal.UNMAPPED)
    if op == "m":
        raise refuse("a logical decoding message belongs to no table", Refusal.UNMAPPED)
    if not isinstance(op, str) or op not in OPS:
        text = f"'op' is {op!r}; c, r, u and d are changes of rows"
        raise refuse(text)
    if not names:
        raise refuse("'source' names no table or collection", Refusal.UNMAPPED)
    # What a snapshot reads has been there before: nobody is to be greeted because of it.
    kind: Op = "read" if op == "c" and str(source.get("snapshot", "false")).lower() != "false" else OPS[op]
    before, after = _row(body.get("before"), "before"), _row(body.get("after"), "after")
    if (after is None) is not (kind == "delete") or (kind == "delete" and before is None):
        text = f"op {op!r} with before {_state(before)} and after {_state(after)}"
        raise refuse(text)
    times = [source.get("ts_us"), source.get("ts_ms"), body.get("ts_us"), body.get("ts_ms")]
    time = next((at for value in times if (at := instant(value)) is not None), None)
    if time is None:
        raise refuse("neither 'source.ts_ms' nor 'ts_ms' is a time")
    place = {name: source[name] for name in POSITION if source.get(name) is not None}
    identity = [op, list(names[:1]), place, before, after] if place else [op, list(names[:1]), dict(body)]
    digest = sha256(canonical.dumps(json.loads(json.dumps(identity, default=str), parse_float=str))).hexdigest()
    server = source.get("name") or "server"
    return Foreign(names, f"dbz-{digest[:32]}", f"debezium/{server}", time, kind, before, after, subject=names[-1])


def _state(row: Any) -> str:
    return "missing" if row is None else "given"


def _names(db: Any, schema: Any, table: Any) -> tuple[str, ...]:
    if not isinstance(table, str) or not table:
        return ()
    outer = [str(part) for part in (db, schema) if isinstance(part, str) and part]
    found = [".".join([*outer[at:], table]) for at in range(len(outer) + 1)]
    if len(outer) == 2:  # noqa: PLR2004 - database and schema
        found.insert(1, f"{outer[0]}.{table}")
    return tuple(dict.fromkeys(name.lower() for name in found))


def _named(schema: Any) -> tuple[str, ...]:
    """Return the names of a table by its schema, as `server1.DEBEZIUM.CUSTOMERS.Envelope`; some leave it out of `source`."""
    name = schema.get("name") if isinstance(schema, Mapping) else None
    parts = (
        name.removesuffix(".Envelope").split(".")[1:] if isinstance(name, str) and name.endswith(".Envelope") else []
    )
    return tuple(".".join(parts[at:]).lower() for at in range(len(parts)))


def _row(value: Any, what: str) -> Mapping[str, Any] | None:
    """Return a row; MongoDB's come as JSON in a text, with wrapped numbers."""
    if isinstance(value, str):
        try:
            value = parse_json(value.encode("utf-8", "surrogatepass"))
        except NotAnEvent as fault:
            text = f"{what} is no JSON: {fault}"
            raise refuse(text) from fault
        value = _unwrapped(value)
    if value is None:
        return None
    row = mapping_of(value, what)
    return {str(name): part for name, part in row.items() if part != UNAVAILABLE}


def _unwrapped(value: Any) -> Any:
    if isinstance(value, Mapping):
        if len(value) == 1 and (name := next(iter(value))) in WRAPPED:
            inner = _unwrapped(value[name])
            return int(inner) if name in ("$numberLong", "$numberInt") and str(inner).lstrip("-").isdigit() else inner
        return {name: _unwrapped(part) for name, part in value.items()}
    return [_unwrapped(part) for part in value] if isinstance(value, list) else value


def _cloud_event(body: Mapping[str, Any]) -> Foreign:
    """Debezium's CloudEvents: the envelope's parts are extension attributes."""
    kind = body.get("datacontenttype", "application/json")
    if kind != "application/json":
        text = f"the data is {kind}; only JSON is read here (its schema lies in a registry that is not ours)"
        raise refuse(text)
    data = mapping_of(body.get("data"), "data")
    source = {
        name.removeprefix("iodebezium"): value for name, value in body.items() if name.startswith("iodebezium") and value is not None
    }  # fmt: skip
    known = {"ts_ms": source.pop("tsms", None), "table": source.get("table") or source.get("collection"), **source}
    inner = {"op": source.get("op"), "before": data.get("before"), "after": data.get("after"), "ts_ms": known["ts_ms"]}
    return _change(inner, known, ())
