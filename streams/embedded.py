"""The embedded engine: log, detection, dispatch and delivery in one process on one SQLite file.

The composition root of the embedded mode: it builds the objects, runs the loops side by side, and stops them in order.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self, TypeVar, get_args

from handlers.channels.content import Contents
from handlers.rules.load import dump_sources, load_sources
from handlers.rules.signature import refusals, remembered
from schemas import Contracts
from streams.codec import Codec
from streams.embedded_log import BARRIER_EVERY, Append, EmbeddedLog, create
from streams.processors import detect, people
from streams.processors.deliverer import Deliverer, ProviderOf, Render
from streams.processors.worker import Observe, PeopleReader, Worker
from streams.stores.counts import Waiting, count_waiting
from streams.stores.sqlite import SqliteStore
from tidings import canonical
from tidings.correction import NOTICE
from tidings.delivery import Pace
from tidings.errors import Misconfigured
from tidings.event import SECOND
from tidings.journal import read_entry
from tidings.ports import Body, Find, Insert, Read, Scan, Store, StoreUnavailable, Transaction
from tidings.reasons import MessageState
from tidings.rule import Channel, RuleSet

T = TypeVar("T")

logger = logging.getLogger("tidings.engine")

IDLE = 0.02
"""Seconds that a loop rests when it found nothing to do."""
PARTING = 1.0
"""Seconds that a loop has for its last round."""
AWAY = 1.0
"""Seconds that it rests when the store did not take its round."""
FAST_BARRIER = SECOND // 5
"""Real time between two barriers of the log where the clock runs fast: absences wait for them."""


@dataclass(frozen=True)
class RealRuntime:
    """The world as it is."""

    clock: Callable[[], int]

    def now(self) -> int:
        """Return the clock."""
        return self.clock()

    async def sleep(self, micros: int) -> None:
        """Wait."""
        await asyncio.sleep(micros / SECOND)

    async def gather(self, jobs: Sequence[Awaitable[T]]) -> list[T]:
        """Run jobs side by side; one that fails does not take the others with it."""
        results = await asyncio.gather(*jobs, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return results  # type: ignore[return-value]


def calm_collector() -> None:
    """Let Python's garbage collector look at what a batch makes, and no more at what was loaded for good.

    Events live as long as their batch and hold no cycles; with the thresholds that Python has by itself, a twelfth of
    the worker's time went into walking over them and over every class and contract of the process. For processes that
    are an engine and nothing else.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def wall_clock() -> int:
    """Return microseconds since the epoch."""
    return time.time_ns() // 1000


@dataclass
class RuleBook:
    """Rule sets by hash: an old one is built again from its sources, which the store keeps."""

    contracts: Contracts
    sources: dict[str, bytes] = field(default_factory=dict)
    built: dict[str, RuleSet] = field(default_factory=dict)

    def get(self, digest: str) -> RuleSet:
        """Return a rule set that the store knows."""
        if digest not in self.built:
            self.built[digest] = load_sources(self.sources[digest], self.contracts.by_type)
        return self.built[digest]


