"""What a rule makes of an event at once: notes, which are told on arrival, and the fields that it reads.

Live, a stateful rule waits until W has reached an event. A note says now what will come of it: the loop is run on a
copy of the key's state as if everything that has arrived were all that there is, once with the event and once without.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from streams.rule_tests.model import Given, Path
from streams.rule_tests.outcome import Seen
from tidings import canonical, detection, ids, images, watermark
from tidings.contract import value_at
from tidings.detection import Looked, decide
from tidings.event import Event, Micros
from tidings.ports import Body, Find, Read, Transaction
from tidings.record import captured, recipient_of, severity_of
from tidings.rule import Item, Rule, RuleSet, State
from tidings.state import KeyState, StateRef


@dataclass(frozen=True)
class Around:
    """What the store holds about the rows that an event touches."""

    looked: Looked
    refs: Mapping[bytes, StateRef]
    values: Mapping[bytes, bytes | None]
    waiting: Mapping[bytes, Sequence[Item]]
    topics: Mapping[str, Micros]
    """W of the rule's topics."""


def look(rules: RuleSet, event: Event) -> Body[Around]:
    """Return the body that reads what is known around an event; it changes nothing."""

    def body() -> Transaction[Around]:
        looked = detection.look(rules, event)
        refs = detection.refs_of([looked])
        rows = yield Read("state", [(k,) for k in sorted(refs)])
        waiting = {}
        for k in sorted(refs):
            found = yield Find("buffer", "by_time", (k,))
            waiting[k] = [
                Item(row["time"], row["rank"], row["source"], row["ref"], canonical.loads(row["value"]))
                for row in found
            ]
        topics = {}
        for topic in {topic for rule in rules.rules for topic in rule.topics}:
            topics[topic] = watermark.of_topic((yield Find("sources", "by_topic", ("detect", topic))), 0)
        values = {k: row["value"] if (row := rows.get((k,))) is not None else None for k in refs}
        return Around(looked, refs, values, waiting, topics)

    return body


def seen_by(rules: RuleSet, rule: Rule, event: Event, around: Around) -> Event:
    """Return the event as the rule sees it: completed by its image, with the entities that the rule reads beside it."""
    contract = rules.contracts[event.type]
    k = images.state_key(contract, event)
    if k is not None:
        event, _ = images.complete(event, _image(around, k))
    data = dict(event.data)
    for reading in rule.reads:
        image = None if (k := _read_key(reading.entity, reading.paths, event)) is None else _image(around, k)
        data[reading.alias] = None if image is None else image["d"]
    return replace(event, data=data)


def _read_key(entity: str, paths: Sequence[Path], event: Event) -> bytes | None:
    values = tuple(value_at(event.data, path) for path in paths)
    return None if None in values else ids.state_key(event.tenant, images.image_class(entity), values)


def _image(around: Around, k: bytes) -> images.Image | None:
    raw = around.values.get(k)
    return None if raw is None else canonical.loads(raw)


def concerns(rule: Rule, seen: Event) -> bool:
    """Return whether the rule does anything with the event."""
    if rule.operator.fires(seen, rule.params):
        return True
    stateful = rule.operator.stateful and rule.operator.key(seen) is not None
    return stateful and rule.operator.item(seen, rule.params) is not None


# -- notes


def notes(rules: RuleSet, rule: Rule, event: Event, around: Around, now: Micros) -> list[Seen]:
    """Return what the event will change, before W has reached it."""
    k = next((k for k, ref in around.refs.items() if ref.kind == rule.state_class), None)
    if k is None or rule.operator.prompt or rule.operator.kind not in CHANGES:
        return []
    ahead = max([event.occurred_at, *(item.time for item in around.waiting[k])])
    after = {topic: max(w, ahead + rule.operator.allowed_lateness) for topic, w in around.topics.items()}
    without = decide(rules, (), {k: _state(around, k)}, after, after, {})
    everything = {other: _state(around, other) for other in around.refs}
    everything[k].present = frozenset(item.order for item in around.waiting[k])
    with_it = decide(rules, (around.looked,), everything, around.topics, after, {})
    found = []
    if any(note.outcome == "late" and note.rule == rule.id for note in with_it.notes):
        found.append(Seen(now, "late", reasons=(f"{event.type} came too late",)))
    before, behind = (_read(d.state[k][1] if k in d.state else around.values[k]) for d in (without, with_it))
    return found + CHANGES[rule.operator.kind](_read(around.values[k]), before, behind, event, ahead, now)


