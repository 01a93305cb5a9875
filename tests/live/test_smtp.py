"""E-mail against real servers: aiosmtpd where it behaves, a server of our own where it breaks off."""

import asyncio
import contextlib
import email
import email.message
import email.policy
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword

from handlers.providers.smtp import SmtpProvider, SmtpSettings, quoted
from streams.embedded import wall_clock
from tests.live import engines
from tests.live.engines import customer, failed, rest, rows
from tests.providers.stand_ins import Mailbox, hung_up, smtp_served
from tidings.delivery import Pace
from tidings.event import SECOND
from tidings.ports import Outgoing

pytestmark = pytest.mark.live


def outgoing(to: str = "ada@example.org", **content: str) -> Outgoing:
    now = wall_clock()
    body = {"subject": "Grüße an Ada", "text": "Hello,\n.a line with a dot\n\nyours\n", **content}
    return Outgoing("0b5e3c9a-1111-5222-8333-444455556666", 1, "email", to, body, now + 5 * SECOND, now + 60 * SECOND)


@asynccontextmanager
async def served(mailbox: Mailbox, **words: Any) -> AsyncIterator[SmtpProvider]:
    async with smtp_served(mailbox, **words) as port:
        yield provider(port)


def provider(port: int, **words: Any) -> SmtpProvider:
    words = {"tls": "none", "timeout": 2.0, "final_timeout": 2.0, **words}
    return SmtpProvider(SmtpSettings("127.0.0.1", "Small shop <hello@example.org>", port=port, **words), wall_clock)


def test_a_message_arrives_as_it_was_meant():
    async def story():
        mailbox = Mailbox()
        async with served(mailbox) as smtp:
            sent = outgoing()
            outcome = await smtp.send(sent)
        assert (outcome.stage, outcome.reference) == ("accepted", "ABC123")
        (envelope,) = mailbox.taken
        assert (envelope.mail_from, envelope.rcpt_tos) == ("hello@example.org", ["ada@example.org"])
        assert isinstance(envelope.content, bytes)
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        assert message["Subject"] == "Grüße an Ada"
        assert message["From"] == "Small shop <hello@example.org>"
        assert message["Message-ID"] == f"<{sent.message_id}@example.org>"
        assert message["Auto-Submitted"] == "auto-generated"
        assert message.get_content().replace("\r\n", "\n") == sent.content["text"]

    asyncio.run(story())


def test_text_and_html_arrive_as_alternatives_with_a_link_to_unsubscribe():
    async def story():
        mailbox = Mailbox()
        link = "https://news.example.org/u/abc.def"
        async with served(mailbox) as smtp:
            sent = outgoing(html="<p>Hello <b>Grüße</b></p>\n.\n", unsubscribe=link)
            assert (await smtp.send(sent)).stage == "accepted"
        (envelope,) = mailbox.taken
        assert isinstance(envelope.content, bytes)
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        assert isinstance(message, email.message.EmailMessage)
        text, html = (part.get_content().replace("\r\n", "\n") for part in message.iter_parts())
        assert (text, html) == (sent.content["text"], "<p>Hello <b>Grüße</b></p>\n.\n")
        assert message["List-Unsubscribe"] == f"<{link}>"
        assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"

    asyncio.run(story())


