"""From produce to the provider's acceptance on a cluster: `tidings worker` and `tidings deliver` as they are installed.

The most that is carried is measured with a fixed number of events on their way: each that is accepted lets the next one
be produced, so that no start, no end and no pile counts. Latency is that of events that come one by one at a share of
it; a mail server in this process notes when it said yes to each.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncpg
from aiokafka import AIOKafkaProducer

from benchmarks.aims import aim
from benchmarks.delivery import CUSTOMERS, FAILED, PROFILE, RULES, TEXTS, TOPICS
from benchmarks.kafka.ground import ROOT, Ground, administer, clear, command, configure
from benchmarks.kafka.mailbox import Mailbox
from benchmarks.kafka.meter import Server, used, used_by
from schemas import contracts
from streams.codec import Codec
from streams.embedded import wall_clock
from tidings.errors import Misconfigured

SHARES = (0.1, 0.5, 0.9)
DECIDED = "SELECT count(*) FROM records WHERE unread = 1"
KNOWN = "SELECT count(*) FROM recipients"
MOST_P99 = 0.25
"""Seconds, at half of the most."""
PATIENCE = 120.0
UNDER_WAY = 100
"""Events between their producer and the mail server while the most is measured."""


@dataclass
class Way:
    """A cluster that sends mail to this process."""

    ground: Ground
    box: Mailbox
    producer: AIOKafkaProducer
    processes: Sequence[Process]
    server: Server
    codec: Codec = field(default_factory=lambda: Codec(contracts()))
    number: int = 0

    def check(self) -> None:
        """Raise if a process has ended.

        Raises:
            Misconfigured: it has.
        """
        for process in self.processes:
            if process.returncode is not None:
                log = max(self.ground.folder.glob("*.log"), key=lambda file: file.stat().st_mtime)
                raise Misconfigured(f"a process ended with {process.returncode}: {log.read_text()[-2000:]}")

    async def publish(self, kind: str, data: dict[str, Any]) -> Any:
        """Produce one event of now; returns when the broker will answer, which is not waited for."""
        self.number += 1
        now = wall_clock()
        meta = {
            "event_id": f"e-{self.number}", "type": kind, "source": "bench", "occurred_at": now, "recorded_at": now,
            "tenant": "default", "correlation_id": None, "subject": None, "actor": None, "causation_id": None,
            "sequence": None,
        }  # fmt: skip
        key, value = self.codec.encode(kind, {"meta": meta, **data})
        return await self.producer.send(self.ground.prefix + contracts().by_type[kind].topic, value, key)

    async def introduce(self) -> None:
        """Say who the customers are."""
        fields = contracts().by_type[PROFILE].fields
        for number in range(CUSTOMERS):
            known = {"customer_id": f"c-{number}", "email": f"c{number}@example.org", "phone": None}
            await self.publish(PROFILE, {**dict.fromkeys(fields), **known})
        await self.producer.flush()

    async def fail(self) -> str:
        """Produce a failed payment, of which a customer hears; return its name."""
        name = f"pay-{self.number + 1}"
        await self.publish(
            FAILED,
            {
                "payment_id": name, "invoice_id": None, "customer_id": f"c-{self.number % CUSTOMERS}",
                "code": "card_declined", "amount": {"amount_minor": 4200, "currency": "EUR"}, "attempt": 1,
            },
        )  # fmt: skip
        return name

    async def accepted(self, names: Sequence[str]) -> None:
        """Wait until all of these were accepted."""
        async with asyncio.timeout(PATIENCE):
            for name in names:
                while name not in self.box.accepted:
                    self.check()
                    await asyncio.sleep(0.01)

    async def rate(self, count: int) -> float:
        """Return messages a second, of a pile of events that came at once."""
        begun = time.perf_counter()
        names = [await self.fail() for _ in range(count)]
        await self.accepted(names)
        return count / (max(self.box.accepted[name] for name in names) - begun)

    async def most(self, seconds: float) -> float:
        """Return messages a second, carried for some seconds after a third of them to warm up."""
        free = asyncio.Semaphore(UNDER_WAY)
        self.box.told = free.release
        first = time.perf_counter() + seconds / 3
        names: list[str] = []
        try:
            async with asyncio.timeout(2 * seconds + PATIENCE):
                while time.perf_counter() < first + seconds:
                    await free.acquire()
                    names.append(await self.fail())
        finally:
            self.box.told = lambda: None
            self.check()
        await self.accepted(names)
        carried = sum(first <= self.box.accepted[name] < first + seconds for name in names)
        return carried / seconds

    async def latencies(self, seconds: float, per_second: float) -> list[float]:
        """Return seconds from produce to acceptance, sorted, of events that come one by one."""
        begun = time.perf_counter()
        asked: dict[str, float] = {}
        for n in range(max(10, int(seconds * per_second))):
            await asyncio.sleep(max(0.0, begun + n / per_second - time.perf_counter()))
            at = time.perf_counter()
            asked[await self.fail()] = at
        await self.accepted(list(asked))
        return sorted(self.box.accepted[name] - at for name, at in asked.items())


@asynccontextmanager
async def opened(ground: Ground, *verbs: str) -> AsyncIterator[Way]:
    """Make topics and database, and start processes over them."""
    box = Mailbox()
    mail = await box.serve()
    await administer(ground, f"CREATE DATABASE {ground.postgres.database}")
    admin = await asyncpg.connect(ground.dsn("postgres"))
    processes: list[Process] = []
    producer = AIOKafkaProducer(bootstrap_servers=ground.kafka, linger_ms=0, acks="all")
    try:
        await asyncio.to_thread(prepare, ground, mail.sockets[0].getsockname()[1])
        await producer.start()
        for verb in verbs:
            processes.append(await begun(ground, verb, verb))  # noqa: PERF401 - the first is ended if the second fails
        way = Way(ground, box, producer, processes, Server(admin, ground.postgres.database))
        await way.introduce()
        yield way
    finally:
        await producer.stop()
        await ended(processes)
        await admin.close()
        mail.close()
        await clear(ground)


def prepare(ground: Ground, port: int) -> None:
    """Write the rules, and bring topics and database up."""
    shop = ground.folder / "shop"
    files = {"rules/bench.yaml": RULES.format(channel="email"), "topics.yaml": TOPICS.decode()}
    files |= {f"templates/{name}.txt": text for name, text in TEXTS["email"].items()}
    for name, text in files.items():
        path = shop / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    config = configure(ground, ground.postgres.database)
    mail = f'[smtp]\nhost = "127.0.0.1"\nport = {port}\ntls = "none"\nsender = "Bench <bench@example.org>"\n'
    config.write_text(config.read_text() + mail)
    for words in (["migrate"], ["topics", "apply"], ["rules", "apply"]):
        command(ground, *words, config=config)


async def begun(ground: Ground, verb: str, name: str) -> Process:
    """Start a process of the installation."""
    with (ground.folder / f"{name}.log").open("ab") as log:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gateway.cli.main", verb, "--name", name, "--config",
            str(ground.folder / f"{ground.postgres.database}.toml"), cwd=ROOT, stdin=asyncio.subprocess.DEVNULL,
            stdout=log, stderr=log, env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip


async def ended(processes: Sequence[Process]) -> None:
    """End processes in order, or otherwise."""
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
    for process in processes:
        try:
            await asyncio.wait_for(process.wait(), 30)
        except TimeoutError:
            process.kill()
            await process.wait()


async def measured(ground: Ground, *, messages: int, seconds: float) -> dict[str, Any]:
    """Measure the most, then latency at shares of it."""
    async with opened(ground, "worker", "deliver") as way:
        await way.accepted([await way.fail()])
        await way.rate(max(20, messages // 5))
        pile = await way.rate(messages)
        before, first = await costs(way), len(way.box.accepted)
        most = await way.most(seconds)
        after, carried = await costs(way), len(way.box.accepted) - first
        micros = {name: (after[name] - before[name]) / carried * 1e6 for name in before}
        found: dict[str, Any] = {"rate": most, "pile": pile, "micros": micros, "loads": {}}
        for share in SHARES:
            times = await way.latencies(seconds, most * share)
            found["loads"][f"{share:g}"] = {
                name: times[min(len(times) - 1, int(len(times) * part))]
                for name, part in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
            } | {"messages": len(times), "per_second": most * share}
        found["twice"] = way.box.twice
    found["alone"] = await alone(ground, messages)
    return found


async def costs(way: Way) -> dict[str, float]:
    """Return the seconds of processor time that everybody but the broker has had."""
    worker, deliverer = (used_by(process.pid) for process in way.processes)
    return {
        "worker": worker, "deliverer": deliverer, "database": await way.server.look(),
        "producer and mail server": used(os.getpid()),
    }  # fmt: skip


async def alone(ground: Ground, messages: int) -> dict[str, Any]:
    """Measure dispatch and delivery without anything beside them: a worker leaves firings behind, and is ended."""
    async with opened(ground, "worker") as way:
        for _ in range(messages):
            await way.fail()
        await way.producer.flush()
        watch = await asyncpg.connect(ground.dsn(ground.postgres.database), server_settings={"search_path": "tidings"})
        try:
            async with asyncio.timeout(PATIENCE):
                while await watch.fetchval(DECIDED) < messages or await watch.fetchval(KNOWN) < CUSTOMERS:
                    way.check()
                    await asyncio.sleep(0.1)
        finally:
            await watch.close()
        await ended(way.processes)
        place = ground.postgres
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "benchmarks.kafka.alone", place.host, str(place.port), place.database, cwd=ROOT,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        said, _ = await process.communicate()
    if process.returncode:
        raise Misconfigured("dispatch and delivery alone did not end well; their last words are above")
    found: dict[str, Any] = json.loads(said)
    return found


def report(found: dict[str, Any], *, quick: bool) -> None:
    """Print the table."""
    print(
        f"\nFrom produce to the provider's acceptance: a worker and a deliverer carry {found['rate']:,.0f} messages a second"
        f" with {UNDER_WAY} on their way; a pile is sent at {found['pile']:,.0f}/s\n"
    )
    print(f"  {'load':>6}{'messages/s':>12}{'p50 ms':>10}{'p95 ms':>10}{'p99 ms':>10}")
    for share, one in found["loads"].items():
        times = "".join(f"{one[name] * 1000:>10.0f}" for name in ("p50", "p95", "p99"))
        print(f"  {float(share):>6.0%}{one['per_second']:>12.0f}{times}")
    half = found["loads"]["0.5"]["p99"]
    wanted = aim(f"less than {MOST_P99 * 1000:.0f}", half < MOST_P99, quick=quick)
    print(f"\n  p99 at half: {half * 1000:.0f} ms {wanted}")
    print(
        "  Processor time a message at the most, µs: " + ", ".join(f"{n} {m:,.0f}" for n, m in found["micros"].items())
    )
    print("\nDispatch and delivery alone, with a provider that says yes at once; a message\n")
    print(f"  {'':10}{'messages/s':>12}{'µs client':>12}{'µs server':>12}{'statements':>12}{'commits':>10}")
    for half_of_it, cost in found["alone"].items():
        micros = "".join(f"{cost[name]:>12,.0f}" for name in ("rate", "client", "server"))
        print(f"  {half_of_it:10}{micros}{cost['statements']:>12.2f}{cost['commits']:>10.2f}")


def told(found: dict[str, Any]) -> str:
    """Return the figures for machines."""
    return json.dumps(found, sort_keys=True)
