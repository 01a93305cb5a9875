"""Promises about time and people, through the real engine on a real file: nobody is told about the past, or twice, or after no."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.watch import summary
from handlers.rules.load import load
from schemas import contracts
from streams.embedded import Engine, count, wall_clock
from streams.embedded_log import Append, EmbeddedLog
from streams.json_events import rfc3339
from tests.live import engines
from tests.live.engines import Shelf, event, rest, rows
from tidings.delivery import Pace
from tidings.event import DAY, HOUR, MINUTE, SECOND
from tidings.log import Fetched, Partition
from tidings.ports import Outcome, Outgoing

pytestmark = pytest.mark.live

RULES = b"""version: 1
rules:
  - id: payment-failed
    title: A payment failed, and is told again when it went through after all
    owner: team-billing
    status: live
    expires: 60d
    when: { event: billing.payment.failed, allowed_lateness: 1m }
    to: customer
    topic: news
    stop_on: [{ event: billing.payment.succeeded, match: { payment_id: payment_id } }]
    then: [{ send: email, template: failed, with: { name: payment_id } }]
    on_stop: [{ send: email, template: settled, with: { name: payment_id } }]
  - id: invoice-overdue
    title: An absence
    owner: team-billing
    status: live
    expires: 60d
    when:
      missing:
        after: { event: billing.invoice.issued }
        expect: { event: billing.invoice.paid }
        by: [invoice_id]
        once: true
        deadline: due_date
        allowed_lateness: 1m
    to: customer
    topic: news
    then: [{ send: email, template: overdue, with: { name: invoice_id } }]
"""
TEMPLATES = {name: f"Subject: {name}\n\n{{{{ name }}}}\n" for name in ("failed", "settled", "overdue")}
PACE = Pace(lease=SECOND, settle=SECOND // 2, retry_least=SECOND // 20, retry_most=SECOND // 5)
MONEY = {"amount_minor": 1200, "currency": "EUR"}
Payload = dict[str, Any]


class Clock:
    """The store's clock, set by the test."""

    def __init__(self) -> None:
        self.now = wall_clock()

    def __call__(self) -> int:
        return self.now


def open_engine(path: Path, provider: Any, clock: Callable[[], int], rules: bytes = RULES, **words: Any) -> Engine:
    return engines.engine(path / "t.db", provider, rules, TEMPLATES, clock, pace=PACE, **words)


def failed(name: str, at: int) -> Payload:
    data = {"payment_id": name, "customer_id": "c-1", "amount": MONEY, "code": "declined"}
    return event("billing.payment.failed", f"f-{name}", at, **data)


def succeeded(name: str, at: int) -> Payload:
    return event("billing.payment.succeeded", f"s-{name}", at, payment_id=name, customer_id="c-1", amount=MONEY)


def issued(name: str, at: int, due: int) -> Payload:
    data = {"invoice_id": name, "customer_id": "c-1", "amount_due": MONEY, "due_date": rfc3339(due)}
    return event("billing.invoice.issued", f"i-{name}", at, **data)


def paid(name: str, at: int) -> Payload:
    return event("billing.invoice.paid", f"p-{name}", at, invoice_id=name, customer_id="c-1", amount=MONEY)


def person(at: int, **data: Any) -> Payload:
    return event("customer.profile.changed", f"c-{at}", at, customer_id="c-1", email="ada@example.org", **data)


TYPES = {"f": "billing.payment.failed", "s": "billing.payment.succeeded", "i": "billing.invoice.issued",
         "p": "billing.invoice.paid", "c": "customer.profile.changed"}  # fmt: skip


async def publish(running: Engine, *payloads: Payload) -> None:
    for payload in payloads:
        await running.publish(TYPES[payload["meta"]["event_id"][0]], payload)


def subjects(shelf: Any) -> list[str]:
    return sorted(f"{one.content['subject']} {one.content['text'].strip()}" for one in shelf.taken)