@dataclass
class Engine:
    """One process on one file. `async with Engine(...)` opens it; `start` runs the loops."""

    path: Path
    contracts: Contracts
    files: Mapping[str, bytes]
    texts: Mapping[str, str]
    rules: RuleSet
    provider_of: ProviderOf
    """The way out for each channel."""
    clock: Callable[[], int] = wall_clock
    render: Render = field(default_factory=Contents)
    """What messages say."""
    speed: int = 1
    """How much faster the clock runs than the real one; leases, settle times and waits between attempts stay real."""
    history: str = "past"
    observe: Observe = lambda _: None
    pace: Pace = field(default_factory=Pace)
    concurrency: int = 16
    batch_limit: int = 500
    name: str = "embedded"
    kind: str | None = "run"
    """What the file is for: `run`, `demo` or `ingest`; the one is never opened as the other. None: whatever it is."""

    async def __aenter__(self) -> Self:
        """Open the file, connect the topics, make the rules active."""
        self.codec = Codec(self.contracts)
        self.store = await SqliteStore.open(self.path, self.clock)
        self.log = EmbeddedLog(self.store, BARRIER_EVERY if self.speed == 1 else FAST_BARRIER * self.speed)
        self.book = RuleBook(self.contracts)
        self.tasks: list[asyncio.Task[None]] = []
        self.ending = False
        self.progress: dict[str, float] = {}
        self.unread: BrokenPipeError | None = None
        try:
            if self.kind is not None:
                await claim(self.store, self.path, self.kind)
            await self._connect()
            await self._activate()
        except BaseException:
            await self.store.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop the loops and close the file."""
        await self.stop()
        await self.store.close()

    async def replace_rules(self, files: Mapping[str, bytes], texts: Mapping[str, str], rules: RuleSet) -> list[str]:
        """Make other rules the active ones, in one step; return why not, if their state would lose its meaning.

        Workers and deliverers notice at their next transaction; messages under way keep the texts that they were
        decided with.
        """
        if why := refusals(self.rules, rules, *await self.store.read(_living(self.rules, rules))):
            return why
        source = dump_sources(files, texts)
        self.book.built[rules.hash], self.book.sources[rules.hash] = rules, source
        await self.store.run(detect.switch(self.rules, rules, source, grace=0, meant=_meant(self.rules, rules)))
        self.files, self.texts, self.rules = files, texts, rules
        return []

    async def _connect(self) -> None:
        business = [(c.topic, 0) for c in self.contracts.by_type.values() if not c.type.startswith("customer.")]
        persons = [(c.topic, 0) for c in self.contracts.by_type.values() if c.type.startswith("customer.")]
        await self.store.run(create([*business, *persons]))
        now = self.clock()
        # The customers' own events are read by both: rules may name them, and the profiles are made of them.
        everything = [*business, *persons]
        await self.store.run(detect.connect(everything, now, grace=0, history=self.history))
        await self.store.run(detect.connect(persons, now, grace=0, history=self.history, reader=people.READER))
        self.business, self.persons = everything, persons

    async def _activate(self) -> None:
        def known() -> Transaction[Any]:
            sets = yield Scan("rule_sets")
            active = yield Read("epochs", [(detect.EPOCH,)])
            return {row["hash"]: row["body"] for row in sets}, active.get((detect.EPOCH,), {}).get("value")

        sources, active = await self.store.read(known)
        self.book.sources.update(sources)
        self.book.built[self.rules.hash] = self.rules
        source = dump_sources(self.files, self.texts)
        self.book.sources[self.rules.hash] = source
        try:
            old = None if active is None else self.book.get(active)
        except ValueError as fault:
            text = f"{self.path}: its active rules do not load any more: {fault}"
            raise Misconfigured(text) from fault
        if old is not None and (why := refusals(old, self.rules, *await self.store.read(_living(old, self.rules)))):
            raise Misconfigured("\n".join(why))
        await self.store.run(detect.switch(old, self.rules, source, grace=0, meant=_meant(old, self.rules)))

    async def start(self) -> None:
        """Run the loops."""
        runtime = RealRuntime(self.clock)
        observe = self._watched
        self.worker = Worker(
            self.store, self.log, runtime, self.codec.decode, self.rules, self.book.get, 0, self.batch_limit, observe
        )
        self.reader = PeopleReader(self.store, self.log, self.codec.decode, observe=observe)
        self.deliverers = {
            name: Deliverer(
                name=f"{self.name}-{name}",
                store=self.store,
                runtime=runtime,
                provider_of=self.provider_of,
                rules=self.rules,
                load_rules=self.book.get,
                render=self.render,
                pace=self._pace(),
                concurrency=self.concurrency,
                observe=observe,
                channels=channels,
            )
            for name, channels in self._ways().items()
        }
        attending = next(iter(self.deliverers.values()))
        await self.worker.assign(self.business)
        await self.reader.assign(self.persons)
        # Who people are is known before anything is said to them.
        while await self.reader.step():
            pass
        loops = {"people": self.reader.step, "detect": self.worker.step, "dispatch": attending.attend}
        loops |= {f"deliver {name}": one.send for name, one in self.deliverers.items()}
        self.ending = False
        self.progress = dict.fromkeys(loops, time.monotonic())
        self.tasks = [asyncio.create_task(self._forever(*loop), name=loop[0]) for loop in loops.items()]

    def _ways(self) -> dict[str, frozenset[str]]:
        """Return the channels by their provider: a provider that hangs holds up its own channels only."""
        ways: dict[int, tuple[str, set[str]]] = {}
        for channel in get_args(Channel):
            provider = self.provider_of(channel)
            ways.setdefault(id(provider), (provider.name, set()))[1].add(channel)
        names = Counter(name for name, _ in ways.values())
        return {
            name if names[name] == 1 else f"{name} {min(channels)}": frozenset(channels)
            for name, channels in ways.values()
        }

    def _pace(self) -> Pace:
        """Return the pace with what each provider may take, in the time of the store's clock."""
        leases = {channel: self.provider_of(channel).lease for channel in get_args(Channel)}
        return replace(self.pace, leases=leases).at_speed(self.speed)

    def _watched(self, seen: object) -> None:
        """Tell the observer; one that fails must not stop what it watches."""
        try:
            self.observe(seen)
        except BrokenPipeError as fault:
            # Whoever read what it tells has gone; `check` says so to whoever runs us.
            self.unread = self.unread or fault
        except Exception:
            logger.exception("the observer failed on %s", type(seen).__name__)

    async def _forever(self, name: str, step: Callable[[], Awaitable[bool]]) -> None:
        """Run a loop; `progress` says when it last finished a round (monotonic seconds).

        A store that is away (a full disk) ends none: nothing of the round was written, and it is tried again.
        """
        away = False
        while not self.ending:
            try:
                busy = await step()
            except StoreUnavailable as fault:
                if not away:
                    logger.error("%s: the store is away, tried again until it is back: %s", name, fault)  # noqa: TRY400
                away = True
                self.progress[name] = time.monotonic()
                await asyncio.sleep(AWAY)
                continue
            if away:
                logger.info("%s: the store is back", name)
            away = False
            self.progress[name] = time.monotonic()
            if not busy:
                await asyncio.sleep(IDLE)

    async def stop(self) -> None:
        """End the loops: each may finish its round, so that what it has begun is told; then it is cut off."""
        self.ending = True
        if self.tasks:
            await asyncio.wait(self.tasks, timeout=PARTING)
        for task in self.tasks:
            task.cancel()
        for task in self.tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self.tasks = []

    def check(self) -> None:
        """Raise what ended a loop, if anything did; or that nobody reads any more what the observer tells."""
        if self.unread is not None:
            raise self.unread
        for task in self.tasks:
            if task.done() and not task.cancelled() and (fault := task.exception()) is not None:
                raise fault

    async def publish(self, event_type: str, payload: Mapping[str, Any]) -> tuple[str, int, int]:
        """Append one event, durably."""
        key, value = self.codec.encode(event_type, payload)
        topic = self.contracts.by_type[event_type].topic
        return (await self.log.append([Append(topic, key, value)]))[0]

    async def waiting(self, *, within: float) -> Waiting:
        """Count what is open, in at most `within` seconds; a thread asks the file."""
        return await asyncio.to_thread(count_waiting, self.path, within=within)

    async def at_rest(self) -> bool:
        """Return whether every record was taken, every firing was heard, and no message is under way."""
        return await self.store.read(at_rest)


