"""What cannot be read goes to the dead letters with its bytes; its neighbours are decided; nothing restarts."""

import asyncio
import logging
from typing import Any

import pytest

from schemas import contracts
from streams.codec import Codec
from streams.embedded_log import Append
from streams.wire import MAX_BYTES
from tests.live import engines
from tests.live.engines import Shelf, customer, event, failed, rest, rows
from tidings import canonical
from tidings.event import DAY, SECOND, Event

pytestmark = pytest.mark.live

TOPIC = "billing.payment.failed.v1"
KNOWN = contracts()
CODEC = Codec(KNOWN)


def good(name: str, **data) -> tuple[bytes, bytes]:
    return CODEC.encode("billing.payment.failed", failed(name, **data))


def broken() -> dict[str, tuple[bytes | None, bytes, str]]:
    """Ten kinds of broken records: key, bytes, the reason under which they are found again."""
    key, value = good("broken")
    other = KNOWN.by_type["billing.invoice.paid"].schema_id.to_bytes(4, "big")
    late = failed("future")
    late["meta"]["occurred_at"] += DAY
    umlaut = good("text", code="GRÖSSE")[1]
    return {
        "truncated": (key, value[:-3], "truncated"),
        "trailing bytes": (key, value + b"\x00\x01", "trailing_bytes"),
        "the id of another schema": (key, b"\x00" + other + value[5:], "wrong_schema"),
        "an id that nobody knows": (key, b"\x00\x7f\xff\xff\xff" + value[5:], "unknown_schema"),
        "oversize": (key, value + b"x" * MAX_BYTES, "oversize"),
        "no key": (None, value, "null_key"),
        "text that is not UTF-8": (key, umlaut.replace("Ö".encode(), b"\xff\xff"), "bad_text"),
        "a text with NUL": (key, good("nul", code="card\x00declined")[1], "bad_text"),
        "a time in the future": (key, CODEC.encode("billing.payment.failed", late)[1], "time_in_future"),
        "a bomb of brackets": (key, b"[" * 100_000, "too_deep"),
        "not Avro": (key, b'{"payment_id": "p-1"}', "not_avro"),
    }


def test_ten_kinds_of_broken_records_are_kept_and_their_neighbours_decided(tmp_path):
    bombs = broken()

    async def story():
        shelf = Shelf()
        async with engines.engine(tmp_path / "t.db", shelf) as running:
            await running.publish("customer.profile.changed", customer("c-1"))
            await running.start()
            tasks = list(running.loops.tasks)
            places = {}
            for name, (key, value, _) in bombs.items():
                # One before, one after, in one batch.
                records = [Append(TOPIC, *good(f"before {name}")), Append(TOPIC, key, value)]
                found = await running.log.append([*records, Append(TOPIC, *good(f"after {name}"))])
                places[name] = found[1]
            await rest(running)
            assert running.loops.tasks == tasks
            assert not any(task.done() for task in tasks)
            letters = {
                (row["topic"], row["partition"], row["offset"]): row for row in await rows(running, "dead_letters")
            }
            assert set(letters) == set(places.values())
            for name, place in places.items():
                key, value, reason = bombs[name]
                row = letters[place]
                assert (row["reason"], row["key"], row["value"]) == (reason, key, value), name
                assert row["detail"], name
                assert row["reader"] == "detect"
            assert len(shelf.taken) == 2 * len(bombs)
            assert len(await rows(running, "records")) == 2 * len(bombs)

    asyncio.run(story())


def test_a_customers_record_that_is_broken_is_kept_by_both_of_its_readers(tmp_path):
    async def story():
        async with engines.engine(tmp_path / "t.db", Shelf()) as running:
            await running.log.append([Append("customer.profile.changed.v1", b"c-1", b"rubbish")])
            await running.publish("customer.profile.changed", customer("c-1"))
            await running.start()
            await rest(running)
            assert {row["reader"] for row in await rows(running, "dead_letters")} == {"detect", "people"}
            assert [row["recipient"] for row in await rows(running, "recipients")] == ["customer:c-1"]

    asyncio.run(story())


