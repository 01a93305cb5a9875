"""Detection: from events to firings, the same way twice.

`decide` is one pure function for batches, ticks, rule tests, backtests and the replay of the journal. Stateless rules
decide on each event at once. Every stateful rule sees the events of a key in order of time: they wait in the key's
buffer until W(rule) reaches them, and one loop takes the smallest of (time, events before timers, rank, source, id).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tidings import canonical, ids, images, watermark
from tidings.contract import value_at
from tidings.event import Event, Micros
from tidings.rule import SEVERITIES, Emission, Item, Reading, Rule, RuleSet, Severity, State, Step
from tidings.unknown import UNKNOWN

BUFFER_LIMIT = 10_000
"""Events that may wait for one key. More: dead letter `buffer_full`, never a stall, an eviction or an early answer."""

STATE_FORMAT = 1
"""Format number in every state; the reader upgrades older ones."""


@dataclass(frozen=True, slots=True)
class StateRef:
    """A row of state that a transaction locks: a rule's key, or an entity's image."""

    k: bytes
    kind: str
    """Class: `rule:<id>` or `image:<entity>`."""
    tenant: str
    key: tuple[Any, ...]


@dataclass(slots=True)
class KeyState:
    """What is known of one row when `decide` begins."""

    ref: StateRef
    value: bytes | None = None
    waiting: Sequence[Item] = ()
    """Buffered items that W after reaches, in order."""
    next_wait: Micros | None = None
    """Time of the first buffered item beyond W after."""
    present: frozenset[tuple[Micros, int, str, str]] = frozenset()
    """Which of the batch's items wait in the buffer already."""


@dataclass(frozen=True, slots=True)
class Record:
    """A detection record: compared byte by byte between runs, replays and stores."""

    episode_at: Micros
    firing_id: str
    kind: str
    n: int
    tenant: str
    rule: str
    recipient: str
    logical_at: Micros
    body: bytes
    """Canonical JSON of everything."""


@dataclass(frozen=True, slots=True)
class Note:
    """What a rule did with an event that led to no record; told to whoever watches, never stored."""

    outcome: str
    """`armed duplicate late disarmed waiting null_key no_match …`."""
    rule: str
    key: tuple[Any, ...]
    event: str
    detail: str = ""


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


def keys(rules: RuleSet, event: Event) -> list[StateRef]:
    """Return the rows of state that the event touches; uses the payload only. A null key touches none."""
    found = []
    contract = rules.contracts.get(event.type)
    if contract is not None and (values := images.image_key(contract, event)) is not None:
        found.append(_ref(event, images.image_class(contract.entity), values))
    for rule in rules.by_type.get(event.type, ()):
        found += [ref for reading in rule.reads if (ref := _read_ref(reading, event)) is not None]
        if rule.operator.stateful and (key := rule.operator.key(event)) is not None:
            found.append(_ref(event, rule.state_class, key))
    return found


def _ref(event: Event, kind: str, key: tuple[Any, ...]) -> StateRef:
    return StateRef(ids.state_key(event.tenant, kind, key), kind, event.tenant, key)


def _read_ref(reading: Reading, event: Event) -> StateRef | None:
    """Return the row of the entity that a rule reads beside the event, or None where the event does not name it."""
    values = tuple(value_at(event.data, path) for path in reading.paths)
    return None if None in values else _ref(event, images.image_class(reading.entity), values)


def decide(
    rules: RuleSet,
    events: Sequence[Event],
    states: Mapping[bytes, KeyState],
    w_before: Mapping[str, Micros],
    w_after: Mapping[str, Micros],
    floors: Mapping[str, Micros],
) -> Decided:
    """Return everything that a batch (or, without events, a tick over `states`) decides.

    `states` holds every row that `keys` names for the events, or the rows of a tick. `w_before` and `w_after` are W
    of each topic as it was before the batch, which judges lateness, and with the batch, which drains; `floors` are
    the watermarks below which a rule never goes back.
    """
    decided = Decided()
    arrived: dict[tuple[str, bytes], list[tuple[Item, Event]]] = {}
    for plain_event in events:
        event = _completed(rules, plain_event, states, decided)
        for rule in rules.by_type.get(event.type, ()):
            seen = _beside(rule, event, states, decided) if rule.reads else event
            said = rule.operator.fires(seen, rule.params)
            key = (rule.operator.key(seen) or ()) if said else ()
            decided.records += [_record(rules.hash, rule, event.tenant, key, emission) for emission in said]
            if rule.operator.stateful:
                _collect(rule, seen, arrived, decided)
            elif not said:
                decided.notes.append(Note("no_match", rule.id, (), event.ref))
    for k, known in states.items():
        if not known.ref.kind.startswith("rule:"):
            continue
        rule_or_none = rules.by_id.get(known.ref.kind.removeprefix("rule:"))
        if rule_or_none is None or not rule_or_none.operator.stateful:
            continue
        rule = rule_or_none
        w0 = watermark.of_rule(rule, w_before, floors)
        w1 = max(w0, watermark.of_rule(rule, w_after, floors))
        _Key(rules.hash, rule, known, decided).run(arrived.get((rule.id, k), ()), w0, w1)
    return decided