def _state(around: Around, k: bytes) -> KeyState:
    return KeyState(around.refs[k], around.values[k], list(around.waiting[k]))


def _read(value: bytes | None) -> State:
    return {} if value is None else canonical.loads(value)["state"] or {}


def _missing(stored: State, before: State, after: State, event: Event, ahead: Micros, now: Micros) -> list[Seen]:
    """`missing`: an episode waits, waits for another deadline, or waits no more."""
    armed, new, fired = before.get("armed"), after.get("armed"), before.get("fired")
    if armed is None and fired is not None and fired != stored.get("fired") and fired["at"] == ahead:
        # A timer of the very instant: on the copy without the event it has run, but the event goes first.
        armed = {**fired, "due": ahead}
    if new is not None:
        if armed is None or armed["order"] != new["order"]:
            return [Seen(now, "armed", until=new["due"])]
        return [Seen(now, "rescheduled", until=new["due"])] if armed["due"] != new["due"] else []
    if armed is None or after.get("fired", {}).get("order") == armed["order"]:
        return []
    return [Seen(now, "disarmed", reasons=(f"{event.type} arrived",))]


CHANGES = {"missing": _missing}
"""By operator: from the state without the event and the state with it to notes."""


# -- fields that are read although the test leaves them out


class Gappy(dict[str, Any]):
    """A record in which some fields hold fillers; who reads one is written down."""

    def __init__(self, data: Mapping[str, Any], unset: frozenset[Path], log: set[str], path: Path = ()) -> None:
        super().__init__(data)
        self.log = log
        self.path = path
        self.unset = {one[0] for one in unset if len(one) == 1}
        for name in {one[0] for one in unset if len(one) > 1} & set(data):
            if isinstance(data[name], Mapping):
                inner = frozenset(one[1:] for one in unset if one[0] == name and len(one) > 1)
                super().__setitem__(name, Gappy(data[name], inner, log, (*path, name)))

    def __getitem__(self, name: str) -> Any:
        if name in self.unset:
            self.log.add(".".join((*self.path, name)))
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        """Return a field, as `dict.get`."""
        try:
            return self[name]
        except KeyError:
            return default


@dataclass
class Gaps:
    """Fields that were left out of the events of a test, and of the entities that they describe."""

    of_images: dict[bytes, frozenset[Path]] = field(default_factory=dict)

    def read(self, rules: RuleSet, rule: Rule, given: Given, seen: Event) -> list[str]:
        """Return the fields that the rule reads of an event and of what stands beside it, though they were left out."""
        unset = set(given.unset)
        k = images.state_key(rules.contracts[given.event.type], given.event)
        if k is not None and given.event.data.get("before") is None:
            unset |= {("before", *path) for path in self.of_images.get(k, ())}
        for reading in rule.reads:
            other = _read_key(reading.entity, reading.paths, given.event)
            unset |= {(reading.alias, *path) for path in self.of_images.get(other or b"", ())}
        if k is not None:
            self.of_images[k] = frozenset(path[1:] for path in given.unset if path[0] == "after" and len(path) > 1)
        if not unset:
            return []
        log: set[str] = set()
        _probe(rule, replace(seen, data=Gappy(seen.data, frozenset(unset), log)))
        return sorted(log)


def _probe(rule: Rule, event: Event) -> None:
    """Let the rule do with the event all that it may do, now or when its time has come."""
    operator = rule.operator
    if event.type not in rule.types:
        return
    operator.fires(event, rule.params)
    if operator.stateful:
        operator.key(event)
        operator.item(event, rule.params)
    if not operator.matchers[0].matches(event, rule.params):
        return
    recipient_of(rule, event)
    severity_of(rule, event)
    for step in (*rule.steps, *rule.on_stop):
        captured(step, event, rule.params)
    if (deadline := getattr(operator, "deadline", None)) is not None:
        deadline.value(event.data, event, rule.params)
