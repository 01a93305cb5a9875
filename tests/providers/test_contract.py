"""What every way out promises, for each that is registered: a new file is held to this before its author writes a test."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from handlers.channels import wire
from handlers.channels.wire import PushGateway, Senders
from handlers.providers.catcher import FileCatcher, SocketCatcher
from handlers.providers.chat import SlackProvider, TeamsProvider
from handlers.providers.redirect import Redirected
from handlers.providers.registry import known
from handlers.providers.smtp import SmtpProvider, SmtpSettings
from handlers.providers.ways import Ways
from handlers.providers.webhook import WebhookProvider
from streams.embedded import wall_clock
from tests.providers.stand_ins import (
    ID,
    QUICK,
    WHSEC,
    Mailbox,
    Receiver,
    Twilio,
    hung_up,
    outgoing,
    resolve,
    served,
    smtp_served,
    texter,
)
from tidings.event import SECOND
from tidings.ports import Outcome, Outgoing, Provider
from tidings.testing.provider import FakeProvider

pytestmark = pytest.mark.live

TARGET = {"name": "crm", "url": "env:URL", "secret": "env:WHSEC"}
CONTENT: dict[str, dict[str, Any]] = {
    "email": {"subject": "Hello", "text": "Hello.\n"},
    "sms": {"text": "Hello.", "segments": 1, "encoding": "GSM-7"},
    "push": {"title": "Hello", "body": "Hello."},
    "slack": {"text": "Hello."},
    "teams": {"title": "Hello", "text": "Hello."},
    "ticket": {"title": "Hello", "body": "Hello.", "data": {}, "target": TARGET},
    "webhook": {"data": {"a": 1}, "target": TARGET},
    "workflow": {"data": {"a": 1}, "target": TARGET},
}
ADDRESS = {"email": "ada@example.org", "sms": "+491701234567", "slack": "env:URL", "teams": "env:URL"}


@dataclass
class Rig:
    """A provider with a server behind it; `ids` are the message ids that the server has seen, one a request."""

    provider: Provider
    ids: Callable[[], list[str]]
    bytes: Callable[[], int]
    """How many requests, mails or lines came."""


def on(url: str) -> Callable[[str], str]:
    return lambda reference: url if reference == "env:URL" else resolve(reference)


@asynccontextmanager
async def smtp(folder: Path, channel: str) -> AsyncIterator[Rig]:
    mailbox = Mailbox()
    async with smtp_served(mailbox) as port:
        out = SmtpProvider(SmtpSettings("127.0.0.1", "Shop <hello@example.org>", port=port, tls="none"), wall_clock)
        yield Rig(out, lambda: [_id(one.content) for one in mailbox.taken], lambda: len(mailbox.taken))


def _id(content: Any) -> str:
    return str(content.partition(b"Message-ID: <")[2].partition(b"@")[0].decode())


@asynccontextmanager
async def twilio(folder: Path, channel: str) -> AsyncIterator[Rig]:
    vendor = Twilio()
    async with served(vendor) as url:
        # Twilio knows no key; the callback carries the id.
        out = texter(url, callback="https://hooks.example.org")
        yield Rig(
            out,
            lambda: [one.body.decode().rpartition("delivery%3D")[2] for one in vendor.asked],
            lambda: len(vendor.asked),
        )


@asynccontextmanager
async def posted(folder: Path, channel: str) -> AsyncIterator[Rig]:
    receiver = Receiver()
    async with served(receiver) as url:
        senders = Senders(push=PushGateway("env:URL", "env:WHSEC"))
        out = WebhookProvider(senders, on(url), wall_clock, QUICK, allow_loopback=True)
        yield Rig(out, lambda: [str(one.header("webhook-id")) for one in receiver.asked], lambda: len(receiver.asked))


@asynccontextmanager
async def room(folder: Path, channel: str) -> AsyncIterator[Rig]:
    receiver = Receiver(text="ok")
    kinds: dict[str, Any] = {"slack": SlackProvider, "teams": TeamsProvider}
    async with served(receiver) as url:
        out = kinds[channel](on(url), wall_clock, QUICK, allow_loopback=True)
        yield Rig(out, lambda: [ID] * len(receiver.asked), lambda: len(receiver.asked))


@asynccontextmanager
async def caught(folder: Path, channel: str) -> AsyncIterator[Rig]:
    out = FileCatcher(folder / "caught.jsonl", wall_clock)
    yield Rig(out, lambda: [one["message_id"] for one in _lines(out.path)], lambda: len(_lines(out.path)))


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.is_file() else []


@asynccontextmanager
async def socketed(folder: Path, channel: str) -> AsyncIterator[Rig]:
    lines: list[dict[str, Any]] = []
    writers: list[asyncio.StreamWriter] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        if line := await reader.readline():
            lines.append(json.loads(line))
            writer.write(b"taken\n")
        writer.close()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    try:
        out = SocketCatcher(server.sockets[0].getsockname()[1], wall_clock)
        yield Rig(out, lambda: [one["message_id"] for one in lines], lambda: len(lines))
    finally:
        server.close()
        await hung_up([writer.transport for writer in writers])


@asynccontextmanager
async def redirected(folder: Path, channel: str) -> AsyncIterator[Rig]:
    async with smtp(folder, "email") as rig:
        yield replace(rig, provider=Redirected(rig.provider, "me@example.org", wall_clock))


@asynccontextmanager
async def all_ways(folder: Path, channel: str) -> AsyncIterator[Rig]:
    async with caught(folder, channel) as otherwise, posted(folder, channel) as posts:
        out = Ways(otherwise.provider, {"webhook": posts.provider, "push": posts.provider})
        yield Rig(out, lambda: otherwise.ids() + posts.ids(), lambda: otherwise.bytes() + posts.bytes())


@asynccontextmanager
async def fake(folder: Path, channel: str) -> AsyncIterator[Rig]:
    out = FakeProvider(wall_clock)
    yield Rig(out, lambda: [one.message_id for one in out.asked], lambda: len(out.asked))


RIGS: dict[str, tuple[Callable[[Path, str], AbstractAsyncContextManager[Rig]], tuple[str, ...]]] = {
    "smtp": (smtp, ("email",)),
    "twilio": (twilio, ("sms",)),
    "webhook": (posted, ("push", "ticket", "webhook", "workflow")),
    "slack": (room, ("slack",)),
    "teams": (room, ("teams",)),
    "catcher": (caught, tuple(CONTENT)),
    "socket": (socketed, tuple(CONTENT)),
    "redirect": (redirected, tuple(CONTENT)),
    "ways": (all_ways, tuple(CONTENT)),
    "fake": (fake, tuple(CONTENT)),
}
CASES = [(name, channel) for name, (_, channels) in RIGS.items() for channel in channels]


def message(channel: str, **words: Any) -> Outgoing:
    words = {"recipient": "customer:c-1", **words}
    return outgoing(
        channel, words.pop("address", ADDRESS.get(channel, "")), words.pop("content", CONTENT[channel]), **words
    )


def test_every_provider_that_is_registered_is_held_to_the_contract():
    """A new file in handlers/providers/ needs a rig in RIGS, above."""
    assert set(known()) | {"fake"} == set(RIGS)


def test_every_channel_has_a_composer():
    assert set(wire.known()) == set(CONTENT)


@pytest.mark.parametrize(("name", "channel"), CASES)
def test_a_message_is_taken_and_its_id_is_the_same_on_every_attempt(tmp_path, name, channel):
    async def story():
        async with RIGS[name][0](tmp_path, channel) as rig:
            outcomes = [await rig.provider.send(message(channel, attempt=attempt)) for attempt in (1, 2)]
            assert [outcome.stage for outcome in outcomes] == ["accepted", "accepted"], outcomes
            assert all(outcome.first_byte_at is not None for outcome in outcomes)
            assert rig.ids() == [ID, ID]

    asyncio.run(story())


@pytest.mark.parametrize(("name", "channel"), CASES)
def test_past_start_by_no_byte_leaves(tmp_path, name, channel):
    async def story():
        async with RIGS[name][0](tmp_path, channel) as rig:
            outcome = await rig.provider.send(message(channel, start_by=wall_clock() - 1))
            assert (outcome.stage, outcome.first_byte_at, rig.bytes()) == ("not_sent", None, 0)

    asyncio.run(story())


@pytest.mark.parametrize(("name", "channel"), CASES)
def test_the_port_is_whole_and_the_lease_covers_the_time_outs(tmp_path, name, channel):
    async def story():
        async with RIGS[name][0](tmp_path, channel) as rig:
            provider = rig.provider
            assert isinstance(provider.name, str)
            assert isinstance(provider.can_look_up, bool)
            assert 5 * SECOND <= provider.lease <= 3600 * SECOND
            assert await provider.look_up("never heard of") in ("absent", None)
            assert await provider.look_up("never heard of") is None or provider.can_look_up

    asyncio.run(story())


ODD: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.integers() | st.text(max_size=30) | st.floats() | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
NAMES = ("subject", "text", "html", "title", "body", "data", "target", "type", "unsubscribe", "collapse_key")


@pytest.mark.parametrize(("name", "channel"), CASES)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    odd=st.dictionaries(st.sampled_from(NAMES), ODD, max_size=4),
    address=st.none() | st.text(max_size=30),
    id_=st.none() | st.text(max_size=20),
)
def test_no_exception_leaves_whatever_it_is_given(tmp_path, name, channel, odd, address, id_):
    """Content, address or id that nobody expects: an outcome, always one of the four."""
    words = {} if address is None else {"address": address}
    words |= {} if id_ is None else {"message_id": id_}

    async def story() -> Outcome:
        async with RIGS[name][0](tmp_path, channel) as rig:
            return await rig.provider.send(message(channel, content={**CONTENT[channel], **odd}, **words))

    assert asyncio.run(story()).stage in ("accepted", "not_sent", "ambiguous", "permanent")


@pytest.mark.parametrize(("name", "channel"), CASES)
def test_an_address_that_is_missing_stops_one_message_only(tmp_path, name, channel):
    """Rows know no address for other systems, and may have lost a person's."""

    async def story() -> Outcome:
        async with RIGS[name][0](tmp_path, channel) as rig:
            return await rig.provider.send(message(channel, address=None))

    assert asyncio.run(story()).stage in ("accepted", "permanent")


@pytest.mark.parametrize(
    ("name", "channel"), [case for case in CASES if case[0] in ("smtp", "twilio", "webhook", "slack", "teams")]
)
def test_no_secret_is_in_an_outcome(tmp_path, name, channel):
    async def story():
        async with RIGS[name][0](tmp_path, channel) as rig:
            outcome = await rig.provider.send(message(channel))
        gone = await rig.provider.send(message(channel))
        for one in (outcome, gone):
            assert WHSEC not in repr(one)
            assert "127.0.0.1:" not in one.detail or name == "smtp"

    asyncio.run(story())
