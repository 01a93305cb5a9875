"""How far one event came with one rule, as one answer to why somebody did not hear of something."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from streams.explaining.terms import Looked
from streams.json_events import rfc3339
from tidings.event import Event, Micros

Kind = Literal[
    "told", "not_told", "open", "waiting", "in_time", "ended", "not_decided", "near_miss", "null_key", "not_fired", "nothing",
]  # fmt: skip
ICONS: dict[Kind, str] = {
    "told": "sent", "not_told": "supp", "open": "flit", "waiting": "flit", "in_time": "none", "ended": "none",
    "not_decided": "flit", "near_miss": "none", "null_key": "warn", "not_fired": "none", "nothing": "none",
}  # fmt: skip
RANK: dict[Kind, int] = {
    "not_told": 0, "open": 0, "told": 1, "waiting": 2, "not_decided": 2, "in_time": 3, "ended": 3, "near_miss": 4,
    "not_fired": 4, "null_key": 5, "nothing": 6,
}  # fmt: skip
"""How far a rule came: what comes first answers."""


@dataclass(frozen=True)
class Candidate:
    """What one event came to with one rule."""

    kind: Kind
    says: str
    event: Event | None = None
    title: str = ""
    decision: str | None = None
    """Id of the decision, where there is one."""
    looked: Looked | None = None
    until: Micros | None = None
    head: str = ""
    """Of what began something: what became of it, without the event."""

    def to_json(self) -> dict[str, Any]:
        """Return it for scripts."""
        event = self.event
        return {
            "answer": self.kind, "says": self.says, "decision": self.decision,
            "until": None if self.until is None else rfc3339(self.until),
            "event": None if event is None else {
                "ref": event.ref, "id": event.id, "type": event.type, "occurred_at": rfc3339(event.occurred_at),
            },
            "terms": [] if self.looked is None else [part.to_json() for part in self.looked.parts],
        }  # fmt: skip
