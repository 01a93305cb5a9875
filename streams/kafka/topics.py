"""Which topics an installation has, as its contracts say, and what is to be done to get there.

`wanted` and `plan` are pure. `apply` writes the rows of a partition into `sources` before the partition exists: one
without a row counts as never read, one that appears behind a reader's back would let W run past what it holds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from schemas import Contracts
from streams.kafka.cluster import Cluster, New, Topic
from streams.processors import detect, people
from streams.processors.ground import ARCHIVE, READERS, Source
from tidings.contract import Contract
from tidings.event import Micros
from tidings.log import Partition
from tidings.outcomes import OURS
from tidings.outcomes import TOPICS as OUTCOMES
from tidings.ports import Scan, Store, Transaction
from tidings.rule import RuleSet

CLOCK = "tidings.clock"
"""Tiny records from which the skew between a worker's clock and each broker's is measured."""
PEOPLE = "customer."

Tell = Callable[["Line"], None]

DAY_MS = 86_400_000
CLOCK_MS = 3_600_000
BATCH_BYTES = 1_048_588
"""Kafka's own default, said so that no broker's setting lets more through; single records are bounded by the codec."""
PATIENCE, PAUSE = 20, 0.1
"""How often, and after how many seconds each time, it is looked again whether the brokers have heard of a change."""
STAMP, KEPT = "message.timestamp.type", "retention.ms"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A topic as it should be."""

    name: str
    partitions: int
    replicas: int
    settings: Mapping[str, str]
    readers: tuple[str, ...] = ()
    """Who keeps a position on it: each has a row in `sources`."""


class Kind(StrEnum):
    """What a line of the plan is."""

    CREATE = "create"
    GROW = "grow"
    SET = "set"
    CONNECT = "connect"
    """Rows of readers are missing in the database."""
    CANNOT = "cannot"
    """It is not as it should be, and nothing here can change it."""
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a plan."""

    kind: Kind
    topic: str
    says: str
    mend: str = ""

    @property
    def is_to_do(self) -> bool:
        """Whether `apply` does something about it."""
        return self.kind not in (Kind.CANNOT, Kind.NOTE)


def readers_of(contract: Contract) -> tuple[str, ...]:
    """Return who reads the topic of a contract."""
    if contract.type.startswith(OURS):
        return ()
    if contract.type.startswith(PEOPLE):
        return (detect.READER, people.READER, ARCHIVE)
    return (detect.READER, ARCHIVE)


def is_read(topic: str) -> bool:
    """Return whether workers read a contract's topic: all but those that we publish ourselves."""
    return not topic.startswith(OURS)


def is_made(contract: Contract) -> bool:
    """Return whether a contract has a topic: not where it is one of our own outcomes, and nobody publishes it.

    A dead letter is known by its offset, which is no claim of ours and another one in a topic that was made again; and a
    producer that sends rubbish by the million would hold up, in one outbox, what was decided and told.
    """
    return is_read(contract.topic) or contract.topic in OUTCOMES


def wanted(contracts: Contracts, *, partitions: int, replicas: int, brokers: int) -> list[Wanted]:
    """Return every topic of an installation, by name."""
    common = {
        STAMP: "LogAppendTime",
        "cleanup.policy": "delete",  # the journal names records by offset: nothing of a log may be compacted away
        "max.message.bytes": str(BATCH_BYTES),
        "min.insync.replicas": str(max(1, replicas - 1)),
        "retention.bytes": "-1",
        "unclean.leader.election.enable": "false",
    }
    found = [
        Wanted(c.topic, partitions, replicas, {**common, KEPT: str(c.retention_days * DAY_MS)}, readers_of(c))
        for c in contracts.by_type.values()
        if is_made(c)
    ]
    found.append(Wanted(CLOCK, brokers, replicas, {**common, KEPT: str(CLOCK_MS)}))
    return sorted(found, key=lambda one: one.name)


