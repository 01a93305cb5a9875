"""The embedded worker over a file that `workload.py` has made: detection until nothing is left to do.

python -m benchmarks.embedded FILE RULES NOW
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from benchmarks.workload import rule_set, topics
from schemas import contracts
from streams.codec import Codec
from streams.embedded import calm_collector
from streams.embedded_log import EmbeddedLog
from streams.loops import RealRuntime
from streams.processors.worker import Worker
from streams.stores.sqlite import SqliteStore

BATCH = 500


@asynccontextmanager
async def opened(path: Path, rules: int, now: int) -> AsyncIterator[Worker]:
    """Open a file with the real store, log and worker. Its clock stands still: every run then writes the same rows."""
    store = await SqliteStore.open(path, lambda: now)
    try:
        active, _ = rule_set(rules)
        codec = Codec(contracts())
        worker = Worker(
            store, EmbeddedLog(store), RealRuntime(lambda: now), codec.decode, active, {active.hash: active}.__getitem__,
            0, BATCH,
        )  # fmt: skip
        await worker.assign([(topic, 0) for topic in topics()])
        calm_collector()
        yield worker
    finally:
        await store.close()


async def run(path: Path, rules: int, now: int) -> None:
    """Read the log to its end, and print the time it took."""
    async with opened(path, rules, now) as worker:
        begun, used = time.perf_counter(), cpu()
        while await worker.step():
            pass
        print(json.dumps({"wall": time.perf_counter() - begun, "cpu": cpu() - used}))


def cpu() -> float:
    """Return the processor time of this process, user and system."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
