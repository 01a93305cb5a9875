"""T1: events become detection records, one transaction a batch. Also ticks, idle marks and switches of rule sets.

Each function here builds the body of one transaction (see `tidings.ports`): it locks in the one order, reads W after
its locks, asks the pure `tidings.detection.decide`, and writes rows, journal and offsets together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from streams.processors.buffer import read_present, read_waiting
from tidings import canonical, watermark
from tidings.detection import Collected, Decided, Note, collect, look, refs_of, settle
from tidings.event import Event, Micros
from tidings.journal import Entry, Span
from tidings.log import LogRecord
from tidings.ports import (
    Body,
    Delete,
    Exclude,
    Find,
    FindEach,
    Insert,
    Key,
    Lock,
    NextSeq,
    Put,
    Read,
    Row,
    Scan,
    Share,
    Transaction,
)  # fmt: skip
from tidings.record import Record
from tidings.rule import NEVER, Rule, RuleSet
from tidings.state import KeyState, StateRef

READER = "detect"
"""Name under which detection keeps its positions in `sources`."""

EPOCH = "rule_set"
"""The epoch row and named lock of the active rule set."""
TICK = 1_000
"""Keys of one tick at most."""
MEANT = "meant:"
"""Epoch rows that begin with this say what the state of a rule means that has left the set."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A record that could not be read, or that made our own code fail."""

    record: LogRecord
    reason: str
    detail: str
    schema_id: int | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """What a worker polled: consecutive records of one or more partitions."""

    spans: tuple[Span, ...]
    events: tuple[Event, ...]
    refused: tuple[Refused, ...] = ()
    fingerprints: Mapping[tuple[str, int], str] = field(default_factory=dict)
    """Of the last record of each span (`tidings.log.fingerprint`); compared when somebody takes the partition over."""


