"""The configuration's ways out: what goes where, what doctor says of it, and every mistake at once."""

import asyncio
import json
import socket
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway import config
from gateway.cli import doctor_ways
from gateway.cli.found import Found
from gateway.cli.main import main
from gateway.config import Config
from gateway.ways import provider_of, unreadable
from handlers.providers.catcher import FileCatcher
from handlers.providers.ways import Ways
from streams.embedded import wall_clock
from tests.providers.stand_ins import ACCOUNT, TOKEN, WHSEC, Mailbox, Twilio, outgoing, served, smtp_served
from tests.providers.test_contract import ADDRESS, CONTENT
from tidings.errors import Misconfigured
from tidings.event import SECOND
from tidings.ports import Outcome
from tidings.rule import RuleSet, Target, Team
from tidings.testing.provider import FakeProvider

pytestmark = pytest.mark.live
TWILIO = f'[twilio]\naccount_sid = "{ACCOUNT}"\nauth_token = "env:T_TOKEN"\nsender = "+15005550006"\n'
SMTP = '[smtp]\nhost = "127.0.0.1"\nport = 1\nsender = "Shop <shop@example.org>"\ntls = "none"\n'


def read(folder: Path, text: str) -> Config:
    file = folder / "tidings.toml"
    file.write_text(text)
    return config.read(file)


@pytest.fixture(autouse=True)
def secrets(monkeypatch):
    monkeypatch.setenv("T_TOKEN", TOKEN)
    monkeypatch.setenv("T_WHSEC", WHSEC)
    monkeypatch.setenv("T_KEY", "0123456789abcdef")
    monkeypatch.setenv("T_ROOM", "http://127.0.0.1:9/services/T0/secret-room")
    monkeypatch.delenv("T_UNSET", raising=False)


def test_every_channel_without_credentials_is_caught(tmp_path):
    ways = provider_of(read(tmp_path, ""))
    assert {channel: ways.of(channel).name for channel in CONTENT} == {
        "email": "catcher", "sms": "catcher", "push": "catcher", "slack": "slack", "teams": "teams",
        "ticket": "webhook", "webhook": "webhook", "workflow": "webhook",
    }  # fmt: skip


def test_what_is_configured_has_its_provider(tmp_path):
    push = '[push]\nurl = "https://push.example.org"\nsecret = "env:T_WHSEC"\n'
    ways = provider_of(read(tmp_path, 'catch = ["slack", "ticket"]\n' + SMTP + TWILIO + push))
    assert {channel: ways.of(channel).name for channel in CONTENT} == {
        "email": "smtp", "sms": "twilio", "push": "webhook", "slack": "catcher", "teams": "teams",
        "ticket": "catcher", "webhook": "webhook", "workflow": "webhook",
    }  # fmt: skip
    assert ways.lease == ways.of("email").lease == 360 * SECOND
    assert ways.of("sms").lease == 30 * SECOND


def test_in_test_mode_no_channel_has_another_way(tmp_path):
    ways = provider_of(read(tmp_path, TWILIO + '[test]\nredirect_to = "me@example.org"\n'))

    async def story() -> None:
        for number, channel in enumerate(CONTENT):
            words = {"message_id": f"m-{number}", "recipient": "customer:c-1"}
            one = outgoing(channel, ADDRESS.get(channel, ""), CONTENT[channel], **words)
            assert (await ways.of(channel).send(one)).stage == "accepted"

    asyncio.run(story())
    lines = [json.loads(line) for line in (tmp_path / "data" / "caught.jsonl").read_text("utf-8").splitlines()]
    assert {(line["channel"], line["to"]) for line in lines} == {("email", "me@example.org")}
    assert len(lines) == len(CONTENT)


def test_ways_are_one_provider_for_callers_that_know_of_one(tmp_path):
    books = FakeProvider(wall_clock, can_look_up=True, name="a")
    none = FakeProvider(wall_clock, [Outcome("permanent")], name="b", lease=60 * SECOND)
    ways = Ways(books, {"sms": none})
    assert (ways.name, ways.lease, ways.can_look_up) == ("b+a", 60 * SECOND, False)

    async def story() -> None:
        assert (await ways.send(outgoing("sms", "+4917012345", {"text": "x"}))).stage == "permanent"
        assert (
            await ways.send(outgoing("email", "a@b.org", {"subject": "x", "text": "x"}, message_id="m"))
        ).stage == "accepted"
        assert [await ways.look_up("m"), await ways.look_up("n")] == ["accepted", None]
        assert await Ways(books).look_up("n") == "absent"

    asyncio.run(story())


