"""The embedded engine: log, detection, dispatch and delivery in one process on one SQLite file.

The composition root of the embedded mode: it builds the objects, runs the loops side by side, and stops them in order.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from handlers.channels.content import Contents
from schemas import Contracts
from streams import rule_switch
from streams.codec import Codec
from streams.delivering import Delivering, Way
from streams.embedded_log import BARRIER_EVERY, Append, EmbeddedLog, create
from streams.loops import Loop, Loops, RealRuntime
from streams.processors import detect, people
from streams.processors.catalogue import CatalogueReader
from streams.processors.deliverer import ProviderOf, Render
from streams.processors.worker import Observe, PeopleReader, Worker
from streams.rule_book import RuleBook
from streams.stores.counts import Waiting, count_waiting
from streams.stores.sqlite import SqliteStore
from tidings import canonical
from tidings.correction import NOTICE
from tidings.delivery import Pace
from tidings.errors import Misconfigured
from tidings.event import SECOND, Micros
from tidings.journal import read_entry
from tidings.ports import Find, Insert, Read, Scan, Store, Transaction
from tidings.reasons import MessageState
from tidings.rule import RuleSet

PARTING = 1.0
"""Seconds that the loops have for their last round, and what is in flight for its answer."""
FAST_BARRIER = SECOND // 5
"""Real time between two barriers of the log where the clock runs fast: absences wait for them."""

CATALOGUE_REST = 0.25
"""Seconds between two looks of the catalogue at a log in which nothing came."""


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
    skews: Mapping[str, Micros | None] = field(default_factory=dict, init=False)
    """One process has one clock."""
    halted: str = field(default="", init=False)
    lags: Mapping[tuple[str, str], int] = field(default_factory=dict, init=False)
    concerns: frozenset[str] = field(default=frozenset({"rules", "detection", "deliveries", "sending"}), init=False)

    async def __aenter__(self) -> Self:
        """Open the file, connect the topics, make the rules active."""
        self.codec = Codec(self.contracts)
        self.store = await SqliteStore.open(self.path, self.clock)
        self.log = EmbeddedLog(self.store, BARRIER_EVERY if self.speed == 1 else FAST_BARRIER * self.speed)
        self.book = RuleBook(self.contracts, self.store)
        self.loops = Loops(lambda seen: self.observe(seen))  # noqa: PLW0108 - the observer may change
        self.delivering: Delivering | None = None
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
        done = await rule_switch.apply(self.store, self.book, rules, files, texts, grace=0)
        if not done.why:
            self.files, self.texts, self.rules = files, texts, rules
        return list(done.why)

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
        done = await rule_switch.apply(self.store, self.book, self.rules, self.files, self.texts, grace=0)
        if done.why:
            raise Misconfigured("\n".join(done.why))

    async def start(self) -> None:
        """Run the loops."""
        observe = self.loops.watched
        self.worker = Worker(
            self.store, self.log, RealRuntime(self.clock), self.codec.decode, self.rules, self.book.get, 0,
            self.batch_limit, observe, self.book.learn,
        )  # fmt: skip
        self.reader = PeopleReader(self.store, self.log, self.codec.decode, observe=observe)
        self.delivering = Delivering(
            self.name, self.store, self.book, self.rules, self.provider_of, self.render, self.clock, observe, self.pace,
            self.concurrency, self.speed,
        )  # fmt: skip
        await self.worker.assign(self.business)
        await self.reader.assign(self.persons)
        # Who people are is known before anything is said to them.
        while await self.reader.step():
            pass
        self.catalogue = CatalogueReader(self.store, self.codec.decode, self.contracts.by_type)
        loops = {
            "people": Loop(self.reader.step),
            "detect": Loop(self.worker.step, wakes=lambda: ("dispatch",)),
            "catalogue": Loop(self.catalogue.step, CATALOGUE_REST),
        }
        self.loops.start(loops | self.delivering.loops())

    async def stop(self) -> None:
        """End the loops: each may finish its round, so that what it has begun is told; then it is cut off."""
        await self.loops.stop(PARTING)
        if self.delivering is not None:
            await self.delivering.finish(PARTING)

    @property
    def ways(self) -> Mapping[str, Way]:
        """The ways out by their names; none before it delivers."""
        return {} if self.delivering is None else self.delivering.ways

    @property
    def progress(self) -> Mapping[str, float]:
        """By loop: when it last finished a round, or was started (`time.monotonic`)."""
        return self.loops.progress

    def check(self) -> None:
        """Raise what ended a loop, if anything did; or that nobody reads any more what the observer tells."""
        self.loops.check()

    async def waiting(self, *, within: float) -> Waiting:
        """Count what is open, in at most `within` seconds."""
        return await asyncio.to_thread(count_waiting, self.path, within=within)

    async def publish(self, event_type: str, payload: Mapping[str, Any]) -> tuple[str, int, int]:
        """Append one event, durably."""
        key, value = self.codec.encode(event_type, payload)
        topic = self.contracts.by_type[event_type].topic
        return (await self.log.append([Append(topic, key, value)]))[0]

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
