"""A cluster of one's own: broker, database, mail server, and the processes of Tidings, which come back when they end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import asyncpg

from streams.kafka.app import GROUP
from streams.kafka.cluster import Refused, opened
from streams.kafka.reach import Away
from streams.stores.migrations import rights
from streams.stores.place import Place
from streams.stores.postgres_transaction import SERVER_FAULTS
from tests.proofs import workload
from tests.servers import PrivateKafka, PrivatePostgres
from tidings.event import SECOND, Micros
from tidings.watermark import GRACE

AGAIN = 1.0
"""Seconds after which a process that has ended is started again, as an orchestrator would."""
ROLES = {
    "worker": rights.WORKER, "archive": rights.WORKER, "deliver": rights.DELIVERER, "operator": rights.OPERATOR,
    "verify": rights.VERIFIER,
}  # fmt: skip
BUSINESS = (
    "billing.invoice.issued.v1", "billing.invoice.paid.v1", "billing.invoice.voided.v1", "billing.payment.failed.v1",
    "billing.payment.succeeded.v1", "sales.order.placed.v1",
)  # fmt: skip


class Supervised:
    """A process that is started again whenever it ends, until it is no longer wanted."""

    def __init__(self, name: str, words: Sequence[str], log: Path, env: Mapping[str, str]) -> None:
        self.name = name
        self.words = words
        self.log = log
        self.env = env
        self.ends: Counter[int] = Counter()
        """By exit code; −9 where we have killed it."""
        self.wanted = True
        self._lock = threading.Lock()
        self._process = self._start()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _start(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as file:
            return subprocess.Popen(self.words, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=self.env)

    def _watch(self) -> None:
        while self.wanted:
            time.sleep(0.1)
            code = self._process.poll()
            if code is None:
                continue
            self.ends[code] += 1
            time.sleep(AGAIN)
            with self._lock:
                if self.wanted:
                    self._process = self._start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def runs(self) -> bool:
        return self._process.poll() is None

    def tell(self, what: signal.Signals) -> None:
        """Send a signal; one that has just ended hears nothing."""
        with self._lock, contextlib.suppress(ProcessLookupError):
            self._process.send_signal(what)

    def stop(self, seconds: float = 40.0) -> int:
        """End it in order, for good; return its exit code."""
        with self._lock:
            self.wanted = False
        self._thread.join()
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def discard(self) -> None:
        """Kill it, for good."""
        with self._lock:
            self.wanted = False
        self._thread.join()
        self._process.kill()
        self._process.wait()


@dataclass
class Stand:
    """See the module; made by `standing`."""

    folder: Path
    kafka: PrivateKafka
    postgres: PrivatePostgres
    lateness: Micros
    partitions: int
    mail_port: int
    altered: Mapping[str, str] = field(default_factory=dict)
    """By verb: what is altered in its processes (`tests.proofs.altered`)."""
    running: dict[str, Supervised] = field(default_factory=dict)
    verbs: dict[str, str] = field(default_factory=dict)
    """By name of a process: what it does."""

    @property
    def book(self) -> Path:
        """What the mail server has taken: one message id a line."""
        return self.folder / "book"

    @property
    def place(self) -> Place:
        return self.postgres.place("tidings")

    def config(self, role: str) -> Path:
        return self.folder / f"{role}.toml"

    def prepare(self) -> None:
        """Make database, roles, topics and rules, with the verbs that an operator has."""
        self._configure()
        asyncio.run(self.sql("CREATE DATABASE tidings", "postgres"))
        self.verb("migrate", "--config", self.config("owner"))
        for name, role in ROLES.items():
            asyncio.run(self.sql(f"CREATE ROLE {name}_login LOGIN IN ROLE {role}"))
        self.apply_topics()
        self.verb("rules", "apply", self.folder / "shop", "--config", self.config("operator"))

    def apply_topics(self) -> None:
        """Make what topics are missing. A broker that makes 324 partitions may be slow to answer: it is repeated."""
        for _ in range(5):
            self.verb("topics", "apply", "--config", self.config("operator"), codes=(0, 1))
            plan = self.verb("topics", "plan", "--config", self.config("operator"), codes=(0, 1, 3))
            if "All topics are as wanted" in plan:
                return
        raise AssertionError(plan)

    def _configure(self) -> None:
        shop = self.folder / "shop"
        (shop / "rules").mkdir(parents=True)
        (shop / "templates").mkdir()
        for name, raw in workload.rule_files(self.lateness).items():
            (shop / name).write_bytes(raw)
        for name, text in workload.TEMPLATES.items():
            (shop / "templates" / f"{name}.txt").write_text(text)
        for role in (*ROLES, "owner"):
            user = "postgres" if role == "owner" else f"{role}_login"
            self.config(role).write_text(
                f'history = "live"\n[kafka]\nbootstrap = ["{self.kafka.bootstrap}"]\npartitions = {self.partitions}\n'
                f'[postgres]\nhost = "127.0.0.1"\nport = {self.postgres.port}\nuser = "{user}"\n'
                f'[smtp]\nhost = "127.0.0.1"\nport = {self.mail_port}\nsender = "shop@example.org"\ntls = "none"\n'
            )

    def verb(self, *words: object, codes: Sequence[int] = (0,)) -> str:
        """Run a verb to its end; return what it printed."""
        done = subprocess.run(
            [*TIDINGS, *map(str, words)], capture_output=True, text=True, check=False, env=environment()
        )
        assert done.returncode in codes, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def run(self, verb: str, name: str) -> Supervised:
        """Keep a process of a long-running verb."""
        how = self.altered.get(verb)
        command = TIDINGS if how is None else (sys.executable, "-m", "tests.proofs.altered", how)
        words = [*command, verb, "--config", str(self.config(verb)), "--name", name]
        self.verbs[name] = verb
        self.running[name] = Supervised(name, words, self.folder / f"{name}.log", environment())
        return self.running[name]

    async def said(self, name: str, what: str, seconds: float = 120.0) -> None:
        """Wait until a process has logged something."""
        end = time.monotonic() + seconds
        while f'"what": "{what}"' not in (self.folder / f"{name}.log").read_text(errors="replace"):
            assert time.monotonic() < end, f"{name} has not said {what!r}"
            await asyncio.sleep(0.1)

    def end(self, name: str) -> int:
        """Let a process end in order; return its exit code."""
        return self.running.pop(name).stop()

    async def sql(self, statement: str, database: str = "tidings") -> None:
        """Run a statement as the superuser."""
        place = self.postgres.place(database)
        connection = await asyncpg.connect(host=place.host, port=place.port, user=place.user, database=place.database)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    async def ask(self, query: str, *values: object) -> list[Any]:
        """Ask the database, again and again while it is away."""
        place = self.place
        for _ in range(240):
            try:
                connection = await asyncpg.connect(
                    host=place.host, port=place.port, user=place.user, database=place.database, timeout=10,
                    server_settings={"search_path": "tidings"},
                )  # fmt: skip
                try:
                    return list(await connection.fetch(query, *values))
                finally:
                    await connection.close()
            except SERVER_FAULTS:
                await asyncio.sleep(0.25)
        raise AssertionError("the database does not come back")

    async def offsets(self) -> int:
        """How much detection has read, over all partitions."""
        (row,) = await self.ask("SELECT coalesce(sum(next_offset), 0)::bigint FROM sources WHERE reader = 'detect'")
        return int(row[0])

    async def positions(self) -> Mapping[tuple[str, int], int]:
        """How far detection has read each partition."""
        rows = await self.ask("SELECT topic, partition, next_offset FROM sources WHERE reader = 'detect'")
        return {(row[0], row[1]): row[2] for row in rows}

    async def owned(self, name: str) -> frozenset[tuple[str, int]]:
        """Which partitions a worker has, as the brokers know it; none while they do not say."""
        try:
            async with opened(self.kafka.connection(), within=5) as cluster:
                members = (await cluster.group(GROUP)).members
        except (Away, Refused):
            return frozenset()
        mine = [places for client, places in members.items() if client.startswith(f"tidings-worker-{name} ")]
        return frozenset(place for places in mine for place in places)

    async def in_hand(self, name: str) -> int:
        """How many messages a deliverer has claimed or is sending; its claims bear its name, six digits, the way out and a number."""
        query = "SELECT count(*) FROM messages WHERE state IN ('claimed', 'sending') AND owner ~ ('^' || $1 || '-[0-9a-f]{6}-[^#]+#[0-9]+$')"
        (row,) = await self.ask(query, name)
        return int(row[0])

    async def open(self) -> Mapping[str, int]:
        """Messages that are not at their end, by state; records that nobody has heard of as `unread`."""
        rows = await self.ask("SELECT state, count(*) FROM messages WHERE open IS NOT NULL GROUP BY state")
        (unread,) = await self.ask("SELECT count(*) FROM records WHERE unread IS NOT NULL")
        found = {row[0]: row[1] for row in rows}
        return found | ({"unread": unread[0]} if unread[0] else {})

    async def watermark(self) -> Micros:
        """W of the topics that absences wait for."""
        (row,) = await self.ask(
            "SELECT min(greatest(coalesce(max_time, 0) - 1, coalesce(caught_up_at, 0) - $2)) FROM sources "
            "WHERE reader = 'detect' AND topic = ANY($1)", list(BUSINESS), GRACE,
        )  # fmt: skip
        return int(row[0] or 0)

    async def settled(self, published: int, until: Micros, seconds: float) -> None:
        """Wait until all is read, all that could become due is, and nobody waits for a message any more."""
        end = time.monotonic() + seconds
        last: Any = None
        while time.monotonic() < end:
            read, w, left = await self.offsets(), await self.watermark(), await self.open()
            if read >= published and w - self.lateness > until and not left:
                return
            last = {"read": read, "of": published, "missing": (until + self.lateness - w) / SECOND, "open": left}
            await asyncio.sleep(1)
        raise AssertionError(f"not at rest after {seconds:.0f} s: {last}")

    def faults(self) -> Counter[str]:
        """What the processes have logged as an error, by its words."""
        import json

        found: Counter[str] = Counter()
        for log in self.folder.glob("*.log"):
            for line in log.read_text(errors="replace").splitlines():
                try:
                    said = json.loads(line)
                except ValueError:
                    found[f"{log.stem}: {line[:120]}"] += 1
                    continue
                if said.get("level") == "error":
                    found[str(said.get("what"))[:120]] += 1
        return found


TIDINGS = (sys.executable, "-m", "gateway.cli.main")


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "TIDINGS"))}


@contextlib.contextmanager
def standing(
    folder: Path, *, lateness: Micros, partitions: int, altered: Mapping[str, str] = MappingProxyType({})
) -> Iterator[Stand]:
    """Start everything but the processes of Tidings, and take it all away at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    kafka = PrivateKafka(folder / "kafka", {"offsets.topic.num.partitions": "1"})
    postgres = PrivatePostgres(folder / "postgres")
    words = [sys.executable, "-m", "tests.proofs.post", str(folder / "book")]
    with kafka, postgres, subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as post:
        assert post.stdout is not None
        stand = Stand(folder, kafka, postgres, lateness, partitions, int(post.stdout.readline()), altered)
        try:
            stand.prepare()
            yield stand
        finally:
            for one in stand.running.values():
                one.discard()
            post.kill()
