"""A deterministic scheduler: virtual clock, one seeded source of chance, coroutines stopped at every await."""

from __future__ import annotations

import heapq
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from random import Random
from typing import Any

Micros = int


class _Yield:
    """An awaitable that hands (kind, value) to the scheduler."""

    __slots__ = ("signal",)

    def __init__(self, kind: str, value: Any) -> None:
        self.signal = (kind, value)

    def __await__(self) -> Generator[Any, Any, Any]:
        return (yield self.signal)


class Task:
    """One coroutine, with the process it belongs to: a crash ends all tasks of a process."""

    __slots__ = ("coroutine", "done", "name", "parent", "process", "result", "waiting")

    def __init__(self, coroutine: Coroutine[Any, Any, Any], name: str, process: str) -> None:
        self.coroutine = coroutine
        self.name = name
        self.process = process
        self.result: Any = None
        self.done = False
        self.waiting = 0
        self.parent: Task | None = None


class Scheduler:
    """Runs tasks one step at a time; who goes next is drawn from the seed."""

    def __init__(self, random: Random, start: Micros) -> None:
        self.random = random
        self.clock = start
        self.steps = 0
        self.ready: list[Task] = []
        self.asleep: list[tuple[Micros, int, Task]] = []
        self.count = 0
        self.current: Task | None = None
        self.fate: Callable[[Task, str], Micros | None] = lambda _task, _label: 0
        """Asked at every pause: how long the task stands still there, or None for a crash of its process."""

    def spawn(self, coroutine: Coroutine[Any, Any, Any], name: str, process: str) -> Task:
        """Add a task."""
        task = Task(coroutine, name, process)
        self.ready.append(task)
        return task

    def sleep(self, micros: Micros) -> Awaitable[None]:
        """Wait in virtual time."""
        return _Yield("sleep", micros)

    async def pause(self, label: str) -> None:
        """Let others go first; what happens here is drawn from the seed."""
        await _Yield("pause", label)

    async def gather(self, jobs: Sequence[Coroutine[Any, Any, Any]]) -> list[Any]:
        """Run jobs side by side inside the current process."""
        if not jobs:
            return []
        parent = self.current
        assert parent is not None
        children = [Task(job, f"{parent.name}.{number}", parent.process) for number, job in enumerate(jobs)]
        for child in children:
            child.parent = parent
        self.ready.extend(children)
        parent.waiting = len(children)
        await _Yield("join", None)
        return [child.result for child in children]

    def kill(self, process: str) -> None:
        """End every task of a process at once, wherever it stands: locks are released, nothing is committed."""
        victims = [task for task in (*self.ready, *(entry[2] for entry in self.asleep)) if task.process == process]
        victims += self._joining(victims)
        for task in victims:
            task.done = True
        self.ready = [task for task in self.ready if not task.done]
        self.asleep = [entry for entry in self.asleep if not entry[2].done]
        heapq.heapify(self.asleep)
        for task in victims:
            if task is not self.current:
                task.coroutine.close()

    def _joining(self, victims: Sequence[Task]) -> list[Task]:
        found = []
        for task in victims:
            parent = task.parent
            while parent is not None and parent not in found and parent not in victims:
                found.append(parent)
                parent = parent.parent
        return found

    def run(self, until: Micros, max_steps: int = 2_000_000) -> None:
        """Run until the clock reaches `until` or nothing is left."""
        while True:
            while self.asleep and self.asleep[0][0] <= self.clock:
                self.ready.append(heapq.heappop(self.asleep)[2])
            if not self.ready:
                if not self.asleep or self.asleep[0][0] > until:
                    self.clock = max(self.clock, until) if self.asleep else self.clock
                    return
                self.clock = self.asleep[0][0]
                continue
            index = int(self.random.random() * len(self.ready))
            task = self.ready[index]
            self.ready[index] = self.ready[-1]
            self.ready.pop()
            self._step(task)
            if self.steps > max_steps:
                text = "the history does not end"
                raise AssertionError(text)

    def _step(self, task: Task) -> None:
        self.steps += 1
        self.current = task
        try:
            kind, value = task.coroutine.send(None)
        except StopIteration as stop:
            task.done, task.result = True, stop.value
            self._joined(task)
            return
        finally:
            self.current = None
        if task.done:  # its process was ended while it ran
            task.coroutine.close()
        elif kind == "sleep":
            self._sleep(task, value)
        elif kind == "pause":
            stands = self.fate(task, value)
            if stands is None:
                self.ready.append(task)
                self.kill(task.process)
            elif stands == 0:
                self.ready.append(task)
            else:
                self._sleep(task, stands)
        elif kind == "join" and task.waiting == 0:
            self.ready.append(task)

    def _sleep(self, task: Task, micros: Micros) -> None:
        self.count += 1
        heapq.heappush(self.asleep, (self.clock + micros, self.count, task))

    def _joined(self, task: Task) -> None:
        parent = task.parent
        if parent is not None and not parent.done:
            parent.waiting -= 1
            if parent.waiting == 0:
                self.ready.append(parent)
