"""`tidings doctor` on a cluster: brokers, topics, database, positions, clocks, registry, who works; each with how to mend it.

It changes nothing, but for a tiny record on the clock topic, by which the brokers' clocks are measured. The three
grounds are looked at side by side, each within its deadline: a host that is dead costs seconds, and hides no other
finding.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field

from aiokafka import AIOKafkaProducer, errors

from gateway.cli import doctor_access, doctor_waits
from gateway.cli.doctor_database import database
from gateway.cli.doctor_processes import processes
from gateway.cli.found import Found
from gateway.cli.topics import rules_of
from gateway.cli.topics import wanted as wanted_of
from gateway.config import Config
from gateway.logs import silence
from gateway.stopping import unsent_of
from schemas import contracts
from streams.kafka import topics
from streams.kafka.cluster import Cluster, Refused, opened
from streams.kafka.connection import Connection
from streams.kafka.ground import WORKERS, find_older, observe
from streams.kafka.outcome_log import numbers
from streams.kafka.reach import Away, probe
from streams.kafka.skew import Skew
from streams.kafka.topics import CLOCK, Kind, Line
from streams.processors import ground
from streams.processors.ground import DISPATCH, READERS, standing_of
from streams.registry.client import Registry, RegistryUnavailable
from streams.registry.publish import publish
from streams.stores.postgres import PostgresStore
from streams.wording import counted, moment
from tidings.errors import Misconfigured
from tidings.event import SECOND
from tidings.ground import judge
from tidings.ports import Row, Scan, Store, StoreUnavailable, Transaction
from tidings.watermark import GRACE

ADDRESS = 3.0
"""Seconds for one address."""
QUESTION = 4.0
"""Seconds for one question to the cluster."""
AUTO = "auto.create.topics.enable"
REPLICA_LAG = "replica.lag.time.max.ms"
DEADLINE = 9.0
"""Seconds for everything about one of the grounds."""
MEND = {
    "kafka": "see that the brokers run, and take connections from here; [kafka] names them",
    "database": "see that the server runs, and takes connections from here; [postgres] names it. Processes wait for it",
    "schema registry": "see that it runs, and takes connections from here; [registry] names it",
}
"""What to do where something does not answer, by what it is."""
SHOWN = 5
"""Lines of one kind that are shown one by one."""

Findings = AsyncIterator[Found]


@dataclass
class Together:
    """The store, once it is open: what the cluster says is compared with what it holds."""

    store: PostgresStore | None = None
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    """Whether it is known if it opens."""


def cluster(settings: Config) -> list[Found]:
    """Look at everything that a cluster stands on."""
    silence("aiokafka")
    return asyncio.run(_cluster(settings))


async def _cluster(settings: Config) -> list[Found]:
    together = Together()
    try:
        parts = await asyncio.gather(
            _within("kafka", lambda: _kafka(settings, together)),
            _within("database", lambda: _database(settings, together)),
            _within("schema registry", lambda: _registry(settings)),
        )
    finally:
        if together.store is not None:
            await together.store.close()
    return [found for part in parts for found in part]


async def _within(what: str, look: Callable[[], Findings]) -> list[Found]:
    """Collect findings until the deadline; what was found before it counts."""
    found: list[Found] = []

    async def collect() -> None:
        async for one in look():
            found.append(one)  # noqa: PERF401 - a deadline must not take what came before it

    try:
        await asyncio.wait_for(collect(), DEADLINE)
    except TimeoutError:
        text = f"not everything could be looked at in {DEADLINE:g} s"
        found.append(Found(what, "wrong", text, "see what is slow or cut off between here and there"))
    except (Away, Refused, RegistryUnavailable, StoreUnavailable) as fault:
        found.append(Found(what, "wrong", str(fault), MEND[what]))
    except Misconfigured as fault:
        found.append(Found(what, "wrong", str(fault), "mend the configuration; docs/cluster.md has every key"))
    return found


async def _database(settings: Config, together: Together) -> Findings:
    try:
        together.store = await PostgresStore.open(settings.postgres())
    finally:
        together.asked.set()
    async for found in database(together.store, rules_of(settings)):
        yield found
    async for found in processes(settings.postgres()):
        yield found
    try:
        standing, letters, whole = await together.store.read(doctor_waits.waiting_for_people)
        counts = await unsent_of(together.store) if standing else None
    except Misconfigured:
        yield Found(
            doctor_waits.STOPPED, "note", "this user may not see what is", "ask as a gateway, or as an operator"
        )
    else:
        for found in doctor_waits.waits(standing, counts, letters, whole=whole):
            yield found
    try:
        rows = await together.store.read(doctor_access.every_key)
    except Misconfigured:
        yield Found("keys", "note", "this user may not see them", "ask as a gateway, or as an operator")
    else:
        yield doctor_access.keys(settings, rows, time.time_ns() // 1000)


async def _registry(settings: Config) -> Findings:
    endpoint = settings.registry()
    if endpoint is None:
        yield Found("schema registry", "note", "none is configured: the shipped schemas are used")
        return
    registry = Registry(endpoint, deadline=QUESTION)
    try:
        missing = [one.subject async for one in publish(registry, contracts(), write=False) if one.changed]
    finally:
        await registry.close()
    if missing:
        text = f"{endpoint.url} lacks {counted(len(missing), 'released version')}, as of {missing[0]}"
        yield Found("schema registry", "wrong", text, "tidings contracts publish")
    else:
        yield Found("schema registry", "ok", f"{endpoint.url} has every released version")


async def _kafka(settings: Config, together: Together) -> Findings:
    connection = settings.kafka()
    faults = await asyncio.gather(*(probe(connection, where, within=ADDRESS) for where in connection.bootstrap))
    alone = all(fault is not None for fault in faults)
    for where, fault in zip(connection.bootstrap, faults, strict=True):
        if fault is None:
            yield Found(f"broker {where}", "ok", f"reached over {connection.protocol}")
        else:
            yield Found(
                f"broker {where}", "wrong" if alone else "note", fault.says.removeprefix(f"{where}: "), fault.mend
            )
    if alone:
        return
    async with opened(connection, within=QUESTION) as found:
        async for one in _brokers(found, connection):
            yield one
        async for one in _each(
            lambda: _topics(settings, found, together), lambda: _clocks(found, connection), lambda: _workers(found)
        ):
            yield one
        await together.asked.wait()
        if together.store is not None:
            async for one in _positions(found, together.store):
                yield one


async def _each(*looks: Callable[[], Findings]) -> Findings:
    """One question that is not answered must not hide the next."""
    for look in looks:
        try:
            async for one in look():
                yield one
        except (Away, Refused, Misconfigured) as fault:
            yield Found("kafka", "wrong", str(fault), MEND["kafka"])


async def _brokers(found: Cluster, connection: Connection) -> Findings:
    """See whether the addresses that the brokers give out lead anywhere from here."""
    brokers = await found.brokers()
    others = [str(one) for one in brokers if str(one) not in connection.bootstrap]
    for where, fault in zip(
        others, await asyncio.gather(*(probe(connection, where, within=ADDRESS) for where in others)), strict=True
    ):
        if fault is None:
            yield Found(f"broker {where}", "ok", "reached under the address that it gives out")
        else:
            mend = f"its advertised.listeners must name an address that leads to it from here; {fault.mend}"
            yield Found(f"broker {where}", "wrong", f"it gives out this address, and {fault.says}", mend)
    with contextlib.suppress(Misconfigured):  # without the right to see them, nothing is said
        if any([(await found.settings_of(one)).get(AUTO) == "true" for one in brokers]):
            says = f"{AUTO} is on: a topic comes into being by a slip of the pen, and again after it was deleted"
            yield Found("brokers", "note", says, f"set {AUTO} = false; 'tidings topics apply' makes what is needed")
    if len(brokers) == 1:
        yield Found("brokers", "note", "one only: while it is away nothing is read, and its disk holds the only copy")


async def _topics(settings: Config, found: Cluster, together: Together) -> Findings:
    await together.asked.wait()
    aims = await wanted_of(settings, found)
    known = await topics.look(found, together.store, aims)
    lines = [
        line
        for line in topics.plan(aims, known, rules_of(settings))
        if together.store is not None or line.kind is not Kind.CONNECT
    ]
    for one in _told(lines):
        yield one
    if not lines:
        yield Found("topics", "ok", f"{len(aims)}, as the contracts want them")
    kafka = settings.settings.kafka
    if found_lag := await copies(found):
        yield found_lag
    if kafka is not None and kafka.replicas == 1:
        text = "[kafka] replicas = 1: each record has one copy, and is lost with its disk"
        yield Found("copies", "note", text, "with three brokers set replicas = 3")


async def copies(found: Cluster) -> Found | None:
    """Say where a copy that stands still hides records for longer than an idle topic is given."""
    shipped = contracts().by_topic
    copied = [name for name, topic in (await found.topics()).items() if name in shipped and topic.replicas > 1]
    if not copied:
        return None
    bound = GRACE // 2 // 1000
    lags: dict[str, int] = {}
    with contextlib.suppress(Misconfigured):  # without the right to see them, nothing is said
        for broker in await found.brokers():
            lag = int((await found.settings_of(broker)).get(REPLICA_LAG, 0))
            if lag > bound:
                lags[str(broker)] = lag
    if not lags:
        return None
    says = (
        f"{REPLICA_LAG} = {max(lags.values())} on {', '.join(lags)}: a copy that lags hides records so long, and what is"
        f" later than {GRACE // SECOND} s may come after an absence was noticed"
    )
    return Found("copies that lag", "note", says, f"set {REPLICA_LAG} = {bound}; docs/ground.md, 'Clocks'")


def _told(lines: Sequence[Line]) -> Iterator[Found]:
    """Sum up what `apply` would do, and show what it cannot."""
    to_do = Counter(line.kind for line in lines if line.is_to_do)
    if to_do:
        said = ", ".join(f"{count} to {kind}" for kind, count in to_do.items())
        yield Found("topics", "wrong", said, "tidings topics plan shows them; tidings topics apply does it")
    for kind, state in ((Kind.CANNOT, "wrong"), (Kind.NOTE, "note")):
        shown = [line for line in lines if line.kind is kind]
        for line in shown[:SHOWN]:
            yield Found(f"topic {line.topic}", state, line.says, line.mend)
        if len(shown) > SHOWN:
            yield Found("topics", state, f"{len(shown) - SHOWN} more of the kind", "tidings topics plan shows them")


async def _clocks(found: Cluster, connection: Connection) -> Findings:
    if CLOCK not in await found.topics():
        return
    skew = Skew(connection)
    producer = AIOKafkaProducer(**connection.options(), acks=1, request_timeout_ms=int(QUESTION * 1000))
    try:
        async with asyncio.timeout(QUESTION):
            await producer.start()
            for _ in range(2):  # the first answer comes over a connection that is just made
                await skew.measure(producer)
    except (errors.KafkaError, OSError, TimeoutError) as fault:
        yield Found(
            "clocks of the brokers", "wrong", f"they could not be measured: {type(fault).__name__}", MEND["kafka"]
        )
        return
    finally:
        with contextlib.suppress(errors.KafkaError, OSError, TimeoutError):
            await asyncio.wait_for(producer.stop(), 1)
    worst = skew.worst()
    if worst is None:
        yield Found("clocks of the brokers", "wrong", "the clock topic has producers' times", "tidings topics apply")
    elif skew.ok(GRACE):
        yield Found("clocks of the brokers", "ok", f"within {worst / SECOND:.3f} s of ours")
    else:
        text = f"up to {worst / SECOND:.1f} s from ours; above {GRACE / 2 / SECOND:g} s no absence is noticed in a quiet topic"
        yield Found("clocks of the brokers", "wrong", text, "set the clocks by NTP, here and there")


async def _workers(found: Cluster) -> Findings:
    group = await found.group(WORKERS)
    if not group.members:
        yield Found("workers", "note", "none reads", "tidings worker")
        return
    owned = {place for places in group.members.values() for place in places}
    known = await found.topics()
    shipped = contracts().by_topic
    every = {
        (name, p)
        for name, topic in known.items()
        if name in shipped and topics.is_read(name)
        for p in range(topic.partitions)
    }
    many = f"{counted(len(group.members), 'member')}, {counted(len(owned), 'partition')}"
    if group.state not in ("Stable", "Empty"):
        yield Found("workers", "note", f"{many}; partitions change hands now ({group.state})", "look again in a minute")
    elif every - owned:
        name, partition = min(every - owned)
        text = f"{many}; {counted(len(every - owned), 'partition')} belong to nobody, as {name}:{partition}"
        yield Found("workers", "wrong", text, "restart a worker: it reads new topics and partitions from its start on")
    else:
        yield Found("workers", "ok", many)


async def _positions(found: Cluster, store: Store) -> Findings:
    rows = {
        (row["reader"], row["topic"], row["partition"]): row
        for row in await _scan(store, "sources")
        if row["reader"] in READERS
    }
    seen = await observe(found, rows)
    holds = await store.read(ground.read_holds)
    lag: dict[str, int] = defaultdict(int)
    shown = 0
    for source, row in sorted(rows.items()):
        reader, topic, partition = source
        finding = judge(standing_of(row), seen[source])
        if finding is None and source in holds:
            finding = ground.finding_of(holds[source])
        if finding is not None:
            shown += 1
            if shown <= SHOWN:
                mend = f"'tidings sources accept {topic} --from-start' says what going on would do; or --from-end, --from OFFSET"
                yield Found(f"source {topic}:{partition}", "wrong", f"{reader}: {finding}", mend)
        elif (now := seen[source]) is not None:
            lag[reader] += max(0, now.end - standing_of(row).position)
    if shown > SHOWN:
        yield Found("sources", "wrong", f"{shown - SHOWN} more are held", "tidings sources list --held")
    waits = ", ".join(f"{reader} {count:,}" for reader, count in sorted(lag.items()))
    if waits:
        yield Found("records that wait", "ok", waits)
    held = holds.get(DISPATCH)
    if held is not None:
        text = f"nothing is sent since {moment(held['at'])}: {ground.read_older(held)}"
        yield Found("messages", "wrong", text, "docs/ground.md, 'The database is older than the topics'")
    elif evidence := await find_older(found, store, WORKERS, numbers(found.connection, store)):
        text = f"{evidence}; whatever starts next holds every message"
        yield Found("messages", "wrong", text, "docs/ground.md, 'The database is older than the topics'")


async def _scan(store: Store, table: str) -> list[Row]:
    def body() -> Transaction[list[Row]]:
        return (yield Scan(table))  # type: ignore[no-any-return]

    return await store.read(body)
