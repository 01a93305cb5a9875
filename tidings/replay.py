"""Replay of the journal: the same detection records again, from an empty state, byte for byte."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from tidings import watermark
from tidings.detection import Decided, decide, look, refs_of
from tidings.event import Event, Micros
from tidings.journal import Entry, Span
from tidings.record import Record
from tidings.rule import Item, RuleSet
from tidings.state import KeyState, StateRef

EventsOf = Callable[[Span], Sequence[Event]]
"""From a span to its events, without the offsets that it left out."""
RecordKey = tuple[Micros, str, str, int]
"""(episode_at, firing id, kind, n): the key of a detection record."""


@dataclass(frozen=True, slots=True)
class Again:
    """One transaction, replayed."""

    records: Sequence[Record]
    """What it decided, each once; what was decided before is among it."""
    lost: Sequence[bytes] = ()
    """Keys that the tick took and the replay has no state of."""


@dataclass(slots=True)
class Replay:
    """State of a replay: what the tables held, as values. It grows with them, and not with the history."""

    rule_set: Callable[[str], RuleSet]
    values: dict[bytes, tuple[StateRef, bytes | None]] = field(default_factory=dict)
    buffers: dict[bytes, dict[tuple[Micros, int, str, str], Item]] = field(default_factory=dict)

    def run(self, entries: Iterable[Entry], events_of: EventsOf) -> dict[tuple[str, str, int], Record]:
        """Apply `entries` in the order of `seq`; return every record by (firing id, kind, n)."""
        records: dict[tuple[str, str, int], Record] = {}
        for entry in sorted(entries, key=lambda one: one.seq):
            for record in self.apply(entry, [event for span in entry.spans for event in events_of(span)]).records:
                records.setdefault((record.firing_id, record.kind, record.n), record)
        return records

    def apply(self, entry: Entry, events: Sequence[Event]) -> Again:
        """Apply the entry that follows in the order of `seq`, with the events of its spans."""
        if entry.kind == "switch":
            return Again(())
        rules = self.rule_set(entry.rule_set)
        looked = [look(rules, event) for event in events]
        lost: list[bytes] = []
        if entry.kind == "tick":
            refs = {k: self.values[k][0] for k in entry.keys if k in self.values}
            lost = [k for k in entry.keys if k not in self.values]
        else:
            refs = refs_of(looked)
        states = {k: self._state(rules, refs[k], entry) for k in sorted(refs)}
        decided = decide(rules, looked, states, entry.w_before, entry.w_after, entry.floors)
        self._write(decided)
        records: dict[RecordKey, Record] = {}
        for record in decided.records:
            records.setdefault((record.episode_at, record.firing_id, record.kind, record.n), record)
        return Again(list(records.values()), lost)

    def _state(self, rules: RuleSet, ref: StateRef, entry: Entry) -> KeyState:
        known = KeyState(ref, self.values.get(ref.k, (ref, None))[1])
        rule = rules.by_id.get(ref.kind.removeprefix("rule:"))
        if rule is not None and ref.kind.startswith("rule:"):
            w = watermark.of_rule(rule, entry.w_after, entry.floors)
            buffered = self.buffers.get(ref.k, {})
            ordered = [buffered[order] for order in sorted(buffered)]
            known.waiting = [item for item in ordered if item.time <= w]
            known.next_wait = next((item.time for item in ordered if item.time > w), None)
            known.present = frozenset(buffered)
        return known

    def _write(self, decided: Decided) -> None:
        for k, (ref, value, due) in decided.state.items():
            if value is None and due is None:
                self.values.pop(k, None)
            else:
                self.values[k] = (ref, value)
        for k, item in decided.leave:
            waits = self.buffers[k]
            del waits[item.order]
            if not waits:
                del self.buffers[k]
        for k, item in decided.enter:
            self.buffers.setdefault(k, {})[item.order] = item