async def until(running: Engine, true: Callable[[], Awaitable[bool]], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not await true():
            running.check()
            await asyncio.sleep(0.02)


async def sum_holds(running: Engine) -> dict[str, Any]:
    _, data, holds = summary(await count(running.store))
    assert holds, data
    return data


def a_month(now: int) -> list[Payload]:
    """Thirty days: payments that failed, some that went through later, invoices paid and unpaid. In order of time."""
    found: list[tuple[int, Payload]] = []
    for day in range(30):
        at = now - 30 * DAY + day * DAY + HOUR
        found += [(at, failed(f"{day}", at)), (at, issued(f"{day}", at, at + 4 * HOUR))]
        if day % 3 == 0:
            found += [(at + HOUR, succeeded(f"{day}", at + HOUR)), (at + 2 * HOUR, paid(f"{day}", at + 2 * HOUR))]
    return [payload for _, payload in sorted(found, key=lambda one: one[0])]


@pytest.mark.parametrize("history", ["past", "live"])
def test_thirty_days_connected_tell_nobody_about_the_past_unless_history_is_live(tmp_path, history):
    clock = Clock()
    start = clock.now

    async def story() -> None:
        shelf = Shelf()
        async with open_engine(tmp_path, shelf, clock, history=history) as running:
            await publish(running, person(start - 40 * DAY), *a_month(start))
            await running.start()
            # `at_rest` cannot see absences that wait for W; these are due since long.
            await until(running, lambda: recorded(running, "fired", 50))
            await rest(running)
            data = await sum_holds(running)
            assert (data["fired"], data["stopped"]) == (50, 10)
            if history == "past":
                assert shelf.taken == []
                assert data["reasons"] == {"suppressed(stale)": 50}
                assert sum(data["corrections"].values()) == 0
            else:
                told = subjects(shelf)
                assert [one for one in told if one.startswith("overdue")] == sorted(
                    f"overdue {n}" for n in range(30) if n % 3
                )
                # Those that were settled before anybody was told need no all-clear.
                assert {f"failed {n}" for n in range(30) if n % 3} <= set(told)
                assert data["corrections"]["accepted"] == len([one for one in told if one.startswith("settled")])
            shelf.taken.clear()
            clock.now += MINUTE
            await publish(running, failed("new", clock.now), issued("new", clock.now, clock.now + HOUR))
            await until(running, lambda: taken(shelf, 1))
            clock.now += 2 * HOUR
            await until(running, lambda: taken(shelf, 2))
            await publish(running, succeeded("new", clock.now))
            await until(running, lambda: taken(shelf, 3))
            assert subjects(shelf) == ["failed new", "overdue new", "settled new"]
            await rest(running)
            await sum_holds(running)

    asyncio.run(story())


async def recorded(running: Engine, kind: str, number: int) -> bool:
    return bool(sum(row["kind"] == kind for row in await rows(running, "records")) >= number)


async def taken(shelf: Any, number: int) -> bool:
    return bool(len(shelf.taken) >= number)


def test_thirty_days_replayed_twice_tell_once(tmp_path):
    clock = Clock()
    start = clock.now
    month = a_month(start)

    async def story() -> None:
        shelf = Shelf()
        async with open_engine(tmp_path, shelf, clock, history="live") as running:
            await publish(running, person(start - 40 * DAY), *month, *month)
            await running.start()
            await until(running, lambda: recorded(running, "fired", 50))
            await rest(running)
            before = await rows(running, "records")
            told = subjects(shelf)
            assert len(set(told)) == len(told)
            clock.now += HOUR
            await publish(running, *month)
            await rest(running)
            clock.now += HOUR
            await publish(running, failed("last", clock.now))
            await until(running, lambda: taken(shelf, len(told) + 1))
            await rest(running)
            assert subjects(shelf) == sorted([*told, "failed last"])
            assert len(await rows(running, "records")) == len(before) + 1
            assert (await sum_holds(running))["fired"] == 51

    asyncio.run(story())


class Paused(EmbeddedLog):
    """A log of which some topics hang behind: their fetches do not come back."""

    topics: frozenset[str] = frozenset()

    async def fetch(self, positions: Mapping[Partition, int], limit: int) -> Sequence[Fetched]:
        return await super().fetch({p: at for p, at in positions.items() if p[0] not in self.topics}, limit)


def test_a_topic_that_is_paused_for_an_hour_accuses_nobody_and_the_absences_after_it_are_right(tmp_path):
    clock = Clock()
    start = clock.now

    async def story() -> None:
        shelf = Shelf()
        async with open_engine(tmp_path, shelf, clock) as running:
            await publish(running, person(start - DAY))
            await running.start()
            await rest(running)
            log = Paused(running.store)
            log.topics = frozenset({"billing.invoice.paid.v1"})
            running.worker.log = log
            # Everything is issued and due within the hour; some of it is paid in time, on the topic that hangs behind.
            await publish(running, *(issued(f"{n}", start, start + 10 * MINUTE) for n in range(10)))
            for minute in range(5, 65, 5):
                clock.now = start + minute * MINUTE
                if minute == 5:
                    await publish(running, *(paid(f"{n}", clock.now) for n in range(0, 10, 2)))
                await publish(running, issued(f"tick-{minute}", clock.now, clock.now + 100 * DAY))
                await publish(running, failed(f"tick-{minute}", clock.now))
                await until(running, partial(taken, shelf, minute // 5))
                assert not any("overdue" in one for one in subjects(shelf)), "an absence, while the topic hangs behind"
            log.topics = frozenset()
            clock.now += 2 * MINUTE
            await until(running, lambda: taken(shelf, 12 + 5))
            clock.now += HOUR
            await publish(running, failed("after", clock.now))
            await until(running, lambda: taken(shelf, 12 + 6))
            await rest(running)
            overdue = [one for one in subjects(shelf) if one.startswith("overdue")]
            assert overdue == [f"overdue {n}" for n in range(1, 10, 2)]
            assert (await sum_holds(running))["stopped"] == 0

    asyncio.run(story())


class Refusing(Shelf):
    """A provider that takes nothing, and would be asked again and again."""

    def __init__(self) -> None:
        super().__init__()
        self.refuses = True

    async def send(self, outgoing: Outgoing) -> Outcome:
        if self.refuses:
            self.taken.append(outgoing)
            return Outcome("not_sent", detail="come again")
        return await super().send(outgoing)


def test_who_was_made_known_before_the_event_is_no_stranger_however_many_were_made_known_with_them(tmp_path):
    async def body():
        shelf, many = Shelf(), 2000
        async with engines.engine(tmp_path / "t.db", shelf) as running:
            await running.start()
            known = [("customer.profile.changed", engines.customer(f"c-{number}")) for number in range(many)]
            said = [*known, ("billing.payment.failed", engines.failed("p-1", who=f"c-{many - 1}"))]
            topics = {kind: running.contracts.by_type[kind].topic for kind, _ in said}
            await running.log.append([Append(topics[kind], *running.codec.encode(kind, one)) for kind, one in said])
            await rest(running)
            assert [(row["state"], row["reason"]) for row in await rows(running, "messages")] == [("accepted", None)]

    asyncio.run(body())


@pytest.mark.parametrize("no", ["consent", "topic", "channel"])
def test_after_a_withdrawal_is_answered_no_intent_follows(tmp_path, no):
    """The answer: the reader of the customer's own events has moved past it, in the transaction that wrote it down."""

    async def story() -> None:
        provider = Refusing()
        async with open_engine(tmp_path, provider, wall_clock) as running:
            now = wall_clock()
            await publish(running, person(now - DAY))
            await running.start()
            await publish(running, *(failed(f"{n}", wall_clock()) for n in range(20)))
            await until(running, lambda: taken(provider, 40))
            words: dict[str, tuple[str, dict[str, Any]]] = {
                "consent": ("customer.consent.withdrawn", {"consent_class": "transactional"}),
                "topic": ("customer.preference.changed", {"topic": "news", "allowed": False}),
                "channel": ("customer.preference.changed", {"topic": "news", "allowed": False, "channel": "email"}),
            }
            kind, data = words[no]
            _, _, offset = await running.publish(kind, event(kind, "no", wall_clock(), customer_id="c-1", **data))

            async def answered() -> bool:
                found = await rows(running, "sources")
                topic = running.contracts.by_type[kind].topic
                return any(r["reader"] == "people" and r["topic"] == topic and r["next_offset"] > offset for r in found)

            await until(running, answered)
            intents = {(row["message_id"], row["no"]) for row in await rows(running, "attempts")}
            provider.refuses = False
            await rest(running)
            after = {(row["message_id"], row["no"]) for row in await rows(running, "attempts")}
            assert after == intents, "an intent after the answer"
            reason = "no_consent" if no == "consent" else "topic_off"
            assert (await sum_holds(running))["reasons"] == {f"suppressed({reason})": 20}

    asyncio.run(story())


def test_a_channel_that_is_switched_off_leaves_the_others(tmp_path):
    rules = RULES.replace(
        b"then: [{ send: email, template: failed",
        b"then: [{ send: sms, template: text, with: { name: payment_id } }, { send: email, template: failed",
    )

    async def story() -> None:
        shelf = Shelf()
        texts = {**TEMPLATES, "text": "{{ name }}\n"}
        async with engines.engine(tmp_path / "t.db", shelf, rules, texts, pace=PACE) as running:
            now = wall_clock()
            off = event(
                "customer.preference.changed",
                "no",
                now - HOUR,
                customer_id="c-1",
                topic="news",
                allowed=False,
                channel="sms",
            )
            await publish(running, person(now - DAY, phone="+4917012345678"))
            await running.publish("customer.preference.changed", off)
            await running.start()
            await publish(running, failed("1", now))
            await rest(running)
            assert [one.channel for one in shelf.taken] == ["email"]
            assert (await sum_holds(running))["reasons"] == {"suppressed(topic_off)": 1}

    asyncio.run(story())


def away(key: str = "") -> bytes:
    """One rule that is always there, and one that waits for payments by a key; without a key it is away."""
    always = """version: 1
rules:
  - id: always
    title: x
    owner: t
    status: live
    when: { event: billing.payment.failed }
    to: customer
    topic: news
    policy: { consent: transactional }
    then: [{ send: email, template: failed, with: { code: code } }]
"""
    waits = f"""  - id: waits
    title: x
    owner: t
    status: live
    when:
      missing:
        after: {{ event: billing.invoice.issued }}
        expect: {{ event: billing.invoice.paid }}
        by: [{key}]
        deadline: due_date
    to: customer
    topic: news
    policy: {{ consent: transactional }}
    then: [{{ send: email, template: failed, with: {{ code: invoice_id }} }}]
"""
    return (always + (waits if key else "")).encode()


def test_a_rule_that_goes_away_and_comes_back_with_another_meaning_does_not_take_over_its_state(tmp_path):
    def read(rules: bytes):
        files = {"rules/test.yaml": rules, "topics.yaml": b"version: 1\ntopics:\n  news: { sentence: News }\n"}
        texts = {"failed": "Subject: x\n\n{{ code }}\n"}
        found = load(files, texts, contracts().by_type)
        assert found.rules is not None, found.errors
        return files, texts, found.rules

    async def body():
        async with engines.engine(
            tmp_path / "tidings.db", Shelf(), rules=away(), templates={"failed": "Subject: x\n\n{{ code }}\n"}
        ) as running:
            await running.start()
            assert await running.replace_rules(*read(away("invoice_id"))) == []
            issued: dict[str, Any] = {
                "invoice_id": "i-1",
                "customer_id": "c-1",
                "amount_due": {"amount_minor": 1, "currency": "EUR"},
            }
            due = rfc3339(wall_clock() + 10 * DAY)
            await running.publish(
                "billing.invoice.issued", event("billing.invoice.issued", "i-1", due_date=due, **issued)
            )
            async with asyncio.timeout(20):
                while not any(row["class"] == "rule:waits" for row in await rows(running, "state")):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)  # the engine tells nobody when it has armed
            assert "'by' would change" in (await running.replace_rules(*read(away("customer_id"))))[0]
            assert await running.replace_rules(*read(away())) == []
            assert "'by' would change" in (await running.replace_rules(*read(away("customer_id"))))[0]
            assert await running.replace_rules(*read(away("invoice_id"))) == []

    asyncio.run(body())
