"""What the catcher writes down is what a provider is given, byte for byte; test mode sends everything to one address."""

import asyncio
import email
import email.policy
import json
from base64 import b64decode
from dataclasses import replace
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from handlers.channels.wire import PushGateway, Senders, SmsSender, Wire
from handlers.providers.catcher import FileCatcher
from handlers.providers.chat import SlackProvider, TeamsProvider
from handlers.providers.redirect import Redirected
from handlers.providers.smtp import SmtpProvider, SmtpSettings
from handlers.providers.webhook import WebhookProvider
from tests.providers.stand_ins import (
    ACCOUNT,
    ID,
    QUICK,
    SENDER,
    WHSEC,
    Mailbox,
    Receiver,
    Twilio,
    outgoing,
    resolve,
    served,
    smtp_served,
    texter,
)
from tests.providers.test_contract import ADDRESS, CONTENT
from tidings.event import HOUR, SECOND
from tidings.ports import Outcome, Outgoing
from tidings.testing.provider import FakeProvider

pytestmark = pytest.mark.live

NOW = 1_772_704_800 * SECOND
MAIL = "Käseladen <hello@example.org>"
PROOF = {"authorization", "webhook-signature"}
TRANSPORT = {"host", "content-length", "connection"}
RICH: dict[str, dict[str, Any]] = {
    **CONTENT,
    "email": {
        "subject": "Grüße €",
        "text": ".Hello\n..\n\nGrüße\n\n\n",
        "html": "<p>日本</p>",
        "unsubscribe": "https://e.org/u/x",
    },
    "sms": {"text": "Grüße & more = 100 % +1 €\n🙂", "segments": 1, "encoding": "UCS-2"},
}


def clock() -> int:
    return NOW


def message(channel: str) -> Outgoing:
    words: dict[str, Any] = {"start_by": NOW + SECOND, "deadline": NOW + HOUR, "recipient": "customer:c-1"}
    return outgoing(channel, ADDRESS.get(channel, ""), RICH[channel], **words)


def line(path: Path) -> dict[str, Any]:
    (found,) = [json.loads(one) for one in path.read_text("utf-8").splitlines()]
    assert isinstance(found, dict)
    return found


def body(wire: dict[str, Any]) -> bytes:
    return wire["body"].encode() if "body" in wire else b64decode(wire["body_base64"])


def catch(folder: Path, senders: Senders, channel: str) -> dict[str, Any]:
    outcome = asyncio.run(FileCatcher(folder / "c.jsonl", clock, senders).send(message(channel)))
    assert outcome.stage == "accepted", outcome
    return line(folder / "c.jsonl")


def test_a_mail_is_caught_as_the_server_gets_it(tmp_path):
    async def story():
        mailbox = Mailbox()
        async with smtp_served(mailbox) as port:
            out = SmtpProvider(SmtpSettings("127.0.0.1", MAIL, port=port, tls="none"), clock)
            assert (await out.send(message("email"))).stage == "accepted"
        (envelope,) = mailbox.taken
        return envelope

    envelope = asyncio.run(story())
    found = catch(tmp_path, Senders(MAIL), "email")
    assert body(found["wire"]) == envelope.content
    assert (found["wire"]["from"], [found["wire"]["to"]]) == (envelope.mail_from, envelope.rcpt_tos)
    assert found["wire"]["method"] == "SMTP"
    # The summary is as before.
    assert (found["message_id"], found["attempt"], found["channel"], found["to"]) == (ID, 1, "email", "ada@example.org")
    assert (found["subject"], found["text"]) == (RICH["email"]["subject"], RICH["email"]["text"])


@pytest.mark.parametrize("channel", [one for one in CONTENT if one != "email"])
def test_a_request_is_caught_as_the_server_gets_it(tmp_path, channel):
    async def story():
        server: Any = Twilio() if channel == "sms" else Receiver(text="ok")
        async with served(server) as url:
            senders = Senders(MAIL, SmsSender(SENDER, ACCOUNT, url), PushGateway("env:URL", "env:WHSEC"))
            on = lambda reference: url + "/place" if reference == "env:URL" else resolve(reference)  # noqa: E731
            ways: dict[str, Any] = {
                "sms": lambda: texter(url, clock=clock),
                "slack": lambda: SlackProvider(on, clock, QUICK, allow_loopback=True),
                "teams": lambda: TeamsProvider(on, clock, QUICK, allow_loopback=True),
            }
            out = ways.get(channel, lambda: WebhookProvider(senders, on, clock, QUICK, allow_loopback=True))()
            outcome = await out.send(message(channel))
            assert outcome.stage == "accepted", outcome
        return senders, server.asked, url

    senders, (one,), url = asyncio.run(story())
    wire = catch(tmp_path, senders, channel)["wire"]
    assert body(wire) == one.body
    assert wire["method"] == one.method == "POST"
    # Every composed header arrives as it is, in its order; beside them only proof and transport.
    composed = [tuple(header) for header in wire["headers"]]
    names = {name for name, _ in composed}
    assert [header for header in one.headers if header[0] in names] == composed
    assert {name.lower() for name, _ in one.headers if name not in names} <= PROOF | TRANSPORT
    assert url.rstrip("/") + one.path == wire["to"] if channel == "sms" else wire["to"] == "env:URL"