class Trap(dict[str, Any]):
    """Data on which whatever reads it fails."""

    def get(self, *_: Any) -> Any:
        raise ZeroDivisionError("of ada@example.org")

    __getitem__ = get


@pytest.mark.parametrize("where", ["decoding", "deciding"])
def test_a_record_on_which_our_own_code_fails_is_found_and_set_aside(tmp_path, caplog, monkeypatch, where):
    async def story():
        shelf = Shelf()
        async with engines.engine(tmp_path / "t.db", shelf) as running:
            await running.publish("customer.profile.changed", customer("c-1"))
            decode = running.codec.decode

            def hurt(record) -> Event:
                event = decode(record)
                if event.id == "p-37":
                    if where == "decoding":
                        raise ZeroDivisionError("of ada@example.org")
                    object.__setattr__(event, "data", Trap())
                return event

            monkeypatch.setattr(running.codec, "decode", hurt)
            await running.log.append([Append(TOPIC, *good(f"p-{number}")) for number in range(60)])
            with caplog.at_level(logging.ERROR):
                await running.start()
                await rest(running)
            assert not any(task.done() for task in running.loops.tasks)
            (letter,) = await rows(running, "dead_letters")
            assert (letter["reason"], letter["topic"], letter["offset"]) == ("internal_error", TOPIC, 37)
            assert letter["value"] == good_value(running, 37, await rows(running, "log"))
            assert len(shelf.taken) == 59
            assert f"{TOPIC}[0]@37" in caplog.text
            assert "ada@example.org" not in caplog.text

    asyncio.run(story())


def good_value(running, offset, log):
    return next(row["value"] for row in log if (row["topic"], row["offset"]) == (TOPIC, offset))


TWO_RULES = b"""version: 1
rules:
  - id: ratio
    title: By division
    owner: team-billing
    status: live
    when: { event: sales.order.placed, if: 'money(1, "EUR") / total < 1' }
    to: customer
    topic: news
    then: [{ send: email, template: order, with: { order: order_id } }]
  - id: every
    title: Every order
    owner: team-billing
    status: live
    when: { event: sales.order.placed }
    to: customer
    topic: news
    then: [{ send: email, template: order, with: { order: order_id } }]
"""


def test_a_division_by_zero_is_unknown_for_that_event_and_that_rule_only(tmp_path):
    async def story():
        shelf = Shelf()
        templates = {"order": "Subject: Your order\n\n{{ order }}\n"}
        async with engines.engine(tmp_path / "t.db", shelf, TWO_RULES, templates) as running:
            await running.publish("customer.profile.changed", customer("c-1"))
            for number, amount in enumerate((50_000, 0, 60_000)):
                total = {"amount_minor": amount, "currency": "EUR"}
                placed = event(
                    "sales.order.placed", f"o-{number}", order_id=f"o-{number}", customer_id="c-1", total=total
                )
                await running.publish("sales.order.placed", placed)
            await running.start()
            await rest(running)
            assert await rows(running, "dead_letters") == []
            told = sorted(
                (row["rule"], canonical.loads(row["body"])["data"]["order"]) for row in await rows(running, "messages")
            )
            assert told == [("every", "o-0"), ("every", "o-1"), ("every", "o-2"), ("ratio", "o-0"), ("ratio", "o-2")]

    asyncio.run(story())


def test_a_clock_that_runs_a_little_ahead_is_borne(tmp_path):
    async def story():
        shelf = Shelf()
        async with engines.engine(tmp_path / "t.db", shelf) as running:
            await running.publish("customer.profile.changed", customer("c-1"))
            ahead = failed("ahead")
            ahead["meta"]["occurred_at"] += 60 * SECOND
            await running.publish("billing.payment.failed", ahead)
            await running.start()
            await rest(running)
            assert len(shelf.taken) == 1
            assert await rows(running, "dead_letters") == []

    asyncio.run(story())
