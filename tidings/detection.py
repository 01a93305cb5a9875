"""Detection: from events to firings, the same way twice.

Three pure functions, for batches, ticks, rule tests, backtests and the replay of the journal: `look` names the rows of
state that events touch, `collect` decides what can be decided at once, `settle` runs the loop of every key; `decide` is
the last two. Stateless rules decide on each event at once. Every stateful rule sees the events of a key in order of
time: they wait in the key's buffer until W(rule) reaches them, and one loop takes the smallest of (time, events before
timers, rank, source, id). Each condition is asked once for an event and a rule, and only of rules that the event may
concern (`tidings.matching`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tidings import canonical, ids, images, watermark
from tidings.contract import value_at
from tidings.event import Event, Micros
from tidings.record import Record, record_of
from tidings.rule import Emission, Item, Reading, Rule, RuleSet, State
from tidings.state import Kept, KeyState, Order, StateRef

BUFFER_LIMIT = 10_000
"""Events that may wait for one key. More: dead letter `buffer_full`, never a stall, an eviction or an early answer."""


@dataclass(frozen=True, slots=True)
class Note:
    """What was noticed of an event that led to no record; told to whoever watches, never stored."""

    outcome: str
    """`late` or `null_key`. Why a rule did not match is answered when somebody asks, by evaluating it again."""
    rule: str
    key: tuple[Any, ...]
    event: str


@dataclass(slots=True)
class Decided:
    """What a transaction writes."""

    records: list[Record] = field(default_factory=list)
    state: dict[bytes, tuple[StateRef, bytes | None, Micros | None]] = field(default_factory=dict)
    """Per row: its value and the earliest instant at which it wants the loop; both None: the row is deleted."""
    enter: list[tuple[bytes, Item]] = field(default_factory=list)
    leave: list[tuple[bytes, Item]] = field(default_factory=list)
    overflow: list[tuple[Event, str]] = field(default_factory=list)
    """Events that a full buffer refused, with the rule."""
    notes: list[Note] = field(default_factory=list)


# -- the rows that events touch


@dataclass(slots=True)
class Bound:
    """A rule that an event may concern, and which needs rows of state for it."""

    position: int
    rule: Rule
    ref: StateRef | None = None
    """The row of its key; None: it has no key, or a part of it is null."""
    beside: tuple[StateRef | None, ...] = ()
    """The images that it reads, in the order of `Rule.reads`; None: the event does not name the entity."""
    item: Item | None = None
    """What the key keeps, where the payload as it was sent says so."""
    asked: bool = False
    """Whether `item` has been asked for."""


@dataclass(slots=True)
class Looked:
    """An event, and the rows that it touches. A null key touches none."""

    event: Event
    image: StateRef | None
    bound: Sequence[Bound]

    def refs(self) -> Iterable[StateRef]:
        """Return the rows."""
        if self.image is not None:
            yield self.image
        for one in self.bound:
            yield from (ref for ref in (one.ref, *one.beside) if ref is not None)


def look(rules: RuleSet, event: Event) -> Looked:
    """Return what the event touches; uses the payload as it was sent, and nothing else."""
    contract = rules.contracts.get(event.type)
    image, complete = None, True
    if contract is not None and contract.is_change:
        complete = False
        if (values := images.image_key(contract, event)) is not None:
            image = _ref(event, images.image_class(contract.entity), values)
    matching = rules.matching.get(event.type)
    bound = []
    for position, rule in () if matching is None else matching.bound.candidates(event.data):
        one = Bound(position, rule)
        if rule.reads:
            one.beside = tuple(_read_ref(reading, event) for reading in rule.reads)
        elif complete:
            one.asked = True
            one.item = rule.operator.item(event, rule.params)
            if one.item is None:
                continue
        if rule.operator.stateful and (key := rule.operator.key(event)) is not None:
            one.ref = _ref(event, rule.state_class, key)
        bound.append(one)
    return Looked(event, image, bound)


def refs_of(looked: Iterable[Looked]) -> dict[bytes, StateRef]:
    """Return the rows that events touch, in the order in which they are locked."""
    found = {ref.k: ref for one in looked for ref in one.refs()}
    return {k: found[k] for k in sorted(found)}


def _ref(event: Event, kind: str, key: tuple[Any, ...]) -> StateRef:
    text = ids.key_text(key)
    return StateRef(ids.state_key_of(event.tenant, kind, text), kind, event.tenant, key, text)


def _read_ref(reading: Reading, event: Event) -> StateRef | None:
    values = tuple(value_at(event.data, path) for path in reading.paths)
    return None if None in values else _ref(event, images.image_class(reading.entity), values)


# -- what is decided at once


@dataclass(slots=True)
class Collected:
    """What events say at once, and what they bring to each key."""

    decided: Decided = field(default_factory=Decided)
    arrived: dict[bytes, list[tuple[Item, Event]]] = field(default_factory=dict)
    """By row: items that no order is known of yet."""


def collect(rules: RuleSet, looked: Iterable[Looked], states: Mapping[bytes, KeyState]) -> Collected:
    """Complete the events, write their images, let the rules say what they say at once, and collect the items."""
    collected = Collected()
    decided = collected.decided
    for one in looked:
        event = one.event if one.image is None else _completed(one.event, one.image, states, decided)
        said: list[tuple[int, Record]] = []
        matching = rules.matching.get(event.type)
        for position, rule in () if matching is None else matching.free.candidates(event.data):
            if emissions := rule.operator.fires(event, rule.params):
                key = rule.operator.key(event) or ()
                said += [(position, record_of(rules.hash, rule, event.tenant, key, emission)) for emission in emissions]
        for bound in one.bound:
            _bound(rules, bound, event, states, collected, said)
        if one.bound:
            said.sort(key=lambda pair: pair[0])
        decided.records += [record for _, record in said]
    return collected


def _bound(
    rules: RuleSet, bound: Bound, event: Event, states: Mapping[bytes, KeyState], collected: Collected,
    said: list[tuple[int, Record]],
) -> None:  # fmt: skip
    """Ask a rule that has state, or reads beside the event, now that both are known."""
    rule, operator = bound.rule, bound.rule.operator
    seen = _beside(bound, event, states, collected.decided) if rule.reads else event
    if operator.stateful:
        item = bound.item if bound.asked else operator.item(seen, rule.params)
        if item is None:
            return
        emissions = operator.says(seen, item)
        if bound.ref is None:
            collected.decided.notes.append(Note("null_key", rule.id, (), event.ref))
        else:
            collected.arrived.setdefault(bound.ref.k, []).append((item, seen))
    else:
        emissions = operator.fires(seen, rule.params)
    if emissions:
        key = operator.key(seen) or ()
        said += [(bound.position, record_of(rules.hash, rule, event.tenant, key, one)) for one in emissions]


def _completed(event: Event, ref: StateRef, states: Mapping[bytes, KeyState], decided: Decided) -> Event:
    event, image = images.complete(event, _image(ref.k, states, decided))
    decided.state[ref.k] = (ref, canonical.dumps(image), None)
    return event


def _image(k: bytes, states: Mapping[bytes, KeyState], decided: Decided) -> images.Image | None:
    """Return the newest image of an entity: as this transaction has written it, else as it was read."""
    written = decided.state.get(k)
    raw = states[k].value if written is None else written[1]
    return None if raw is None else canonical.loads(raw)


def _beside(bound: Bound, event: Event, states: Mapping[bytes, KeyState], decided: Decided) -> Event:
    """Return the event with the entities that the rule reads, under their aliases; what is not known is null."""
    data = dict(event.data)
    for reading, ref in zip(bound.rule.reads, bound.beside, strict=True):
        image = None if ref is None else _image(ref.k, states, decided)
        data[reading.alias] = None if image is None else image["d"]
    return event.with_data(data)


# -- what is decided in order


def decide(
    rules: RuleSet,
    looked: Sequence[Looked],
    states: Mapping[bytes, KeyState],
    w_before: Mapping[str, Micros],
    w_after: Mapping[str, Micros],
    floors: Mapping[str, Micros],
) -> Decided:
    """Return everything that a batch (or, without events, a tick over `states`) decides."""
    return settle(rules, collect(rules, looked, states), states, w_before, w_after, floors)


def settle(
    rules: RuleSet,
    collected: Collected,
    states: Mapping[bytes, KeyState],
    w_before: Mapping[str, Micros],
    w_after: Mapping[str, Micros],
    floors: Mapping[str, Micros],
) -> Decided:
    """Run the loop of every key, and return everything that the transaction decides.

    `states` holds every row that `look` names for the events, or the rows of a tick. `w_before` and `w_after` are W
    of each topic as it was before the batch, which judges lateness, and with the batch, which drains; `floors` are
    the watermarks below which a rule never goes back.
    """
    decided = collected.decided
    bounds: dict[str, tuple[Micros, Micros]] = {}
    for k, known in states.items():
        if known.ref.rule is None or (rule := rules.by_id.get(known.ref.rule)) is None or not rule.operator.stateful:
            continue
        if rule.id not in bounds:
            w0 = watermark.of_rule(rule, w_before, floors)
            bounds[rule.id] = w0, max(w0, watermark.of_rule(rule, w_after, floors))
        arrived = collected.arrived.get(k, ())
        if arrived or known.value is not None:
            _Key(rules.hash, rule, known, decided).run(arrived, *bounds[rule.id])
    return decided


def is_late(time: Micros, w_before: Micros) -> bool:
    """Return whether an event came after W(rule), as read before its batch, had passed its time."""
    return time <= w_before


def event_first(event_at: Micros, timer_at: Micros) -> bool:
    """Return whether an event goes before a timer: at one instant the event wins (paid at the deadline is paid)."""
    return event_at <= timer_at


class _Key:
    """The one loop, over one key of one rule."""

    def __init__(self, rule_set: str, rule: Rule, known: KeyState, decided: Decided) -> None:
        self.rule_set = rule_set
        self.rule = rule
        self.known = known
        self.decided = decided
        kept = known.kept
        self.state, self.overflow, self.waits = kept.state, kept.overflow, kept.waits
        self.timer = rule.operator.timer(kept.state)
        self.queue = sorted(known.waiting, key=_order)
        self.fresh: set[Order] = set()

    def run(self, arrived: Sequence[tuple[Item, Event]], w0: Micros, w1: Micros) -> None:
        self._loop(w0)
        punctual = []
        for item, event in sorted(arrived, key=lambda pair: pair[0].order):
            if is_late(item.time, w0):
                self._late(item)
            else:
                punctual.append((item, event))
        if self.rule.operator.prompt:
            for item, _ in dedupe(punctual, frozenset()):
                self._say(*self.rule.operator.apply(self.state, item, self.rule))
            punctual = []
        stays = self._enter(punctual, w1)
        self._loop(w1)
        self._write(stays, w1)

    def _enter(self, punctual: Sequence[tuple[Item, Event]], w1: Micros) -> Micros | None:
        """Queue what W after reaches, buffer the rest; return the time of the first item that stays."""
        first = self.known.next_wait
        for item, event in dedupe(punctual, self.known.present):
            if item.time <= w1:
                self.queue.append(item)
                self.fresh.add(item.order)
            elif self.waits >= BUFFER_LIMIT:
                self.decided.overflow.append((event, self.rule.id))
                self.overflow = max(self.overflow or item.time, item.time)
            else:
                self.waits += 1
                self.decided.enter.append((self.known.ref.k, item))
                first = item.time if first is None else min(first, item.time)
        self.queue.sort(key=_order)
        return first

    def _loop(self, w: Micros) -> None:
        while True:
            timer = self.timer
            item = self.queue[0] if self.queue and self.queue[0].time <= w else None
            if timer is not None and timer > w:
                timer = None
            if item is not None and (timer is None or event_first(item.time, timer)):
                del self.queue[0]
                if item.order not in self.fresh:
                    self.waits -= 1
                    self.decided.leave.append((self.known.ref.k, item))
                self._say(*self.rule.operator.apply(self.state, item, self.rule))
            elif timer is not None and self.state is not None:
                self._say(*self.rule.operator.expire(self.state, self.rule))
            else:
                return

    def _late(self, item: Item) -> None:
        self.decided.notes.append(Note("late", self.rule.id, self.known.ref.key, item.ref))
        if self.rule.operator.closes(item):
            self._say(*self.rule.operator.late(self.state, item, self.rule))

    def _say(self, state: State | None, emissions: Sequence[Emission]) -> None:
        self.state, self.timer = state, self.rule.operator.timer(state)
        for emission in emissions:
            flooded = self.overflow is not None and emission.logical_at <= self.overflow
            self.decided.records.append(
                record_of(
                    self.rule_set, self.rule, self.known.ref.tenant, self.known.ref.key, emission, overflow=flooded
                )
            )

    def _write(self, first_wait: Micros | None, w1: Micros) -> None:
        if self.overflow is not None and self.overflow <= w1:
            self.overflow = None
        wants = [first_wait, self.timer, self.overflow]
        value = Kept(self.state, self.waits, first_wait, self.overflow).to_bytes()
        due = min((at for at in wants if at is not None), default=None)
        self.decided.state[self.known.ref.k] = (self.known.ref, value, due)


def _order(item: Item) -> Order:
    return item.order


def dedupe(arrived: Sequence[tuple[Item, Event]], present: frozenset[Order]) -> list[tuple[Item, Event]]:
    """Drop repeats: within the batch, and of what waits in the buffer already."""
    seen = set(present)
    kept = []
    for item, event in arrived:
        if item.order not in seen:
            seen.add(item.order)
            kept.append((item, event))
    return kept
