"""Metrics: in the words of the reasons, each thing counted once, labels from closed lists, gauges that cost little."""

import asyncio
import math
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.metrics import MEMORY, Metrics
from handlers.rules.load import load
from schemas import contracts
from streams.embedded import wall_clock
from streams.embedded_log import Append
from streams.processors.kills import kill
from streams.processors.results import Sent
from streams.stores.counts import KEYS, MESSAGES, RECORDS, count_waiting
from tests.http.asking import run, served
from tests.live.engines import RULES, Shelf, customer, event, failed, rest
from tidings.errors import Refusal
from tidings.event import HOUR, SECOND
from tidings.message import Message
from tidings.ports import Find, Outcome, Outgoing, Put, StoreUnavailable
from tidings.reasons import MessageState, Reason
from tidings.rule import RuleSet

MISSING = (
    RULES
    + b"""
  - id: invoice-overdue
    title: Nobody paid
    owner: team-billing
    status: live
    when:
      missing:
        after: { event: billing.invoice.issued }
        expect: { event: billing.invoice.paid }
        allowed_lateness: 2d
        by: [invoice_id]
        deadline: due_date
    to: customer
    topic: news
    then: [{ send: email, template: failed, with: { code: invoice_id } }]
"""
)


class Refusing(Shelf):
    """Takes nothing."""

    async def send(self, outgoing: Outgoing) -> Outcome:
        return Outcome("permanent", detail="no")


def samples(text: bytes) -> dict[tuple[str, ...], float]:
    """Name and label values (in the order of the labels' names) of everything that is told."""
    found: dict[tuple[str, ...], float] = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            key = (sample.name, *(value for _, value in sorted(sample.labels.items())))
            assert key not in found, key
            found[key] = sample.value
    return found


@pytest.mark.live
def test_what_an_engine_did_is_told_in_the_words_of_the_reasons(tmp_path):
    async def body():
        async with served(tmp_path) as shop:
            running = shop.engine
            await running.publish("customer.profile.changed", customer("c-1"))
            for payload in (first := failed("p-1"), failed("p-2"), first):
                await running.publish("billing.payment.failed", payload)
            await running.publish("billing.payment.failed", failed("p-3", who="stranger"))
            topic = running.contracts.by_type["billing.payment.failed"].topic
            people = running.contracts.by_type["customer.profile.changed"].topic
            await running.log.append([Append(topic, b"k", b"\x00\x00\x00\x00\x07nothing"), Append(people, b"k", b"")])
            await rest(running)
            answer = await shop.get("/metrics")
            assert answer.status == 200
            assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
            found = samples(answer.body)
        assert found["tidings_events_total", "billing.payment.failed"] == 4
        # Two readers read it; it is one event, and one dead letter.
        assert found["tidings_events_total", "customer.profile.changed"] == 1
        dead = {key[1]: count for key, count in found.items() if key[0] == "tidings_dead_letters_total"}
        assert set(dead) <= set(Refusal)
        assert sum(dead.values()) == 2
        # An event that comes again is read, and says nothing anew.
        assert found["tidings_detection_records_total", "fired", "payment-failed"] == 3
        told = {key[1:]: count for key, count in found.items() if key[0] == "tidings_messages_total"}
        # Labels by name: channel, reason, rule, state.
        assert told["email", "unknown_customer", "payment-failed", "suppressed"] == 1
        assert told["email", "", "payment-failed", "accepted"] == 2
        assert {key[3] for key in told} <= set(MessageState)
        assert {key[1] for key in told} <= {"", *Reason}
        assert found["tidings_attempts_total", "email", "accepted"] == 2
        assert found["tidings_event_to_accepted_seconds_count", "email"] == 2
        assert 0 <= found["tidings_event_to_accepted_seconds_sum", "email"] < 600
        assert found["tidings_append_to_decision_seconds_count",] >= 1
        assert found["tidings_lag_records", "detect", topic] == 0
        assert found["tidings_open_messages", "pending"] == found["tidings_undispatched_records",] == 0
        assert found["tidings_store_readable",] == 1
        assert found["tidings_rules", "live"] == 1
        assert found["tidings_rules_refused",] == 0
        loops = {key[1] for key in found if key[0] == "tidings_loop_age_seconds"}
        assert loops == {"catalogue", "endings", "people", "detect", "dispatch", "deliver shelf", "reconcile shelf"}
        assert found["tidings_rule_set_info", running.rules.hash[:12]] == 1

    run(body())


