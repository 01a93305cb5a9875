"""A mail server that is away while messages wait: what that costs, and how soon the last one leaves once it is back.

python -m benchmarks.outage [MESSAGES] [SECONDS]

Each line is a run in a process of its own: with the breaker, and with one that never opens, as if there were none.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.delivery import Bench
from streams.processors.results import Sent
from tidings import breaker

LONG = 1500.0


async def _talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take every mail."""
    with contextlib.suppress(ConnectionError):
        writer.write(b"220 here\r\n")
        while line := await reader.readline():
            if line.startswith(b"DATA"):
                writer.write(b"354 go on\r\n")
                await reader.readuntil(b"\r\n.\r\n")
            writer.write(b"250 ok\r\n")
        writer.close()


async def one(messages: int, seconds: float) -> dict[str, Any]:
    """Let so many wait for so long; return what it took."""
    nobody = await asyncio.start_server(_talk, "127.0.0.1", 0)
    port = nobody.sockets[0].getsockname()[1]
    nobody.close()
    await nobody.wait_closed()
    with tempfile.TemporaryDirectory(prefix="tidings-bench-") as folder:
        bench = Bench(Path(folder), "email", port)
        asked, transactions = 0, 0

        def see(seen: object) -> None:
            nonlocal asked
            asked += isinstance(seen, Sent)
            bench.see(seen)

        bench.engine.observe = see
        async with bench.engine as engine:
            await bench.introduce()
            right = engine.store.run

            async def run(body: Any, *, urgent: bool = False) -> Any:
                nonlocal transactions
                transactions += 1
                return await right(body, urgent=urgent)

            engine.store.run = run  # type: ignore[method-assign]
            await engine.start()
            await bench.expect(messages)
            await engine.log.append([bench.failed(number) for number in range(messages)])
            await asyncio.sleep(seconds)
            away = {"asked": asked, "transactions": transactions}
            server = await asyncio.start_server(_talk, "127.0.0.1", port)
            begun = time.perf_counter()
            async with asyncio.timeout(LONG):
                await bench.done.wait()
            times = sorted(at - begun for at in bench.accepted.values())
            server.close()
    return {
        "messages": messages, "away s": seconds, "asked while away": away["asked"], "asked": asked,
        "transactions while away": away["transactions"], "transactions": transactions,
        "first after s": round(times[0], 1), "half after s": round(times[len(times) // 2], 1), "last after s": round(times[-1], 1),
    }  # fmt: skip


def main(messages: int, seconds: float, held: str | None) -> None:
    """Measure both, or one."""
    if held is None:
        for how in ("with", "without"):
            subprocess.run([sys.executable, "-m", "benchmarks.outage", str(messages), str(seconds), how], check=True)
        return
    if held == "without":
        breaker.ENOUGH = breaker.SILENT = 10**18
    print(json.dumps({"breaker": held, **asyncio.run(one(messages, seconds))}))


if __name__ == "__main__":
    words = [*sys.argv[1:], *("2000", "30")[len(sys.argv) - 1 :]]
    main(int(words[0]), float(words[1]), words[2] if len(words) > 2 else None)