def _completed(rules: RuleSet, event: Event, states: Mapping[bytes, KeyState], decided: Decided) -> Event:
    contract = rules.contracts.get(event.type)
    if contract is None or (k := images.state_key(contract, event)) is None or k not in states:
        return event
    event, image = images.complete(event, _image(k, states, decided))
    decided.state[k] = (states[k].ref, canonical.dumps(image), None)
    return event


def _image(k: bytes, states: Mapping[bytes, KeyState], decided: Decided) -> images.Image | None:
    """Return the newest image of an entity: as this transaction has written it, else as it was read."""
    written = decided.state.get(k)
    raw = states[k].value if written is None else written[1]
    return None if raw is None else canonical.loads(raw)


def _beside(rule: Rule, event: Event, states: Mapping[bytes, KeyState], decided: Decided) -> Event:
    """Return the event with the entities that the rule reads, under their aliases; what is not known is null."""
    data = dict(event.data)
    for reading in rule.reads:
        ref = _read_ref(reading, event)
        image = None if ref is None else _image(ref.k, states, decided)
        data[reading.alias] = None if image is None else image["d"]
    return replace(event, data=data)


def _collect(
    rule: Rule, event: Event, arrived: dict[tuple[str, bytes], list[tuple[Item, Event]]], decided: Decided
) -> None:
    key = rule.operator.key(event)
    if key is None:
        decided.notes.append(Note("null_key", rule.id, (), event.ref))
    elif (item := rule.operator.item(event, rule.params)) is None:
        decided.notes.append(Note("no_match", rule.id, key, event.ref))
    else:
        k = ids.state_key(event.tenant, rule.state_class, key)
        arrived.setdefault((rule.id, k), []).append((item, event))


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
        raw = None if known.value is None else canonical.loads(known.value)
        self.state: State | None = None if raw is None else raw["state"]
        self.overflow: Micros | None = None if raw is None else raw["overflow"]
        self.waits: int = 0 if raw is None else raw["waits"]
        self.queue = sorted(known.waiting, key=_order)
        self.fresh: set[tuple[Micros, int, str, str]] = set()

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
                self._note("reached", item)
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
                self._note("reached", item)
            elif self.waits >= BUFFER_LIMIT:
                self.decided.overflow.append((event, self.rule.id))
                self.overflow = max(self.overflow or item.time, item.time)
            else:
                self.waits += 1
                self.decided.enter.append((self.known.ref.k, item))
                first = item.time if first is None else min(first, item.time)
                self._note("waiting", item)
        self.queue.sort(key=_order)
        return first

    def _loop(self, w: Micros) -> None:
        while True:
            timer = self.rule.operator.timer(self.state)
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
        self._note("late", item)
        if self.rule.operator.closes(item):
            self._say(*self.rule.operator.late(self.state, item, self.rule))

    def _say(self, state: State | None, emissions: Sequence[Emission]) -> None:
        self.state = state
        for emission in emissions:
            flooded = self.overflow is not None and emission.logical_at <= self.overflow
            self.decided.records.append(
                _record(self.rule_set, self.rule, self.known.ref.tenant, self.known.ref.key, emission, overflow=flooded)
            )

    def _write(self, first_wait: Micros | None, w1: Micros) -> None:
        if self.overflow is not None and self.overflow <= w1:
            self.overflow = None
        wants = [first_wait, self.rule.operator.timer(self.state), self.overflow]
        value = None
        if self.state is not None or self.overflow is not None or self.waits:
            value = canonical.dumps(
                {"format": STATE_FORMAT, "state": self.state, "waits": self.waits, "overflow": self.overflow}
            )
        due = min((at for at in wants if at is not None), default=None)
        self.decided.state[self.known.ref.k] = (self.known.ref, value, due)

    def _note(self, outcome: str, item: Item) -> None:
        self.decided.notes.append(Note(outcome, self.rule.id, self.known.ref.key, item.ref))


