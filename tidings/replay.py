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


@dataclass(slots=True)
class Replay:
    """State of a replay: what the tables held, as values."""

    rule_set: Callable[[str], RuleSet]
    events_of: EventsOf
    values: dict[bytes, tuple[StateRef, bytes | None]] = field(default_factory=dict)
    buffers: dict[bytes, dict[tuple[Micros, int, str, str], Item]] = field(default_factory=dict)
    records: dict[tuple[str, str, int], Record] = field(default_factory=dict)

    def run(self, entries: Iterable[Entry]) -> dict[tuple[str, str, int], Record]:
        """Apply `entries` in the order of `seq`; return every record by (firing id, kind, n)."""
        for entry in sorted(entries, key=lambda one: one.seq):
            if entry.kind != "switch":
                self._apply(entry)
        return self.records

    def _apply(self, entry: Entry) -> None:
        rules = self.rule_set(entry.rule_set)
        looked = [look(rules, event) for span in entry.spans for event in self.events_of(span)]
        if entry.kind == "tick":
            refs = {k: self.values[k][0] for k in entry.keys if k in self.values}
        else:
            refs = refs_of(looked)
        states = {k: self._state(rules, refs[k], entry) for k in sorted(refs)}
        decided = decide(rules, looked, states, entry.w_before, entry.w_after, entry.floors)
        self._write(decided)

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
            del self.buffers[k][item.order]
        for k, item in decided.enter:
            self.buffers.setdefault(k, {})[item.order] = item
        for record in decided.records:
            self.records.setdefault((record.firing_id, record.kind, record.n), record)