@pytest.mark.parametrize("section", [TWILIO.replace("T_TOKEN", "T_UNSET"), SMTP + 'username = "u"\npassword = "env:T_UNSET"\n',
    '[push]\nurl = "env:T_UNSET"\nsecret = "env:T_WHSEC"\n', '[push]\nurl = "https://x.org"\nsecret = "file:nowhere"\n'])  # fmt: skip
def test_a_secret_that_is_not_there_stops_the_start_and_is_named(tmp_path, section):
    with pytest.raises(Misconfigured, match=r"T_UNSET is not set|nowhere cannot be read"):
        provider_of(read(tmp_path, section))


def test_a_secret_from_a_file_is_read_without_its_line_end_and_bounded(tmp_path):
    settings = read(tmp_path, "")
    (tmp_path / "good").write_text("value\n")
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "huge").write_text("x" * 100_000)
    assert settings.resolve("file:good") == "value"
    assert settings.resolve("https://example.org/x") == "https://example.org/x"
    for name in ("file:empty", "file:huge", "file:a\0b"):
        with pytest.raises(Misconfigured):
            settings.resolve(name)


WRONG: dict[str, tuple[str, ...]] = {
    # five mistakes, five lines
    'public_url = "http://x.org"\nhistroy = "past"\n[twilio]\naccount_sid = "AC1"\nauth_token = "hunter2"\nsender = "+0"\n': (
        "tidings.toml:1: public_url: the URL is not https", "tidings.toml:1: public_url: links are signed: set 'secret_key'",
        "histroy: there is no such key; did you mean 'history'", "tidings.toml:4: twilio.account_sid: an account is 'AC'",
        "tidings.toml:5: twilio.auth_token: a secret stands here by reference only", "tidings.toml:6: twilio.sender: the sender is a number",
    ),
    '[twilio]\nacount_sid = "x"\n': ("twilio.acount_sid: there is no such key; did you mean 'account_sid'", "twilio.sender: it is missing; write"),
    TWILIO + "status_callback = true\n": ("twilio.status_callback: Twilio reports to 'public_url'",),
    '[push]\nurl = "ftp://x"\nsecret = "whsec_x"\n': ("push.url: the URL is not https", "push.secret: a secret stands here by reference only"),
    '[push]\nurl = "https://u:p@x.org"\n': ("push.url: the URL holds a name or a password", "push.secret: it is missing; write"),
    "[http]\nport = 0\nhots = 'x'\n": ("http.port", "http.hots: there is no such key; did you mean 'host'"),
    '[test]\nredirect_to = "me"\n': ("tidings.toml:2: test.redirect_to: the address is none",),
    SMTP.replace("Shop <shop@example.org>", "Shop"): ("smtp.sender: the address is none", "write it as"),
    SMTP + 'username = "u"\n': ("smtp.username: 'password' is not set beside it",),
    'catch = ["fax"]\n': ("catch, number 1", "'email'"),
    'public_url = "https://x.org/?a=b"\nsecret_key = "env:T_KEY"\n': ("public_url: the URL has a query",),
    "[smpt]\nhost = 'x'\n": ("smpt: there is no such key; did you mean 'smtp'",),
    "[twilo]\n": ("did you mean 'twilio'",),
}  # fmt: skip


@pytest.mark.parametrize("text", WRONG)
def test_every_mistake_is_told_at_once_with_its_place(tmp_path, text):
    with pytest.raises(Misconfigured) as told:
        read(tmp_path, text)
    for part in WRONG[text]:
        assert part in str(told.value)
    assert "hunter2" not in str(told.value)
    assert "u:p@" not in str(told.value)


def test_a_public_url_has_no_slash_at_its_end(tmp_path):
    settings = read(tmp_path, 'public_url = "https://news.example.org/"\nsecret_key = "env:T_KEY"\n[http]\n').settings
    assert settings.public_url == "https://news.example.org"
    assert settings.http is not None
    assert (settings.http.host, settings.http.port) == ("127.0.0.1", 8080)


