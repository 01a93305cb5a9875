"""The log: one JSON object a line, by ids, with nothing that belongs to a person, whatever goes wrong."""

import io
import json
import logging
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import logs
from streams.embedded_log import Append
from streams.processors.breaking import Turned
from streams.processors.detect import Done
from streams.processors.results import Sent
from tests.http.asking import run
from tests.live.engines import RULES, Shelf, customer, engine, event, failed, rest
from tidings.breaker import Breaker
from tidings.message import Message
from tidings.ports import Outcome, Outgoing
from tidings.reasons import MessageState
from tidings.record import Record
from tidings.rule import Rule, RuleSet

MARK = "MARKER"
ADDRESSED = (
    RULES
    + b"""
  - id: email-changed
    title: To the address that it was
    owner: team-crm
    status: live
    when: { event: crm.customer.changed }
    to: { address: after.email }
    then: [{ send: email, template: failed, with: { code: after.last_name }, on_failure: alert }]
"""
)


@pytest.fixture
def lines(monkeypatch) -> Iterator[io.StringIO]:
    """Standard error as `configure` finds it, and the loggers as they were afterwards."""
    stream = io.StringIO()
    found = [logging.getLogger(name) for name in ("", logs.OURS)]
    before = [(one, one.handlers[:], one.level, one.propagate) for one in found]
    monkeypatch.setattr(sys, "stderr", stream)
    logs.configure()
    yield stream
    logging.captureWarnings(capture=False)
    for one, handlers, level, propagate in before:
        one.handlers[:] = handlers
        one.setLevel(level)
        one.propagate = propagate