@dataclass(frozen=True, slots=True)
class Done:
    """A committed transaction."""

    seq: int
    records: Sequence[Record]
    """Those that it wrote. What an event said again, which came before, is in the journal only."""
    notes: Sequence[Note]
    touched: int = 0
    """Keys that the transaction ran."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """The batch was not applied: somebody else has moved these positions. Go on from there."""

    positions: Mapping[tuple[str, int], int]


@dataclass(frozen=True, slots=True)
class Outdated:
    """Another rule set is active; load it and try again."""

    active: str | None


@dataclass(slots=True)
class _World:
    """What a transaction read after its locks."""

    sources: dict[Key, Row] = field(default_factory=dict)
    floors: dict[str, Micros] = field(default_factory=dict)


def positions_match(row: Row | None, span: Span) -> bool:
    """Compare-and-set of the offset: whether the batch begins where the database stands."""
    return row is not None and row["next_offset"] == span.start


def detect(rules: RuleSet, batch: Batch, *, grace: Micros) -> Body[Done | Skipped | Outdated]:
    """Return the body that applies a batch."""
    looked = [look(rules, event) for event in batch.events]
    refs = refs_of(looked)
    concerned = _rules_of(rules, refs.values())

    def body() -> Transaction[Done | Skipped | Outdated]:
        yield Share(EPOCH)
        active = yield from _active()
        if active != rules.hash:
            return Outdated(active)
        places = sorted((READER, span.topic, span.partition) for span in batch.spans)
        held = yield Lock("sources", places)
        spans = {(READER, span.topic, span.partition): span for span in batch.spans}
        if not all(positions_match(held[place], spans[place]) for place in places):
            return Skipped({(t, p): -1 if (row := held[r, t, p]) is None else row["next_offset"] for r, t, p in places})
        states, world = yield from _lock_and_look(refs, concerned)
        w_before = _topics(concerned, world, grace)
        newest = _newest(batch.events)
        for place, span in spans.items():
            at = (span.topic, span.partition)
            world.sources[place] = _advanced(held[place] or {}, span, newest.get(at), batch.fingerprints.get(at))
        w_after = _topics(concerned, world, grace)
        collected = collect(rules, looked, states)
        yield from read_waiting(rules, states, w_after, world.floors)
        yield from read_present(states, collected)
        seq = yield NextSeq("journal")
        decided = settle(rules, collected, states, w_before, w_after, world.floors)
        entry = Entry(seq, "batch", rules.hash, batch.spans, (), w_before, w_after, world.floors)
        written = yield from _write(entry, decided)
        yield Put("sources", [world.sources[place] for place in places])
        yield from _set_aside(batch, decided)
        return Done(seq, written, decided.notes, len(refs))

    return body


def tick(rules: RuleSet, rule: Rule, *, grace: Micros, limit: int = TICK) -> Body[Done | Outdated | None]:
    """Return the body that runs the loop over keys of one rule whose timers or buffers are due; None: nothing was."""

    def body() -> Transaction[Done | Outdated | None]:
        yield Share(EPOCH)
        active = yield from _active()
        if active != rules.hash:
            return Outdated(active)
        world = yield from _look([rule])
        w = watermark.of_rule(rule, _topics([rule], world, grace), world.floors)
        due = yield Find("state", "by_due", (rule.state_class,), upto=w, limit=limit)
        if not due:
            return None
        refs = {row["k"]: _ref(row) for row in due}
        states, world = yield from _lock_and_look(refs, [rule])
        # Another tick may have been faster, and have left nothing of a key: the journal names what was there.
        states = {k: known for k, known in states.items() if known.value is not None}
        topics = _topics([rule], world, grace)
        yield from read_waiting(rules, states, topics, world.floors)
        seq = yield NextSeq("journal")
        decided = settle(rules, Collected(), states, topics, topics, world.floors)
        entry = Entry(seq, "tick", rules.hash, (), tuple(sorted(states)), topics, topics, world.floors)
        written = yield from _write(entry, decided)
        return Done(seq, written, decided.notes, len(refs))

    return body


@dataclass(frozen=True, slots=True)
class Due:
    """Which rules a tick has something to do for."""

    rules: Sequence[Rule]
    seen: object
    """Where every source was."""


def find_due(rules: RuleSet, *, grace: Micros, seen: object = None) -> Body[Due | Outdated]:
    """Return the reader's body that names the rules whose W has reached a timer or a buffered event.

    Batches and ticks leave nothing behind that W has reached, so only a source that moves makes anything due. Where
    all are as they were `seen` when nothing was left to do, no rule is asked.
    """

    def body() -> Transaction[Due | Outdated]:
        active = yield from _active()
        if active != rules.hash:
            return Outdated(active)
        rows = [row for row in (yield Scan("sources")) if row["reader"] == READER]
        now = [(r["topic"], r["partition"], r["next_offset"], r["max_time"], r["caught_up_at"]) for r in rows]
        if now == seen or not rules.stateful:
            return Due((), now)
        topics = _topics(rules.stateful, _World({(READER, r["topic"], r["partition"]): r for r in rows}), grace)
        floors = {row["rule"]: row["w"] for row in (yield Scan("floors"))}
        due = []
        for rule in rules.stateful:
            w = watermark.of_rule(rule, topics, floors)
            if (yield Find("state", "by_due", (rule.state_class,), upto=w, limit=1)):
                due.append(rule)
        return Due(due, now)

    return body


@dataclass(frozen=True, slots=True)
class Idle:
    """A partition that was empty at its end: at which position, and since when that is known."""

    place: tuple[str, int]
    position: int
    since: Micros


def mark_idle(idle: Sequence[Idle], *, reader: str = READER) -> Body[int]:
    """Return the body that writes `caught_up_at` where nobody has moved the position since; its result: how many."""

    def body() -> Transaction[int]:
        by_key = {(reader, *one.place): one for one in idle}
        rows = []
        for key, row in (yield Lock("sources", sorted(by_key))).items():
            one = by_key[key]
            known = row is not None and row["next_offset"] == one.position
            if row is not None and known and (row["caught_up_at"] is None or row["caught_up_at"] < one.since):
                rows.append({**row, "caught_up_at": one.since})
        if rows:
            yield Put("sources", rows)
        return len(rows)

    return body


def read_positions(places: Sequence[tuple[str, int]], reader: str = READER) -> Body[dict[tuple[str, int], int]]:
    """Return the body that reads where a reader goes on; a partition without a row is left out."""

    def body() -> Transaction[dict[tuple[str, int], int]]:
        rows = yield Read("sources", [(reader, *place) for place in places])
        return {(row["topic"], row["partition"]): row["next_offset"] for row in rows.values()}

    return body


def connect(
    places: Sequence[tuple[str, int]],
    now: Micros,
    *,
    grace: Micros,
    history: str = "past",
    reader: str = READER,
    starts: Mapping[tuple[str, int], int] | None = None,
) -> Body[None]:
    """Return the body that makes the rows of partitions that have none, before producers use them.

    `history`: `past` keeps everything before `now` from being told to anybody; `live` tells it. A partition that joins
    a topic which is read already begins at that topic's W: below it, W would go back, and repeats of events that are
    long settled would count as new. It stays there, and holds the topic, until somebody has read it.

    `starts` says where the log of a partition begins that is there already: what expired before was never ours.
    """
    begins = starts or {}

    def body() -> Transaction[None]:
        yield Exclude(EPOCH)  # nobody reads W between our reading it and our rows
        rows: list[Row] = []
        for topic, partition in sorted(places):
            known = yield Find("sources", "by_topic", (reader, topic))
            w = watermark.of_topic(known, grace)
            rows.append(
                {
                    "reader": reader, "topic": topic, "partition": partition,
                    "next_offset": begins.get((topic, partition), 0),
                    "max_time": None if w == NEVER else w + 1, "caught_up_at": None, "connected_at": now,
                    "history": history, "base": 0, "log_id": None, "fingerprint": None,
                }
            )  # fmt: skip
        yield Insert("sources", rows)

    return body


def switch(
    old: RuleSet | None, new: RuleSet, source: bytes, *, grace: Micros, meant: Mapping[str, bytes] | None = None
) -> Body[Done | Outdated]:
    """Return the body that makes `new` the active rule set. W(rule) never goes back: the old value stays as a floor.

    `meant` says what the state of rules that leave means, so that another rule of that name cannot take it over.
    """

    def body() -> Transaction[Done | Outdated]:
        yield Exclude(EPOCH)
        active = yield from _active()
        if active == new.hash:
            return Done(0, (), ())
        if active != (None if old is None else old.hash):
            return Outdated(active)
        everything = [*new.stateful, *(old.stateful if old is not None else ())]
        world = yield from _look(everything)
        topics = _topics(everything, world, grace)
        floors = raised_floors(old, new, topics, world.floors)
        yield Put("floors", [{"rule": rule, "w": w} for rule, w in sorted(floors.items())])
        yield Put("rule_sets", [{"hash": new.hash, "body": source}])
        kept = [
            {"name": f"{MEANT}{rule}", "value": meaning.decode()} for rule, meaning in sorted((meant or {}).items())
        ]
        yield Put("epochs", [{"name": EPOCH, "value": new.hash}, *kept])
        seq = yield NextSeq("journal")
        entry = Entry(seq, "switch", new.hash, (), (), topics, topics, {**world.floors, **floors})
        yield Insert("journal", [{"seq": seq, "kind": entry.kind, "body": entry.to_bytes()}])
        return Done(seq, (), ())

    return body


def raised_floors(
    old: RuleSet | None, new: RuleSet, topics: Mapping[str, Micros], floors: Mapping[str, Micros]
) -> dict[str, Micros]:
    """Return the floors that a switch writes: for every rule of the old set, W as it stood, if the new set loses it."""
    raised = {}
    for rule in old.stateful if old is not None else ():
        stood = watermark.of_rule(rule, topics, floors)
        successor = new.by_id.get(rule.id)
        if successor is None or watermark.of_rule(successor, topics, floors) < stood:
            raised[rule.id] = stood
    return raised


def _active() -> Transaction[str | None]:
    rows = yield Read("epochs", [(EPOCH,)])
    row = rows.get((EPOCH,))
    return None if row is None else row["value"]


def _ref(row: Row) -> StateRef:
    return StateRef(row["k"], row["class"], row["tenant"], tuple(canonical.loads(row["key"])), row["key"])


def _rules_of(rules: RuleSet, refs: Iterable[StateRef]) -> list[Rule]:
    """Return the rules that have rows among `refs`, by id."""
    ids = {rule for ref in refs if (rule := ref.rule) is not None}
    return [rules.by_id[rule] for rule in sorted(ids) if rule in rules.by_id]


def _look(concerned: Sequence[Rule]) -> Transaction[_World]:
    world = _World()
    if concerned:
        topics = sorted({topic for rule in concerned for topic in rule.topics})
        for rows in (yield FindEach("sources", "by_topic", [(READER, topic) for topic in topics])).values():
            world.sources |= {(READER, row["topic"], row["partition"]): row for row in rows}
        floors = yield Read("floors", [(rule,) for rule in sorted({rule.id for rule in concerned})])
        world.floors = {row["rule"]: row["w"] for row in floors.values()}
    return world


def _lock_and_look(
    refs: Mapping[bytes, StateRef], concerned: Sequence[Rule]
) -> Transaction[tuple[dict[bytes, KeyState], _World]]:
    """Lock the keys, then read W: read before, it would judge lateness by what was true before another's commit."""
    rows = yield Lock("state", [(k,) for k in sorted(refs)])
    world = yield from _look(concerned)
    states = {}
    for (k,), row in rows.items():
        states[k] = KeyState(refs[k], None if row is None else row["value"])
    return states, world