def test_what_is_caught_holds_references_and_no_secret(tmp_path):
    senders = Senders(MAIL, SmsSender(SENDER, ACCOUNT), PushGateway("env:URL", "env:WHSEC"))
    for channel in CONTENT:
        folder = tmp_path / channel
        catch(folder, senders, channel)
        text = (folder / "c.jsonl").read_text("utf-8")
        assert WHSEC not in text
        assert "signed_with" not in text or '"signed_with": "env:WHSEC"' in text


def test_bytes_that_are_no_text_are_shown_in_base64():
    assert Wire("email", "SMTP", "a@b.org", b"\xff\x00").shown() == {
        "method": "SMTP",
        "to": "a@b.org",
        "body_base64": "/wA=",
    }


def test_a_catcher_remembers_over_a_restart_and_forgives_half_a_line(tmp_path):
    catch(tmp_path, Senders(), "sms")
    with (tmp_path / "c.jsonl").open("a") as file:
        file.write('{"message_id": "half')
    again = FileCatcher(tmp_path / "c.jsonl", clock)
    assert asyncio.run(again.look_up(ID)) == "accepted"
    assert asyncio.run(again.look_up("half")) == "absent"
    sent = outgoing("sms", ADDRESS["sms"], {"text": "one\x85two\u2028three"}, message_id="next")
    sent = replace(sent, start_by=NOW + SECOND, deadline=NOW + HOUR)
    assert asyncio.run(again.send(sent)).stage == "accepted"
    once_more = FileCatcher(tmp_path / "c.jsonl", clock)
    assert [asyncio.run(once_more.look_up(one)) for one in (ID, "next")] == ["accepted", "accepted"]
    assert len((tmp_path / "c.jsonl").read_text("utf-8").splitlines()) == 3


@pytest.mark.parametrize("channel", CONTENT)
def test_in_test_mode_everything_arrives_at_one_address_as_a_mail(tmp_path, channel):
    async def story():
        mailbox = Mailbox()
        async with smtp_served(mailbox) as port:
            out = Redirected(
                SmtpProvider(SmtpSettings("127.0.0.1", MAIL, port=port, tls="none"), clock), "me@example.org", clock
            )
            outcome = await out.send(message(channel))
            assert outcome.stage == "accepted", outcome
        (envelope,) = mailbox.taken
        return envelope

    envelope = asyncio.run(story())
    assert envelope.rcpt_tos == ["me@example.org"]
    found = email.message_from_bytes(envelope.content, policy=email.policy.default)
    assert isinstance(found, EmailMessage)
    whom = ADDRESS.get(channel) or "env:URL"
    if channel == "push":
        whom = ""  # no gateway is configured: nobody but the customer is named
    if channel == "email":
        assert found["Subject"] == "[for ada@example.org] Grüße €"
        # Whoever tries the link here would switch something off for the customer.
        assert found["List-Unsubscribe"] is None
        return
    assert str(found["Subject"]).startswith(f"[{channel} for {whom}]")
    text = found.get_content()
    assert f"Channel: {channel}" in text
    shown = json.loads(text[text.index("{") :])
    assert body(shown) == body(catch(tmp_path, Senders(), channel)["wire"])


def test_in_test_mode_what_the_channel_could_not_carry_is_refused_as_there():
    out = Redirected(FileCatcher(Path("/nowhere"), clock), "me@example.org", clock)
    wrong = outgoing("sms", "0170", {"text": "Hello"})
    assert asyncio.run(out.send(wrong)).stage == "permanent"


def test_in_test_mode_the_customers_address_is_never_gone():
    """Where the tester's mailbox is unknown, nothing is said about the customer's."""
    mail = FakeProvider(clock, [Outcome("permanent", detail="550 5.1.1", address_gone=True)])
    outcome = asyncio.run(Redirected(mail, "me@example.org", clock).send(message("sms")))
    assert (outcome.stage, outcome.address_gone) == ("permanent", False)
