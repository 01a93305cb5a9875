"""The real detection over the in-memory store, one step at a time, in whole seconds."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from streams.processors import detect
from streams.processors.detect import Batch, Done, Idle
from tests.simulator.rules import TOPICS
from tidings import ids
from tidings.event import SECOND, Event
from tidings.journal import Span
from tidings.ports import Body
from tidings.rule import RuleSet
from tidings.testing.memory import MemoryStore

Said = tuple[str, str, Any]
"""Rule, kind, and the second of the episode."""


@dataclass
class Detector:
    """Partitions of a log, and what detection made of them."""

    rules: RuleSet
    partitions: dict[tuple[str, int], list[Event]] = field(default_factory=dict)
    store: MemoryStore = field(default_factory=MemoryStore)
    now: float = 0

    def __post_init__(self) -> None:
        self.store.clock = lambda: int(self.now * SECOND)
        self.connect(*TOPICS)
        self.run(detect.switch(None, self.rules, b"", grace=0))

    def run(self, body: Body[Any]) -> Any:
        """Run one transaction."""
        return asyncio.run(self.store.run(body))

    def connect(self, *kinds: str, partition: int = 0) -> None:
        """Make partitions of topics."""
        places = [(TOPICS[kind], partition) for kind in kinds]
        self.run(detect.connect(places, int(self.now * SECOND), grace=0, history="live"))
        for place in places:
            self.partitions.setdefault(place, [])

    def switch(self, rules: RuleSet) -> None:
        """Make another rule set the active one."""
        self.run(detect.switch(self.rules, rules, b"", grace=0))
        self.rules = rules

    def append(
        self, kind: str, name: str, at: float, *, appended: float | None = None, partition: int = 0, source: str = "s",
        **data: Any,
    ) -> Event:  # fmt: skip
        """Append an event that happened at second `at`; by default it is appended at once."""
        place = (TOPICS[kind], partition)
        records = self.partitions[place]
        event = Event(
            ref=ids.event_ref("t", source, name, int(at * SECOND)), tenant="t", source=source, id=name, type=kind,
            occurred_at=int(at * SECOND), data={"customer_id": "c", **data}, topic=place[0], partition=partition,
            offset=len(records), appended_at=int((at if appended is None else appended) * SECOND),
        )  # fmt: skip
        records.append(event)
        return event

    def repeat(self, event: Event) -> Event:
        """Append the same event again."""
        records = self.partitions[event.topic, event.partition]
        again = Event(**{name: getattr(event, name) for name in event.__dataclass_fields__} | {"offset": len(records)})
        records.append(again)
        return again

    def position(self, place: tuple[str, int]) -> int:
        """Return the position in the database."""
        found: int = asyncio.run(self.store.read(detect.read_positions([place])))[place]
        return found

    def poll(self, *kinds: str, partition: int = 0, most: int | None = None) -> Batch:
        """Fetch what follows the positions of some topics, as one batch that is not applied yet."""
        spans, events = [], []
        for kind in kinds or TOPICS:
            place = (TOPICS[kind], partition)
            start = self.position(place)
            end = len(self.partitions[place]) if most is None else min(len(self.partitions[place]), start + most)
            if end > start:
                spans.append(Span(*place, start, end))
                events += self.partitions[place][start:end]
        return Batch(tuple(sorted(spans, key=lambda span: (span.topic, span.partition))), tuple(events))

    def apply(self, batch: Batch) -> Any:
        """Decide a batch."""
        return self.run(detect.detect(self.rules, batch, grace=0))

    def batch(self, *kinds: str, partition: int = 0) -> Any:
        """Fetch and decide."""
        return self.apply(self.poll(*kinds, partition=partition))

    def idle(self, since: float, *kinds: str, partition: int = 0) -> int:
        """Say that the topics were read to their ends at second `since`; returns how many believed it."""
        places = [(TOPICS[kind], partition) for kind in kinds or TOPICS]
        marks = [Idle(place, self.position(place), int(since * SECOND)) for place in places]
        found: int = self.run(detect.mark_idle(marks))
        return found

    def tick(self) -> None:
        """Run what is due, of every rule."""
        for rule in self.rules.stateful:
            while isinstance(self.run(detect.tick(self.rules, rule, grace=0)), Done):
                pass

    def said(self, rules: Iterable[str] = ("overdue", "silent")) -> Sequence[Said]:
        """Return what was recorded, by rule and time."""
        rows = sorted(self.store.rows("records"), key=lambda row: (row["seq"], row["logical_at"]))
        return [(row["rule"], row["kind"], row["episode_at"] / SECOND) for row in rows if row["rule"] in rules]
