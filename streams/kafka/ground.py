"""The ground under readers: at each take-over of a partition, is its log the one that was read, and is the database whole?

An offset alone does not tell: a topic that was deleted and made again is silent once it has grown past the position.
So the topic's id is compared with that of the topic that was read, and the record before the position is fetched and
compared with the fingerprint that its batch left (a log that is cut off keeps its id). Held partitions are
asked again every few seconds; a hold ends by itself only where that very record is seen, and else by a decision
(`tidings sources accept`).
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from aiokafka import errors

from streams.kafka.cluster import Cluster, Refused, opened
from streams.kafka.connection import Connection
from streams.kafka.reach import PATIENCE, Away
from streams.processors import ground
from streams.processors.ground import Decision, Older, Source, standing_of
from tidings.errors import Misconfigured
from tidings.ground import Finding, NoChoice, Seen, choose, is_proven, judge
from tidings.log import Partition, fingerprint
from tidings.ports import Row, Store

logger = logging.getLogger("tidings.ground")

WORKERS = "worker"
"""Consumer group of the workers, without prefix."""
WATCH = 60.0
"""Seconds between two comparisons of the database with the topics."""
RECHECK = 5.0
"""Seconds after which a worker asks again for what is held."""
TURNS = 3
"""How often an observation is repeated whose log lost its oldest records meanwhile."""

Numbers = Callable[[], Awaitable[Mapping[Partition, tuple[int, int]]]]
"""Of each partition of the outcome topics: the last number in the database, and the last one in the topic.

