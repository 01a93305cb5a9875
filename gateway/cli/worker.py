"""`tidings worker`: reads the topics of a cluster and decides; any number of these share the partitions.

Exit codes: 0 asked to stop; 1 wrong configuration, or a fault of ours; 75 broker or database have been away for long.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import sys
import threading
from argparse import Namespace
from collections.abc import Iterator
from functools import partial
from typing import Any

from gateway import config, logs
from gateway.cli.told import Told
from gateway.codec import codec_of
from gateway.config import Config
from gateway.long_running import AWAY, asked_to_stop, before, served, until_stopped, until_there
from gateway.metrics import Metrics
from gateway.worker_metrics import WorkerMetrics
from schemas import contracts
from streams.embedded import calm_collector, wall_clock
from streams.kafka.app import GROUP
from streams.kafka.cluster import Refused
from streams.kafka.connection import Connection
from streams.kafka.ground import Ground
from streams.kafka.reach import Away
from streams.kafka.skew import Skew
from streams.kafka.worker_process import Broken, WorkerProcess
from streams.processors import detect, people
from streams.stores.postgres import PostgresStore
from tidings.errors import Misconfigured
from tidings.ports import StoreUnavailable

logger = logging.getLogger("tidings.run")

DEADLINE = 10.0
"""Seconds for a stop. Then the process ends where it stands: what is in the database stays, the rest is read again."""


def worker(arguments: Namespace) -> int:
    """Run until SIGTERM or Ctrl-C."""
    settings = config.read(arguments.config)
    connection, place = settings.kafka(), settings.postgres("worker", arguments.name)
    logs.configure()
    try:
        return asyncio.run(_worker(settings, connection, partial(PostgresStore.open, place, wall_clock), arguments))
    except (StoreUnavailable, Away, Broken) as fault:
        print(f"tidings: ended to be started again: {fault}", file=sys.stderr)
        return AWAY
    except Refused as fault:
        raise Told(str(fault)) from fault
    except (Misconfigured, Told):
        raise
    except Exception:
        # One line: type and place. Nothing was acknowledged that the database does not have.
        logger.exception("ended by a fault of ours")
        return 1


async def _worker(settings: Config, connection: Connection, open_store: Any, arguments: Namespace) -> int:
    stop = asked_to_stop()
    store: PostgresStore | None = await until_there(open_store, stop)
    if store is None:
        return 0
    ground = Ground(connection, store, (detect.READER, people.READER), GROUP, run=store.run_of_server)
    codec = codec_of(settings)
    process = WorkerProcess(
        store, connection, contracts(), wall_clock, arguments.name or socket.gethostname(), ground, Skew(connection),
        decode=codec.decode, ready=codec.ready,
    )  # fmt: skip
    metrics = Metrics(lambda: process.rules, contracts().by_type, wall_clock)
    metrics.registry.register(WorkerMetrics(process))
    log = logs.observing(lambda: process.rules)

    def observe(seen: object) -> None:
        metrics.observe(seen)
        log(seen)

    process.observe = observe
    code = 1
    try:
        async with served(settings, process, metrics, arguments.http_port) as place:
            try:
                await before(_begin(process, ground, stop), stop)
                if not stop.is_set():
                    calm_collector()
                    _tell(process, place)
                await until_stopped(process, stop)
                code = 0
            except (StoreUnavailable, Away, Broken):
                code = AWAY
                raise
            finally:
                with _deadline(code):
                    await process.stop()
        logger.info("stopped")
    finally:
        await codec.close()
        await store.close()
    return 0


async def _begin(process: WorkerProcess, ground: Ground, stop: asyncio.Event) -> None:
    """Wait for a broker, see that the database is not older than the topics, and join the group."""

    async def there() -> None:
        try:
            await ground.again()
        except Away as fault:
            raise StoreUnavailable(str(fault)) from fault

    await until_there(there, stop)
    await process.start()


@contextlib.contextmanager
def _deadline(code: int) -> Iterator[None]:
    """End the process from outside of its loop, which may hang with what it waits for."""

    def end() -> None:
        logger.warning("not stopped within %.0f s; ended where it stood, nothing is lost", DEADLINE)
        logging.shutdown()
        os._exit(code)

    timer = threading.Timer(DEADLINE, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _tell(process: WorkerProcess, place: tuple[str, int] | None) -> None:
    fields: dict[str, Any] = {
        "name": process.name,
        "rules": len(process.rules.rules),
        "partitions": len(process.partitions),
    }
    if place is not None:
        fields["http"] = "http://{}:{}".format(*place)
    logger.info("reading", extra={"fields": fields})
