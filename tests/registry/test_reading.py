"""Schemas behind the codec: asked for once, waited for when the registry is away, never believed too early."""

import asyncio
from uuid import UUID

import pytest
from aiohttp import web

from streams.codec import Codec
from streams.registry import schemas as module
from streams.registry.client import MAX_ANSWER, Registry, RegistryUnavailable
from streams.registry.endpoint import Endpoint
from streams.registry.schemas import FORGET, RegistrySchemas
from tests.providers.stand_ins import served
from tests.registry.stand_in import KNOWN, PAID, Clock, StandIn, framed, headed, reading
from tidings.errors import BadContract, Refusal
from tidings.ports import StoreUnavailable

OURS = KNOWN.schema(PAID.full_name)
DATA = Codec(KNOWN).decode(framed(PAID.schema_id)).data


def run(body):
    asyncio.run(body())


def refused(codec: Codec, record) -> BadContract:
    with pytest.raises(BadContract) as told:
        codec.decode(record)
    return told.value


def test_a_schema_is_asked_for_once_however_many_records_and_readers_name_it():
    async def body():
        there = StandIn()
        number = there.hold(OURS)
        async with reading(there) as (codec, _):
            batch = [framed(number)] * 50
            await asyncio.gather(*[codec.ready(batch) for _ in range(5)])
            assert [codec.decode(record).data for record in batch] == [DATA] * 50
            await codec.ready(batch)
        assert there.asked == [f"GET /schemas/ids/{number}"]

    run(body)


def test_an_unknown_id_is_poison_only_at_the_second_word_and_for_a_while():
    async def body():
        there = StandIn()
        async with reading(there) as (codec, clock):
            await codec.ready([framed(1)])
            told = refused(codec, framed(1))
            assert (told.reason, told.schema_id) == (Refusal.UNKNOWN_SCHEMA, 1)
            await codec.ready([framed(1)])
            assert there.asked == ["GET /schemas/ids/1"] * 2
            there.hold(OURS)
            clock.at = FORGET + 1
            await codec.ready([framed(1)])
            assert codec.decode(framed(1)).data == DATA

    run(body)


def test_a_schema_that_is_registered_between_the_two_questions_is_no_poison():
    async def body():
        there = StandIn()

        def late(request):
            there.says = None
            there.hold(OURS)
            return web.json_response({"error_code": 40403, "message": "not yet"}, status=404)

        there.says = late
        async with reading(there) as (codec, _):
            await codec.ready([framed(1)])
            assert codec.decode(framed(1)).data == DATA

    run(body)


def test_the_bytes_of_a_guid_are_asked_for_as_a_guid():
    async def body():
        guid = UUID("3f1c2f52-6a9e-4a5e-9d3c-0b1f7f3f9a11")
        there = StandIn()
        there.guids[str(guid)] = there.hold(OURS)
        async with reading(there) as (codec, _):
            record = headed(b"\x01" + guid.bytes)
            await codec.ready([record])
            assert codec.decode(record).data == DATA
            other = headed(b"\x01" + bytes(16))
            await codec.ready([other])
            assert refused(codec, other).reason is Refusal.UNKNOWN_SCHEMA
        assert "GUID" in refused(Codec(KNOWN), record).detail

    run(body)


@pytest.mark.parametrize("header", [b"", b"\x00", b"\x01\x00\x00\x00\x07", b"x" * 17, b"\x00" * 18])
def test_a_header_that_is_neither_id_nor_guid_is_refused(header):
    assert refused(Codec(KNOWN), headed(header)).reason is Refusal.UNKNOWN_SCHEMA


def test_records_from_before_the_registry_stay_readable():
    async def body():
        async with reading(StandIn()) as (codec, _):
            await codec.ready([framed(PAID.schema_id)])
            assert codec.decode(framed(PAID.schema_id)).data == DATA

    run(body)


def test_a_record_that_nobody_asked_about_is_never_poison():
    async def body():
        async with reading(StandIn()) as (codec, _):
            with pytest.raises(RegistryUnavailable):
                codec.decode(framed(1))

    run(body)


