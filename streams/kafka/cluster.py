"""What a cluster is and holds: brokers, topics with their settings, offsets, records, consumer groups; and how it is changed.

Topics and groups are named here without the installation's prefix. Every question has one deadline together with all
its repeats. Nothing here makes a topic by asking for it: brokers that create topics by themselves do so when metadata
of a missing one is asked for, so its existence is looked up in the list of all topics first.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition, errors
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment

from streams.kafka.connection import Connection
from streams.kafka.reach import PATIENCE, Away, reachable, refusal
from streams.kafka.topic_ids import topic_ids
from tidings.errors import Misconfigured
from tidings.event import Micros
from tidings.log import LogRecord, Partition

T = TypeVar("T")

MILLI: Micros = 1_000
DYNAMIC_TOPIC = 1
"""Kafka's number for a setting that the topic itself carries."""
PAUSE = 0.2
FETCH = 64 * 1024
"""Bytes of a partition a fetch; a first record that is larger comes whole."""


@dataclass(frozen=True, slots=True)
class Broker:
    """One of the cluster's servers, under the address that it gives out itself."""

    id: int
    host: str
    port: int

    def __str__(self) -> str:
        """Return its address."""
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as it is."""

    partitions: int
    replicas: int
    """Copies of the partition that has fewest."""
    leaders: Mapping[int, int] = field(default_factory=dict)
    """Partition → broker; −1: none now."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """All that hold, those of the broker included."""
    own: Mapping[str, str] = field(default_factory=dict)
    """Those that the topic itself carries."""


@dataclass(frozen=True, slots=True)
class New:
    """A topic to be made."""

    name: str
    partitions: int
    replicas: int
    settings: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Group:
    """A consumer group."""

    state: str
    members: Mapping[str, Sequence[Partition]]
    """Client id and host → partitions."""


class Refused(Exception):
    """The cluster does not do what it was asked; the text says why."""


def record_of(connection: Connection, record: Any, base: int = 0) -> LogRecord:
    """Return a fetched record as the log port has it; `base` is what the store's offsets are higher by."""
    return LogRecord(
        record.topic.removeprefix(connection.prefix), record.partition, record.offset + base, record.timestamp * MILLI,
        record.key, record.value, tuple(record.headers),
    )  # fmt: skip


def records_of(records: Iterable[Any], place: Partition, base: int) -> list[LogRecord]:
    """Return fetched records of one partition, which is named as the log port has it."""
    topic, partition = place
    return [
        LogRecord(topic, partition, one.offset + base, one.timestamp * MILLI, one.key, one.value, tuple(one.headers))
        for one in records
    ]


@asynccontextmanager
async def opened(connection: Connection, *, within: float = PATIENCE) -> AsyncIterator[Cluster]:
    """Reach the cluster.

    Raises:
        Away: no broker answers.
        Misconfigured: they do not take us.
    """
    addresses = await reachable(connection, within=min(within, PATIENCE))
    options = {**connection.options(), "bootstrap_servers": list(addresses), "request_timeout_ms": int(within * 1000)}
    cluster = Cluster(connection, options, within)
    try:
        await cluster.start()
        yield cluster
    finally:
        await cluster.close()