def read(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


class Blurting(Shelf):
    """A provider that refuses some, hangs up on some, and says in its details what it was given."""

    async def send(self, outgoing: Outgoing) -> Outcome:
        self.taken.append(outgoing)
        stages = ("permanent", "accepted", "ambiguous", "permanent")
        return Outcome(stages[len(self.taken) % 4], detail=f"{outgoing.address}: {dict(outgoing.content)}")


@pytest.mark.live
def test_nothing_that_belongs_to_a_person_gets_into_the_log(tmp_path, lines):
    """Marked: ids of customers, addresses, names, what is told, keys, and the bytes of what nobody can read."""

    async def body():
        running = engine(tmp_path / "tidings.db", Blurting(), rules=ADDRESSED)
        running.observe = logs.observing(lambda: running.rules)
        async with running:
            await running.start()
            for number in range(4):
                who = f"{MARK}-{number}"
                await running.publish("customer.profile.changed", customer(who))
                await running.publish("billing.payment.failed", failed(f"{MARK}-p{number}", who=who, code=MARK))
                after = {"first_name": MARK, "last_name": f"{MARK} Lovelace", "email": f"{MARK}@example.org"}
                change: dict[str, Any] = {
                    "customer_id": who,
                    "before": None,
                    "before_coverage": "KEY_ONLY",
                    "after": after,
                }
                await running.publish(
                    "crm.customer.changed", event("crm.customer.changed", f"{MARK}{number}", **change)
                )
            topic = running.contracts.by_type["billing.payment.failed"].topic
            raw = b"\x00\x00\x00\x00\x07" + MARK.encode()
            await running.log.append([Append(topic, MARK.encode(), raw), Append(topic, None, MARK.encode())])
            await rest(running)
            # A bug of ours, on one record, whose exception holds the record; and one in whoever watches.
            decode = running.worker.decode

            def buggy(record):
                decode(record)
                raise RuntimeError(f"{MARK}: {record.value!r}")

            running.worker.decode = buggy
            await running.publish("billing.payment.failed", failed(f"{MARK}-late", who=f"{MARK}-1"))
            await rest(running)
            running.worker.decode = decode
            # A text that cannot be made, for a reason that quotes what it was made of.
            assert running.delivering is not None
            for one in running.delivering.by_way.values():
                one.render = buggy_render
            await running.publish("billing.payment.failed", failed(f"{MARK}-blank", who=f"{MARK}-1", code=MARK))
            await rest(running)
            watching = running.observe

            def broken(seen):
                watching(seen)
                raise ValueError(f"{MARK}: {seen!r}")

            running.observe = broken
            await running.publish("billing.payment.failed", failed(f"{MARK}-last", who=f"{MARK}-2"))
            await rest(running)
        return running

    run(body())
    found = read(lines)
    assert MARK not in lines.getvalue()
    assert "example.org" not in lines.getvalue()
    assert "Lovelace" not in lines.getvalue()
    said = {line["what"] for line in found}
    assert {"fired", "accepted", "failed", "unknown", "dead letter", "alert"} <= said, said
    assert any(line["what"].startswith("internal_error at ") for line in found)
    assert any(line["what"].startswith("render failed for message ") for line in found)
    assert any(line["what"].startswith("the observer failed on ") and line["error"] == "ValueError" for line in found)
    alert = next(line for line in found if line["what"] == "alert")
    assert (alert["level"], alert["rule"], alert["owner"]) == ("error", "email-changed", "team-crm")
    assert {line["level"] for line in found if line["what"] == "dead letter"} == {"warning", "error"}
    assert {line["level"] for line in found if line["what"] == "failed"} == {"warning"}
    assert {line["level"] for line in found if line["what"] in ("fired", "accepted")} == {"info"}
    assert all(line["event"].count("-") == 4 for line in found if line["what"] == "fired"), found


@pytest.mark.live
def test_what_neither_of_two_readers_can_read_is_logged_once(tmp_path, lines):
    async def body():
        running = engine(tmp_path / "tidings.db", Shelf())
        running.observe = logs.observing(lambda: running.rules)
        async with running:
            await running.start()
            people = running.contracts.by_type["customer.profile.changed"].topic
            await running.log.append([Append(people, b"k", b"no event"), Append(people, b"k", b"nor this")])
            await rest(running)

    run(body())
    places = [line["place"] for line in read(lines) if line["what"] == "dead letter"]
    assert len(places) == len(set(places)) == 2


def buggy_render(*asked: object) -> dict[str, str]:
    raise ValueError(f"{MARK}: {asked!r}")


def message(state: MessageState, **body: Any) -> Message:
    return Message(
        "m-1", "default", "address:ada@example.org", "run", "firing", "r-1", "notice", 0, "email", state, 0, 10,
        "unresolved", {"logical_at": 0, "address": "ada@example.org", "data": {"name": "Ada"}, **body}, "refused",
    )  # fmt: skip


CAUSES = {
    "connect: nobody listens there": "connect: nobody listens there",
    "RCPT: SMTPServerDisconnected: ada@example.org is gone": "RCPT: SMTPServerDisconnected",
    "451 4.7.1 ada@example.org: greylisted": "451 4.7.1",
    "421 ada": "421",
    "soft bounce, the mailbox is full: 552 5.2.2 ada": "soft bounce, the mailbox is full: 552 5.2.2",
    "configuration: credentials refused: 535 ada": "configuration: 535",
    "configuration: the environment variable ADA is not set": "configuration",
    "start_by is over": "start_by is over",
    "4511 ada": None,
    "ada@example.org: nobody listens there": None,
    "": None,
}


@pytest.mark.parametrize("detail", CAUSES)
def test_the_cause_of_an_attempt_is_our_word_a_code_or_the_name_of_a_fault(detail):
    assert logs.cause_of(detail) == CAUSES[detail]


@given(st.sampled_from(["", "RCPT: ", "configuration: ", "refused by policy: "]), st.integers(400, 599), st.text())
def test_of_what_a_server_says_only_the_code_is_a_cause(kind, code, text):
    found = logs.cause_of(f"{kind}{code} {text}") or ""
    rest = found.removeprefix(kind)
    assert rest[:3] == str(code)
    assert set(rest[3:]) <= set(" .0123456789")


def test_a_provider_that_is_away_is_told_when_it_turns_and_not_in_the_words_of_its_server(lines):
    open_ = Breaker("d-smtp", times=1, until=60_000_000, misconfigured=True, why="configuration: 535 ada@example.org")
    logs.observe(Turned("smtp", open_))
    logs.observe(Turned("smtp", replace(open_, misconfigured=False, why="connect: nobody listens there")))
    logs.observe(Turned("smtp", Breaker("d-smtp"), 90_000_000))
    ours = [{name: line.get(name) for name in ("level", "what", "provider", "cause", "away")} for line in read(lines)]
    assert [tuple(one.values()) for one in ours] == [
        ("warning", "provider does not take us", "smtp", "configuration: 535", None),
        ("warning", "provider away", "smtp", "connect: nobody listens there", None),
        ("info", "provider back", "smtp", None, "90.0 s"),
    ]


def test_what_was_not_sent_says_why_and_when_it_is_tried_again_and_warns_from_the_second_time_on(lines):
    seen = replace(message(MessageState.PENDING), due_at=60_000_000, reason=None)
    for attempt in (1, 2):
        outgoing = Outgoing("m-1", attempt, "email", "ada@example.org", {"text": "Ada"}, 0, 0)
        logs.observe(Sent(outgoing, Outcome("not_sent", detail="RCPT: 451 4.7.1 ada@example.org"), seen))
    found = read(lines)
    assert [line["level"] for line in found] == ["info", "warning"]
    for line in found:
        assert (line["cause"], line["next_at"]) == ("RCPT: 451 4.7.1", "1970-01-01T00:01:00Z")
    assert "ada" not in lines.getvalue().lower()


ALERTS = {
    (MessageState.FAILED, True): True,
    (MessageState.UNRESOLVED, True): True,
    (MessageState.ACCEPTED, True): False,
    (MessageState.EXPIRED, True): False,
    (MessageState.FAILED, False): False,
}


@pytest.mark.parametrize(("state", "wanted"), ALERTS)
def test_a_step_whose_owner_wants_to_know_is_an_alert_when_it_failed_or_nobody_knows(state, wanted, lines):
    rule = Rule("r-1", "team-billing", None)  # type: ignore[arg-type]
    rules = RuleSet("hash", (rule,), {})
    seen = message(state, **({"alert": True} if wanted else {}))
    outgoing = Outgoing("m-1", 2, "email", "ada@example.org", {"text": "Ada"}, 0, 0)
    logs.observing(lambda: rules)(Sent(outgoing, Outcome("permanent", detail="ada@example.org"), seen))
    alerts = [line for line in read(lines) if line["what"] == "alert"]
    assert bool(alerts) is ALERTS[state, wanted]
    for line in alerts:
        assert line["level"] == "error"
        assert (line["rule"], line["owner"], line["message"], line["state"]) == (
            "r-1",
            "team-billing",
            "m-1",
            str(state),
        )
    assert "ada" not in lines.getvalue().lower()


def test_an_alert_of_a_rule_that_is_gone_names_no_owner(lines):
    logs.observe(message(MessageState.FAILED, alert=True), RuleSet("hash", (), {}))
    logs.observe(message(MessageState.FAILED, alert=True))
    assert ["owner" in line for line in read(lines) if line["what"] == "alert"] == [False, False]


def test_a_record_about_a_bare_address_is_named_by_its_firing(lines):
    one = Record(0, "f-1", "fired", 0, "t", "r-1", "address:ada@example.org", 0, b'{"name": "Ada"}')
    logs.observe(Done(1, [one], ()))
    assert [line["firing"] for line in read(lines)] == ["f-1"]
    assert "ada" not in lines.getvalue()


def test_of_what_a_library_says_only_the_place_is_kept(lines):
    vendor = logging.getLogger("twilio.http_client")
    vendor.info("to %s", "+4930123456")
    vendor.warning("to %s", "+4930123456")
    try:
        int("+4930123456 at home")
    except ValueError:
        logging.getLogger("asyncio").exception("Task exception was never retrieved: %s", "+4930123456")
    logging.getLogger("py.warnings").warning("%s", "+4930123456")
    first, second, third = read(lines)
    assert "4930123456" not in lines.getvalue()
    assert (first["level"], first["from"]) == ("warning", "twilio.http_client")
    assert (second["error"], second["where"].partition(":")[0]) == ("ValueError", __name__)
    assert third["from"] == "py.warnings"
    assert [one["what"] for one in (first, second, third)] == ["a library said something"] * 3


@pytest.mark.parametrize(
    "value", ["two\nlines", "\u2028", "\ud800", "\x00\x1b[31m", object(), {1, 2}, b"raw", 2**70, float("nan")]
)
def test_every_line_is_one_line_whatever_a_field_holds(value, lines):
    logging.getLogger("tidings.run").info("said", extra={"fields": {"value": value}})
    raw = lines.getvalue()
    assert raw.count("\n") == 1
    assert json.loads(raw)["what"] == "said"


def test_a_line_that_cannot_be_written_is_told_and_stops_nobody(lines):
    root = logging.getLogger(logs.OURS)
    root.handlers[:] = [one for one in root.handlers if isinstance(one, logs._Lines)]  # pytest's own raise
    logging.getLogger("tidings.run").info("%d of %d", "one")  # noqa: PLE1206
    (line,) = read(lines)
    assert (line["level"], line["what"]) == ("error", "a line could not be written")
    lines.close()
    logging.getLogger("tidings.run").info("nobody reads")


def test_a_library_that_repeats_itself_is_heard_once_a_minute_from_each_place_and_we_always(capfd):
    """While a broker is away its client writes dozens of lines a second; ours would drown in them."""
    kept = {
        name: (log.handlers[:], log.level, log.propagate)
        for name in ("", "tidings")
        if (log := logging.getLogger(name))
    }
    try:
        logs.configure()
        for _ in range(50):
            logging.getLogger("a_library").error("no connection")
            logging.getLogger("tidings.worker").error("ours")
        lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
        assert [line["from"] for line in lines].count("a_library") == 1
        assert [line["from"] for line in lines].count("tidings.worker") == 50
    finally:
        for name, (handlers, level, propagate) in kept.items():
            log = logging.getLogger(name)
            log.handlers[:], log.propagate = handlers, propagate
            log.setLevel(level)
        logging.captureWarnings(capture=False)