def _topics(concerned: Sequence[Rule], world: _World, grace: Micros) -> dict[str, Micros]:
    by_topic: dict[str, list[Row]] = {topic: [] for rule in concerned for topic in rule.topics}
    for row in world.sources.values():
        if row["topic"] in by_topic:
            by_topic[row["topic"]].append(row)
    return {topic: watermark.of_topic(rows, grace) for topic, rows in sorted(by_topic.items())}


def _newest(events: Sequence[Event]) -> dict[tuple[str, int], Micros]:
    """Return, by partition, the largest time that W may take from the events: a fast clock accuses nobody."""
    newest: dict[tuple[str, int], Micros] = {}
    for event in events:
        place = (event.topic, event.partition)
        time = min(event.appended_at, event.occurred_at)
        if place not in newest or newest[place] < time:
            newest[place] = time
    return newest


def _advanced(row: Row, span: Span, newest: Micros | None, fingerprint: str | None) -> Row:
    """Return the source's row after the batch."""
    if newest is not None and (row["max_time"] is None or newest > row["max_time"]):
        row = {**row, "max_time": newest}
    return {**row, "next_offset": span.end, "fingerprint": fingerprint}


def _write(entry: Entry, decided: Decided) -> Transaction[list[Record]]:
    """Write what was decided; return the records that were not there yet."""
    puts: list[Row] = []
    deletes: list[Key] = []
    for k, (ref, value, due) in decided.state.items():
        if value is None and due is None:
            deletes.append((k,))
        else:
            puts.append({"k": k, "class": ref.kind, "tenant": ref.tenant, "key": ref.text, "value": value, "due": due})
    if deletes:
        yield Delete("state", deletes)
    if puts:
        yield Put("state", puts)
    if decided.leave:
        yield Delete("buffer", [(k, *item.order) for k, item in decided.leave])
    if decided.enter:
        yield Insert(
            "buffer",
            [
                {
                    "k": k, "time": item.time, "rank": item.rank, "source": item.source, "ref": item.ref,
                    "value": canonical.dumps(item.body),
                }
                for k, item in decided.enter
            ],
            blind=True,
        )  # fmt: skip
    written: list[Record] = []
    if decided.records:
        # Which of them are new is told, so that a repeat is not counted as another firing.
        fresh = yield Insert("records", [record_row(record, entry.seq) for record in decided.records])
        written = [record for record, is_new in zip(decided.records, fresh, strict=True) if is_new]
    yield Insert("journal", [{"seq": entry.seq, "kind": entry.kind, "body": entry.to_bytes()}], blind=True)
    return written