ANSWERS: dict[str, tuple[dict[str, str], str, bool, int | None, str]] = {
    # what the server says: the outcome, whether the address is gone, what to wait in seconds, what the detail begins with
    "recipient unknown": ({"RCPT": "550 5.1.1 no such user"}, "permanent", True, None, "550"),
    "domain unknown": ({"RCPT": "550 5.1.2 no such domain"}, "permanent", True, None, "550"),
    "domain takes no mail": ({"RCPT": "556 5.1.10 null MX"}, "permanent", True, None, "556"),
    "mailbox switched off": ({"RCPT": "550 5.2.1 disabled"}, "permanent", True, None, "550"),
    "recipient unknown after the dot": ({"DATA": "550 5.1.1 no such user"}, "permanent", True, None, "550"),
    "refused without a reason": ({"RCPT": "550 no"}, "permanent", False, None, "550"),
    "a reason that somebody else wrote": ({"RCPT": "550 no such thing as 5.1.1 here"}, "permanent", False, None, "550"),
    "another reason": ({"RCPT": "550 5.4.1 no route"}, "permanent", False, None, "550"),
    "mailbox full": ({"RCPT": "552 5.2.2 mailbox full"}, "not_sent", False, 1800, "soft bounce"),
    "mailbox full for now": ({"RCPT": "452 4.2.2 mailbox full"}, "not_sent", False, None, "452"),
    "greylisted": ({"RCPT": "451 4.7.1 come back later"}, "not_sent", False, None, "451"),
    "refused by policy": ({"DATA": "554 5.7.1 looks like spam"}, "permanent", False, None, "refused by policy"),
    "refused by policy at once": (
        {"RCPT": "550 5.7.26 not authenticated"},
        "permanent",
        False,
        None,
        "refused by policy",
    ),
    "no room after the dot": ({"DATA": "452 4.3.1 out of space"}, "not_sent", False, None, "452"),
    "log in first": ({"RCPT": "530 5.7.0 authentication required"}, "not_sent", False, 60, "configuration"),
    "neither yes nor no": ({"DATA": "354 go on"}, "ambiguous", False, None, "354"),
}


OF_THE_SERVER = {"no room after the dot", "log in first", "neither yes nor no"}
"""What every other recipient would hear as well."""


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_has_its_outcome(name):
    answers, stage, gone, wait, begins = ANSWERS[name]

    async def story():
        mailbox = Mailbox(**answers)
        async with served(mailbox) as smtp:
            outcome = await smtp.send(outgoing())
        asked = None if wait is None else wait * SECOND
        assert (outcome.stage, outcome.address_gone, outcome.retry_after) == (stage, gone, asked), outcome
        assert outcome.detail.startswith(begins)
        assert outcome.away == (name in OF_THE_SERVER)
        assert outcome.first_byte_at is not None
        assert mailbox.taken == []

    asyncio.run(story())


def test_a_server_that_is_slow_at_every_command_does_not_outlast_the_lease():
    async def story():
        transports: list[Any] = []

        async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            transports.append(writer.transport)
            with contextlib.suppress(ConnectionError):
                writer.write(b"220 here\r\n")
                while await reader.readline():
                    await asyncio.sleep(0.15)
                    writer.write(b"250 ok\r\n")
                writer.close()

        server = await asyncio.start_server(slow, "127.0.0.1", 0)
        out = provider(server.sockets[0].getsockname()[1], timeout=0.2, final_timeout=0.2)
        assert out.lease == 600_000
        outcome = await out.send(outgoing())
        server.close()
        await hung_up(transports)
        assert outcome.stage == "not_sent"

    asyncio.run(story())


@pytest.mark.parametrize(
    "to",
    [
        "",
        "ada",
        "ada@",
        "a b@example.org",
        "ada@example.org\r\nRCPT TO:<eve@example.org>",
        "<a@b.c>",
        "ü@example.org\n",
    ],
)
def test_an_address_that_is_none_never_reaches_the_server(to):
    outcome = asyncio.run(provider(1).send(outgoing(to)))
    assert outcome.stage == "permanent"


def test_nobody_there_is_not_sent():
    outcome = asyncio.run(provider(1).send(outgoing()))
    assert (outcome.stage, outcome.away) == ("not_sent", True)
    assert outcome.first_byte_at is None


@pytest.mark.parametrize("says", ["554 5.7.1 no service for you", "421 too busy", "450 4.3.2 later"])
def test_what_a_server_says_at_its_greeting_is_no_word_about_a_mail(says):
    async def story():
        transports: list[Any] = []

        async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            transports.append(writer.transport)
            writer.write(f"{says}\r\n".encode())
            writer.close()

        server = await asyncio.start_server(greet, "127.0.0.1", 0)
        outcome = await provider(server.sockets[0].getsockname()[1]).send(outgoing())
        server.close()
        await hung_up(transports)
        assert (outcome.stage, outcome.away, outcome.detail) == ("not_sent", True, says)

    asyncio.run(story())


