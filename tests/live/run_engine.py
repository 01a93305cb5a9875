"""The real engine in a process of its own, to be killed; ends at rest.

`python -m tests.live.run_engine FILE PORT OPENING AHEAD [slow]`: when the quiet night of its rules ends, and by how much
its clock is ahead (microseconds).
"""

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from handlers.providers.catcher import SocketCatcher
from streams.embedded import count, wall_clock
from streams.embedded_log import EmbeddedLog
from tests.live import engines, kill_rules
from tidings.delivery import Pace
from tidings.event import SECOND
from tidings.log import Fetched, Partition

CONCURRENCY = 8
PACE = Pace(lease=SECOND, settle=SECOND // 2, retry_least=SECOND // 5, retry_most=SECOND)


class Slowly(EmbeddedLog):
    """A log that takes its time, so that one process does not decide everything before it can be killed."""

    async def fetch(self, positions: Mapping[Partition, int], limit: int) -> Sequence[Fetched]:
        await asyncio.sleep(0.05)
        return await super().fetch(positions, limit)


async def run(file: Path, port: int, opening: int, ahead: int, *, slow: bool) -> None:
    def clock() -> int:
        return wall_clock() + ahead

    catcher = SocketCatcher(port, clock)
    async with engines.engine(
        file,
        catcher,
        kill_rules.rules(opening),
        kill_rules.TEMPLATES,
        clock,
        pace=PACE,
        concurrency=CONCURRENCY,
        batch_limit=3 if slow else 200,
        name=f"engine-{os.getpid()}",
    ) as running:
        if slow:
            running.log = Slowly(running.store)
        await running.start()
        while not await finished(running):
            running.check()
            await asyncio.sleep(0.05)


async def finished(running) -> bool:
    if not await running.at_rest():
        return False
    counts = await count(running.store)
    waits = [counts[kind].get(state) for kind in ("messages", "corrections") for state in ("unknown", "held")]
    return counts["armed"] == 0 and not any(waits)


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1]), *(int(word) for word in sys.argv[2:5]), slow="slow" in sys.argv))