@pytest.mark.live
def test_what_waits_and_what_stands_is_visible_at_the_next_scrape(tmp_path):
    async def body():
        async with served(tmp_path, rules=MISSING) as shop:
            running = shop.engine
            await running.publish("customer.profile.changed", customer("c-1"))
            await running.store.run(kill("channel:email", "somebody"))
            await running.store.run(kill("tenant:default", "somebody"))
            await running.publish("billing.payment.failed", failed("p-1"))
            await rest(running)
            await asyncio.sleep(1.5)  # until W has been told that nothing more came
            await running.stop()
            await running.publish("billing.payment.failed", failed("p-2"))
            shop.metrics.refused = True
            found = samples((await shop.get("/metrics")).body)
            topic = running.contracts.by_type["billing.payment.failed"].topic
            assert found["tidings_open_messages", "held"] == 1
            assert (found["tidings_kills", "channel"], found["tidings_kills", "all"]) == (1, 0)
            assert found["tidings_lag_records", "detect", topic] == 1
            assert found["tidings_rules_refused",] == 1
            behind = found["tidings_watermark_age_seconds", "invoice-overdue"]
            assert 0 <= behind < 3600  # beyond the two days that the rule allows
            assert found["tidings_oldest_due_seconds", "message"] == 0

            def overdue():
                (row,) = yield Find("messages", "by_work", ("held",))
                yield Put("messages", [{**row, "state": "pending", "due_at": running.clock() - HOUR}])

            await running.store.run(overdue)
            await asyncio.sleep(0.6)
            found = samples((await shop.get("/metrics")).body)
            assert found["tidings_oldest_due_seconds", "message"] >= 3600
            assert (found["tidings_open_messages", "held"], found["tidings_open_messages", "pending"]) == (0, 1)

    run(body())


@pytest.mark.live
def test_a_rule_whose_sources_nobody_has_read_is_infinitely_far_behind(tmp_path):
    async def body():
        async with served(tmp_path, rules=MISSING, started=False) as shop:
            found = samples((await shop.get("/metrics")).body)
            assert found["tidings_watermark_age_seconds", "invoice-overdue"] == math.inf

    run(body())


@pytest.mark.live
def test_what_a_rule_waits_for_is_counted_also_when_the_rule_has_left(tmp_path):
    async def body():
        async with served(tmp_path, rules=MISSING) as shop:
            running = shop.engine
            due: dict[str, Any] = {"invoice_id": "i-1", "customer_id": "c-1", "due_date": "2099-01-01T00:00:00Z"}
            amount = {"amount_minor": 1000, "currency": "EUR"}
            issued = event("billing.invoice.issued", "i-1", amount_due=amount, **due)
            await running.publish("billing.invoice.issued", issued)
            await rest(running)
            found = samples((await shop.get("/metrics")).body)
            assert (found["tidings_waiting_keys", "invoice-overdue"], found["tidings_waiting_keys", "other"]) == (1, 0)
            files = {**running.files, "rules/test.yaml": RULES}
            loaded = load(files, running.texts, contracts().by_type)
            assert loaded.rules is not None
            assert await running.replace_rules(files, running.texts, loaded.rules) == []
            await asyncio.sleep(0.6)  # for which an answer is remembered
            found = samples((await shop.get("/metrics")).body)
            assert ("tidings_waiting_keys", "invoice-overdue") not in found
            assert found["tidings_waiting_keys", "other"] == 1

    run(body())


