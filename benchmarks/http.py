"""Intake over HTTP beside a bare handler: `make bench-http`, or `python -m benchmarks.http [--events N] [--rounds N]`.

Both are FastAPI on uvicorn in a process of their own, take the same requests over 16 connections, and answer 202 once
the event is in an SQLite file with `synchronous=FULL`. The bare one is what one would write: a pydantic model of this
one contract, one row an event, and uvicorn as it comes, without deadlines; what waits together shares a commit there
too. Ours has the bounds, the deadlines, the keys, every contract, all mistakes at once, the known and the conflicting,
and writes what the workers read. Both have the garbage collector as `tidings run` sets it. Rounds alternate; printed are
medians.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import queue
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated, Any, Literal

from fastapi import FastAPI
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse
from uvicorn.protocols.http.h11_impl import H11Protocol

ROOT = Path(__file__).parents[1]
WAYS = ("bare", "ours")
SIZES = (1, 100)
TARGET = 0.7
CONNECTIONS = 16
TYPE = "billing.payment.failed"
NUMBER = b"0000000000"
"""Stands for the number of an event, so that no two are the same."""


# -- the bare one


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Money(_Strict):
    """As in the contract."""

    amount_minor: int
    currency: str


class Failed(_Strict):
    """As in the contract."""

    payment_id: Annotated[str, Field(min_length=1)]
    customer_id: str
    invoice_id: str | None = None
    amount: Money
    code: str
    attempt: int = 1


class Event(_Strict):
    """A plain event of one contract."""

    id: Annotated[str, Field(min_length=1, max_length=512)]
    type: Literal["billing.payment.failed"]
    source: Annotated[str, Field(min_length=1, max_length=512)]
    time: Annotated[AwareDatetime, Field(strict=False)]
    subject: str | None = None
    data: Failed


class Writer:
    """One thread that commits whatever waits."""

    def __init__(self, path: Path) -> None:
        self._jobs: queue.SimpleQueue[tuple[list[tuple[Any, ...]], asyncio.Future[None]]] = queue.SimpleQueue()
        self._path = path
        threading.Thread(target=self._run, daemon=True).start()

    async def write(self, rows: list[tuple[Any, ...]]) -> None:
        """Return once rows are durable."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._jobs.put((rows, done))
        await done

    def _run(self) -> None:
        connection = sqlite3.connect(self._path, isolation_level=None)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("CREATE TABLE log (n INTEGER PRIMARY KEY, topic TEXT, at INTEGER, key BLOB, value BLOB)")
        while True:
            group = [self._jobs.get()]
            while not self._jobs.empty():
                group.append(self._jobs.get())
            connection.execute("BEGIN IMMEDIATE")
            for rows, _ in group:
                connection.executemany("INSERT INTO log (topic, at, key, value) VALUES (?, ?, ?, ?)", rows)
            connection.execute("COMMIT")
            for _, done in group:
                done.get_loop().call_soon_threadsafe(done.set_result, None)


