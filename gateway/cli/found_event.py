"""An event that somebody asks about: of the log of a file, or of a JSON file; with what was known when it came."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gateway.cli.dead_letters import active_rules, reading
from gateway.cli.folder import read
from gateway.cli.told import Told
from schemas import contracts
from streams.codec import Codec
from streams.embedded_log import read_record
from streams.json_events import NotAnEvent, from_json, parse_json
from streams.stores.sqlite import SqliteReader
from tidings import ids, images
from tidings.contract import value_at
from tidings.errors import BadContract
from tidings.event import Event
from tidings.images import Image
from tidings.log import LogRecord
from tidings.message import Message, read_message
from tidings.ports import Find, Scan, Transaction
from tidings.rule import Rule, RuleSet


@dataclass(frozen=True)
class FoundEvent:
    """An event, the images of other entities as they were, and the rules that were active in its file."""

    event: Event
    images: Mapping[bytes, Image] = field(default_factory=dict)
    rules: RuleSet | None = None
    file: Path | None = None

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

    def told(self, rule: Rule, key: tuple[Any, ...]) -> list[Message]:
        """Return the messages of the firing that this event began, if it did and the file has them."""
        if self.file is None:
            return []
        firing = ids.firing_id(self.event.tenant, rule.id, key, (self.event.source, self.event.ref))

        def body() -> Transaction[list[Message]]:
            found = []
            for run in (yield Find("runs", "by_firing", (firing,))):
                found += [read_message(row) for row in (yield Find("messages", "by_run", (run["run_id"],)))]
            return found

        with reading(self.file) as reader:
            return reader.read(body)


def of_file(path: Path) -> FoundEvent:
    """Return the event of a JSON file, as if it had just been published."""
    try:
        body = parse_json(read(path))
        kind = body.get("type") if isinstance(body, dict) else None
        contract = contracts().by_type.get(str(kind))
        if contract is None:
            text = f"{path}: 'type' is {kind!r}, which is no event contract"
            raise Told(text)
        codec = Codec(contracts())
        payload = from_json(contract, body)
        key, value = codec.encode(contract.type, payload)
        return FoundEvent(codec.decode(LogRecord(contract.topic, 0, 0, payload["meta"]["occurred_at"], key, value)))
    except (NotAnEvent, BadContract) as fault:
        text = f"{path}: {fault}"
        raise Told(text) from fault


def of_log(folder: Path, name: str) -> FoundEvent:
    """Return an event of the log by its id or our reference, with `before` as complete as it was then."""
    with reading(folder) as reader:
        rules, _, _ = active_rules(reader)
        records = reader.read(_records)
        return _among(reader, records, name, folder, rules)


def _records() -> Transaction[list[LogRecord]]:
    return [read_record(row) for row in (yield Scan("log"))]


def _among(
    reader: SqliteReader, records: list[LogRecord], name: str, folder: Path, rules: RuleSet
) -> FoundEvent:  # fmt: skip
    codec = Codec(contracts())
    known: dict[bytes, Image] = {}
    for record in sorted(records, key=lambda one: (one.appended_at, one.topic, one.partition, one.offset)):
        try:
            event = codec.decode(record)
        except BadContract:
            continue
        contract = contracts().by_type[event.type]
        if (place := images.state_key(contract, event)) is not None:
            event, known[place] = images.complete(event, known.get(place))
        if name in (event.id, event.ref):
            return FoundEvent(event, known, rules, folder)
    text = f"there is no event {name!r} in {reader.path}, and no such file"
    raise Told(text)
