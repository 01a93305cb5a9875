"""`tidings gateway`: the HTTP edge of a cluster; stateless, any number of these behind one address."""

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
from gateway.edge import cluster_site, guarded
from gateway.long_running import AWAY, asked_to_stop, before, served, until_stopped, until_there
from gateway.metrics import Metrics
from gateway.sections import Http
from handlers.channels.content import Contents
from schemas import contracts
from streams.edge_process import EdgeProcess
from streams.embedded import calm_collector, wall_clock
from streams.kafka.publishing import Publisher
from streams.stores.postgres import PostgresStore
from tidings.ports import StoreUnavailable

logger = logging.getLogger("tidings.run")


def gateway(arguments: Namespace) -> int:
    """Run until SIGTERM or Ctrl-C; 0 when it ended in order, 75 where the database did not come."""
    settings = config.read(arguments.config)
    place, kafka = settings.postgres("gateway", arguments.name), settings.kafka()
    http = settings.settings.http or Http()
    guarded(http.host, settings)
    logs.configure()
    logs.silence("aiokafka")
    try:
        return asyncio.run(_gateway(settings, kafka, http, partial(PostgresStore.open, place, wall_clock), arguments))
    except StoreUnavailable as fault:
        print(f"tidings: the database has been away for long: {fault}", file=sys.stderr)
        return AWAY


async def _gateway(settings: Config, kafka: Any, http: Http, open_store: Any, arguments: Namespace) -> int:
    stop = asked_to_stop()
    store: PostgresStore | None = await until_there(open_store, stop)
    if store is None:
        return 0
    name = arguments.name or socket.gethostname()
    codec = codec_of(settings)
    publisher = Publisher(kafka, store, f"{name}-{secrets.token_hex(3)}")
    process = EdgeProcess(store, contracts(), publisher)
    metrics = Metrics(lambda: process.rules, contracts().by_type, wall_clock)
    process.observe = metrics.observe
    site = cluster_site(
        process, codec, http.host, settings, clock=wall_clock,
        render=Contents(settings.settings.public_url, settings.link_key()),
    )  # fmt: skip
    try:
        await before(codec.enlist(), stop)
        await before(process.start(), stop)
        async with served(settings, process, metrics, arguments.http_port or http.port, site=site) as found:
            if not stop.is_set():
                calm_collector()
                fields: dict[str, Any] = {"name": name, "rules": len(process.rules.rules)}
                if found is not None:
                    fields["http"] = "http://{}:{}".format(*found)
                logger.info("serving", extra={"fields": fields})
            await until_stopped(process, stop)
        logger.info("stopped")
    finally:
        await process.stop()
        await site.close()
        await codec.close()
        await store.close()
    return 0
