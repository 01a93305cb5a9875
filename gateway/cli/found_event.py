"""An event that somebody asks about: of the log of a file, of the archive of a cluster, of a JSON file, of a payload."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.cli import log_place
from gateway.cli.beside import ClusterReader, FileReader
from gateway.cli.folder import read
from gateway.cli.log_place import Range
from gateway.cli.told import Told
from gateway.codec import codec_of
from schemas import contracts
from streams import archived
from streams.codec import Codec
from streams.embedded import wall_clock
from streams.embedded_log import read_record
from streams.explaining.became import Became, became
from streams.explaining.books import Books
from streams.json_events import NotAnEvent, from_json, parse_json
from streams.sources import intake
from streams.sources.mapping import SourceMap
from tidings import ids
from tidings.errors import BadContract
from tidings.event import Event
from tidings.log import LogRecord
from tidings.ports import Read
from tidings.rule import Rule, RuleSet


@dataclass(frozen=True)
class FoundEvent:
    """An event with `before` as complete as it was then, and beside what it was found."""

    event: Event
    rules: RuleSet | None = None
    """Those in force there."""
    books: Books | None = None

    async def beside(self, rule: Rule) -> Event:
        """Return the event as a rule sees it: with the entities that it reads, under their aliases."""
        if self.books is not None:
            return await self.books.archive.beside(rule, self.event)
        unknown = {one.alias: None for one in rule.reads}
        return self.event.with_data({**self.event.data, **unknown}) if unknown else self.event

    async def told(self, rule: Rule, key: tuple[object, ...]) -> list[Became]:
        """Return what became of the messages of the firing that this event began, if it did and they are there."""
        if self.books is None:
            return []
        return await became(
            self.books, ids.firing_id(self.event.tenant, rule.id, key, (self.event.source, self.event.ref))
        )


def books_of(reader: FileReader | ClusterReader) -> Books:
    """Return what explanations look at, beside those who work. Await `close(books)` at the end."""
    codec = codec_of(reader.settings) if isinstance(reader, ClusterReader) else Codec(contracts())
    return Books(reader.store, codec, reader.now, asking=reader.asking(), name=reader.name)


async def close(books: Books) -> None:
    """Let go of what the books hold beside their store."""
    await books.codec.close()
    if books.asking is not None:
        await books.asking.close()


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


async def of_log(books: Books, name: str) -> FoundEvent:
    """Return an event that has come in: by its id, our reference, the id of its firing or of a message, or its place."""
    rules = await books.active()
    if (place := log_place.read(name)) is not None:
        there = await _decoded(books, await _at(books, place))
        return FoundEvent(await books.archive.completed(there), rules, books)

    def topics(rule_id: str) -> Sequence[str]:
        rule = rules.by_id.get(rule_id)
        return [one.topic for one in contracts().by_type.values()] if rule is None else list(rule.topics)

    event = await books.archive.began(name, topics)
    if event is None:
        if await books.reader.read(archived.trace(name)) is not None:
            raise Told(f"{books.name} has the firing, and its archive has not the event any more, or not yet")
        event = await books.archive.named(name)
    if event is None:
        text = (
            f"there is no event {name!r} in {books.name} among the newest {archived.NEWEST} records of each partition, "
            "no firing or message with this id, and no such file"
        )
        raise Told(text)
    return FoundEvent(await books.archive.completed(event), rules, books)


async def _at(books: Books, place: Range) -> LogRecord:
    """Return the record of a place."""
    if place.first != place.last:
        raise Told(f"{place} is a range; one event is explained at a time")
    key = (place.topic, place.partition, place.first)
    rows = await books.reader.read(lambda: (yield Read("log", [key])))
    if key not in rows:
        partitions = await books.reader.read(log_place.held(frozenset({place.topic})))
        log_place.Holdings(partitions, books.name).check(place)
        raise Told(f"{place}: there is no record in {books.name}; an end of a transaction may have that offset")
    return read_record(rows[key])


async def _decoded(books: Books, record: LogRecord) -> Event:
    try:
        await books.codec.ready([record])
        return books.codec.decode(record)
    except BadContract as fault:
        place = log_place.of(record)
        text = f"{place} cannot be read: {fault.reason}; see: tidings dead-letters show {log_place.quoted(place)}"
        raise Told(text) from fault