@pytest.mark.live
def test_a_message_that_was_refused_counts_as_failed_with_its_reason(tmp_path):
    async def body():
        async with served(tmp_path, provider=Refusing()) as shop:
            await shop.engine.publish("customer.profile.changed", customer("c-1"))
            await shop.engine.publish("billing.payment.failed", failed("p-1"))
            await rest(shop.engine)
            found = samples((await shop.get("/metrics")).body)
            assert found["tidings_messages_total", "email", "refused", "payment-failed", "failed"] == 1
            assert found["tidings_attempts_total", "email", "permanent"] == 1
            assert ("tidings_event_to_accepted_seconds_count", "email") not in found

    run(body())


def message(name: str, state: MessageState = MessageState.FAILED, **words: object) -> Message:
    made = Message(
        name, "default", "address:ada@example.org", "run", "firing", "payment-failed", "notice", 0, "email", state, 0,
        10, "unresolved", {"logical_at": 0, "alert": True}, "refused",
    )  # fmt: skip
    return replace(made, **words)  # type: ignore[arg-type]


def empty() -> RuleSet:
    return RuleSet("none", (), {})


def counted(metrics: Metrics, name: str) -> float:
    return sum(sample.value for one in metrics.registry.collect() for sample in one.samples if sample.name == name)


def test_a_message_that_is_seen_twice_in_a_state_counts_once():
    metrics = Metrics(empty, (), wall_clock)
    outgoing = Outgoing("m", 1, "email", "ada@example.org", {}, 0, 0)
    for _ in range(3):
        metrics.observe(Sent(outgoing, Outcome("permanent"), message("m")))
    assert counted(metrics, "tidings_messages_total") == counted(metrics, "tidings_alerts_total") == 1
    assert counted(metrics, "tidings_attempts_total") == 3


def test_no_label_is_what_somebody_outside_chose_and_memory_has_a_bound():
    metrics = Metrics(empty, contracts().by_type, wall_clock)
    for number in range(MEMORY + 2000):
        metrics.observe(message(f"m-{number}", rule=f"rule-{number}"))
    assert len(metrics._seen) == MEMORY
    rows = [s for one in metrics.registry.collect() for s in one.samples if s.name == "tidings_messages_total"]
    assert [row.labels["rule"] for row in rows] == ["other"]
    text = repr(rows)
    assert "ada" not in text
    assert "m-1" not in text


def test_what_the_engine_shows_beside_is_no_fault():
    metrics = Metrics(empty, (), wall_clock)
    metrics.observe(object())
    metrics.observe(None)


@pytest.mark.parametrize("query", [MESSAGES, RECORDS, KEYS])
def test_counts_walk_a_partial_index_that_holds_only_what_waits(query, tmp_path):
    async def body():
        async with served(tmp_path, started=False) as shop:
            with sqlite3.connect(shop.engine.path) as file:
                (plan,) = [row[3] for row in file.execute(f"EXPLAIN QUERY PLAN {query}")]
                index = plan.split("COVERING INDEX ")[1].split()[0]
                (made,) = file.execute("SELECT sql FROM sqlite_schema WHERE name = ?", (index,)).fetchone()
                assert "IS NOT NULL" in made
            file.close()

    run(body())


def test_a_count_that_takes_too_long_is_given_up(tmp_path, monkeypatch):
    async def body():
        async with served(tmp_path, started=False) as shop:
            with pytest.raises(StoreUnavailable):
                count_waiting(Path(tmp_path / "nothing.db"), within=0.2)
            assert not (tmp_path / "nothing.db").exists()
            endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT max(x), 1 FROM n"
            monkeypatch.setattr("streams.stores.counts.MESSAGES", endless)
            with pytest.raises(StoreUnavailable, match="interrupted"):
                count_waiting(shop.engine.path, within=0.2)

    run(body())


def test_times_are_measured_from_the_event_to_the_yes():
    now = 100 * SECOND
    metrics = Metrics(empty, (), lambda: now)
    metrics.observe(message("m", MessageState.ACCEPTED, reason=None, body={"logical_at": 40 * SECOND}))
    assert counted(metrics, "tidings_event_to_accepted_seconds_sum") == 60
