"""A worker and its registry: a batch waits until the registry answers, and is then decided whole."""

import asyncio

import pytest
from aiohttp import web

from streams.processors.worker import Worker
from tests.registry.stand_in import KNOWN, PAID, StandIn, framed, reading
from tidings.errors import BadContract
from tidings.log import LogRecord
from tidings.ports import StoreUnavailable


def test_a_batch_waits_for_the_registry_and_loses_nothing():
    async def body() -> None:
        there = StandIn(says=lambda _: web.Response(status=503))
        number = there.hold(KNOWN.schema(PAID.full_name))
        batch = [framed(number), framed(99)]
        read: list[str] = []

        def decode(record: LogRecord) -> object:
            try:
                event = codec.decode(record)
            except BadContract as fault:
                read.append(str(fault.reason))
                raise
            read.append(event.type)
            return event

        async with reading(there) as (codec, _):
            worker = Worker(
                Nowhere(), None, None, decode, None, None, 0, ready=codec.ready,  # type: ignore[arg-type]
            )  # fmt: skip
            starts = {(PAID.topic, 0): 7}
            with pytest.raises(StoreUnavailable, match="schema registry"):
                await worker.apply(batch, starts)
            assert read == []
            there.says = None
            with pytest.raises(StoreUnavailable, match="nowhere"):
                await worker.apply(batch, starts)
            assert read == [PAID.type, "unknown_schema"]

    asyncio.run(body())


class Nowhere:
    """A store that a batch reaches, and that is not there."""

    async def run(self, body, *, urgent=False):
        raise StoreUnavailable("nowhere")
