"""How bodies are declared in the document: each form with the events of the contracts, and examples that are run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.intake.bounds import MOST_EVENTS
from gateway.intake.judging import dataschema_of
from gateway.intake.reading import BATCH, LINES, PLAIN, STRUCTURED
from gateway.intake.shapes import MAYBE, event_schema
from schemas import contracts
from schemas.examples import described
from tidings.contract import Contract

EXAMPLE = "billing.invoice.paid"
REF = "#/components/schemas/"
EVENT, CLOUD = "AnyEvent", "AnyCloudEvent"


def components(known: Mapping[str, Contract]) -> dict[str, Any]:
    """Return the schemas of all events, plain and as CloudEvents; what they hold is told once."""
    found: dict[str, Any] = {}
    for name, one in known.items():
        plain = event_schema(one)
        found[f"data.{name}"] = plain["properties"]["data"]
        plain["properties"]["data"] = {"$ref": f"{REF}data.{name}"}
        found[f"event.{name}"] = plain
        found[f"cloudevent.{name}"] = _cloud(one, plain)
    for whole, kind in ((EVENT, "event"), (CLOUD, "cloudevent")):
        found[whole] = {"oneOf": [{"$ref": f"{REF}{kind}.{name}"} for name in known]}
    return found


def bodies() -> dict[str, Any]:
    """Return the declaration of every form that a body may have."""
    known = contracts().by_type[EXAMPLE]
    example = described(known)
    second = {**example, "id": f"{example['id']}-b"}
    plain, cloud = {"$ref": REF + EVENT}, {"$ref": REF + CLOUD}
    return {
        "required": True,
        "description": "In binary mode the attributes are ce-… headers, and the body is what stands in `data` here.",
        "content": {
            PLAIN: {
                "schema": {"oneOf": [plain, _many(plain)]},
                "examples": {"one": {"value": example}, "several": {"value": [example, second]}},
            },
            STRUCTURED: {"schema": cloud, "examples": {"one": {"value": as_cloud(example, known)}}},
            BATCH: {
                "schema": _many(cloud),
                "examples": {"two": {"value": [as_cloud(one, known) for one in (example, second)]}},
            },
            LINES: {
                "schema": {"type": "string", "description": f"one event in plain JSON a line, {MOST_EVENTS} at most"}
            },
        },
    }


def _many(one: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": one, "minItems": 1, "maxItems": MOST_EVENTS}


def as_cloud(event: Mapping[str, Any], contract: Contract) -> dict[str, Any]:
    """Return a plain event as a CloudEvent in structured mode."""
    return {"specversion": "1.0", "dataschema": dataschema_of(contract), **event}


def _cloud(contract: Contract, plain: Mapping[str, Any]) -> dict[str, Any]:
    parts = plain["properties"]
    return {
        "title": contract.type,
        "description": contract.doc,
        "type": "object",
        "properties": {
            "specversion": {"const": "1.0"},
            **{name: parts[name] for name in ("id", "source", "type", "time", "subject", "data")},
            "datacontenttype": {"enum": ["application/json", None]},
            "dataschema": {"enum": [dataschema_of(contract), None]},
            "correlationid": MAYBE,
            "causationid": MAYBE,
        },
        "required": ["specversion", "id", "source", "type", "time", "data"],
    }