def rules(teams: Mapping[str, Mapping[str, str]], *targets: Target) -> RuleSet:
    found = RuleSet("hash", (), {})
    known = {name: Team(name, addresses=addresses) for name, addresses in teams.items()}
    return replace(found, teams=known, targets={(one.channel, one.name): one for one in targets})


def examine(folder: Path, text: str, given: RuleSet | None = None) -> dict[str, Found]:
    return {one.what: one for one in doctor_ways.ways(read(folder, text), given)}


def test_doctor_says_what_is_caught_and_changes_nothing(tmp_path):
    found = examine(tmp_path, 'catch = ["slack"]\n')
    assert {what: one.state for what, one in found.items()} == {
        "links": "note", "mail": "note", "sms": "note", "push": "note", "catch": "note",
    }  # fmt: skip
    assert all("caught in" in found[what].says for what in ("mail", "sms", "push", "catch"))
    assert [one.name for one in tmp_path.iterdir()] == ["tidings.toml"]


def test_doctor_asks_the_account_and_the_mail_server_without_sending(tmp_path):
    async def story() -> tuple[dict[str, Found], Twilio, Mailbox]:
        twilio, mailbox = Twilio(), Mailbox()
        async with served(twilio) as url, smtp_served(mailbox) as port:
            text = f'allow_loopback_webhooks = true\npublic_url = "https://x.org"\nsecret_key = "env:T_KEY"\n{TWILIO}base_url = "{url}"\n'
            text += SMTP.replace("port = 1", f"port = {port}")
            settings = read(tmp_path, text)
            found = {one.what: one for one in await doctor_ways._ways(settings, None)}
        return found, twilio, mailbox

    found, twilio, mailbox = asyncio.run(story())
    assert [found[what].state for what in ("mail", "sms", "links")] == ["ok", "ok", "ok"], found
    assert (twilio.made, [one.method for one in twilio.asked], mailbox.taken) == ([], ["GET"], [])


def test_doctor_tells_credentials_that_twilio_refuses(tmp_path, monkeypatch):
    monkeypatch.setenv("T_TOKEN", "another")

    async def story() -> Found:
        async with served(Twilio()) as url:
            settings = read(tmp_path, f'allow_loopback_webhooks = true\n{TWILIO}base_url = "{url}"\n')
            return next(one for one in await doctor_ways._ways(settings, None) if one.what == "sms")

    found = asyncio.run(story())
    assert (found.state, "credentials are refused" in found.says) == ("wrong", True), found
    assert "another" not in found.says


def target(channel: Any = "webhook", url: str = "http://127.0.0.1:9/x", secret: str | None = "env:T_WHSEC") -> Target:
    return Target("crm", channel, url, secret)


ROOMS: dict[str, tuple[RuleSet, bool, str, str, str]] = {
    # the rules, whether this machine is allowed, what is looked at, its state, a part of what is said
    "a room": (rules({"ops": {"slack": "env:T_ROOM"}}), True, "team ops, slack", "ok", "127.0.0.1"),
    "a room on this machine": (rules({"ops": {"slack": "env:T_ROOM"}}), False, "team ops, slack", "wrong", "not https"),
    "a room that is not set": (rules({"ops": {"teams": "env:T_UNSET"}}), True, "team ops, teams", "wrong", "T_UNSET is not set"),
    "a mail address": (rules({"ops": {"email": "ops@example.org"}}), False, "team ops, email", "ok", "address"),
    "no mail address": (rules({"ops": {"email": "ops@"}}), False, "team ops, email", "wrong", "address"),
    "a number": (rules({"ops": {"sms": "+491701234567"}}), False, "team ops, sms", "ok", "address"),
    "no number": (rules({"ops": {"sms": "0170"}}), False, "team ops, sms", "wrong", "E.164"),
    "a target": (rules({}, target()), True, "webhook crm", "ok", "127.0.0.1"),
    "a ticket target, unsigned": (rules({}, target("ticket", secret=None)), True, "ticket crm", "note", "unsigned"),
    "a target inside": (rules({}, target(url="https://10.0.0.1/x")), False, "webhook crm", "wrong", "no public address"),
    "metadata": (rules({}, target(url="https://169.254.169.254/")), True, "webhook crm", "wrong", "no public address"),
    "no secret": (rules({}, target(secret="env:T_KEY")), True, "webhook crm", "wrong", "whsec_"),
    "no name": (rules({}, target(url="https://nowhere.invalid/")), False, "webhook crm", "wrong", "cannot be resolved"),
}  # fmt: skip


