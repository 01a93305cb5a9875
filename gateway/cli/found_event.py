"""An event that somebody asks about: of a log, of a JSON file, of a payload; with what was known when it came."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from gateway.cli import log_place
from gateway.cli.beside import ClusterReader, FileReader, Reader
from gateway.cli.dead_letters import active_rules
from gateway.cli.folder import read
from gateway.cli.log_place import Range
from gateway.cli.told import Told
from gateway.cli.whom import content_of, person_of
from gateway.codec import codec_of
from handlers.channels.content import Contents
from handlers.rules.load import load_sources
from schemas import contracts
from streams import archived
from streams.codec import Codec
from streams.embedded import wall_clock
from streams.embedded_log import read_record
from streams.json_events import NotAnEvent, from_json, parse_json
from streams.sources import intake
from streams.sources.mapping import SourceMap
from tidings import canonical, ids, images
from tidings.contract import value_at
from tidings.errors import BadContract
from tidings.event import Event
from tidings.images import Image
from tidings.log import LogRecord
from tidings.message import Message, read_message
from tidings.person import Person
from tidings.ports import Body, Find, Read, Row, Scan, Transaction
from tidings.rule import Rule, RuleSet

AT_ONCE = 500
"""Records of the archive that are decoded together."""


@dataclass(frozen=True)
class FoundEvent:
    """An event, the images of other entities as they were, and the rules that were active in its file."""

    event: Event
    images: Mapping[bytes, Image] = field(default_factory=dict)
    rules: RuleSet | None = None
    reader: Reader | None = None
    """Beside what it was found."""
    alone: bool = False
    """Whether nothing is known of what came before it."""

    def beside(self, rule: Rule) -> Event:
        """Return the event as a rule sees it: with the entities that it reads, under their aliases."""
        if not rule.reads:
            return self.event
        data: dict[str, Any] = dict(self.event.data)
        for one in rule.reads:
            values = tuple(value_at(self.event.data, path) for path in one.paths)
            known = None
            if None not in values:
                known = self.images.get(ids.state_key(self.event.tenant, images.image_class(one.entity), values))
            data[one.alias] = None if known is None else known["d"]
        return replace(self.event, data=data)

    def told(self, rule: Rule, key: tuple[Any, ...]) -> list[Became]:
        """Return what became of the messages of the firing that this event began, if it did and the file has them."""
        if self.reader is None:
            return []
        firing = ids.firing_id(self.event.tenant, rule.id, key, (self.event.source, self.event.ref))

        def body() -> Transaction[list[Became]]:
            found = []
            for run in (yield Find("runs", "by_firing", (firing,))):
                for row in (yield Find("messages", "by_run", (run["run_id"],))):
                    found.append((yield from _became(read_message(row))))  # noqa: PERF401 - a comprehension cannot yield
            return found

        return self.reader.read(body)


@dataclass(frozen=True)
class Became:
    """A message, for whom it is, what it says, and its last attempt."""

    message: Message
    person: Person
    content: Mapping[str, Any]
    attempt: Row | None


def _became(message: Message) -> Transaction[Became]:
    """Read the rest of a message, with the rule set that decided it."""
    pinned = str(message.body["rule_set"])
    sets = yield Read("rule_sets", [(pinned,)])
    attempts = yield Read("attempts", [(message.message_id, message.attempt)])
    rules = None
    if row := sets.get((pinned,)):
        with contextlib.suppress(ValueError):  # an old set that this version does not read: what it said is not shown
            rules = load_sources(bytes(row["body"]), contracts().by_type)
    if rules is None:
        person = Person(message.tenant, message.recipient, known=False)
        return Became(message, person, {}, attempts.get((message.message_id, message.attempt)))
    person = yield from person_of(rules, message)()
    content = content_of(Contents(), rules, message, person)
    return Became(message, person, content, attempts.get((message.message_id, message.attempt)))


def of_file(path: Path) -> FoundEvent:
    """Return the event of a JSON file, as if it had just been published."""
    try:
        body = parse_json(read(path))
        kind = body.get("type") if isinstance(body, dict) else None
        contract = contracts().by_type.get(str(kind))
        if contract is None:
            text = (
                f"{path}: 'type' is {kind!r}, which is no event contract; a payload of another system is explained with "
                "--source, as --source stripe"
            )
            raise Told(text)
        codec = Codec(contracts())
        payload = from_json(contract, body)
        key, value = codec.encode(contract.type, payload)
        return FoundEvent(codec.decode(LogRecord(contract.topic, 0, 0, payload["meta"]["occurred_at"], key, value)))
    except (NotAnEvent, BadContract) as fault:
        text = f"{path}: {fault}"
        raise Told(text) from fault


def of_payload(path: Path, source: str, mapping: SourceMap) -> list[Event]:
    """Return the events that a payload of another system becomes, as if it had just come."""
    codec = Codec(contracts())
    now = wall_clock()
    try:
        appends, _ = intake.appends_of(codec, mapping, source, read(path), now)
        return [codec.decode(LogRecord(one.topic, 0, 0, now, one.key, one.value, one.headers)) for one in appends]
    except BadContract as fault:
        raise Told(f"{path}: {fault.reason}: {fault.detail}") from fault


def of_log(reader: FileReader | ClusterReader, name: str) -> FoundEvent:
    """Return an event of the log, with `before` as complete as it was then; beside a cluster, alone.

    By its id or our reference, by the id of a firing that it began, or of a message about that, or by its place.
    """
    rules, _, _ = active_rules(reader)
    if (place := log_place.read(name)) is not None:
        record = _at(reader, place)
        if isinstance(reader, FileReader):
            return _among(reader, reader.read(_records), record, rules)
        return FoundEvent(_decoded(reader, record), {}, rules, reader, alone=True)
    if isinstance(reader, ClusterReader):
        return _archived(reader, name, rules)
    return _among(reader, reader.read(_records), reader.read(_began(name)) or name, rules)


def _at(reader: FileReader | ClusterReader, place: Range) -> LogRecord:
    """Return the record of a place."""
    if place.first != place.last:
        raise Told(f"{place} is a range; one event is explained at a time")
    key = (place.topic, place.partition, place.first)
    rows = reader.read(lambda: (yield Read("log", [key])))
    if key not in rows:
        name = "the archive" if isinstance(reader, ClusterReader) else reader.name
        partitions = reader.read(log_place.held(frozenset({place.topic})))
        log_place.Holdings(partitions, name).check(place)
        raise Told(f"{place}: there is no record in {name}; an end of a transaction may have that offset")
    return read_record(rows[key])


def _decoded(reader: ClusterReader, record: LogRecord) -> Event:
    codec = codec_of(reader.settings)
    try:
        reader.wait(codec.ready([record]))
        return codec.decode(record)
    except BadContract as fault:
        raise _unreadable(record, fault) from fault
    finally:
        reader.wait(codec.close())


def _unreadable(record: LogRecord, fault: BadContract) -> Told:
    place = log_place.of(record)
    return Told(f"{place} cannot be read: {fault.reason}; see: tidings dead-letters show {log_place.quoted(place)}")


def _archived(reader: ClusterReader, name: str, rules: RuleSet) -> FoundEvent:
    codec = codec_of(reader.settings)
    traced = reader.read(archived.trace(name))
    if traced is None:
        wanted, records = name, archived.newest(reader.read)
    else:
        rule = rules.by_id.get(traced.rule)
        topics = [one.topic for one in contracts().by_type.values()] if rule is None else list(rule.topics)
        wanted, records = traced.ref, archived.near(reader.read, traced, topics)
    try:
        while part := list(islice(records, AT_ONCE)):
            reader.wait(codec.ready(part))
            for record in part:
                with contextlib.suppress(BadContract):
                    event = codec.decode(record)
                    if wanted in (event.id, event.ref):
                        return FoundEvent(event, {}, rules, reader, alone=True)
    finally:
        reader.wait(codec.close())
    if traced is not None:
        raise Told(
            f"{reader.name} has the firing, and its archive has not the event any more, or not yet: tidings archive"
        )
    text = (
        f"there is no firing or message {name!r} in {reader.name}, no such file, and no such event among the newest "
        f"{archived.NEWEST} records of each partition"
    )
    raise Told(text)


def _began(name: str) -> Body[str | None]:
    """Return the body that reads our reference of the event with which the firing of an id, or of a message's, began."""

    def body() -> Transaction[str | None]:
        messages = yield Read("messages", [(name,)])
        firing = next((row["firing_id"] for row in messages.values()), name)
        for row in (yield Find("records", "by_firing", (firing,), limit=1)):
            return str(canonical.loads(row["body"])["episode"]["event"])
        return None

    return body


def _records() -> Transaction[list[LogRecord]]:
    return [read_record(row) for row in (yield Scan("log"))]


def _among(
    reader: Reader, records: list[LogRecord], wanted: str | LogRecord, rules: RuleSet
) -> FoundEvent:  # fmt: skip
    codec = Codec(contracts())
    known: dict[bytes, Image] = {}
    for record in sorted(records, key=lambda one: (one.appended_at, one.topic, one.partition, one.offset)):
        try:
            event = codec.decode(record)
        except BadContract as fault:
            if record == wanted:
                raise _unreadable(record, fault) from fault
            continue
        contract = contracts().by_type[event.type]
        if (place := images.state_key(contract, event)) is not None:
            event, known[place] = images.complete(event, known.get(place))
        if wanted in (event.id, event.ref, record):
            return FoundEvent(event, known, rules, reader)
    text = f"there is no event {wanted!r} in {reader.name}, no firing or message with this id, and no such file"
    raise Told(text)
