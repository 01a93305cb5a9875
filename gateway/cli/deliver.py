"""`tidings deliver`: dispatch and delivery on a cluster; any number of these share the work of one database."""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
import sys
from argparse import Namespace
from functools import partial
from typing import Any

from gateway import config, logs
from gateway.codec import codec_of
from gateway.config import Config
from gateway.long_running import AWAY, asked_to_stop, before, served, until_stopped, until_there
from gateway.metrics import Metrics
from gateway.ways import provider_of, unreadable
from handlers.channels.content import Contents
from handlers.providers.ways import Ways
from schemas import contracts
from streams.deliver_process import DeliverProcess
from streams.embedded import calm_collector, wall_clock
from streams.kafka.ground import Ground
from streams.kafka.outcome_log import numbers
from streams.kafka.relay import Relay
from streams.stores.postgres import PostgresStore
from tidings.ports import StoreUnavailable

logger = logging.getLogger("tidings.run")


def deliver(arguments: Namespace) -> int:
    """Run until SIGTERM or Ctrl-C; 0 when it ended in order, 75 where the database did not come."""
    settings = config.read(arguments.config)
    place = settings.postgres("deliver", arguments.name)
    ways = provider_of(settings)
    contents = Contents(settings.settings.public_url, settings.link_key())
    logs.configure()
    logs.silence("aiokafka")
    try:
        return asyncio.run(
            _deliver(settings, ways, contents, partial(PostgresStore.open, place, wall_clock), arguments)
        )
    except StoreUnavailable as fault:
        print(f"tidings: the database has been away for long: {fault}", file=sys.stderr)
        return AWAY


async def _deliver(settings: Config, ways: Ways, contents: Contents, open_store: Any, arguments: Namespace) -> int:
    stop = asked_to_stop()
    store: PostgresStore | None = await until_there(open_store, stop)
    if store is None:
        return 0
    kafka, name = settings.kafka(), arguments.name or socket.gethostname()
    codec = codec_of(settings)
    process = DeliverProcess(
        store, contracts(), ways.of, wall_clock, name, contents,
        ground=Ground(kafka, store, (), numbers=numbers(kafka, store), run=store.run_of_server),
        relay=Relay(store, kafka, codec, f"{name}-{secrets.token_hex(3)}"),
    )  # fmt: skip
    metrics = Metrics(lambda: process.rules, contracts().by_type, wall_clock)
    log = logs.observing(lambda: process.rules)

    def observe(seen: object) -> None:
        metrics.observe(seen)
        log(seen)

    process.observe = observe
    try:
        async with served(settings, process, metrics, arguments.http_port) as place:
            try:
                await before(process.start(), stop)
                if not stop.is_set():
                    calm_collector()
                    _tell(settings, process, ways, place)
                await until_stopped(process, stop)
            finally:
                cut = await process.stop()
                if cut:
                    fields = {"count": cut, "then": "they are of unknown outcome once their lease is over"}
                    logger.warning("cut off in flight", extra={"fields": fields})
        logger.info("stopped")
    finally:
        await codec.close()
        await store.close()
    return 0


def _tell(settings: Config, process: DeliverProcess, ways: Ways, place: tuple[str, int] | None) -> None:
    fields: dict[str, Any] = {"name": process.name, "rules": len(process.rules.rules), "out": ways.name}
    if settings.settings.test is not None:
        fields["test"] = "every message goes to one address"
    if place is not None:
        fields["http"] = "http://{}:{}".format(*place)
    logger.info("delivering", extra={"fields": fields})
    if missing := unreadable(settings, process.rules):
        said = {"count": len(missing), "names": missing, "mend": "set them where this process runs"}
        logger.warning("secrets are missing; messages that need them wait", extra={"fields": said})
