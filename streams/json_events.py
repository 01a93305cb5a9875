"""Plain JSON events to payloads: strict, all mistakes at once, each with its place and a suggestion."""

from __future__ import annotations

import copy
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Any

from streams.wire import MAX_BYTES, MAX_DEPTH
from tidings.contract import NO_DEFAULT, Contract, Field, Type
from tidings.event import Event, Micros

MAX_LONG = 2**63 - 1
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)")
ENVELOPE = ("id", "source", "time", "type", "subject", "tenant", "correlation_id", "causation_id", "sequence", "data")
FOUND = {
    bool: "true or false", int: "a whole number", float: "a number with decimals", str: "a text", list: "a list",
    dict: "an object",
}  # fmt: skip
NEEDED = {
    "string": "a text", "long": "a whole number", "boolean": "true or false", "enum": "a text", "array": "a list",
    "record": "an object", "map": "an object",
    "money": 'money, as {"amount_minor": 12000, "currency": "EUR"} for 120 euros,',
}  # fmt: skip
OPTIONAL = ("subject", "correlation_id", "causation_id")
MOST_MISTAKES = 100
"""Of one event; behind them nobody looks."""
MOST_HINTS = 10
"""Mistakes of one event for which what was meant is looked for: each costs as much as reading the event."""
MOST_NAME = 64
"""Characters of a name that are compared."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake, with its JSON pointer."""

    pointer: str
    text: str
    hint: str | None = None
    code: str = "invalid"
    """What sort of mistake, for programs."""

    def __str__(self) -> str:
        return f"{self.pointer or '/'}: {self.text}" + (f" (did you mean {self.hint!r}?)" if self.hint else "")


class NotAnEvent(ValueError):
    """The JSON does not describe an event; `mistakes` says why, all of it."""

    def __init__(self, mistakes: list[Mistake]) -> None:
        super().__init__("; ".join(str(mistake) for mistake in mistakes))
        self.mistakes = mistakes


class _Mistakes(list[Mistake]):
    """All of one event, up to a bound: at the last of them reading ends."""

    def __init__(self) -> None:
        super().__init__()
        self._hints = MOST_HINTS

    def append(self, one: Mistake) -> None:
        super().append(one)
        if len(self) >= MOST_MISTAKES:
            raise NotAnEvent(list(self))

    def hint(self, name: str, known: Iterable[str]) -> str | None:
        """Return what was meant by a name, as long as there are hints."""
        self._hints -= 1
        return nearest(name, known) if self._hints >= 0 else None


def nearest(name: str, known: Iterable[str], like: float = 0.6) -> str | None:
    """Return which known name is most like one."""
    found = get_close_matches(name[:MOST_NAME], list(known), 1, like)
    return found[0] if found else None


def parse_json(raw: bytes, *, most: int = MAX_BYTES, deepest: int = MAX_DEPTH) -> Any:
    """Parse JSON within bounds: size, depth, no duplicate keys, no NaN.

    Raises:
        NotAnEvent: it is too large, too deep, or no JSON.
    """
    if len(raw) > most:
        raise NotAnEvent([Mistake("", f"{len(raw)} bytes; at most {most}", code="too-large")])
    try:
        found = _JSON.decode(raw.decode("utf-8"))
    except RecursionError as fault:
        raise NotAnEvent([Mistake("", f"nested deeper than {deepest}", code="too-deep")]) from fault
    except UnicodeDecodeError as fault:
        raise NotAnEvent([Mistake("", f"byte {fault.start} is not UTF-8", code="not-json")]) from fault
    except json.JSONDecodeError as fault:
        raise NotAnEvent(
            [Mistake("", f"line {fault.lineno}, column {fault.colno}: {fault.msg}", code="not-json")]
        ) from fault
    except ValueError as fault:
        raise NotAnEvent([Mistake("", str(fault), code="not-json")]) from fault
    # So many brackets cannot be nested deeper.
    if raw.count(b"[") + raw.count(b"{") > deepest and is_deep(found, deepest):
        raise NotAnEvent([Mistake("", f"nested deeper than {deepest}", code="too-deep")])
    return found


def is_deep(value: Any, most: int) -> bool:
    """Say whether objects and lists are nested deeper than `most`; what is parsed is never nested without end."""
    if most <= 0:
        return True
    parts = value.values() if type(value) is dict else value if type(value) is list else ()
    return any((type(part) is dict or type(part) is list) and is_deep(part, most - 1) for part in parts)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        times = Counter(name for name, _ in pairs)
        twice = next(name for name, number in times.items() if number > 1)
        text = f"the key {twice!r} stands twice in one object"
        raise ValueError(text)
    return found


def _constant(word: str) -> Any:
    text = f"{word} is not a JSON number"
    raise ValueError(text)


_JSON = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant)


