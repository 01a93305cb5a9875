"""Looks at the cluster from outside, as an operator would: who reads what, what was published, what was decided."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from faust.types import TP

from gateway.demo.members import Group, Watcher
from gateway.demo.workers import NAMES, Workers
from streams.codec import Codec
from streams.kafka.app import GROUP
from streams.kafka.cluster import Cluster
from streams.kafka.ends import Ends
from streams.kafka.log import KafkaLog
from streams.processors import detect
from streams.processors.detect import Done
from streams.processors.intake import prepare
from streams.stores.postgres import PostgresStore
from tidings import canonical
from tidings.log import Partition
from tidings.ports import Find, Row, Scan, Transaction
from tidings.record import Record

LIMIT = 500


@dataclass
class Outside:
    """See the module; `look` is called again and again."""

    cluster: Cluster
    store: PostgresStore
    codec: Codec
    workers: Workers
    observe: Callable[[object], None]
    places: Sequence[Partition]
    positions: dict[Partition, int] = field(default_factory=dict)
    """Up to where the topics were told of."""
    seq: int = 0
    """Up to which transaction records were told of."""
    seen: set[tuple[str, str, int]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.watcher = Watcher(NAMES)
        self.ends = Ends(self.cluster.connection)
        self.log = KafkaLog(self.cluster.connection)
        self.positions = dict.fromkeys(self.places, 0)

    async def close(self) -> None:
        """Hang up."""
        await self.log.close()
        await self.ends.close()

    async def heads(self) -> dict[Partition, int]:
        """Return where each partition ends."""
        prefix = self.cluster.connection.prefix
        found = await self.ends.ask(TP(prefix + topic, partition) for topic, partition in self.places)
        return {(at.topic.removeprefix(prefix), at.partition): end for at, end in found.items()}

    async def taken(self) -> dict[Partition, int]:
        """Return up to where each partition was decided."""
        return await self.store.read(_taken)

    async def group(self) -> Group:
        """Return who reads what."""
        members = (await self.cluster.group(GROUP)).members
        assigned = {
            name: frozenset(places)
            for name in NAMES
            for client, places in members.items()
            if client.startswith(f"tidings-worker-{name} ")
        }
        group = self.watcher.look(assigned, await self.taken(), await self.heads(), self.workers.down)
        return Group(group.members, group.partitions, group.lag, group.orphans, group.rebalances, self.workers.kills)

    async def look(self) -> bool:
        """Tell of records that were published and of what was decided since; return whether there was any."""
        busy = False
        for one in await self.log.fetch(self.positions, LIMIT):
            if one.records:
                busy = True
                self.observe(prepare(one.records, {one.partition: one.position}, self.codec.decode))
                self.positions[one.partition] = one.records[-1].offset + 1
        rows = await self.store.read(lambda: _decided(self.seq))
        fresh = []
        for row in rows:
            if (key := (row["firing_id"], row["kind"], row["n"])) not in self.seen:
                self.seen.add(key)
                fresh.append(row)
        if fresh:
            busy = True
            # A transaction with a lower number may commit a little later: some are looked at again.
            self.seq = max(self.seq, max(row["seq"] for row in fresh) - LIMIT)
            self.observe(Done(self.seq, [_record(row) for row in fresh], ()))
        return busy


def _taken() -> Transaction[dict[Partition, int]]:
    rows = yield Scan("sources")
    return {(row["topic"], row["partition"]): row["next_offset"] for row in rows if row["reader"] == detect.READER}


def _decided(seq: int) -> Transaction[list[Row]]:
    return (yield Find("records", "by_seq", (), above=seq))  # type: ignore[no-any-return]


def _record(row: Row) -> Record:
    return Record(
        row["episode_at"], row["firing_id"], row["kind"], row["n"], row["tenant"], row["rule"], row["recipient"],
        row["logical_at"], row["body"], canonical.loads(row["body"])["episode"]["event"],
    )  # fmt: skip
