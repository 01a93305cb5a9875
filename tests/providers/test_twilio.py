"""Text messages against a stand-in with Twilio's wire format: every fault its own outcome, in bounded time."""

import asyncio
import time
from typing import Any
from urllib.parse import parse_qs

import pytest

from handlers.providers.twilio import CODES
from streams.embedded import wall_clock
from tests.providers.stand_ins import (
    ACCOUNT,
    ID,
    SENDER,
    TOKEN,
    Twilio,
    hung_up,
    outgoing,
    resetting,
    served,
    texter,
)
from tidings.errors import Misconfigured
from tidings.event import HOUR, SECOND
from tidings.ports import Outcome

pytestmark = pytest.mark.live
TO = "+491701234567"


def text(to: str = TO, body: str = "Grüße, your order is on its way €", **words: Any) -> Any:
    return outgoing("sms", to, {"text": body, "segments": 1, "encoding": "GSM-7"}, **words)


def send(twilio: Twilio, message: Any = None, **words: Any) -> Outcome:
    async def story() -> Outcome:
        async with served(twilio) as url:
            return await texter(url, **words).send(text() if message is None else message)

    return asyncio.run(story())


def test_a_text_message_arrives_as_it_was_meant():
    twilio = Twilio()
    outcome = send(twilio, callback="https://hooks.example.org")
    assert (outcome.stage, outcome.reference, outcome.retry_after) == ("accepted", "SM" + "0" * 32, None)
    assert outcome.first_byte_at is not None
    (one,) = twilio.asked
    assert (one.method, one.path) == ("POST", f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json")
    form = {name: value for name, (value,) in parse_qs(one.body.decode(), strict_parsing=True).items()}
    assert 595 <= int(form.pop("ValidityPeriod")) <= 600
    assert form == {
        "To": TO, "From": SENDER, "Body": "Grüße, your order is on its way €",
        "StatusCallback": f"https://hooks.example.org/v1/hooks/twilio?delivery={ID}",
    }  # fmt: skip


@pytest.mark.parametrize(("left", "period"), [(-5, "1"), (0.4, "1"), (90, "89"), (36_000 * 2, "36000")], ids=str)
def test_what_is_left_of_the_deadline_is_passed_on_within_twilios_limits(left, period):
    twilio = Twilio()
    message = text(deadline=wall_clock() + int(left * SECOND))
    send(twilio, message)
    assert f"ValidityPeriod={period}" in twilio.asked[0].body.decode()


FAULTS: dict[str, tuple[str, int]] = {
    # what happens to the request: the outcome, how many messages Twilio has
    "lost": ("ambiguous", 0),
    "reset": ("ambiguous", 1),
    "hang": ("ambiguous", 1),
    "half": ("ambiguous", 1),
    "half unframed": ("ambiguous", 1),
    "no sid": ("ambiguous", 1),
    "page": ("ambiguous", 1),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_was_written_and_not_answered_is_ambiguous_within_its_time_and_never_repeated(fault):
    twilio = Twilio(fault)
    began = time.monotonic()
    outcome = send(twilio)
    stage, made = FAULTS[fault]
    assert (outcome.stage, outcome.reference) == (stage, None), outcome
    assert outcome.first_byte_at is not None
    assert (len(twilio.asked), len(twilio.made)) == (1, made)
    # Bounded by our own limit; a hang would be 30 s, and a slow machine does not decide.
    assert time.monotonic() - began < 20


def test_nobody_there_is_not_sent():
    outcome = asyncio.run(texter("http://127.0.0.1:1").send(text()))
    assert (outcome.stage, outcome.first_byte_at) == ("not_sent", None)


def test_a_server_that_takes_the_connection_and_never_speaks_tls_is_not_sent():
    async def story():
        transports: list[Any] = []

        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            transports.append(writer.transport)
            await reader.read()

        server = await asyncio.start_server(silent, "127.0.0.1", 0)
        outcome = await texter(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}").send(text())
        server.close()
        await hung_up(transports)
        return outcome

    outcome = asyncio.run(story())
    assert (outcome.stage, outcome.first_byte_at) == ("not_sent", None)


@pytest.mark.parametrize("after", [1, 60])
def test_a_reset_while_the_request_is_read_is_ambiguous(after):
    async def story():
        async with resetting(after) as url:
            return await texter(url).send(text())

    assert asyncio.run(story()).stage == "ambiguous"


REFUSED: dict[str, tuple[Twilio, str, bool, int | None]] = {
    # answer: outcome, whether the address is gone, what it asks to wait in seconds
    "429 with Retry-After": (Twilio(status=429, code=20429, headers={"Retry-After": "7"}), "not_sent", False, 7),
    "429 with nothing": (Twilio(status=429, code=20429), "not_sent", False, None),
    "429 with another day": (
        Twilio(status=429, code=20429, headers={"Retry-After": "9999999"}),
        "not_sent",
        False,
        86_400,
    ),
    "429 with nonsense": (Twilio(status=429, code=20429, headers={"Retry-After": "soon"}), "not_sent", False, None),
    "500": (Twilio(status=500, code=20500), "ambiguous", False, None),
    "503": (Twilio(status=503, code=20503, headers={"Retry-After": "7"}), "ambiguous", False, None),
    "502 with a code that else is permanent": (Twilio(status=502, code=21211), "ambiguous", False, None),
    "no number": (Twilio(code=21211), "permanent", True, None),
    "no mobile number": (Twilio(code=21614), "permanent", True, None),
    "a landline": (Twilio(code=21635), "permanent", True, None),
    "STOP": (Twilio(code=21610), "permanent", True, None),
    "too long": (Twilio(code=21617), "permanent", False, None),
    "filtered": (Twilio(code=30007), "permanent", False, None),
    "queue full": (Twilio(code=21611, status=429), "not_sent", False, 30),
    "credentials": (Twilio(status=401, code=20003), "not_sent", False, 60),
    "a code that nobody placed": (Twilio(code=29999), "permanent", False, None),
    "a status that nobody placed": (Twilio(status=403, code=29999), "not_sent", False, 60),
    "a redirect": (Twilio(status=307, code=29999, headers={"Location": "http://127.0.0.1:1/"}), "not_sent", False, 60),
}


OF_THE_MESSAGE = {"a status that nobody placed"}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_has_its_outcome(name):
    twilio, stage, gone, wait = REFUSED[name]
    outcome = send(twilio)
    wanted = None if wait is None else wait * SECOND
    assert (outcome.stage, outcome.address_gone, outcome.retry_after) == (stage, gone, wanted), outcome
    assert outcome.away == (stage != "permanent" and name not in OF_THE_MESSAGE)
    assert TO not in outcome.detail
    assert len(twilio.asked) == 1


def test_every_code_says_what_to_do_next():
    assert {meaning.stage for meaning in CODES.values()} == {"not_sent", "ambiguous", "permanent"}
    assert all(meaning.says and (not meaning.gone or meaning.stage == "permanent") for meaning in CODES.values())


def unreadable(reference: str) -> str:
    raise Misconfigured(f"{reference} is not set")


@pytest.mark.parametrize("token", [lambda _: "another", unreadable], ids=["wrong", "cannot be read"])
def test_a_token_that_is_not_right_stops_nothing_else_and_is_called_configuration(token):
    async def story():
        async with served(Twilio()) as url:
            wrong = texter(url)
            wrong.resolve = token
            return await wrong.send(text())

    outcome = asyncio.run(story())
    assert (outcome.stage, outcome.retry_after) == ("not_sent", 60 * SECOND)
    # Every message would meet it.
    assert (outcome.misconfigured, outcome.away) == (True, True)
    assert TOKEN not in outcome.detail


@pytest.mark.parametrize(
    "to", ["", "0170123456", "+0123456789", "+49 170 1234567", "+1234567890123456", "+123", "+49170123456x", "whatsapp:+491701234567", "+4917012345６7", "+491701234567\n"]
)  # fmt: skip
def test_what_is_no_international_number_never_reaches_twilio(to):
    twilio = Twilio()
    outcome = send(twilio, text(to))
    assert (outcome.stage, twilio.asked) == ("permanent", [])


@pytest.mark.parametrize("body", ["", "  \n", "x" * 1601, "half \ud800 a character"])
def test_a_text_that_twilio_would_refuse_is_permanent(body):
    assert send(Twilio(), text(body=body)).stage == "permanent"


def test_after_start_by_no_byte_leaves():
    twilio = Twilio()
    outcome = send(twilio, text(start_by=wall_clock() - 1))
    assert (outcome.stage, outcome.first_byte_at, twilio.asked) == ("not_sent", None, [])


LOOK_UPS = {"reset": "accepted", "hang": "accepted", "half": "accepted", "no sid": "accepted", "lost": "absent"}


@pytest.mark.parametrize("fault", LOOK_UPS)
def test_an_ambiguous_message_is_found_in_the_list_or_surely_not_there(fault):
    async def story():
        twilio = Twilio()
        async with served(twilio) as url:
            out = texter(url, look_up=True)
            # The same words to the same number before: not to be taken for this one.
            assert (await out.send(text(message_id="another"))).stage == "accepted"
            twilio.fault = fault
            outcome = await out.send(text())
            assert outcome.stage == "ambiguous"
            return await out.look_up(ID)

    assert asyncio.run(story()) == LOOK_UPS[fault]


def test_a_look_up_that_cannot_tell_says_so():
    async def story():
        twilio = Twilio("lost")
        async with served(twilio) as url:
            out = texter(url, look_up=True)
            assert await out.look_up(ID) is None  # another process tried it
            assert (await out.send(text())).stage == "ambiguous"
            # Somebody else's message to the number, or ours with other quotes: nobody knows.
            twilio.make({"To": TO, "From": SENDER, "Body": "Something else"})
            assert await out.look_up(ID) is None
            # What is older than the attempt is another one.
            twilio.made[-1]["date_created"] = "Thu, 05 Mar 2020 10:00:00 +0000"
            assert await out.look_up(ID) == "absent"
        assert await out.look_up(ID) is None  # nobody answers
        assert texter("http://127.0.0.1:1").can_look_up is False

    asyncio.run(story())


def test_the_account_can_be_asked_without_sending():
    async def story():
        twilio = Twilio()
        async with served(twilio) as url:
            assert await texter(url).account() == "active"
        assert twilio.made == []

    asyncio.run(story())


def test_a_clock_that_jumps_between_connection_and_first_byte_stops_the_message():
    """`start_by` is compared right before the first byte, not when the call begins."""
    calls = iter([0, 6 * SECOND])

    async def story():
        twilio = Twilio()
        async with served(twilio) as url:
            out = texter(url, clock=lambda: next(calls, HOUR))
            outcome = await out.send(text(start_by=5 * SECOND, deadline=HOUR))
        assert (outcome.stage, outcome.detail, twilio.asked) == ("not_sent", "start_by is over", [])

    asyncio.run(story())
