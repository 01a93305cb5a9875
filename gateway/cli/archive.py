"""`tidings archive`: every record of the topics is copied into the database; a second process stands by."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from argparse import Namespace
from functools import partial

from gateway import config, logs
from gateway.codec import codec_of
from gateway.config import Config
from gateway.long_running import AWAY, asked_to_stop, served, until_stopped, until_there
from gateway.metrics import Metrics
from schemas import contracts
from streams.archive_process import ArchiveProcess
from streams.embedded import wall_clock
from streams.kafka.connection import Connection
from streams.kafka.reach import Away
from streams.stores.place import Place
from streams.stores.postgres import PostgresStore
from tidings.ports import StoreUnavailable

logger = logging.getLogger("tidings.run")


def archive(arguments: Namespace) -> int:
    """Run until SIGTERM or Ctrl-C; 0 when it ended in order, 75 where database or brokers have been away for long."""
    settings = config.read(arguments.config)
    place, connection = settings.postgres("archive", arguments.name), settings.kafka()
    logs.configure()
    logs.silence("aiokafka")
    try:
        return asyncio.run(_archive(settings, place, connection, arguments))
    except (StoreUnavailable, Away) as fault:
        print(f"tidings: {fault}", file=sys.stderr)
        return AWAY


async def _archive(settings: Config, place: Place, connection: Connection, arguments: Namespace) -> int:
    stop = asked_to_stop()
    store = await until_there(partial(PostgresStore.open, place, wall_clock), stop)
    if store is None:
        return 0
    process = ArchiveProcess(store, connection, codec_of(settings))
    metrics = Metrics(lambda: process.rules, contracts().by_type, wall_clock)
    try:
        async with served(settings, process, metrics, arguments.http_port) as found:
            process.start()
            fields = {"name": arguments.name or socket.gethostname()}
            if found is not None:
                fields["http"] = "http://{}:{}".format(*found)
            logger.info("archiving", extra={"fields": fields})
            try:
                await until_stopped(process, stop)
            finally:
                await process.stop()
        logger.info("stopped", extra={"fields": {"copied": process.archive.copied}})
    finally:
        await store.close()
    return 0