async def claim(store: Store, path: Path, kind: str) -> None:
    """Write down what a file is for: `run`, `demo` or `ingest`.

    Raises:
        Misconfigured: it is for something else.
    """

    def body() -> Transaction[str]:
        yield Insert("epochs", [{"name": "kind", "value": kind}])
        rows = yield Read("epochs", [("kind",)])
        return str(rows["kind",]["value"])

    found = await store.run(body)
    if found != kind:
        words = {"demo": "the demonstration's", "run": "no demonstration's", "ingest": "a trial's (ingest --data)"}
        word = words.get(found, found)
        text = f"{path} is {word} file; its clock and its customers are not those of '{kind}': name another"
        raise Misconfigured(text)


def _meant(old: RuleSet | None, new: RuleSet) -> dict[str, bytes]:
    """Return what the state of every rule means that leaves with a switch."""
    if old is None:
        return {}
    return {rule.id: remembered(rule) for rule in old.stateful if rule.id not in new.by_id}


def _living(old: RuleSet, new: RuleSet) -> Body[tuple[set[str], dict[str, bytes]]]:
    """Ask which rules have state, and what it means of those that are away."""

    def body() -> Transaction[tuple[set[str], dict[str, bytes]]]:
        rows = yield Scan("epochs")
        meant = {row["name"]: row["value"].encode() for row in rows if row["name"].startswith(detect.MEANT)}
        away = {name.removeprefix(detect.MEANT): value for name, value in meant.items()}
        living = set()
        for name in {*old.by_id, *new.by_id, *away}:
            # Whatever has state has a timer, or something that waits.
            if (yield Find("state", "by_due", (f"rule:{name}",), limit=1)):
                living.add(name)
        return living, away

    return body


