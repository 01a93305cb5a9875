"""The workers of the demonstration: three processes, one of which is killed now and then, so that one sees what happens."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from gateway.cli.told import Told

NAMES = ("worker-1", "worker-2", "worker-3")
KILL_EVERY = 14.0
"""Seconds between two workers that are killed."""
DOWN = 3.0
"""Seconds that a killed one stays away."""
TRIES = 5
"""How often one that ends by itself is started again."""
PARTING = 12.0


@dataclass
class Workers:
    """Starts them, kills one in turn, and starts again what has ended."""

    told: Mapping[str, str]
    """What each is given, besides its name: see `gateway.demo.worker`."""
    folder: Path
    """For what they write."""
    say: Callable[[str, str, str], None] = lambda *_: None
    """Told of (name, state, words) when one goes or comes."""
    running: dict[str, Process] = field(default_factory=dict)
    kills: int = 0
    fault: Told | None = None

    @property
    def down(self) -> frozenset[str]:
        """Those that do not run."""
        return frozenset(name for name in NAMES if name not in self.running)

    @asynccontextmanager
    async def working(self, *, kill: bool = True) -> AsyncIterator[None]:
        """Keep them running while the context lasts."""
        tasks = [asyncio.create_task(self._kept(name)) for name in NAMES]
        if kill:
            tasks.append(asyncio.create_task(self._killing()))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._stop()

    def check(self) -> None:
        """Raise what keeps a worker from running."""
        if self.fault is not None:
            raise self.fault

    async def _kept(self, name: str) -> None:
        for _ in range(TRIES):
            code = await self._run(name)
            while code == -signal.SIGKILL:
                await asyncio.sleep(DOWN)
                self.say(name, "back", "reads on where the database says")
                code = await self._run(name)
            await asyncio.sleep(1)
        last = "".join((self.folder / f"{name}.log").read_text("utf-8", "replace").splitlines(keepends=True)[-5:])
        self.fault = Told(f"{name} has ended {TRIES} times by itself:\n{last}")

    async def _run(self, name: str) -> int:
        with (self.folder / f"{name}.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "gateway.demo.worker", json.dumps({**self.told, "name": name}),
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env={**os.environ, "PYTHONWARNINGS": "ignore"},
            )  # fmt: skip
        self.running[name] = process
        try:
            return await process.wait()
        finally:
            if process.returncode is not None:
                self.running.pop(name, None)

    async def _killing(self) -> None:
        for turn in range(1_000_000):
            await asyncio.sleep(KILL_EVERY)
            name = NAMES[turn % len(NAMES)]
            if (process := self.running.get(name)) is not None:
                self.kills += 1
                self.say(name, "killed", "kill -9 in the middle of its work; the others take its partitions")
                with contextlib.suppress(ProcessLookupError):
                    process.kill()

    async def _stop(self) -> None:
        for process in self.running.values():
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        waiting = [asyncio.create_task(process.wait()) for process in self.running.values()]
        if waiting:
            _, late = await asyncio.wait(waiting, timeout=PARTING)
            for process in self.running.values():
                if late and process.returncode is None:
                    process.kill()
            await asyncio.gather(*waiting)
