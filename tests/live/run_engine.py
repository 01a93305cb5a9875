"""The real engine in a process of its own, to be killed: `python -m tests.live.run_engine FILE PORT`; ends at rest."""

import asyncio
import os
import sys
from pathlib import Path

from handlers.providers.catcher import SocketCatcher
from streams.embedded import count, wall_clock
from tests.live import engines, kill_rules
from tidings.delivery import Pace
from tidings.event import SECOND

CONCURRENCY = 8
PACE = Pace(lease=SECOND, settle=SECOND // 2, retry_least=SECOND // 5, retry_most=SECOND)


async def run(file: Path, port: int) -> None:
    catcher = SocketCatcher(port, wall_clock)
    async with engines.engine(
        file,
        catcher,
        kill_rules.RULES,
        kill_rules.TEMPLATES,
        pace=PACE,
        concurrency=CONCURRENCY,
        batch_limit=10,
        name=f"engine-{os.getpid()}",
    ) as running:
        await running.start()
        while not await finished(running):
            running.check()
            await asyncio.sleep(0.05)


async def finished(running) -> bool:
    if not await running.at_rest():
        return False
    counts = await count(running.store)
    return counts["armed"] == 0 and not any(counts["messages"].get(state) for state in ("unknown", "held"))


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1]), int(sys.argv[2])))
