"""The same histories on PostgreSQL: tasks of a real event loop, locks of a real server, a clock that is still ours.

The clock goes on when every task sleeps, or when those that do not are waiting for each other at the server. A crash
cancels the tasks of a process wherever they are, in the middle of a COMMIT as well, and cuts their connections. What
chance draws is the seed's; who is first is the server's affair, so a seed is no exact repetition.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextvars import ContextVar
from random import Random
from typing import Any, TypeVar

from streams.stores.place import Place
from streams.stores.postgres import PostgresStore
from tests.simulator import invariants
from tests.simulator.drawn import ACTIVE, REST, START, Plan
from tests.simulator.history import History
from tests.simulator.scheduler import Micros
from tidings import ports
from tidings.event import SECOND
from tidings.ports import Body, Key, Row, Transaction
from tidings.tables import TABLES
from tidings.testing.memory import _label

T = TypeVar("T")

PROCESS: ContextVar[str] = ContextVar("process")
STILL = 10
"""Milliseconds without any step after which everybody is taken to wait for somebody else."""
LONG = 60_000
"""The same, where nobody is left who could wake up: something is wrong."""
TOGETHER = SECOND // 2
"""Virtual time in which those wake together who would wake one after another: so that they meet."""


class ServerScheduler:
    """What `Scheduler` is for the store in memory, with the same calls; `run` is awaited."""

    def __init__(self, random: Random, start: Micros) -> None:
        self.random = random
        self.clock = start
        self.fate: Callable[[Any, str], Micros | None] = lambda _task, _label: 0
        self.ready: tuple[()] = ()
        self.asleep: list[tuple[Micros, int, asyncio.Future[None]]] = []
        self.broken: list[BaseException] = []
        self._count = 0
        self._busy = 0
        self._beat = 0
        self._tasks: dict[str, set[asyncio.Task[Any]]] = {}

    def spawn(self, coroutine: Coroutine[Any, Any, Any], name: str, process: str) -> asyncio.Task[Any]:
        before = PROCESS.set(process)
        task = asyncio.get_running_loop().create_task(coroutine, name=name)
        PROCESS.reset(before)
        self._busy += 1
        self._tasks.setdefault(process, set()).add(task)
        task.add_done_callback(lambda done: self._ended(process, done))
        return task

    def _ended(self, process: str, task: asyncio.Task[Any]) -> None:
        self._busy -= 1
        self._tasks[process].discard(task)
        if not task.cancelled() and (fault := task.exception()) is not None:
            self.broken.append(fault)

    async def sleep(self, micros: Micros) -> None:
        self._count += 1
        woken = asyncio.get_running_loop().create_future()
        heapq.heappush(self.asleep, (self.clock + micros, self._count, woken))
        self._busy -= 1
        try:
            await woken
        except asyncio.CancelledError:
            if not woken.done() or woken.cancelled():
                self._busy += 1
            raise

    async def pause(self, label: str) -> None:
        self._beat += 1
        stands = self.fate(_Here(PROCESS.get()), label)
        if stands is None:
            self.kill(PROCESS.get())
            await asyncio.sleep(0)
        elif stands:
            await self.sleep(stands)

    async def gather(self, jobs: Sequence[Coroutine[Any, Any, Any]]) -> list[Any]:
        children = [self.spawn(job, f"job{number}", PROCESS.get()) for number, job in enumerate(jobs)]
        self._busy -= 1
        try:
            return list(await asyncio.gather(*children))
        finally:
            self._busy += 1

    def kill(self, process: str) -> None:
        """Cancel every task of a process."""
        for task in list(self._tasks.get(process, ())):
            task.cancel()

    async def run(self, until: Micros) -> None:
        """Run until the clock reaches `until`."""
        while True:
            while self.asleep and self.asleep[0][0] <= self.clock:
                woken = heapq.heappop(self.asleep)[2]
                if not woken.done():
                    self._busy += 1
                    woken.set_result(None)
            await self._settle()
            if self.broken:
                raise self.broken[0]
            if not self.asleep or self.asleep[0][0] > until:
                self.clock = max(self.clock, until)
                return
            self.clock = min(until, self.asleep[0][0] + int(self.random.random() * TOGETHER))

    async def _settle(self) -> None:
        still, beat = 0, self._beat
        while self._busy and still < (STILL if self.asleep else LONG):
            await asyncio.sleep(0.001)
            still, beat = (still + 1, beat) if beat == self._beat else (0, self._beat)

    async def end(self) -> None:
        """Cancel what is left."""
        left = [task for tasks in self._tasks.values() for task in tasks]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


class _Here:
    """What `fate` is asked about."""

    def __init__(self, process: str) -> None:
        self.process = process


class SimPostgres(PostgresStore):
    """Tells what each body has written when its commit is back, and shows rows as `MemoryStore` does."""

    history: ServerHistory
    others: Mapping[str, PostgresStore] = {}
    """By kind of process: a store of its own, under its own role."""
    _seen: Mapping[str, list[Row]]

    def _mine(self) -> PostgresStore:
        return self.others.get(PROCESS.get("world").rstrip("0123456789"), self)

    async def run(self, body: Body[T], *, urgent: bool = False) -> T:
        writes: dict[str, list[Row]] = {}

        def recorded() -> Transaction[T]:
            writes.clear()
            steps, reply = body(), None
            try:
                while True:
                    op = steps.send(reply)
                    reply = yield op
                    if isinstance(op, ports.Put):
                        writes.setdefault(op.table, []).extend(op.rows)
                    elif isinstance(op, ports.Insert):
                        fresh = reply or [True] * len(op.rows)
                        writes.setdefault(op.table, []).extend(
                            row for row, new in zip(op.rows, fresh, strict=True) if new
                        )
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]
            finally:
                steps.close()

        result = await PostgresStore.run(self._mine(), recorded, urgent=urgent)
        self.history.watch.committed(writes, {})
        if PROCESS.get("world") != "world":
            await self.history.scheduler.pause("committed")
        return result

    async def read(self, body: Body[T]) -> T:
        return await PostgresStore.read(self._mine(), body)

    async def look(self) -> None:
        """Read every table."""
        found = {}
        for table in TABLES:

            def everything(table: str = table) -> Transaction[list[Row]]:
                return (yield ports.Scan(table))  # type: ignore[no-any-return]

            found[table] = await self.read(everything)
        self._seen = found

    def rows(self, table: str) -> list[Row]:
        return self._seen[table]


class ServerWatch(invariants.Watch):
    """Judges only what does not depend on the order in which answers to commits come back."""

    def committed(self, writes: Mapping[str, Sequence[Row]], deletes: Mapping[str, Sequence[Key]]) -> None:
        for row in writes.get("attempts", ()):
            self.intents.setdefault((row["message_id"], row["no"]), row)
        for row in writes.get("messages", ()):
            if row["state"] == "claimed":
                self.history.claimed(row["recipient"])

    def all_known(self, store: SimPostgres) -> None:
        """Take from the tables what the commits did not tell: whoever crashed between commit and answer said nothing."""
        self.unknown = {r["message_id"] for r in store.rows("attempts") if r["outcome"] in (None, "ambiguous")}


class ServerHistory(History):
    """A history on a server."""

    store: SimPostgres  # type: ignore[assignment]

    def __init__(self, plan: Plan, place: Place, roles: Mapping[str, Place] | None = None) -> None:
        """`roles`: by kind of process (`worker`, `people`, `deliverer`), who it is to the server."""
        super().__init__(plan)
        self.place = place
        self.roles = roles or {}

    async def run(self) -> ServerHistory:  # type: ignore[override]
        """Run the history to its rest, and look at every table."""
        scheduler = ServerScheduler(self.random, START)
        self.scheduler = scheduler  # type: ignore[assignment]
        scheduler.fate = self._fate
        self.log.scheduler = self.provider.scheduler = scheduler  # type: ignore[assignment]
        self.watch = ServerWatch(self)
        self.provider.on_first_byte = self.watch.first_byte
        store = await SimPostgres.open(self.place, lambda: scheduler.clock, writers=8, urgent=8, readers=8)
        self.store = store
        store.history = self
        store.others = {kind: await PostgresStore.open(place, store.clock) for kind, place in self.roles.items()}

        async def before(op: ports.Op | None) -> None:
            scheduler._beat += 1
            await self._pause("commit" if op is None else _label(op))

        PROCESS.set("world")
        try:
            scheduler.spawn(self._prepare(), "prepare", "prepare")
            await scheduler.run(START + 1)
            for one in (store, *store.others.values()):
                one.before = before
            for process in ("worker1", "worker2", "deliverer1", "deliverer2", "people1"):
                self.alive[process] = 0
                self.start(process)
            for body in (self._producer(), self._minds(), self._operator(), self._publisher(), self._lag()):
                scheduler.spawn(body, "world", "world")
            await scheduler.run(START + ACTIVE + 130 * SECOND)
            self.quiet = True
            self.log.stalled.clear()
            self.log.slow = self.log.ahead = 0.0
            self.provider.chaos = 0.0
            await store.look()
            while scheduler.clock < START + REST and not self._settled():
                await scheduler.run(scheduler.clock + 20 * SECOND)
                await store.look()
            self.watch.all_known(store)
            return self
        finally:
            await scheduler.end()
            for one in (store, *store.others.values()):
                await one.close()
            # The driver asks the server in tasks of its own to give up what was cancelled.
            if others := asyncio.all_tasks() - {asyncio.current_task()}:
                await asyncio.wait(others, timeout=5)


async def check(plan: Plan, place: Place, roles: Mapping[str, Place] | None = None) -> tuple[list[str], ServerHistory]:
    """Run a plan and return what is wrong with its history."""
    history = await ServerHistory(plan, place, roles).run()
    return history.faults + invariants.at_rest(history), history