def bare(folder: Path) -> FastAPI:
    """Return the handler that one would write."""
    app = FastAPI(openapi_url=None)
    writer = Writer(folder / "bare.db")

    def row(event: Event) -> tuple[Any, ...]:
        return ("billing.payment.failed.v1", time.time_ns() // 1000, event.data.payment_id, event.model_dump_json())

    @app.post("/v1/events")
    async def one(event: Event | list[Event]) -> JSONResponse:
        events = event if isinstance(event, list) else [event]
        await writer.write([row(each) for each in events])
        return JSONResponse({"items": [{"id": each.id, "status": "accepted"} for each in events]}, 202)

    return app


# -- the processes


async def serve(way: str, folder: Path) -> None:
    """Serve until standard input ends; says the port, then the processor time that was used since the first request."""
    from gateway.http.serve import serving
    from streams.embedded import calm_collector

    async def served(app: Any, **words: Any) -> None:
        async with serving(app, "127.0.0.1", 0, **words) as (_, port):
            calm_collector()
            print(port, flush=True)
            await asyncio.to_thread(sys.stdin.readline)
            began = time.process_time()
            await asyncio.to_thread(sys.stdin.readline)
            print(time.process_time() - began, flush=True)
            await asyncio.to_thread(sys.stdin.readline)

    if way == "bare":
        await served(bare(folder), protocol=H11Protocol)
        return
    from gateway.cli.folder import example, loaded
    from gateway.edge import site_of
    from gateway.http.app import create_app
    from gateway.metrics import Metrics
    from schemas import contracts
    from streams.embedded import Engine, wall_clock

    found, files, texts = loaded(example())
    assert found.rules is not None
    engine = Engine(folder / "ours.db", contracts(), files, texts, found.rules, lambda _: None, wall_clock)  # type: ignore[arg-type, return-value]
    async with engine:
        site = site_of(engine, "127.0.0.1")
        await served(create_app(engine, Metrics(lambda: engine.rules, contracts().by_type, wall_clock), site=site))
        await site.close()


@dataclass(frozen=True)
class Measured:
    """One round of one way."""

    events_a_second: float
    micros: float
    """Of the server's processor an event, its writer's thread included."""


def template() -> bytes:
    """Return the event that is sent, as the contract describes it."""
    from schemas import contracts
    from schemas.examples import described
    from streams.embedded import wall_clock
    from streams.json_events import rfc3339

    event = described(contracts().by_type[TYPE])
    return json.dumps({**event, "id": f"evt-{NUMBER.decode()}", "time": rfc3339(wall_clock())}).encode()


async def load(port: int, event: bytes, size: int, events: int, first: int) -> float:
    """Send events over all connections; return how long it took."""
    numbers = iter(range(first, first + events, size))

    def body() -> bytes | None:
        at = next(numbers, None)
        if at is None:
            return None
        each = [event.replace(NUMBER, b"%010d" % (at + n)) for n in range(size)]
        return each[0] if size == 1 else b"[" + b",".join(each) + b"]"

    async def connection() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (raw := body()) is not None:
            head = b"POST /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
            writer.write(head % len(raw) + raw)
            answer = await reader.readuntil(b"\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 202"), answer
            length = int(answer.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            await reader.readexactly(length)
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(connection() for _ in range(CONNECTIONS)))
    return time.perf_counter() - began


def round_of(way: str, size: int, events: int) -> Measured:
    """Measure one way with one size of request, in a new process on a new file."""
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.http", "--serve", way, "--folder", folder], cwd=ROOT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            port = int(process.stdout.readline())
            event = template()
            asyncio.run(load(port, event, size, max(size * CONNECTIONS, events // 10), 0))
            print(file=process.stdin, flush=True)
            count = -(-events // size) * size
            took = asyncio.run(load(port, event, size, count, 5_000_000))
            print(file=process.stdin, flush=True)
            spent = float(process.stdout.readline())
            print(file=process.stdin, flush=True)
            return Measured(count / took, spent / count * 1e6)
        finally:
            process.stdin.close()
            process.wait(30)
            process.stdout.close()


def table(found: dict[tuple[str, int], Sequence[Measured]]) -> list[str]:
    """Return the lines that are printed."""
    lines = [f"{'':24}{'events/s':>12}{'of bare':>10}{'µs of CPU':>12}{'of bare':>10}"]
    for size in SIZES:
        base = median(one.events_a_second for one in found["bare", size])
        least = median(one.micros for one in found["bare", size])
        for way in WAYS:
            rate = median(one.events_a_second for one in found[way, size])
            micros = median(one.micros for one in found[way, size])
            name = f"{way}, {'alone' if size == 1 else f'batches of {size}'}"
            lines.append(f"{name:24}{rate:12,.0f}{rate / base:10.2f}{micros:12.0f}{least / micros:10.2f}")
    return lines


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=20_000, help="a round, alone; five times as many in batches")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--serve", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.serve:
        asyncio.run(serve(arguments.serve, arguments.folder))
        return
    found: dict[tuple[str, int], list[Measured]] = {(way, size): [] for way in WAYS for size in SIZES}
    for _ in range(arguments.rounds):
        for size in SIZES:
            for way in WAYS:
                found[way, size].append(round_of(way, size, arguments.events * (1 if size == 1 else 5)))
    if arguments.json:
        print(json.dumps({f"{way} {size}": [vars(one) for one in all_] for (way, size), all_ in found.items()}))
        return
    print("\n".join(table(found)))
    print(f"at least {TARGET} of the bare handler is the aim; alone and in batches of 100, {CONNECTIONS} connections")


if __name__ == "__main__":
    main()