def _order(item: Item) -> tuple[Micros, int, str, str]:
    return item.order


def dedupe(
    arrived: Sequence[tuple[Item, Event]], present: frozenset[tuple[Micros, int, str, str]]
) -> list[tuple[Item, Event]]:
    """Drop repeats: within the batch, and of what waits in the buffer already."""
    seen = set(present)
    kept = []
    for item, event in arrived:
        if item.order not in seen:
            seen.add(item.order)
            kept.append((item, event))
    return kept


def _record(
    rule_set: str, rule: Rule, tenant: str, key: tuple[Any, ...], said: Emission, *, overflow: bool = False
) -> Record:
    firing = ids.firing_id(tenant, rule.id, key, (said.episode.source, said.episode.ref))
    recipient = recipient_of(rule, said.event)
    steps = rule.on_stop if said.kind in TAKES_BACK else rule.steps
    body: dict[str, Any] = {
        "tenant": tenant,
        "rule": rule.id,
        "rule_set": rule_set,
        "firing_id": firing,
        "kind": said.kind,
        "n": said.n,
        "key": list(key),
        "episode": {"at": said.episode.at, "source": said.episode.source, "event": said.episode.ref},
        "logical_at": said.logical_at,
        "severity": severity_of(rule, said.event),
        "recipient": recipient,
        "data": [captured(step, said.event, rule.params) for step in steps],
    }
    if overflow:
        body["overflow"] = True
    return Record(
        said.episode.at, firing, said.kind, said.n, tenant, rule.id, recipient, said.logical_at, canonical.dumps(body)
    )


TAKES_BACK = ("stopped", "resolved")
"""Kinds of records after which nothing of the firing is true any more; they carry the data of the all-clear."""

UNKNOWN_RECIPIENT = "customer:"
"""The recipient of a firing whose event names no customer; dispatch records `unknown_customer`."""


def recipient_of(rule: Rule, event: Event) -> str:
    """Return the reference to whom the firing concerns.

    `customer:<id>` (a foreign id as the event has it), `team:<name>`, `address:<address>`; without an id or an address
    where the event does not say it.
    """
    to = rule.to
    if to.kind == "team":
        return f"team:{to.team}"
    if to.expression is not None:
        value = to.expression.value(event.data, event, rule.params)
        return f"{to.kind}:{value}" if isinstance(value, (str, int)) else f"{to.kind}:"
    if rule.customer_paths and (path := rule.customer_paths.get(event.type)) is not None:
        value = value_at(event.data, path)
        if value is not None:
            return f"customer:{value}"
    return UNKNOWN_RECIPIENT


def severity_of(rule: Rule, event: Event) -> Severity:
    """Return the rule's severity, raised to the highest whose condition certainly holds."""
    highest = rule.severity
    for condition, severity in rule.raise_severity:
        if SEVERITIES.index(severity) > SEVERITIES.index(highest) and condition.true(event.data, event, rule.params):
            highest = severity
    return highest


def captured(step: Step, event: Event, params: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the values of a step's `with`, or None where its `if` does not certainly hold: it is never due."""
    if step.condition is not None and not step.condition.true(event.data, event, params):
        return None
    return capture(step.data, event, params)


def capture(data: Mapping[str, Any], event: Event, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a step's `with`; what is unknown is null, and a template that needs it fails, visibly."""
    captured = {}
    for name, expression in data.items():
        value = expression.value(event.data, event, params)
        captured[name] = None if value is UNKNOWN else plain(value)
    return captured


def plain(value: Any) -> Any:
    """Return a value as JSON has it; an exact fraction becomes `"numerator/denominator"`."""
    if isinstance(value, Mapping):
        return {name: plain(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    if value is None or isinstance(value, (str, int)):
        return value
    return str(value)
