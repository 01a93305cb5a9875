"""The Faust application: one agent a topic, none of which anything escapes.

Names are explicit, because Faust's own are made of module paths and end up in Kafka. There are no tables, no producer,
no web server, no monitor, no folder on disk, and no setting is read from the environment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import faust
from faust.app.base import BootStrategy

from streams.kafka.connection import Connection
from streams.kafka.transport import COMMIT_EVERY, Consumer, Pace, Positions, Records, Transport, Whole

GROUP = "worker"
"""Consumer group of the workers, without the installation's prefix."""

Take = Callable[[Records], Awaitable[bool]]
"""Applies a batch; True: it may be acknowledged. What it raises ends the application."""


class _Boot(BootStrategy):
    enable_web = False
    enable_sensors = False
    enable_kafka_producer = False


class App(faust.App):
    """See the module; made by `make_app`."""

    BootStrategy = _Boot

    def __init__(self, connection: Connection, positions: Positions, pace: Pace, name: str) -> None:
        super().__init__(
            f"{connection.prefix}{GROUP}",
            env={"": ""},  # none of its settings; an empty one would be os.environ
            autodiscover=False,
            broker_client_id=f"tidings-worker-{name}",
            broker_commit_interval=COMMIT_EVERY,
            broker_request_timeout=pace.request,
            broker_session_timeout=pace.session,
            broker_rebalance_timeout=pace.rebalance,
            stream_buffer_maxsize=1_000_000,  # the transport bounds what waits
            stream_wait_empty=True,
            topic_allow_declare=False,
            topic_disable_leader=True,
            web_enabled=False,
        )
        self._made_of = (connection, positions, pace)
        self.rebalances = 0

    def _new_transport(self) -> Transport:
        return Transport(self, *self._made_of)

    def _new_producer_transport(self) -> Transport:
        return Transport(self, *self._made_of)

    def on_init_dependencies(self) -> Iterable[Any]:
        """Start what is needed, and no monitor."""
        return self.boot_strategy.server()

    def on_rebalance_start(self) -> None:
        """Count it; there is no sensor, and Faust wonders why."""
        super().on_rebalance_start()
        self.rebalances += 1
        self._rebalancing_sensor_state = {"": None}

    def _create_directories(self) -> None:
        """Write nothing to disk."""

    @property
    def intake(self) -> Consumer:
        """The consumer, as what it is."""
        assert isinstance(self.consumer, Consumer)
        return self.consumer


def make_app(
    connection: Connection, topics: Iterable[str], take: Take, positions: Positions, pace: Pace | None = None,
    name: str = "worker",
) -> App:  # fmt: skip
    """Return an application that reads `topics`, named as in the contracts, and hands their batches to `take`."""
    app = App(connection, positions, pace or Pace(), name)

    async def attend(stream: Any) -> None:
        async for event in stream.noack().events():
            batch: Records = event.value
            try:
                with app.intake.working():
                    done = not app.intake.is_stale(batch) and await take(batch)
            except Exception as fault:  # noqa: BLE001 - Faust would go on behind the batch
                app.intake.let_go(event.message)
                await app.crash(fault)
                await asyncio.Event().wait()  # until the application ends
            if done:
                event.ack()
            else:
                app.intake.let_go(event.message)

    for topic in topics:
        channel = app.topic(f"{connection.prefix}{topic}", schema=Whole())
        app.agent(channel, name=f"tidings.{topic}", concurrency=1)(attend)
    return app