def from_json(contract: Contract, event: Any, *, tenant: str = "default") -> dict[str, Any]:
    """Return the payload (with `meta`) of an event in plain JSON: `{id, source, time, data, subject?, …}`.

    Raises:
        NotAnEvent: with every mistake, up to `MOST_MISTAKES`.
    """
    if not isinstance(event, Mapping):
        raise NotAnEvent([Mistake("", f"an object is needed here, not {type(event).__name__}", code="wrong-kind")])
    mistakes = _Mistakes()
    _unknown(event, ENVELOPE, "", mistakes)
    optional = {name: _text(event, name, mistakes) if event.get(name) is not None else None for name in OPTIONAL}
    sequence = event.get("sequence")
    if sequence is not None:
        sequence = _value(sequence, Type("long"), "/sequence", mistakes)
    meta: dict[str, Any] = {
        "event_id": _text(event, "id", mistakes),
        "type": contract.type,
        "source": _text(event, "source", mistakes),
        "subject": optional["subject"],
        "occurred_at": _time(event.get("time"), "/time", mistakes),
        "recorded_at": None,
        "actor": None,
        "tenant": tenant,
        "correlation_id": optional["correlation_id"],
        "causation_id": optional["causation_id"],
        "sequence": sequence,
    }
    if event.get("tenant", tenant) != tenant:
        mistakes.append(Mistake("/tenant", f"this intake belongs to {tenant!r}", code="other-tenant"))
    if event.get("type", contract.type) != contract.type:
        mistakes.append(Mistake("/type", f"is {event['type']!r}, not {contract.type!r}", code="other-type"))
    data = event.get("data")
    payload: dict[str, Any] = {}
    if isinstance(data, Mapping):
        payload = _record(data, contract.fields, "/data", mistakes)
    else:
        mistakes.append(Mistake("/data", "an object is needed here", code="wrong-kind"))
    if mistakes:
        raise NotAnEvent(mistakes)
    return {"meta": meta, **payload}


def _unknown(found: Mapping[str, Any], known: Any, pointer: str, mistakes: _Mistakes) -> None:
    for name in found:
        if name not in known:
            near = mistakes.hint(str(name), known)
            mistakes.append(Mistake(f"{pointer}/{name}", "there is no such field", near, "unknown-field"))


def _text(event: Mapping[str, Any], name: str, mistakes: _Mistakes) -> str:
    value = event.get(name)
    if not isinstance(value, str) or not value:
        mistakes.append(Mistake(f"/{name}", "a text is needed here", code="missing" if value is None else "wrong-kind"))
        return ""
    return value


def _record(data: Mapping[str, Any], fields: Mapping[str, Field], pointer: str, mistakes: _Mistakes) -> dict[str, Any]:
    _unknown(data, fields, pointer, mistakes)
    found = {}
    for name, field in fields.items():
        place = f"{pointer}/{name}"
        if name in data:
            found[name] = _value(data[name], field.type, place, mistakes)
        elif field.default is not NO_DEFAULT:
            found[name] = copy.copy(field.default)
        else:
            mistakes.append(Mistake(place, "is missing", code="missing"))
    return found


def _value(value: Any, kind: Type, place: str, mistakes: _Mistakes) -> Any:
    if value is None:
        if not kind.nullable:
            mistakes.append(Mistake(place, "must not be null", code="null"))
        return None
    match kind.kind:
        case "string" if isinstance(value, str):
            return value
        case "long" if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= MAX_LONG:
            return value
        case "boolean" if isinstance(value, bool):
            return value
        case "timestamp":
            return _time(value, place, mistakes)
        case "enum" if isinstance(value, str):
            if value not in kind.symbols:
                mistakes.append(
                    Mistake(
                        place,
                        f"{value!r} is none of {', '.join(kind.symbols)}",
                        mistakes.hint(value, kind.symbols),
                        "no-such-symbol",
                    )
                )
            return value
        case "money" | "record" if isinstance(value, Mapping):
            return _record(value, kind.fields, place, mistakes)
        case "array" if isinstance(value, list) and kind.item is not None:
            return [_value(part, kind.item, f"{place}/{number}", mistakes) for number, part in enumerate(value)]
        case _:
            mistakes.append(Mistake(place, _other_kind(value, kind), code="wrong-kind"))
            return None


def _other_kind(value: Any, kind: Type) -> str:
    """Return what a value is and what it should be; never the value, which may be personal."""
    if kind.kind == "long" and type(value) is int:
        return f"is outside of ±{MAX_LONG}"
    return f"is {FOUND.get(type(value), type(value).__name__)}; {NEEDED.get(kind.kind, kind.kind)} is needed"


def _time(value: Any, place: str, mistakes: _Mistakes) -> Micros:
    if not isinstance(value, str) or TIME.fullmatch(value) is None:
        mistakes.append(
            Mistake(place, "needs a time with zone and at most six decimals, as 2026-03-05T10:00:00Z", code="bad-time")
        )
        return 0
    try:
        return micros(datetime.fromisoformat(value))
    except ValueError as fault:
        mistakes.append(Mistake(place, str(fault), code="bad-time"))
        return 0


def micros(at: datetime) -> Micros:
    """Return an aware datetime as microseconds since the epoch, exactly."""
    since = at.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def rfc3339(at: Micros) -> str:
    """Return microseconds since the epoch as RFC 3339 in UTC."""
    seconds, rest = divmod(at, 1_000_000)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}{f'.{rest:06d}'.rstrip('0') if rest else ''}Z"


def to_json(event: Event, contract: Contract) -> dict[str, Any]:
    """Return an event as plain JSON; `from_json` reads it back."""
    found: dict[str, Any] = {
        "id": event.id,
        "type": event.type,
        "source": event.source,
        "time": rfc3339(event.occurred_at),
    }
    for name in ("subject", "correlation_id", "causation_id", "sequence"):
        if (value := getattr(event, name)) is not None:
            found[name] = value
    found["data"] = {name: _out(event.data.get(name), field.type) for name, field in contract.fields.items()}
    return found


def _out(value: Any, kind: Type) -> Any:
    if value is None:
        return None
    if kind.kind == "timestamp":
        return rfc3339(value)
    if kind.kind in ("record", "money"):
        return {name: _out(value.get(name), field.type) for name, field in kind.fields.items()}
    if kind.kind == "array" and kind.item is not None:
        return [_out(part, kind.item) for part in value]
    return value
