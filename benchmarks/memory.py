"""Resident memory of the embedded worker over a long log.

python -m benchmarks.memory FILE RULES NOW WARM: events that count as warm-up
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
from pathlib import Path

from benchmarks.embedded import opened

PAGE = os.sysconf("SC_PAGE_SIZE")


async def run(path: Path, rules: int, now: int, warm: int) -> None:
    """Read the log to its end; compare the memory after the warm-up with that at the end, and with the most."""
    begun, most, tenths = 0, 0, []
    async with opened(path, rules, now) as worker:
        taken = 0
        while await worker.step():
            taken = sum(worker.positions.values())
            if not begun and taken >= warm:
                begun = resident()
            most = max(most, resident() if begun else 0)
            tenths.append((taken, resident()))
        ended = resident()
    steps = [tenths[len(tenths) * n // 10][1] - begun for n in range(1, 10)]
    print(json.dumps({"events": taken - warm, "warm": begun, "end": ended, "most": most, "tenths": steps}))


def resident() -> int:
    """Return the resident memory of this process, after what is dead has been collected."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * PAGE


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1]), *map(int, sys.argv[2:])))
