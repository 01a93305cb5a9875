"""Events that somebody asks about, found again in the log of a file or the archive of a cluster, and completed as then."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from streams import archived
from streams.codec import Codec
from streams.ledger.find import Finder
from streams.processors.catalogue import words_of
from tidings import images
from tidings.contract import Contract, value_at
from tidings.errors import BadContract
from tidings.event import Event, Micros
from tidings.images import Image
from tidings.log import LogRecord
from tidings.ports import Reader
from tidings.rule import Rule

Changes = dict[tuple[str, tuple[Any, ...]], Sequence[Event]]
"""What has been read of entities while something is explained: their changes, newest first."""
AT_ONCE = 100
"""Records that are decoded together: some milliseconds, then whoever else lives in this loop has a turn."""
LAST: Micros = 2**62
FEW, MANY = 5, 500
"""Events that are looked at for one word."""
OF_ENTITY = 200
"""Changes of one entity that are looked at, newest first, for what was before."""


@dataclass(frozen=True)
class Archive:
    """What has come in."""

    reader: Reader
    codec: Codec
    finder: Finder | None = None
    """Finds events by what they name; without it, those of the newest that are looked through."""
    known: dict[tuple[str, int], Sequence[Event]] | None = None
    """What was found by a word, for as long as one page is made: its parts ask for the same."""

    @property
    def by_type(self) -> Mapping[str, Contract]:
        """Contracts by event type."""
        return self.codec.contracts.by_type

    async def began(self, name: str, rule_topics: Callable[[str], Sequence[str]]) -> Event | None:
        """Return the event with which a firing began; `name` is the firing's id, or a message's; None: it is not kept.

        `rule_topics` gives the topics of a rule by its id.
        """
        found = await self.reader.read(archived.trace(name))
        if found is None:
            return None
        for event in await self._catalogued(found.ref, FEW):
            if event.ref == found.ref:
                return event
        # What the catalogue has read and does not know is not kept any more.
        gaps = None if self.finder is None else await archived.gaps(self.reader)
        near = archived.near(self.reader, found, rule_topics(found.rule), gaps)
        return await self._first(near, lambda event: event.ref == found.ref)

    async def named(self, name: str) -> Event | None:
        """Return the event with an id, or with our reference; of several with one id the newest."""
        for event in await self._catalogued(name, MANY):
            if name in (event.id, event.ref):
                return event
        return await self._first(self._rest(None), lambda event: name in (event.id, event.ref))

    async def about(
        self, value: str, types: Collection[str], *, limit: int, since: Micros = 0, until: Micros = LAST
    ) -> list[Event]:
        """Return the newest events of some types that name a value, newest first.

        The value is that of the contract's path to the customer, of its keys, or an id of the event. Of all types
        together the newest `MANY` are looked at.
        """
        topics = sorted({self.by_type[kind].topic for kind in types if kind in self.by_type})
        found = {event.ref: event for event in await self._catalogued(value, MANY)}
        found |= {event.ref: event async for event in self.decoded(self._rest(topics)) if self.names(event, value)}
        fitting = [event for event in found.values() if event.type in types and since <= event.occurred_at <= until]
        return sorted(fitting, key=_newest_first)[:limit]

    async def about_each(self, values: Collection[str], types: Collection[str]) -> list[Event]:
        """Return the newest events of some types that name one of some values, newest first.

        Of each value the newest `MANY` of all types are looked at.
        """
        topics = sorted({self.by_type[kind].topic for kind in types if kind in self.by_type})
        found = {} if self.finder is None else {one.ref: one for one in await self.finder.events_of(values, MANY)}
        async for event in self.decoded(self._rest(topics)):
            if any(self.names(event, value) for value in values):
                found[event.ref] = event
        return sorted((event for event in found.values() if event.type in types), key=_newest_first)

    async def _catalogued(self, word: str, limit: int) -> Sequence[Event]:
        if self.finder is None:
            return []
        if self.known is None:
            return await self.finder.events(word, limit)
        if (word, limit) not in self.known:
            self.known[word, limit] = await self.finder.events(word, limit)
        return self.known[word, limit]

    def _rest(self, topics: Sequence[str] | None) -> AsyncIterator[LogRecord]:
        """Return what the catalogue does not have yet; without one, the newest of everything."""
        if self.finder is None:
            return archived.newest(self.reader, topics)
        return archived.uncatalogued(self.reader, topics)

    async def newest(self, types: Collection[str], limit: int) -> list[Event]:
        """Return the newest events of some types, with what was before each as far as these say it; newest first."""
        found: list[Event] = []
        for topic in sorted({self.by_type[kind].topic for kind in types if kind in self.by_type}):
            partitions = await self.reader.read(archived.partitions([topic]))
            page = limit // max(1, partitions) + 1
            records = archived.newest(self.reader, [topic], page=page, most=page)
            found += [event async for event in self.decoded(records) if event.type in types]
        found = sorted(found, key=_place, reverse=True)[:limit]
        return sorted(await self.all_completed(found, looks=0), key=_place, reverse=True)

    def names(self, event: Event, value: str) -> bool:
        """Return whether an event names a value as its customer, its key, or its id."""
        contract = self.by_type.get(event.type)
        return contract is not None and value in words_of(event, contract)

    def customer_of(self, event: Event) -> str | None:
        """Return the customer whom an event names, by its contract."""
        contract = self.by_type.get(event.type)
        value = None if contract is None or contract.customer is None else value_at(event.data, contract.customer)
        return None if value is None else str(value)

    async def completed(self, event: Event) -> Event:
        """Return a change event with its `before` as complete as it was known when it came."""
        contract = self.by_type.get(event.type)
        if contract is None or (values := images.image_key(contract, event)) is None:
            return event
        known = await self._image(contract, values, event)
        return images.complete(event, known)[0]

    async def all_completed(self, events: Sequence[Event], looks: int = 50) -> list[Event]:
        """Return events, newest first, with what was before each; of so many entities what was before the first one."""
        found = {event.ref: event for event in events}
        known: dict[tuple[str, tuple[Any, ...]], Image | None] = {}
        for number, event in enumerate(sorted(events, key=_place)):
            if number % AT_ONCE == AT_ONCE - 1:
                await asyncio.sleep(0)
            contract = self.by_type.get(event.type)
            if contract is None or (values := images.image_key(contract, event)) is None:
                continue
            if (event.type, values) not in known:
                known[event.type, values] = await self._image(contract, values, event) if looks > 0 else None
                looks -= 1
            found[event.ref], known[event.type, values] = images.complete(event, known[event.type, values])
        return list(found.values())

    async def beside(self, rule: Rule, event: Event, changes: Changes | None = None) -> Event:
        """Return an event as a rule sees it: with the entities that it reads, under their aliases, as they were.

        Whoever looks at many events gives `changes`, so that those of an entity are read once.
        """
        if not rule.reads:
            return event
        data: dict[str, Any] = dict(event.data)
        for one in rule.reads:
            values = tuple(value_at(event.data, path) for path in one.paths)
            owner = next((c for c in self.by_type.values() if c.entity == one.entity and c.is_change), None)
            known = None if owner is None or None in values else await self._image(owner, values, event, changes)
            data[one.alias] = None if known is None else known["d"]
        return replace(event, data=data)

    async def _image(
        self, owner: Contract, values: tuple[Any, ...], before: Event, seen: Changes | None = None
    ) -> Image | None:
        """Return the last known state of an entity before an event: from its changes, back to one that says everything."""
        seen = {} if seen is None else seen
        if (owner.type, values) not in seen:
            about = await self.about(str(values[0]), [owner.type], limit=OF_ENTITY)
            seen[owner.type, values] = [one for one in about if images.image_key(owner, one) == values]
        changes: list[Event] = []
        for event in seen[owner.type, values]:
            if _place(event) >= _place(before):
                continue
            changes.append(event)
            if event.data.get("after_coverage") in ("FULL", "ABSENT"):
                break
        known: Image | None = None
        for event in reversed(changes):
            _, known = images.complete(event, known)
        return known

    async def _first(self, records: AsyncIterator[LogRecord], wanted: Callable[[Event], bool]) -> Event | None:
        async for event in self.decoded(records):
            if wanted(event):
                return event
        return None

    async def decoded(self, records: AsyncIterator[LogRecord]) -> AsyncIterator[Event]:
        """Yield the events of records; those that cannot be read are left out."""
        part: list[LogRecord] = []
        async for record in records:
            part.append(record)
            if len(part) == AT_ONCE:
                for event in await self._events(part):
                    yield event
                part = []
                await asyncio.sleep(0)
        for event in await self._events(part):
            yield event

    async def _events(self, records: Sequence[LogRecord]) -> list[Event]:
        await self.codec.ready(records)
        found = []
        for record in records:
            with contextlib.suppress(BadContract):
                found.append(self.codec.decode(record))
        return found


def _newest_first(event: Event) -> tuple[int, int, str]:
    return -event.occurred_at, -event.offset, event.ref


def _place(event: Event) -> tuple[int, str, int, int]:
    """Return where an event stands among all that came: in the order of the appends."""
    return event.appended_at, event.topic, event.partition, event.offset
