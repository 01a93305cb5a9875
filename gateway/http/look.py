"""One bounded look at the store, for readiness and for the gauges: heads, positions and the first of each queue.

Every question goes to a table of a few rows (sources, heads, floors, kills) or to the first entry of an index, so it
costs the same at ten messages and at ten million. What has to be counted is counted by `streams.stores.counts`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar, get_args, runtime_checkable

from streams.delivering import Way
from streams.processors.detect import EPOCH, READER
from streams.stores.counts import Waiting
from tidings import watermark
from tidings.event import Micros
from tidings.ports import Body, Find, FindEach, Now, Read, Scan, Store, Transaction
from tidings.reasons import MessageState
from tidings.rule import Channel, RuleSet

T = TypeVar("T")
AHEAD = 100
"""Messages looked at for another attempt."""


EVERYTHING = frozenset({"rules", "detection", "deliveries", "sending"})
"""Checks of readiness beside the store and the clock."""


class Progress(Protocol):
    """What a running engine shows of itself."""

    @property
    def progress(self) -> Mapping[str, float]:
        """By loop: when it last finished a round, or was started (`time.monotonic`)."""
        ...

    def check(self) -> None:
        """Raise what ended a loop, if anything did."""
        ...

    async def waiting(self, *, within: float) -> Waiting:
        """Count what is open, in at most `within` seconds."""
        ...

    @property
    def store(self) -> Store:
        """Return the store."""
        ...

    @property
    def skews(self) -> Mapping[str, Micros | None]:
        """By whose clock: how far it is ahead of ours; None: not known now. Empty where one process has its own."""
        ...

    @property
    def halted(self) -> str:
        """Why nothing is begun now, or nothing."""
        ...

    @property
    def lags(self) -> Mapping[tuple[str, str], int]:
        """By reader and topic: records that wait in Kafka, whose heads are nobody's rows, as this process knows them."""
        ...

    @property
    def concerns(self) -> frozenset[str]:
        """Which checks of readiness are about what this process does."""
        ...

    @property
    def rules(self) -> RuleSet:
        """Return the rule set in use."""
        ...


@runtime_checkable
class Repeating(Protocol):
    """A store that repeats bodies where they met others."""

    repeats: Mapping[str, int]
    """By cause."""


@runtime_checkable
class Delivers(Protocol):
    """A process that delivers."""

    @property
    def ways(self) -> Mapping[str, Way]:
        """The ways out by their names."""
        ...


def ways_of(engine: object) -> Mapping[str, Way]:
    """Return the ways out of a process; none where it does not deliver."""
    return engine.ways if isinstance(engine, Delivers) else {}


