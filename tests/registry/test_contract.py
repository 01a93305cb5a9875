"""What a registry does for us: the same on the stand-in of the other tests and on a real one."""

import asyncio
import copy
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from streams.codec import Codec
from streams.registry.client import Refused, Registry
from streams.registry.endpoint import Endpoint
from streams.registry.publish import publish, subject
from streams.registry.schemas import RegistrySchemas
from tests import services
from tests.providers.stand_ins import served
from tests.registry.stand_in import BARE, KNOWN, PAID, Clock, StandIn, framed, headed
from tidings.errors import BadContract, Misconfigured, Refusal
from tidings.log import LogRecord

Promise = Callable[[Registry], Awaitable[None]]
OURS = KNOWN.schema(PAID.full_name)


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    yield from services.registry(tmp_path_factory.mktemp("registry"))


@asynccontextmanager
async def registry(url: str | None) -> AsyncIterator[Registry]:
    async with AsyncExitStack() as held:
        where = url if url is not None else await held.enter_async_context(served(StandIn()))
        found = Registry(Endpoint(where, prefix=services.corner()))
        try:
            yield found
        finally:
            await found.close()


@pytest.fixture(params=["stand-in", pytest.param("real", marks=pytest.mark.live)])
def kept(request):
    url = request.getfixturevalue("real") if request.param == "real" else None

    def check(promise: Promise) -> None:
        async def run() -> None:
            async with registry(url) as found:
                await promise(found)

        asyncio.run(run())

    return check


def test_a_schema_is_registered_once_and_found_by_id_version_and_content(kept):
    async def promise(found: Registry) -> None:
        name = subject(found.endpoint.prefix, PAID)
        assert await found.look_up(name, OURS) is None
        assert await found.version(name) is None
        number = await found.register(name, OURS)
        assert await found.register(name, OURS) == number
        assert await found.look_up(name, OURS) == number
        newest = await found.version(name)
        assert newest is not None
        assert (newest.version, newest.number) == (1, number)
        assert newest == await found.version(name, 1)
        assert newest.schema == await found.schema(number)
        assert await found.version(name, 7) is None

    kept(promise)


def test_there_is_no_schema_under_an_id_that_was_never_given(kept):
    async def promise(found: Registry) -> None:
        assert await found.schema(2**31 - 1) is None

    kept(promise)


def test_a_subject_is_told_what_to_take_and_says_it_back(kept):
    async def promise(found: Registry) -> None:
        name = f"{found.endpoint.prefix}x-tidings.x.v1.X"
        assert await found.compatibility(name) is None
        await found.set_compatibility(name, "FULL_TRANSITIVE")
        assert await found.compatibility(name) == "FULL_TRANSITIVE"

    kept(promise)


def test_what_is_no_schema_is_refused_in_words(kept):
    async def promise(found: Registry) -> None:
        with pytest.raises(Refused, match=r".+"):
            await found.register(f"{found.endpoint.prefix}x", {"type": "record", "name": "Stranger"})

    kept(promise)


def test_publishing_registers_every_released_version_and_once_more_changes_nothing(kept):
    async def promise(found: Registry) -> None:
        looked = [one async for one in publish(found, KNOWN, write=False)]
        assert {(one.number, one.changed) for one in looked} == {(None, True)}
        first = [one async for one in publish(found, KNOWN, write=True)]
        again = [one async for one in publish(found, KNOWN, write=True)]
        assert len(first) == len(KNOWN.released)
        assert all(one.changed for one in first)
        assert not any(one.changed for one in again)
        assert [one.number for one in first] == [one.number for one in again]
        for contract in KNOWN.by_full_name.values():
            assert await found.compatibility(subject(found.endpoint.prefix, contract)) == "FULL_TRANSITIVE"

    kept(promise)


def test_what_is_written_under_a_published_id_is_read_in_both_forms(kept):
    async def promise(found: Registry) -> None:
        schemas = RegistrySchemas(found.endpoint, KNOWN, clock=Clock(), settle=0.0)
        codec, shipped = Codec(KNOWN, schemas=schemas), Codec(KNOWN)
        payload = {"meta": _meta(), **shipped.decode(framed(PAID.schema_id)).data}
        await codec.enlist()
        with pytest.raises(Misconfigured, match="contracts publish"):
            codec.encode(PAID.type, payload)
        async for _ in publish(found, KNOWN, write=True):
            pass
        await codec.enlist()
        key, value = codec.encode(PAID.type, payload)
        number = int.from_bytes(value[1:5], "big")
        assert number == await found.look_up(subject(found.endpoint.prefix, PAID), OURS)
        one = LogRecord(PAID.topic, 0, 7, 1, key, value)
        for record in (one, headed(value[1:5], value[5:]), headed(b"\x00" + value[1:5], value[5:])):
            await codec.ready([record])
            assert codec.decode(record).data == shipped.decode(framed(PAID.schema_id)).data
        await codec.close()

    kept(promise)


def test_the_schema_of_another_writer_is_read_as_ours_where_it_fits(kept):
    async def promise(found: Registry) -> None:
        theirs = copy.deepcopy(OURS)
        theirs["fields"].append({"name": "colour", "type": "string", "default": "red"})
        number = await found.register(f"{found.endpoint.prefix}theirs", theirs)
        strange = await found.register(
            f"{found.endpoint.prefix}strange",
            {"type": "record", "name": "Pet", "fields": [{"name": "name", "type": "string"}]},
        )
        codec = Codec(KNOWN, schemas=RegistrySchemas(found.endpoint, KNOWN, clock=Clock(), settle=0.0))
        record = framed(number, BARE + b"\x08blue")
        await codec.ready([record, framed(strange)])
        assert codec.decode(record).data == Codec(KNOWN).decode(framed(PAID.schema_id)).data
        with pytest.raises(BadContract, match="none of our contracts") as told:
            codec.decode(framed(strange))
        assert (told.value.reason, told.value.schema_id) == (Refusal.UNKNOWN_SCHEMA, strange)
        await codec.close()

    kept(promise)


def _meta() -> dict[str, object]:
    event = Codec(KNOWN).decode(framed(PAID.schema_id))
    return {
        "event_id": event.id, "type": event.type, "source": event.source, "occurred_at": event.occurred_at,
        "tenant": event.tenant, "recorded_at": None, "subject": None, "actor": None, "correlation_id": "c",
        "causation_id": None, "sequence": None,
    }  # fmt: skip


@pytest.mark.live
def test_a_subject_that_holds_another_meaning_is_left_alone_and_told(real):
    async def run() -> None:
        found = Registry(Endpoint(real, prefix=services.corner()))
        name = subject(found.endpoint.prefix, PAID)
        theirs = copy.deepcopy(OURS)
        theirs["fields"][1]["type"] = "long"
        await found.register(name, theirs)
        with pytest.raises(Misconfigured, match=f"{name} refuses our contract"):
            async for _ in publish(found, KNOWN, write=True):
                pass
        newest = await found.version(name)
        assert newest is not None
        assert newest.version == 1
        await found.close()

    asyncio.run(run())