@dataclass(frozen=True, slots=True)
class Known:
    """What the cluster and the database have now."""

    topics: Mapping[str, Topic]
    """With their settings."""
    filled: frozenset[str]
    """Topics that hold records, or held some."""
    sources: frozenset[Source]
    """Rows of `sources`."""


def plan(topics: Sequence[Wanted], known: Known, rules: RuleSet | None = None) -> list[Line]:
    """Return what is to be done, in the order of the topics; nothing where all is as wanted."""
    lines: list[Line] = []
    for one in topics:
        there = known.topics.get(one.name)
        if missing := _missing(one, known):
            who = ", ".join(sorted({reader for reader, _, _ in missing}))
            lines.append(Line(Kind.CONNECT, one.name, f"{_many(len(missing), 'row')} of {who} in the database"))
        if there is None:
            many = _many(_partitions(one, known), "partition")
            lines.append(Line(Kind.CREATE, one.name, f"{many}, {_copies(one)}, kept {_time(one.settings[KEPT])}"))
        else:
            lines += _differences(one, there, known)
    if rules is not None:
        lines += _together(rules, topics, known)
    return lines


def _partitions(one: Wanted, known: Known) -> int:
    """Return how many it should have: as configured, and never fewer than readers know already."""
    rows = [partition + 1 for _, topic, partition in known.sources if topic == one.name]
    there = known.topics.get(one.name)
    return max([one.partitions, *rows, *([] if there is None else [there.partitions])])


def _missing(one: Wanted, known: Known) -> list[Source]:
    places = range(_partitions(one, known))
    return [s for p in places for r in one.readers if (s := (r, one.name, p)) not in known.sources]


def _differences(one: Wanted, there: Topic, known: Known) -> Iterable[Line]:
    aim = _partitions(one, known)
    if aim > there.partitions:
        says = f"from {_many(there.partitions, 'partition')} to {aim}"
        yield Line(Kind.GROW, one.name, says, "keys that hash to the new ones change place: their order begins anew")
    elif there.partitions > one.partitions and one.name != CLOCK:
        says = f"it has {_many(there.partitions, 'partition')}, [kafka] partitions says {one.partitions}"
        yield Line(Kind.NOTE, one.name, says, "Kafka takes none away; this is harmless")
    if there.replicas != one.replicas:
        says = f"{_many(there.replicas, 'copy', 'copies')} of each partition, [kafka] replicas says {one.replicas}"
        mend = "kafka-reassign-partitions moves and adds copies"
        yield Line(Kind.CANNOT if there.replicas < one.replicas else Kind.NOTE, one.name, says, mend)
    changes = _changes(one, there, known)
    if there.settings.get(STAMP) != one.settings[STAMP] and STAMP not in changes:
        yield Line(
            Kind.CANNOT, one.name, "its records carry the producers' times, not the time of their append",
            "let producers stop, drain it, delete it and run 'tidings topics apply'; docs/ground.md says how to go on",
        )  # fmt: skip
    for name, value in sorted(changes.items()):
        yield Line(Kind.SET, one.name, f"{name}: {there.settings.get(name, 'unknown')} → {value}")


def _together(rules: RuleSet, topics: Sequence[Wanted], known: Known) -> Iterable[Line]:
    """Name rules whose topics have different numbers of partitions: then no one worker owns a customer."""
    counts = {one.name: _partitions(one, known) for one in topics if one.readers}
    for rule in rules.rules:
        found = {topic: counts[topic] for topic in sorted(rule.topics) if topic in counts}
        if len(set(found.values())) > 1:
            said = ", ".join(f"{topic} {count}" for topic, count in found.items())
            says = f"rule {rule.id} reads together: partitions of {said}"
            yield Line(
                Kind.NOTE,
                next(iter(found)),
                says,
                "with equal counts and keys one worker owns a customer; it is slower so",
            )


