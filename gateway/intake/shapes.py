"""Contracts as JSON Schema: what a producer's tools check an event with before it is sent."""

from __future__ import annotations

from typing import Any

from gateway.intake.bounds import MOST_TEXT
from schemas.examples import described
from streams.json_events import CURRENCY, MAX_LONG, TIME
from tidings.contract import NO_DEFAULT, Contract, Field, Type

SHORT = {"type": "string", "minLength": 1, "maxLength": MOST_TEXT}

MAYBE = {"type": ["string", "null"], "minLength": 1, "maxLength": MOST_TEXT}


def event_schema(contract: Contract) -> dict[str, Any]:
    """Return the schema of an event in plain JSON."""
    return {
        "title": contract.type,
        "description": contract.doc,
        "type": "object",
        "properties": {
            "id": {**SHORT, "description": "unique within the source; the same one again is the same event"},
            "type": {"const": contract.type},
            "source": {**SHORT, "description": "the system that says it; the key has to be allowed to"},
            "time": {**_time(), "description": "when it happened, with zone"},
            "subject": {**MAYBE, "description": "what it is about"},
            "correlation_id": MAYBE,
            "causation_id": MAYBE,
            "sequence": {"type": ["integer", "null"], "minimum": -MAX_LONG, "maximum": MAX_LONG},
            "data": _record(contract.fields),
        },
        "required": ["id", "type", "source", "time", "data"],
        "additionalProperties": False,
        "examples": [described(contract)],
    }


def _record(fields: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {name: _field(one) for name, one in fields.items()},
        "required": [name for name, one in fields.items() if one.default is NO_DEFAULT],
        "additionalProperties": False,
    }


def _field(field: Field) -> dict[str, Any]:
    found = _type(field.type)
    if field.doc:
        found["description"] = field.doc
    if field.pii != "none":
        found["x-pii"] = field.pii
    if field.deprecated:
        found["deprecated"] = True
    if field.example is not None:
        found["examples"] = [field.example]
    return found


def _type(kind: Type) -> dict[str, Any]:
    found = _bare(kind)
    if kind.nullable:
        if "enum" in found:
            found["enum"] = [*found["enum"], None]
        found["type"] = [found["type"], "null"]
    return found


def _bare(kind: Type) -> dict[str, Any]:
    match kind.kind:
        case "long":
            return {"type": "integer", "minimum": -MAX_LONG, "maximum": MAX_LONG}
        case "boolean":
            return {"type": "boolean"}
        case "timestamp":
            return _time()
        case "enum":
            return {"type": "string", "enum": list(kind.symbols)}
        case "money":
            found = _record(kind.fields)
            found["properties"]["currency"] |= {"pattern": f"^{CURRENCY.pattern}$"}
            return found
        case "record":
            return _record(kind.fields)
        case "array" if kind.item is not None:
            return {"type": "array", "items": _type(kind.item)}
    return {"type": "string"}


def _time() -> dict[str, Any]:
    return {"type": "string", "format": "date-time", "pattern": f"^{TIME.pattern}$"}