def record_row(record: Record, seq: int) -> Row:
    """Return the row of a detection record, unread by dispatch."""
    return {
        "episode_at": record.episode_at, "firing_id": record.firing_id, "kind": record.kind, "n": record.n,
        "tenant": record.tenant, "rule": record.rule, "recipient": record.recipient, "seq": seq,
        "logical_at": record.logical_at, "body": record.body, "unread": 1,
    }  # fmt: skip


def _set_aside(batch: Batch, decided: Decided) -> Transaction[None]:
    rows = [dead_letter(refused) for refused in batch.refused]
    for event, rule in decided.overflow:
        rows.append(
            {
                "reader": f"{READER}:{rule}", "topic": event.topic, "partition": event.partition,
                "offset": event.offset, "reason": "buffer_full", "detail": f"rule {rule}", "schema_id": None,
                "appended_at": event.appended_at, "key": None, "value": None, "headers": b"[]", "redriven_at": None,
                "aside_at": None,
            }
        )  # fmt: skip
    if rows:
        yield Insert("dead_letters", rows)


def dead_letter(refused: Refused, reader: str = READER) -> Row:
    """Return the row of a record that is set aside, with its bytes."""
    record = refused.record
    headers = canonical.dumps([[name, value.hex()] for name, value in record.headers])
    return {
        "reader": reader, "topic": record.topic, "partition": record.partition, "offset": record.offset,
        "reason": refused.reason, "detail": refused.detail[:2000], "schema_id": refused.schema_id,
        "appended_at": record.appended_at, "key": record.key, "value": record.value, "headers": headers,
        "redriven_at": None, "aside_at": None,
    }  # fmt: skip