def _copies(one: Wanted) -> str:
    return _many(one.replicas, "copy", "copies")


def _time(ms: str) -> str:
    days, rest = divmod(int(ms), DAY_MS)
    return _many(days, "day") if not rest else _many(int(ms) // CLOCK_MS, "hour")


def _many(number: int, one: str, many: str | None = None) -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


async def look(cluster: Cluster, store: Store | None, topics: Sequence[Wanted]) -> Known:
    """Look at both; without a store no row is known."""
    found = await cluster.described(one.name for one in topics)
    ends = await cluster.ends([(name, p) for name, topic in found.items() for p in range(topic.partitions)])
    filled = frozenset(place[0] for place, (_, end) in ends.items() if end > 0)
    rows = set() if store is None else await store.read(_rows)
    names = {one.name for one in topics}
    return Known(found, filled, frozenset(source for source in rows if source[1] in names))


async def apply(
    cluster: Cluster,
    store: Store,
    topics: Sequence[Wanted],
    *,
    now: Micros,
    grace: Micros,
    history: str,
    told: Tell = lambda _: None,
    rules: RuleSet | None = None,
) -> list[Line]:
    """Do what the plan says; return what is left of it afterwards. Safe to repeat, and to be killed anywhere.

    Raises:
        Away, Refused, Misconfigured: the cluster does not do it; what was done before stays.
    """
    known = await look(cluster, store, topics)
    await _connect(cluster, store, topics, known, (now, grace, history))
    for one in topics:
        if missing := _missing(one, known):
            told(Line(Kind.CONNECT, one.name, _many(len(missing), "row")))
    new = [
        New(one.name, _partitions(one, known), one.replicas, one.settings)
        for one in topics
        if one.name not in known.topics
    ]
    made = set(await cluster.create_all(new)) if new else set()
    for each in new:
        if each.name in made:
            told(Line(Kind.CREATE, each.name, _many(each.partitions, "partition")))
    for one in topics:
        if (there := known.topics.get(one.name)) is None:
            continue
        if (aim := _partitions(one, known)) > there.partitions:
            await cluster.grow(one.name, aim)
            told(Line(Kind.GROW, one.name, f"to {_many(aim, 'partition')}"))
        changes = _changes(one, there, known)
        if changes:
            await cluster.alter(one.name, changes)
            told(Line(Kind.SET, one.name, ", ".join(sorted(changes))))
    for _ in range(PATIENCE):
        left = plan(topics, await look(cluster, store, topics), rules)
        if not any(line.is_to_do for line in left):
            break
        await asyncio.sleep(PAUSE)
    return left


def _changes(one: Wanted, there: Topic, known: Known) -> dict[str, str]:
    """Return the settings that can be brought to what is wanted."""
    changes = {name: value for name, value in one.settings.items() if there.settings.get(name) != value}
    if one.name in known.filled:
        changes.pop(STAMP, None)
    return changes


async def _connect(
    cluster: Cluster, store: Store, topics: Sequence[Wanted], known: Known, how: tuple[Micros, Micros, str]
) -> None:
    """Write the rows that are missing, one transaction a reader."""
    now, grace, history = how
    missing = [source for one in topics for source in _missing(one, known)]
    counts = {name: topic.partitions for name, topic in known.topics.items()}
    existing: list[Partition] = sorted({(topic, p) for _, topic, p in missing if p < counts.get(topic, 0)})
    starts = {place: start for place, (start, _) in (await cluster.ends(existing)).items()}
    for reader in READERS:
        if places := [(topic, partition) for whose, topic, partition in missing if whose == reader]:
            body = detect.connect(places, now, grace=grace, history=history, reader=reader, starts=starts)
            await store.run(body)


def _rows() -> Transaction[set[Source]]:
    rows = yield Scan("sources")
    return {(row["reader"], row["topic"], row["partition"]) for row in rows if row["reader"] in READERS}