def held_back(engine: object) -> frozenset[str]:
    """Return the channels of the providers that a process holds messages back from."""
    return frozenset[str]().union(*(one.channels for one in ways_of(engine).values() if one.breaker.is_open))


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen at one instant."""

    now: Micros
    active: str | None
    """Hash of the active rule set."""
    lag: Mapping[tuple[str, str], int]
    """By reader and topic: records that it has not taken."""
    watermarks: Mapping[str, Micros]
    """By stateful rule: how far its events are known to be complete."""
    due: Mapping[str, Micros]
    """By what waits (`message`, `recipient`): since when the first of it is due. Nothing due: left out."""
    kills: tuple[str, ...]
    """Scopes that an operator has stopped."""
    again: tuple[Micros, ...] = ()
    """When the next messages that were tried and not sent are tried again, the first first: of `AHEAD` pending ones."""
    speed: int = 1
    """How much faster than ours the clock runs by which this was seen."""
    could_leave: Micros | None = None
    """Since when the first message is due that nobody holds back, because its provider is not away; None: there is none."""

    @property
    def untaken(self) -> int:
        """Records that detection has not taken."""
        return sum(count for (reader, _), count in self.lag.items() if reader == READER)

    @property
    def waits(self) -> Micros:
        """How long the first of what is due has been waiting: by our clock, for whoever waits lives by it."""
        return max((self.now - since for since in self.due.values()), default=0) // self.speed

    @property
    def stands(self) -> Micros:
        """How long the first of what is due, and not held back, has been waiting."""
        found = (self.could_leave, self.due.get("recipient"))
        return max((self.now - since for since in found if since is not None), default=0) // self.speed


def look(rules: RuleSet, speed: int = 1, held: Collection[str] = ()) -> Body[Look]:
    """Return the body of one look; it only reads. `held`: channels whose provider is away.

    Where the log is a table, its heads tell the lag, and there is no grace. Kafka's heads are nobody's rows: there the
    workers tell the lag.
    """

    def body() -> Transaction[Look]:
        now = yield Now()
        row = (yield Read("epochs", [(EPOCH,)])).get((EPOCH,))
        heads = {(row["topic"], row["partition"]): row["next_offset"] for row in (yield Scan("log_heads"))}
        sources = yield Scan("sources")
        floors = {row["rule"]: row["w"] for row in (yield Scan("floors"))}
        lag: dict[tuple[str, str], int] = {}
        topics: dict[str, Micros] = {}
        for source in sources:
            place = (source["reader"], source["topic"])
            if heads:
                behind = heads.get((source["topic"], source["partition"]), 0) - source["next_offset"]
                lag[place] = lag.get(place, 0) + max(0, behind)
            if source["reader"] == READER:
                w = watermark.of_partition(source, 0 if heads else watermark.GRACE)
                topics[source["topic"]] = min(topics.get(source["topic"], w), w)
        watermarks = {rule.id: watermark.of_rule(rule, topics, floors) for rule in rules.stateful}
        due = {}
        for found in (yield Find("messages", "by_work", (str(MessageState.PENDING),), upto=now, limit=1)):
            due["message"] = found["due_at"]
        first = due.get("message")
        if held and first is not None:
            others = [(str(MessageState.PENDING), one) for one in get_args(Channel) if one not in held]
            firsts = (yield FindEach("messages", "by_channel", others, limit=1, upto=now)) if others else {}
            first = min((row["due_at"] for rows in firsts.values() for row in rows), default=None)
        for found in (yield Find("recipients", "by_next", (), upto=now, limit=1)):
            due["recipient"] = found["next_at"]
        ahead = yield Find("messages", "by_work", (str(MessageState.PENDING),), above=now, limit=AHEAD)
        again = tuple(found["due_at"] for found in ahead if found["attempt"] > 0)
        kills = tuple(kill["scope"] for kill in (yield Scan("kills")) if kill["state"] == "killed")
        return Look(now, None if row is None else row["value"], lag, watermarks, due, kills, again, speed, first)

    return body


class Asked(Generic[T]):
    """A question with a deadline, asked once at a time and remembered for a moment.

    Whoever asks while it is being asked waits for the same answer; one that never comes keeps nobody longer than
    `patience`, and holds one question, however often it is asked.
    """

    def __init__(self, ask: Callable[[], Awaitable[T]], *, patience: float, keep: float) -> None:
        self._ask = ask
        self.patience = patience
        self.keep = keep
        self._task: asyncio.Task[T] | None = None
        self._known: tuple[float, T] | None = None

    async def __call__(self) -> T:
        """Return the answer.

        Raises:
            TimeoutError: it did not come in time.
        """
        loop = asyncio.get_running_loop()
        if self._known is not None and loop.time() - self._known[0] < self.keep:
            return self._known[1]
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._answer())
            self._task.add_done_callback(_heard)
        return await asyncio.wait_for(asyncio.shield(self._task), self.patience)

    def forget(self) -> None:
        """Let the next who asks have an answer that begins now: what was known, or is being asked, may be of before."""
        self._known = self._task = None

    async def _answer(self) -> T:
        found = await self._ask()
        if self._task is asyncio.current_task():
            self._known = (asyncio.get_running_loop().time(), found)
        return found


def _heard(task: asyncio.Task[T]) -> None:
    """Take the fault of a question for whose answer nobody waits any more."""
    if not task.cancelled():
        task.exception()
