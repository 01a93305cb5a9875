"""A preview: what records would lead to if they came as new intake now. Nothing is written, and nothing can be sent.

The real processors run over a store that keeps their writes in memory (`streams.stores.overlay`): detection of the
records as they would be appended, dispatch of whom their firings concern, the last gates, and the text. No provider is
made, so there is none to hand anything to. What waits for its time waits; what is under way anyway is left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from handlers.channels.content import Contents
from streams.codec import Codec
from streams.embedded_log import Append
from streams.loops import RealRuntime
from streams.processors import deliver, detect, people
from streams.processors.deliver import Claimed
from streams.processors.deliverer import Render
from streams.processors.detect import Done
from streams.processors.dispatch import Passed, Who, dispatch_one, resolve
from streams.processors.results import Sent
from streams.processors.worker import Observe, PeopleReader, Worker
from streams.rule_book import RuleBook
from streams.stores.overlay import OverlayStore
from tidings import delivery
from tidings.delivery import Pace
from tidings.errors import Misconfigured
from tidings.event import Micros
from tidings.log import Fetched, LogRecord, Partition
from tidings.message import Message, message_row, read_message
from tidings.ports import Body, Find, Lock, Now, Outcome, Outgoing, Put, Read, Reader, Row, Transaction
from tidings.reasons import MessageState
from tidings.record import Record
from tidings.rule import RuleSet

OWNER = "preview"
TURNS = 5
"""Passes over one recipient at most: one may come again because a link has appeared."""


class _NoLog:
    """A preview fetches nothing: its records are given."""

    async def fetch(self, positions: object, limit: int) -> Sequence[Fetched]:
        return ()

    async def partitions(self, topics: Sequence[str]) -> Sequence[Partition]:
        return ()


@dataclass
class Preview:
    """What came of it. `observe` is told everything on the way, as an engine tells it."""

    base: Reader
    codec: Codec
    book: RuleBook
    clock: Callable[[], Micros]
    observe: Observe
    grace: Micros = 0
    render: Render = field(default_factory=Contents)
    firings: list[Record] = field(default_factory=list)
    """Detection records that are new."""
    told: int = 0
    """Messages that would leave now."""

    async def take(self, appends: Sequence[Append]) -> None:
        """Take records in, as they would be appended now.

        Raises:
            Misconfigured: no rules are active, or they do not load with this version.
        """
        self.store = OverlayStore(self.base, self.clock)
        rules = await self.book.active()
        if rules is None:
            raise Misconfigured("no rules are active yet")
        records, starts = await self._placed(appends, detect.READER)
        await self.codec.ready(records)
        await self._introduce(appends)
        worker = Worker(
            self.store, _NoLog(), RealRuntime(self.clock), self.codec.decode, rules, self.book.get, self.grace,
            observe=self._seen, learn=self.book.learn,
        )  # fmt: skip
        if records:
            await worker.apply(records, starts)
        self.rules = worker.rules
        for who in dict.fromkeys((record.tenant, record.recipient) for record in self.firings):
            await self._dispatch(who)
        await self._tell()

    def _seen(self, seen: object) -> None:
        if isinstance(seen, Done):
            self.firings += seen.records
        self.observe(seen)

    async def _placed(self, appends: Sequence[Append], reader: str) -> tuple[list[LogRecord], dict[Partition, int]]:
        """Return the records with the offsets that they might get, behind what the reader has read."""
        places = sorted({(one.topic, one.partition) for one in appends})
        starts = await self.store.read(detect.read_positions(places, reader))
        ends, now = dict(starts), self.clock()
        records = []
        for one in appends:
            place = (one.topic, one.partition)
            if place in ends:
                records.append(LogRecord(*place, ends[place], now, one.key, one.value, one.headers))
                ends[place] += 1
        used = {(one.topic, one.partition) for one in records}
        # One batch holds the records of a partition together.
        records.sort(key=lambda one: (one.topic, one.partition, one.offset))
        return records, {place: at for place, at in starts.items() if place in used}

    async def _introduce(self, appends: Sequence[Append]) -> None:
        """Let those who would be made known be known."""
        records, starts = await self._placed(appends, people.READER)
        if records:
            await PeopleReader(self.store, _NoLog(), self.codec.decode).apply(records, starts)

    async def _dispatch(self, who: Who) -> None:
        for _ in range(TURNS):
            passed = await self.store.run(dispatch_one(self.rules, who, self._pinned))
            if isinstance(passed, Passed):
                mine = {record.firing_id for record in self.firings}
                for message in passed.result.messages.values():
                    if message.firing_id in mine and message.state is not MessageState.PENDING:
                        self.observe(message)
                return
            if passed is not None:
                return

    def _pinned(self, digest: str) -> RuleSet:
        return self.rules if digest == self.rules.hash else self.book.get(digest)

    async def _tell(self) -> None:
        """Ask the last gates about what would leave now, and say what it says."""
        pace = Pace()
        mine = sorted({record.firing_id for record in self.firings})
        messages = await self.store.run(_claim(mine, pace))
        if not messages:
            return
        group = [await self._claimed(message) for message in messages]
        intended = await self.store.run(deliver.intend(self.rules, group, OWNER, pace))
        assert isinstance(intended, deliver.Intended), "nobody else switches the rules of a snapshot"
        by_name = {message.message_id: message for message in messages}
        for kept in intended.kept:
            self.observe(kept)
        for outgoing in intended.outgoing:
            self.told += 1
            self.observe(self._sent(outgoing, by_name[outgoing.message_id]))

    @staticmethod
    def _sent(outgoing: Outgoing, message: Message) -> Sent:
        return Sent(outgoing, Outcome("accepted", "preview"), message)

    async def _claimed(self, message: Message) -> Claimed:
        def body() -> Transaction[dict[tuple[str, ...], Row | None]]:
            who: Who = (message.tenant, message.recipient)
            rows: dict[tuple[str, ...], Row | None] = {who: None, **(yield Read("recipients", [who]))}
            row = rows[who]
            if row is not None and row["linked_to"] is not None:
                rows.update((yield Read("recipients", [(message.tenant, row["linked_to"])])))
            return rows

        person = resolve(self.rules, (message.tenant, message.recipient), await self.store.read(body))
        try:
            return Claimed(message, self.render(self._pinned(message.body["rule_set"]), message, person))
        except ValueError as fault:
            return Claimed(message, None, str(fault)[:200])


def _claim(firings: Sequence[str], pace: Pace) -> Body[list[Message]]:
    """Return the body that claims what is pending of some firings, and due."""

    def body() -> Transaction[list[Message]]:
        now = yield Now()
        names: list[tuple[str]] = []
        for firing in firings:
            for run in (yield Find("runs", "by_firing", (firing,))):
                names += [(row["message_id"],) for row in (yield Find("messages", "by_run", (run["run_id"],)))]
        taken = []
        for row in (yield Lock("messages", sorted(names))).values():
            if row is not None and row["state"] == MessageState.PENDING:
                claimed = delivery.claim(read_message(row), OWNER, now, pace)
                taken += [] if claimed is None else [claimed]
        if taken:
            yield Put("messages", [message_row(message) for message in taken])
        return taken

    return body
