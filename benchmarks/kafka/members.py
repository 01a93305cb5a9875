"""One worker, and two that share the partitions, over the same full topics."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from asyncio.subprocess import Process
from collections.abc import Mapping
from typing import Any

import asyncpg

from benchmarks.by_hand import TOPICS
from benchmarks.kafka.ground import ROOT, Ground, configure, copied
from benchmarks.kafka.meter import Server, used_by
from tidings.errors import Misconfigured

LOOK = 0.05
AT_MOST = 600.0
DONE = "SELECT coalesce(sum(next_offset), 0) FROM sources WHERE reader = 'detect' AND topic = ANY($1)"


async def measured(ground: Ground, members: int, events: int) -> dict[str, Any]:
    """Return events a second and microseconds an event, from the first commit to the last."""
    database = await copied(ground, f"members{members}")
    config = configure(ground, database)
    admin = await asyncpg.connect(ground.dsn("postgres"))
    watch = await asyncpg.connect(ground.dsn(database), server_settings={"search_path": "tidings"})
    server = Server(admin, database, watch.get_server_pid())
    processes: list[Process] = []
    try:
        for number in range(members):
            with (ground.folder / f"member-{number}.log").open("ab") as log:
                processes.append(
                    await asyncio.create_subprocess_exec(
                        sys.executable,
                        "-m",
                        "gateway.cli.main",
                        "worker",
                        "--name",
                        f"m{number}",
                        "--config",
                        str(config),
                        cwd=ROOT,
                        stdin=asyncio.subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        env={**os.environ, "PYTHONPATH": str(ROOT)},
                    )
                )
        async with asyncio.timeout(AT_MOST):
            return await _until(processes, server, watch, events)
    finally:
        for process in processes:
            if process.returncode is None:
                process.terminate()
        for process in processes:
            await process.wait()
        await watch.close()
        await admin.close()


async def _until(processes: list[Process], server: Server, watch: asyncpg.Connection, events: int) -> dict[str, Any]:
    begun = (time.perf_counter(), 0.0, 0.0)
    first = 0
    while True:
        if ended := [one.returncode for one in processes if one.returncode is not None]:
            raise Misconfigured(f"a worker ended with {ended[0]}")
        client, behind = sum(used_by(one.pid) for one in processes), await server.look()
        now = (time.perf_counter(), client, behind)
        done = int(await watch.fetchval(DONE, TOPICS))
        if done >= events:
            wall, client, behind = (a - b for a, b in zip(now, begun, strict=True))
            seen = events - first
            return {"rate": seen / wall, "client": client / seen * 1e6, "server": behind / seen * 1e6}
        # All have joined before it counts: those who come first would have everything for themselves.
        if done == 0:
            begun, first = now, done
        await asyncio.sleep(LOOK)


def report(found: Mapping[int, Mapping[str, float]]) -> None:
    """Print the table."""
    print(f"\nWorkers that share the partitions, on {os.cpu_count()} cores with the broker and the database\n")
    print(f"  {'':12}{'events/s':>12}{'µs client':>12}{'µs server':>12}{'÷ one':>10}")
    for members, one in found.items():
        ratio = one["rate"] / found[1]["rate"]
        print(
            f"  {members} worker{'' if members == 1 else 's':4}{one['rate']:>12,.0f}{one['client']:>12.1f}{one['server']:>12.1f}{ratio:>10.2f}"
        )