@pytest.mark.parametrize("name", ROOMS)
def test_doctor_looks_at_every_room_and_target_and_shows_no_secret(tmp_path, name):
    given, loopback, what, state, says = ROOMS[name]
    found = examine(tmp_path, f"allow_loopback_webhooks = {str(loopback).lower()}\n", given)[what]
    assert (found.state, says in found.says) == (state, True), found
    assert bool(found.mend) == (state != "ok")
    assert "secret-room" not in repr(found)


def test_the_file_that_holds_a_reference_is_named(tmp_path):
    given = rules({"ops": {"slack": "env:T_UNSET", "email": "env:T_UNSET"}}, target(secret="env:T_UNSET"))
    found = examine(tmp_path, "allow_loopback_webhooks = true\n", given)
    says = "the environment variable T_UNSET is not set; {} names it"
    for what, file in (("team ops, slack", "teams"), ("team ops, email", "teams"), ("webhook crm", "targets")):
        assert found[what].says == says.format(tmp_path / f"{file}.yaml"), found[what]
    assert "whsec_$(openssl rand -base64 32)" in found["webhook crm"].mend
    settings = read(tmp_path, "")
    with pytest.raises(Misconfigured, match=r"tidings\.toml names it"):
        settings.secret("env:T_UNSET")
    # An attempt says it as well.
    sent = asyncio.run(provider_of(settings).of("slack").send(outgoing("slack", "env:T_UNSET", CONTENT["slack"])))
    assert str(tmp_path / "teams.yaml") in sent.detail


def test_references_that_cannot_be_read_are_counted_where_something_would_ask_for_them(tmp_path):
    given = rules(
        {"ops": {"slack": "env:T_UNSET", "teams": "env:T_ROOM", "email": "env:T_MAIL"}}, target(secret="env:T_NONE")
    )
    assert unreadable(read(tmp_path, ""), given) == ["env:T_UNSET", "env:T_NONE"]
    assert unreadable(read(tmp_path, 'catch = ["slack"]\n' + SMTP), given) == ["env:T_MAIL", "env:T_NONE"]
    assert unreadable(read(tmp_path, '[test]\nredirect_to = "me@example.org"\n'), given) == []


def test_doctor_says_what_is_for_trials_only(tmp_path):
    assert examine(tmp_path, "allow_loopback_webhooks = true\n")["allow_loopback_webhooks"].state == "note"
    assert "allow_loopback_webhooks" not in examine(tmp_path, "")


def test_doctor_looks_whether_the_port_is_free(tmp_path, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        (tmp_path / "tidings.toml").write_text(f"[http]\nport = {port}\n")
        assert main(["doctor", "--config", str(tmp_path / "tidings.toml")]) == 1
        assert f"wrong  http: 127.0.0.1:{port}: somebody else listens there" in capsys.readouterr().out
    main(["doctor", "--config", str(tmp_path / "tidings.toml")])
    assert f"ok     http: http://127.0.0.1:{port} is free" in capsys.readouterr().out


def test_doctor_tells_a_short_key(tmp_path, monkeypatch):
    monkeypatch.setenv("T_KEY", "short")
    found = examine(tmp_path, 'public_url = "https://x.org"\nsecret_key = "env:T_KEY"\n')["links"]
    assert (found.state, "5 bytes" in found.says) == ("wrong", True)


def test_in_test_mode_doctor_looks_at_the_mail_only(tmp_path):
    found = examine(tmp_path, TWILIO + '[test]\nredirect_to = "me@example.org"\n')
    assert set(found) == {"links", "test mode", "mail"}
    assert "me@example.org" in found["test mode"].says


def test_doctor_as_a_command_ends_with_one_where_something_is_wrong(tmp_path, capsys):
    (tmp_path / "tidings.toml").write_text("[twilio]\n")
    assert main(["doctor", "--config", str(tmp_path / "tidings.toml")]) == 1
    assert "twilio.account_sid" in capsys.readouterr().out


def test_the_catcher_makes_its_folder_when_it_catches(tmp_path):
    catcher = FileCatcher(tmp_path / "deep" / "caught.jsonl", wall_clock)
    assert not catcher.path.parent.exists()
    assert asyncio.run(catcher.send(outgoing("sms", "+491701234567", {"text": "x"}))).stage == "accepted"