class Cluster:
    """See the module; made by `opened`."""

    def __init__(self, connection: Connection, options: Mapping[str, Any], within: float) -> None:
        self.connection = connection
        self.within = within
        self._options = options
        self._admin = AIOKafkaAdminClient(**options)
        self._consumer: Any = None

    async def start(self) -> None:
        """Learn who the brokers are."""
        await self._ask("the cluster", self._admin.start)

    async def close(self) -> None:
        """Hang up."""
        for client in (self._admin.close, *(() if self._consumer is None else (self._consumer.stop,))):
            with contextlib.suppress(errors.KafkaError, OSError, TimeoutError):
                await asyncio.wait_for(client(), self.within)

    async def brokers(self) -> list[Broker]:
        """Return the brokers that are up."""
        found = await self._ask("the list of brokers", self._admin.describe_cluster)
        return sorted((Broker(b["node_id"], b["host"], b["port"]) for b in found["brokers"]), key=lambda b: b.id)

    async def settings_of(self, broker: Broker) -> dict[str, str]:
        """Return the settings of a broker."""
        asked = [ConfigResource(ConfigResourceType.BROKER, str(broker.id))]
        found: dict[str, str] = {}
        for answer in await self._ask(f"the settings of {broker}", lambda: self._admin.describe_configs(asked)):
            for code, message, _, _, entries in answer.resources:
                self._no_error(code, message, f"the settings of {broker}")
                found |= {entry[0]: entry[1] for entry in entries if entry[1] is not None}
        return found

    async def topics(self) -> dict[str, Topic]:
        """Return all topics below our prefix, without their settings."""
        prefix = self.connection.prefix
        found = {}
        for one in await self._ask("the list of topics", self._admin.describe_topics):
            if one["topic"].startswith(prefix) and not one["is_internal"] and one["partitions"]:
                parts = one["partitions"]
                leaders = {part["partition"]: part["leader"] for part in parts}
                least = min(len(part["replicas"]) for part in parts)
                found[one["topic"].removeprefix(prefix)] = Topic(len(parts), least, leaders)
        return found

    async def ids(self, names: Iterable[str]) -> dict[str, str]:
        """Return the ids of those topics that exist, where the brokers give any; see `streams.kafka.topic_ids`."""
        prefix = self.connection.prefix
        asked = {prefix + name for name in names}
        if not asked:
            return {}
        found = await self._ask("the ids of topics", lambda: topic_ids(self._admin._client, asked))  # noqa: SLF001
        return {name.removeprefix(prefix): one for name, one in found.items()}

    async def described(self, names: Iterable[str]) -> dict[str, Topic]:
        """Return those of some topics that exist, with their settings."""
        known = await self.topics()
        found = {name: known[name] for name in sorted(set(names)) if name in known}
        asked = [ConfigResource(ConfigResourceType.TOPIC, self.connection.prefix + name) for name in found]
        if not asked:
            return {}
        for answer in await self._ask("the settings of topics", lambda: self._admin.describe_configs(asked)):
            for code, message, _, named, entries in answer.resources:
                name = named.removeprefix(self.connection.prefix)
                self._no_error(code, message, f"the settings of {name}")
                settings = {entry[0]: entry[1] for entry in entries if entry[1] is not None}
                own = {entry[0]: entry[1] for entry in entries if entry[3] == DYNAMIC_TOPIC and entry[1] is not None}
                topic = found[name]
                found[name] = Topic(topic.partitions, topic.replicas, topic.leaders, settings, own)
        return found

    async def create(self, name: str, partitions: int, replicas: int, settings: Mapping[str, str]) -> bool:
        """Make a topic; False: somebody else has made it meanwhile."""
        return bool(await self.create_all([New(name, partitions, replicas, settings)]))

    async def create_all(self, topics: Sequence[New]) -> list[str]:
        """Make topics, and wait until they can be seen; return those that nobody else has made meanwhile.

        Raises:
            Refused: one of them was not made; others may have been.
        """
        prefix = self.connection.prefix
        asked = [
            NewTopic(prefix + one.name, one.partitions, one.replicas, topic_configs=dict(one.settings))
            for one in topics
        ]
        made = []
        for named, code, message, *_ in (
            await self._ask("topics", lambda: self._admin.create_topics(asked))
        ).topic_errors:
            name = named.removeprefix(prefix)
            if code != errors.TopicAlreadyExistsError.errno:
                self._no_error(code, message, f"topic {name} cannot be made")
                made.append(name)
        await self._appear({one.name: 1 for one in topics})
        return made

    async def grow(self, name: str, partitions: int) -> None:
        """Give a topic more partitions; that it has them already is no error."""
        more = {self.connection.prefix + name: NewPartitions(partitions)}
        try:
            await self._ask(f"{name} cannot have {partitions} partitions", lambda: self._admin.create_partitions(more))
        except Refused:
            if (await self.topics())[name].partitions != partitions:
                raise
        await self._appear({name: partitions})

    async def _appear(self, aims: Mapping[str, int]) -> None:
        """Wait for what the controller has decided and the brokers hear of a moment later."""
        async with self._deadline("new partitions"):
            while True:
                known = await self.topics()
                if all(name in known and known[name].partitions >= count for name, count in aims.items()):
                    return
                await asyncio.sleep(PAUSE / 4)

    async def delete(self, names: Sequence[str]) -> None:
        """Delete topics with all that they hold; one that is gone is no error."""
        if names:
            asked = [self.connection.prefix + name for name in names]
            await self._ask("deleting topics", lambda: self._admin.delete_topics(asked))

    async def alter(self, name: str, settings: Mapping[str, str]) -> None:
        """Set some settings of a topic.

        The request replaces *all* settings that the topic carries, and takes back those that are not named (Kafka's
        AlterConfigs; the incremental one is not in aiokafka). So those that are there are read, and sent along.
        """
        found = (await self.described([name]))[name]
        whole = {**found.own, **settings}
        resource = ConfigResource(ConfigResourceType.TOPIC, self.connection.prefix + name, whole)
        for answer in await self._ask(f"the settings of {name}", lambda: self._admin.alter_configs([resource])):
            for code, message, *_ in answer.resources:
                self._no_error(code, message, f"the settings of {name} cannot be changed")

    async def ends(self, places: Sequence[Partition]) -> dict[Partition, tuple[int, int]]:
        """Return first and next offset of partitions that exist."""
        if not places:
            return {}
        consumer = await self._reader()
        asked = [self._there(place) for place in places]
        # All topics at once: by itself the client asks for the metadata of one after another, 0.1 s each.
        await self._ask("the topics", lambda: consumer._client.set_topics({at.topic for at in asked}))  # noqa: SLF001
        starts = await self._ask("the offsets", lambda: consumer.beginning_offsets(asked))
        ends = await self._ask("the offsets", lambda: consumer.end_offsets(asked))
        return {place: (starts[at], ends[at]) for place, at in zip(places, asked, strict=True)}

    async def records(self, offsets: Mapping[Partition, int]) -> dict[Partition, LogRecord]:
        """Return the record at exactly one offset of each partition; where the log has none there, it is left out.

        Raises:
            OffsetOutOfRangeError: the log does not hold one of them (any more).
        """
        consumer = await self._reader()
        waiting = {self._there(place): offset for place, offset in offsets.items()}
        consumer.assign(list(waiting))
        for at, offset in waiting.items():
            consumer.seek(at, offset)
        found = {}
        async with self._deadline("the records at positions"):
            while waiting:
                for at, records in (await consumer.getmany(*waiting, timeout_ms=500, max_records=None)).items():
                    if records and at in waiting:
                        if records[0].offset == waiting[at]:
                            record = record_of(self.connection, records[0])
                            found[record.topic, record.partition] = record
                        del waiting[at]
                # A log that ends in markers of transactions gives nothing, and moves the position on.
                for at in [at for at, offset in waiting.items() if await consumer.position(at) > offset]:
                    del waiting[at]
        return found

    async def committed(self, group: str) -> dict[Partition, int]:
        """Return what a group has committed on our topics."""
        named = self.connection.prefix + group
        what = f"the offsets of group {group}"
        found = await self._ask(what, lambda: self._admin.list_consumer_group_offsets(named))
        prefix = self.connection.prefix
        return {
            (at.topic.removeprefix(prefix), at.partition): meta.offset
            for at, meta in found.items()
            if at.topic.startswith(prefix) and meta.offset >= 0
        }

    async def group(self, group: str) -> Group:
        """Return who is in a group, and what each has."""
        named = self.connection.prefix + group

        async def ask() -> Any:
            answer = (await self._admin.describe_consumer_groups([named]))[0].groups[0]
            if answer[0]:
                # A group whose coordinator is about to change has a code in its answer, and is asked again.
                raise errors.for_code(answer[0])
            return answer

        _, _, state, _, _, members = (await self._ask(f"group {group}", ask))[:6]
        found: dict[str, list[Partition]] = defaultdict(list)
        for _, client, host, _, assignment, *_ in members:
            whose = found[f"{client} on {host.lstrip('/')}"]
            if assignment:
                for at in ConsumerProtocolMemberAssignment.decode(assignment).partitions():
                    whose.append((at.topic.removeprefix(self.connection.prefix), at.partition))
        return Group(state, found)

    def _there(self, place: Partition) -> TopicPartition:
        return TopicPartition(self.connection.prefix + place[0], place[1])

    async def _reader(self) -> Any:
        if self._consumer is None:
            self._consumer = AIOKafkaConsumer(
                **self._options,
                group_id=None,
                enable_auto_commit=False,
                auto_offset_reset="none",
                max_partition_fetch_bytes=FETCH,
            )
            await self._ask("the cluster", self._consumer.start)
        return self._consumer

    @asynccontextmanager
    async def _deadline(self, what: str) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self.within):
                yield
        except TimeoutError as fault:
            raise Away(f"{what}: no answer within {self.within:g} s") from fault
        except errors.OffsetOutOfRangeError:
            raise
        except errors.KafkaError as fault:
            raise self._refused(fault, what) from fault

    async def _ask(self, what: str, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask until it is answered; what may pass (a new leader, a coordinator that is not there yet) is asked again."""
        last: errors.KafkaError | None = None
        try:
            async with asyncio.timeout(self.within):
                while True:
                    try:
                        return await ask()
                    except errors.KafkaError as fault:
                        if not fault.retriable:
                            raise self._refused(fault, what) from fault
                        last = fault
                    await asyncio.sleep(PAUSE)
        except TimeoutError as fault:
            because = "" if last is None else f" ({refusal(last, 'it last said', self.connection)})"
            raise Away(f"{what}: no answer within {self.within:g} s{because}") from fault

    def _no_error(self, code: int, message: str | None, what: str) -> None:
        if code:
            raise self._refused(errors.for_code(code)(message or ""), what)

    def _refused(self, fault: errors.KafkaError, what: str) -> Exception:
        text = refusal(fault, what, self.connection)
        return Misconfigured(text) if isinstance(fault, DENIED) else Refused(text)


DENIED = (
    errors.TopicAuthorizationFailedError, errors.ClusterAuthorizationFailedError, errors.GroupAuthorizationFailedError,
)  # fmt: skip