def at_rest() -> Transaction[bool]:
    """Ask whether anything is left to do now; what waits for its time is no such thing."""
    heads = {(row["topic"], row["partition"]): row["next_offset"] for row in (yield Scan("log_heads"))}
    for row in (yield Scan("sources")):
        if row["next_offset"] < heads.get((row["topic"], row["partition"]), 0):
            return False
    if (yield Find("records", "by_unread", (1,), limit=1)):
        return False
    for state in (MessageState.PENDING, MessageState.CLAIMED, MessageState.SENDING):
        if (yield Find("messages", "by_work", (str(state),), limit=1)):
            return False
    return True


def totals() -> Transaction[dict[str, Any]]:
    """Count everything, for the sum that must hold: steps due = open + each terminal state.

    `messages` are the notices. Corrections belong to no step: they are counted apart, with reasons of their own.
    """
    counts: dict[str, Any] = {
        "records": {},
        "messages": {},
        "reasons": {},
        "corrections": {},
        "correction_reasons": {},
        "steps_due": 0,
        "events": 0,
        "armed": 0,
        "buffered": 0,
        "untaken": 0,
        "decided": 0,
    }
    ends = {}
    for row in (yield Scan("log_heads")):
        counts["events"] += row["next_offset"]
        ends[row["topic"], row["partition"]] = row["next_offset"]
    for row in (yield Scan("sources")):
        if row["reader"] == detect.READER:
            counts["untaken"] += ends.get((row["topic"], row["partition"]), 0) - row["next_offset"]
    for row in (yield Scan("journal")):
        # Counted from the journal, not as a difference, so that the sum can fail.
        counts["decided"] += sum(span.end - span.start - len(span.left_out) for span in read_entry(row).spans)
    for row in (yield Scan("records")):
        counts["records"][row["kind"]] = counts["records"].get(row["kind"], 0) + 1
    for row in (yield Scan("runs")):
        counts["steps_due"] += row["steps_due"]
    for row in (yield Scan("messages")):
        notice = row["role"] == NOTICE
        states = counts["messages" if notice else "corrections"]
        states[row["state"]] = states.get(row["state"], 0) + 1
        if row["reason"] is not None:
            reasons = counts["reasons" if notice else "correction_reasons"]
            name = f"{row['state']}({row['reason']})"
            reasons[name] = reasons.get(name, 0) + 1
    letters = [row for row in (yield Scan("dead_letters")) if (row["topic"], row["partition"]) in ends]
    counts["dead_letters"] = len({(row["topic"], row["partition"], row["offset"]) for row in letters})
    for row in (yield Scan("state")):
        if row["class"].startswith("rule:") and row["value"] is not None:
            counts["armed"] += "armed" in (canonical.loads(row["value"])["state"] or {})
    counts["buffered"] = len({(row["source"], row["ref"]) for row in (yield Scan("buffer"))})
    return counts


async def count(store: Store) -> dict[str, Any]:
    """Return the totals of a store."""
    return await store.read(totals)