@pytest.mark.parametrize(("says", "ours"), [
    ("454 4.7.0 temporary authentication failure", False), ("421 4.3.2 going down", False), ("535 5.7.8 no", True),
    ("504 5.5.4 not that way", True),
])  # fmt: skip
def test_only_what_a_server_refuses_for_good_at_log_in_is_ours_to_mend(says, ours):
    """What fails there for a moment is asked again soon, and holds up nobody for minutes."""

    async def story():
        transports: list[Any] = []

        async def guard(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            transports.append(writer.transport)
            with contextlib.suppress(ConnectionError):
                writer.write(b"220 here\r\n")
                while line := await reader.readline():
                    writer.write(
                        b"250-here\r\n250 AUTH PLAIN\r\n" if line.startswith(b"EHLO") else f"{says}\r\n".encode()
                    )
                writer.close()

        server = await asyncio.start_server(guard, "127.0.0.1", 0)
        out = provider(server.sockets[0].getsockname()[1], username="u", password="p")
        outcome = await out.send(outgoing())
        server.close()
        await hung_up(transports)
        assert (outcome.stage, outcome.away, outcome.first_byte_at) == ("not_sent", True, None)
        assert (outcome.misconfigured, outcome.retry_after) == ((True, 60 * SECOND) if ours else (False, None))

    asyncio.run(story())


def test_after_start_by_no_byte_leaves():
    async def story():
        mailbox = Mailbox()
        async with served(mailbox) as smtp:
            late = outgoing()
            object.__setattr__(late, "start_by", wall_clock() - 1)
            outcome = await smtp.send(late)
        assert (outcome.stage, outcome.first_byte_at, mailbox.taken) == ("not_sent", None, [])

    asyncio.run(story())


@pytest.mark.filterwarnings("ignore:Requiring AUTH")
def test_credentials_that_are_refused_are_told_and_nothing_is_lost():
    def check(*_: Any) -> AuthResult:
        return AuthResult(success=False, handled=False)

    async def story():
        mailbox = Mailbox()
        async with served(mailbox, authenticator=check, auth_required=True, auth_require_tls=False) as smtp:
            guarded = provider(smtp.settings.port, username="u", password="wrong")
            outcome = await guarded.send(outgoing())
        assert outcome.stage == "not_sent"
        assert "535" in outcome.detail
        assert outcome.detail.startswith("configuration")
        assert (outcome.retry_after, outcome.away) == (60 * SECOND, True)
        assert guarded.refused is not None
        assert "wrong" not in outcome.detail

    asyncio.run(story())


@pytest.mark.filterwarnings("ignore:Requiring AUTH")
def test_credentials_that_are_right_are_taken():
    def check(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        return AuthResult(success=isinstance(data, LoginPassword) and data.password == b"right")

    async def story():
        mailbox = Mailbox()
        async with served(mailbox, authenticator=check, auth_required=True, auth_require_tls=False) as smtp:
            outcome = await provider(smtp.settings.port, username="u", password="right").send(outgoing())
        assert outcome.stage == "accepted"

    asyncio.run(story())


Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter, list[bytes]], Any]


