"""An event as a page shows it: what it says in a word, its fields before and after, and what did not change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from handlers.rules.conditions import KINDS, render_value
from streams.explaining import veil
from streams.explaining.veil import OPEN, Veil, shape
from streams.json_events import rfc3339
from tidings.contract import Contract, Field, value_at
from tidings.event import Event

NOTHING = "nothing"
UNKNOWN = "not known"
HIDDEN = ("before", "after", "before_coverage", "after_coverage", "changed_fields")
MAX_VALUE = 200
"""Characters of a value that are shown."""


@dataclass(frozen=True, slots=True)
class FieldSeen:
    """One field; `before` is None of an event that carries only what is."""

    name: str
    before: str | None
    after: str
    changed: bool


@dataclass(frozen=True)
class Seen:
    """One event."""

    event: Event
    title: str
    """What it says: the contract's first sentence."""
    fields: Sequence[FieldSeen]
    """Those that changed; of an event without a before, those that are there."""
    unchanged: Sequence[FieldSeen]
    is_change: bool
    hides: bool = False
    """Whether something in it is not shown, as it is personal."""

    def to_json(self) -> dict[str, Any]:
        """Return it for scripts."""
        event = self.event
        return {
            "ref": event.ref, "id": event.id, "source": event.source, "type": event.type,
            "occurred_at": rfc3339(event.occurred_at), "arrived_at": rfc3339(event.appended_at),
            "place": f"{event.topic}[{event.partition}]@{event.offset}",
            "fields": [
                {"name": one.name, "before": one.before, "after": one.after} for one in (*self.fields, *self.unchanged)
            ],
        }  # fmt: skip


def seen_of(event: Event, contracts: Mapping[str, Contract], *, reveal: bool = False) -> Seen:
    """Return an event, completed as it was known then, for people."""
    contract = contracts.get(event.type)
    over = OPEN if reveal else veil.over(contracts, contract)
    title = event.type if contract is None else sentence_of(contract)
    if contract is None or not contract.is_change:
        fields = _plain(event.data, {} if contract is None else contract.fields, over)
        return Seen(
            event,
            title,
            [one for one in fields if one.after != NOTHING],
            [one for one in fields if one.after == NOTHING],
            False,
            _hides(event, over),
        )
    plain = [
        one
        for one in _plain({k: v for k, v in event.data.items() if k not in HIDDEN}, contract.fields, over)
        if one.after != NOTHING
    ]
    rows = _sides(event.data, contract, over)
    changed = [one for one in rows if one.changed]
    unchanged = [*[one for one in rows if not one.changed], *plain]
    return Seen(event, title, changed, unchanged, True, _hides(event, over))


def _hides(event: Event, over: Veil) -> bool:
    return any(value_at(event.data, path) is not None for path in over.hidden)


def sentence_of(contract: Contract) -> str:
    """Return what an event says: the first sentence of its contract."""
    return contract.doc.strip().split(". ")[0].split("\n")[0].rstrip(".")


def _plain(data: Mapping[str, Any], fields: Mapping[str, Field], over: Veil) -> list[FieldSeen]:
    found = []
    for name, value in data.items():
        field = fields.get(name)
        text = shape(value) if over.hides((name,)) and value is not None else _shown(value, field)
        found.append(FieldSeen(name, None, text, False))
    return found


def _sides(data: Mapping[str, Any], contract: Contract, over: Veil) -> list[FieldSeen]:
    before, after = data.get("before"), data.get("after")
    fields = contract.fields["after"].type.fields or contract.fields["before"].type.fields
    found = []
    for name, field in fields.items():
        sides = []
        for side, row in (("before", before), ("after", after)):
            if not isinstance(row, Mapping):
                absent = data.get(f"{side}_coverage") == "ABSENT"
                sides.append(NOTHING if absent else UNKNOWN)
            elif name not in row:
                sides.append(UNKNOWN)
            elif over.hides((side, name)) and row[name] is not None:
                sides.append(shape(row[name]))
            else:
                sides.append(_shown(row[name], field))
        known = isinstance(before, Mapping) and isinstance(after, Mapping)
        same = known and before.get(name) == after.get(name)  # type: ignore[union-attr]
        if sides == [UNKNOWN, UNKNOWN]:
            continue
        found.append(FieldSeen(name, sides[0], sides[1], not same and sides != [NOTHING, NOTHING]))
    return found


def _shown(value: Any, field: Field | None) -> str:
    if value is None:
        return NOTHING
    kind = "" if field is None else KINDS.get(field.type.kind, "")
    text = value if isinstance(value, str) else render_value(value, kind)
    return text if len(text) <= MAX_VALUE else f"{text[: MAX_VALUE - 1]}…"