The topic is asked first: numbers are written to the database before they are published.
"""


async def observe(cluster: Cluster, rows: Mapping[Source, Row]) -> dict[Source, Seen | None]:
    """Return what the logs say of themselves, for each row of `sources`; None: there is no such partition."""
    for _ in range(TURNS):
        try:
            return await _observe(cluster, rows)
        except errors.OffsetOutOfRangeError:
            continue
    raise Away("logs lose their oldest records faster than they can be looked at")


async def _observe(cluster: Cluster, rows: Mapping[Source, Row]) -> dict[Source, Seen | None]:
    # The ids first: what is seen under them may belong to a topic that is made after it.
    ids = await cluster.ids({topic for _, topic, _ in rows})
    topics = await cluster.topics()
    places = {(topic, p) for _, topic, p in rows if topic in topics and p < topics[topic].partitions}
    ends = await cluster.ends(sorted(places))
    # Readers of one partition may stand at different places: as many rounds as there are.
    asked: dict[Partition, set[int]] = {}
    for (_, topic, partition), row in rows.items():
        standing = standing_of(row)
        if (topic, partition) in ends and standing.fingerprint is not None:
            start, end = ends[topic, partition]
            if start < standing.position <= end:
                asked.setdefault((topic, partition), set()).add(standing.position - 1)
    before: dict[tuple[Partition, int], str] = {}
    while asked:
        offsets = {place: wanted.pop() for place, wanted in asked.items()}
        for place, record in (await cluster.records(offsets)).items():
            before[place, record.offset] = fingerprint(record)
        asked = {place: wanted for place, wanted in asked.items() if wanted}
    found: dict[Source, Seen | None] = {}
    for (reader, topic, partition), row in rows.items():
        place = (topic, partition)
        mark = before.get((place, standing_of(row).position - 1))
        found[reader, topic, partition] = Seen(*ends[place], mark, ids.get(topic)) if place in ends else None
    return found


async def decide(cluster: Cluster, store: Store, rows: Mapping[Source, Row], where: int | str) -> list[Decision]:
    """Return what going on at `where` (`start`, `end`, an offset) means for those of some sources that are held.

    `rows` holds all readers of each partition: where the log is another one, it is so for all of them.

    Raises:
        NoChoice: nothing is held, or nobody can go on there; the text says why.
    """
    seen = await observe(cluster, rows)
    holds = await store.read(ground.read_holds)
    findings: dict[Partition, dict[str, Finding]] = defaultdict(dict)
    for source, row in rows.items():
        finding = judge(standing_of(row), seen[source])
        if finding is None and source in holds:
            finding = ground.finding_of(holds[source])
        if finding is not None:
            findings[source[1], source[2]][source[0]] = finding
    if not findings:
        raise NoChoice(
            "nothing of it is held: it is the log that was read, and moving back under live state is refused"
        )
    if isinstance(where, int) and len(findings) > 1:
        named = ", ".join(f"{topic}:{partition}" for topic, partition in sorted(findings))
        raise NoChoice(f"an offset is one partition's: {named} are held; name one of them")
    decisions = []
    for place, found in sorted(findings.items()):
        theirs = {source: row for source, row in rows.items() if source[1:] == place}
        now = seen[next(iter(theirs))]
        try:
            choice = choose(list(found.values()), now, where)
        except NoChoice as fault:
            raise NoChoice(f"{place[0]}:{place[1]}: {fault}") from None
        mark = None
        if now is not None and choice.at > now.start:
            before = await cluster.records({place: choice.at - 1})
            mark = fingerprint(before[place]) if place in before else None
        decisions.append(Decision(place, choice, found, mark, None if now is None else now.log_id, theirs))
    return decisions


@dataclass
class Ground:
    """What a process asks before it reads: `check` for partitions that it takes over, `database` at its start."""

    connection: Connection
    store: Store
    readers: Sequence[str]
    """Whose positions count here."""
    group: str = WORKERS
    numbers: Numbers | None = None
    within: float = PATIENCE
    run: Callable[[], str] | None = None
    """Says which database it is, and since when its server runs."""

    async def check(self, places: Sequence[Partition]) -> dict[Partition, Finding]:
        """Return what is not to be read now, with the reason; what is new of it is logged and written to `holds`.

        Raises:
            Away, Misconfigured: nothing is known; read nothing, and ask again.
        """
        rows = await self.store.read(ground.read_sources(places, self.readers))
        async with opened(self.connection, within=self.within) as cluster:
            seen = await observe(cluster, rows)
        holds = await self.store.read(ground.read_holds)
        found, proven = {}, []
        for source, row in rows.items():
            standing = standing_of(row)
            finding = judge(standing, seen[source])
            if finding is None and source in holds:
                if is_proven(standing, seen[source]):
                    proven.append(source)
                else:
                    finding = ground.finding_of(holds[source])
            if finding is not None:
                found[source] = finding
        fresh = {
            source: (standing_of(row).position, log_id)
            for source, row in rows.items()
            if source not in found
            and (now := seen[source]) is not None
            and (log_id := now.log_id) not in (None, row["log_id"])
        }
        if fresh:
            await self.store.run(ground.adopt(fresh))
        if found or proven:
            new, ended = await self.store.run(ground.note(found, proven, rows))
            for reader, topic, partition in new:
                says = found[reader, topic, partition]
                logger.error("held %s:%d for %s: %s; see 'tidings sources list'", topic, partition, reader, says)
            for reader, topic, partition in ended:
                logger.warning("%s:%d is the log again that %s read, and goes on", topic, partition, reader)
        return {(topic, partition): finding for (_, topic, partition), finding in found.items()}

    async def ids(self, topics: Collection[str]) -> dict[str, str]:
        """Return the ids that topics have now; of those that there are, where the brokers give any.

        Raises:
            Away, Misconfigured: nothing is known.
        """
        async with opened(self.connection, within=self.within) as cluster:
            return await cluster.ids(topics)

    async def database(self) -> Older | None:
        """Compare the database with what the topics know; where it is older, hold dispatch and delivery as a whole.

        Raises:
            Away, Misconfigured: nothing is known; send nothing, and ask again.
        """
        async with opened(self.connection, within=self.within) as cluster:
            evidence = await find_older(cluster, self.store, self.group, self.numbers)
        if not evidence:
            return None
        if await self.store.run(ground.hold_dispatch(evidence)):
            logger.error("nothing is sent: %s; see docs/ground.md", evidence)
        return evidence

    async def went_back(self, place: Partition, reader: str, position: int, known: int) -> None:
        """Hold dispatch and delivery: a position that this process saw committed is not in the database any more.

        Raises:
            StoreUnavailable: it could not be written; the caller tries the batch again, and comes here again.
        """
        logger.error("%s of %s:%d stood at %d, and stands at %d again", reader, *place, known, position)
        await self.store.run(ground.hold_dispatch(Older({place: (position, known)})))

    async def begin(self) -> None:
        """Return when this process may send: the database was compared, or it was since its server started.

        A database of another identity was restored or failed over to, and a volume may have been put back while the
        server was down: it then says of itself that it was compared, and has forgotten what was sent since. While no
        broker answers nobody knows, and this waits.

        Raises:
            Misconfigured: the brokers do not take us.
        """
        said = False
        while True:
            try:
                await self.again()
            except (Away, Refused) as fault:
                known = await self.store.read(ground.read_compared)
                if known is None or (self.run is not None and known == self.run()):
                    logger.warning("the database is taken as it is until the topics can be asked: %s", fault)
                    return
                if not said:
                    logger.error(  # noqa: TRY400 - a state
                        "nothing is begun: another database, or its server was started since it was compared with the "
                        "topics, and no topic can be asked: %s", fault,
                    )  # fmt: skip
                said = True
                await asyncio.sleep(RECHECK)
            else:
                return

    async def again(self) -> bool:
        """Compare now, and remember that this database was compared; for a loop."""
        run = None if self.run is None else self.run()  # before it is looked at: a later start is another one
        await self.database()
        if run is not None and await self.store.read(ground.read_compared) != run:
            await self.store.run(ground.write_compared(run))
        return False

    async def watch(self) -> bool:
        """`again` for a loop that goes on whatever the brokers do."""
        try:
            return await self.again()
        except (Away, Refused, Misconfigured) as fault:
            logger.debug("the database was not compared: %s", fault)
            return False


async def find_older(cluster: Cluster, store: Store, group: str, numbers: Numbers | None = None) -> Older:
    """Return what shows that the database is older than the topics."""
    try:
        # First Kafka, then the database: it is ahead of what workers commit, never behind.
        committed = await cluster.committed(group)
    except Refused:
        committed = {}
    rows = await store.read(ground.read_sources(sorted(committed)))
    settled = await store.read(ground.read_settled)
    return ground.older(rows, committed, settled, {} if numbers is None else await numbers())