def test_what_was_forgotten_for_others_is_asked_for_again(monkeypatch):
    monkeypatch.setattr(module, "MOST", 2)

    async def body():
        there = StandIn()
        numbers = [there.hold({**OURS, "owner": f"team-{n}"}) for n in range(3)]
        async with reading(there) as (codec, _):
            for number in [*numbers, numbers[-1], *numbers]:
                await codec.ready([framed(number)])
                assert codec.decode(framed(number)).data == DATA
            assert len(codec.schemas.wires) == 2
        assert len(there.asked) == 6

    run(body)


def said(status: int, body: bytes = b"{}", kind: str = "application/json"):
    return lambda _: web.Response(status=status, body=body, content_type=kind)


AWAY = {
    "an error": said(500),
    "too many requests": said(429),
    "wrong credentials": said(401, b'{"error_code": 401, "message": "Unauthorized"}'),
    "a user without the right": said(403),
    "a proxy that knows no such page": said(404, b"<html>not found</html>", "text/html"),
    "a server that knows no such path": said(404, b'{"error_code": 404, "message": "HTTP 404 Not Found"}'),
    "a way elsewhere": lambda _: web.Response(status=302, headers={"Location": "http://127.0.0.1:1/"}),
    "a page": said(200, b"<html>", "text/html"),
    "a list": said(200, b"[]"),
    "a number for a schema": said(200, b'{"schema": 7}'),
    "nothing": said(200, b""),
    "brackets without end": said(200, b"[" * 200_000),
    "an endless error": said(500, b"x" * (MAX_ANSWER + 1)),
    "a packed answer": lambda _: web.Response(body=bytes.fromhex("1f8b0800"), headers={"Content-Encoding": "gzip"}),
}


@pytest.mark.parametrize("name", AWAY)
def test_a_registry_that_answers_something_else_is_waited_for(name):
    async def body():
        there = StandIn(says=AWAY[name])
        number = there.hold(OURS)
        async with reading(there) as (codec, _):
            with pytest.raises(StoreUnavailable, match="schema registry"):
                await codec.ready([framed(number)])
            with pytest.raises(RegistryUnavailable):
                codec.decode(framed(number))
            there.says = None
            await codec.ready([framed(number)])
            assert codec.decode(framed(number)).data == DATA

    run(body)


def test_one_schema_that_cannot_be_had_keeps_the_others():
    async def body():
        there = StandIn(says=lambda request: web.Response(status=500) if request.path.endswith("/1") else None)
        there.hold({**OURS, "owner": "team-a"})
        there.hold({**OURS, "owner": "team-b"})
        async with reading(there) as (codec, _):
            with pytest.raises(RegistryUnavailable):
                await codec.ready([framed(1), framed(2)])
            assert codec.decode(framed(2)).data == DATA

    run(body)


def test_a_registry_that_hangs_is_given_up_and_a_dead_one_told():
    async def body():
        async with served(StandIn(hangs=True)) as url:
            registry = Registry(Endpoint(url), deadline=0.2)
            with pytest.raises(RegistryUnavailable, match="did not answer within"):
                await registry.schema(1)
            await registry.close()
        registry = Registry(Endpoint(url), deadline=5)
        with pytest.raises(RegistryUnavailable, match="cannot be asked"):
            await registry.schema(1)
        await registry.close()

    run(body)


def test_a_schema_beyond_every_size_is_poison_and_not_asked_for_again():
    async def body():
        there = StandIn(says=said(200, b'{"schema": "' + b"x" * MAX_ANSWER + b'"}'))
        async with reading(there) as (codec, _):
            await codec.ready([framed(1)])
            await codec.ready([framed(1)])
            assert refused(codec, framed(1)).reason is Refusal.WRONG_SCHEMA
        assert len(there.asked) == 1

    run(body)


def test_credentials_go_with_every_question_and_stand_in_no_text():
    async def body():
        there = StandIn(says=said(401))
        async with served(there) as url:
            endpoint = Endpoint(url, "tidings", "s3cret-word")
            codec = Codec(KNOWN, schemas=RegistrySchemas(endpoint, KNOWN, clock=Clock()))
            with pytest.raises(RegistryUnavailable) as told:
                await codec.ready([framed(1)])
            await codec.close()
            assert "s3cret-word" not in f"{told.value} {endpoint!r}"
            assert "username and password of [registry]" in str(told.value)
        assert there.headers[0]["Authorization"] == "Basic dGlkaW5nczpzM2NyZXQtd29yZA=="
        assert there.headers[0]["Accept-Encoding"] == "identity"

    run(body)