@asynccontextmanager
async def broken(breaks: str, took: list[bytes]) -> AsyncIterator[SmtpProvider]:
    """A server that breaks off, or hangs, at one place of the conversation."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def stop(place: str) -> bool:
            if breaks == f"hang {place}":
                await asyncio.sleep(30)
            return breaks == place

        try:
            if await stop("at the greeting"):
                return
            writer.write(b"220 here\r\n")
            while line := await reader.readline():
                word = line[:4].upper().strip()
                if word == b"DATA":
                    if await stop("at DATA"):
                        return
                    writer.write(b"354 go on\r\n")
                    first = await reader.readline()
                    if await stop("in the body"):
                        return
                    body = first
                    while not body.endswith(b"\r\n.\r\n"):
                        body += await reader.readline()
                    took.append(body)
                    if await stop("after the dot"):
                        return
                    if breaks == "half an answer":
                        writer.write(b"25")
                        await writer.drain()
                        return
                    writer.write(b"250 ok\r\n")
                elif word == b"QUIT":
                    writer.write(b"221 bye\r\n")
                    return
                else:
                    if await stop(f"at {word.decode()}"):
                        return
                    writer.write(b"250 ok\r\n")
                await writer.drain()
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    try:
        yield provider(server.sockets[0].getsockname()[1], timeout=0.5, final_timeout=0.5)
    finally:
        server.close()


BROKEN = {
    "at the greeting": "not_sent", "hang at the greeting": "not_sent", "at EHLO": "not_sent", "at MAIL": "not_sent",
    "at RCPT": "not_sent", "at DATA": "not_sent", "hang at DATA": "not_sent", "in the body": "not_sent",
    "after the dot": "ambiguous", "hang after the dot": "ambiguous", "half an answer": "ambiguous", "never": "accepted",
}  # fmt: skip


@pytest.mark.parametrize("place", BROKEN)
def test_where_the_connection_is_lost_decides_what_is_known(place):
    async def story():
        took: list[bytes] = []
        # Large enough that the body is still on its way when the server breaks off.
        large = {"text": "x" * 70 + "\n" + ("y" * 70 + "\n") * 200_000} if place == "in the body" else {}
        async with broken(place, took) as smtp:
            outcome = await smtp.send(outgoing(**large))
        assert outcome.stage == BROKEN[place], outcome.detail
        assert outcome.away == (place != "never")
        # What is called unsent, the server does not have.
        assert bool(took) == (BROKEN[place] != "not_sent")

    asyncio.run(story())


def test_lines_that_begin_with_a_dot_are_quoted_and_every_line_ends_alike():
    assert quoted(b".a\n..b\r\nc\rd") == b"..a\r\n...b\r\nc\r\nd\r\n"


def test_a_server_that_is_busy_gets_each_message_once_in_the_end(tmp_path):
    """Through the engine: greylisted at first, and a connection that is lost after the dot."""

    class Moody(Mailbox):
        def __init__(self) -> None:
            super().__init__()
            self.seen: dict[str, int] = {}

        async def handle_RCPT(self, server: Any, session: Any, envelope: Envelope, address: str, options: Any) -> str:
            self.seen[address] = self.seen.get(address, 0) + 1
            if self.seen[address] == 1:
                return "451 4.7.1 greylisted"
            envelope.rcpt_tos.append(address)
            return "250 OK"

    async def story():
        mailbox = Moody()
        pace = Pace(retry_least=SECOND // 20, retry_most=SECOND // 10)
        async with served(mailbox) as smtp, engines.engine(tmp_path / "t.db", smtp, pace=pace) as running:
            for number in range(8):
                await running.publish("customer.profile.changed", customer(f"c-{number}"))
                await running.publish("billing.payment.failed", failed(f"p-{number}", f"c-{number}"))
            await running.start()
            await rest(running)
            messages = await rows(running, "messages")
            assert {row["state"] for row in messages} == {"accepted"}
            assert {row["attempt"] for row in messages} == {2}
        to = [address for envelope in mailbox.taken for address in envelope.rcpt_tos]
        assert sorted(to) == sorted(f"c-{number}@example.org" for number in range(8))

    asyncio.run(story())


@pytest.mark.parametrize("ends", ["", "gone", "421"])
def test_a_connection_carries_the_next_message_unless_the_server_has_closed_it(ends):
    """While it rests the server may end it: nothing of the next message was there, so it takes a new connection."""

    async def story():
        taken: list[str] = []
        connections = 0
        ended = asyncio.Semaphore(0)

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal connections
            connections += 1
            writer.write(b"220 here\r\n")
            carried = 0
            while line := await reader.readline():
                if line.startswith(b"MAIL") and carried and ends:
                    writer.write(b"421 4.4.2 timeout\r\n" if ends == "421" else b"")
                    break
                writer.write(b"354 go on\r\n" if line.startswith(b"DATA") else b"250 ok\r\n")
                if line.startswith(b"DATA"):
                    body = await reader.readuntil(b"\r\n.\r\n")
                    taken.append(email.message_from_bytes(body)["To"])
                    carried += 1
                    writer.write(b"250 ok\r\n")
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
            ended.release()

        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        smtp = provider(server.sockets[0].getsockname()[1], keep=0.2)
        people = [f"c{number}@example.org" for number in range(3)]
        stages = [(await smtp.send(outgoing(to))).stage for to in people]
        assert (stages, taken) == (["accepted"] * 3, people)
        assert connections == (3 if ends else 1)
        for _ in range(connections):  # what nothing comes for is closed
            await ended.acquire()
        server.close()
        await server.wait_closed()

    asyncio.run(story())
