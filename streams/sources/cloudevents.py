"""CloudEvents in structured JSON. A type that is one of our contracts needs no mapping; others are mapped by name.

Extension attributes that are not ours (signatures among them) are not verified here, and change nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from streams.json_events import TIME, micros
from streams.sources.foreign import Foreign, mapping_of, refuse


def read(payload: Any, now: int) -> list[Foreign]:
    """Return the event. Where the producer gives no `time`, which CloudEvents allows, it is the time of intake.

    Raises:
        BadContract: it is no CloudEvent with JSON data.
    """
    body = mapping_of(payload, "the event")
    if body.get("specversion") not in ("1.0", "1.0.1", "1.0.2"):
        text = f"'specversion' is {body.get('specversion')!r}; 1.0 is read"
        raise refuse(text)
    if (kind := body.get("datacontenttype", "application/json")) != "application/json":
        text = f"the data is {kind}; only application/json is read"
        raise refuse(text)
    data = mapping_of(body.get("data"), "data")
    words = {name: _word(body, name) for name in ("id", "source", "type")}
    return [
        Foreign(
            (words["type"],), words["id"], words["source"], _time(body.get("time"), now), "fact", after=data,
            subject=_optional(body, "subject"), correlation_id=_optional(body, "correlationid"),
            causation_id=_optional(body, "causationid"),
        )
    ]  # fmt: skip


def _word(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not value:
        text = f"'{name}' is needed, and is a text"
        raise refuse(text)
    return value


def _optional(body: Mapping[str, Any], name: str) -> str | None:
    return None if body.get(name) is None else _word(body, name)


def _time(value: Any, now: int) -> int:
    if value is None:
        return now
    if isinstance(value, str) and TIME.fullmatch(value):
        try:
            return micros(datetime.fromisoformat(value))
        except ValueError:
            pass
    text = f"'time' is {value!r}; an RFC 3339 time with zone is needed"
    raise refuse(text)
