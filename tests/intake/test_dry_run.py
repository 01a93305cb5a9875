"""What a dry run says, to whom, and that it leaves nothing behind."""

import asyncio
import json
from typing import Any

import pytest

from gateway.intake.publishing import REVEAL
from schemas.examples import examples
from streams.embedded import wall_clock
from streams.json_events import rfc3339
from streams.processors.kills import kill
from tests.http.asking import run, until
from tests.intake.answers import is_problem
from tests.intake.edge import edge, event
from tests.live.engines import RULES
from tidings import canonical
from tidings.ports import Scan

pytestmark = pytest.mark.live


def test_a_dry_run_says_what_would_be_decided_and_writes_nothing(tmp_path):
    async def body():
        async with edge(tmp_path, started=True) as shop:
            await shop.post([found.event for found in introductions()])
            await until(shop.engine.at_rest)
            before = await shop.log()
            given = event("billing.payment.failed", id="dry")
            given["data"]["customer_id"] = "c-1"
            answer = await shop.post(given, query="?dry_run=true")
            assert answer.status_code == 200
            found = answer.json()
            assert found["dry_run"] is True
            is_problem(await shop.post({**given, "data": {}}, query="?dry_run=true"), "contract-violation")
            assert found["items"][0]["status"] == "accepted"
            assert [one["rule"] for one in found["decisions"]] == ["payment-failed"]
            assert {one["channel"] for one in found["messages"]} == {"email"}
            assert {one["state"] for one in found["messages"]} <= {"would_send", "held", "suppressed"}
            await asyncio.sleep(0.1)
            assert await shop.log() == before
            assert not shop.provider.taken
            # What was tried is no event: the same id with another time is free.
            assert (await shop.post({**given, "time": "2026-01-01T00:00:00Z"})).status_code == 202

    run(body())


def test_what_is_stopped_says_until_when_it_is_worth_sending_and_no_time_at_which_it_would_leave(tmp_path):
    async def body():
        async with edge(tmp_path, started=True) as shop:
            await shop.post([found.event for found in introductions()])
            await until(shop.engine.at_rest)
            await shop.engine.store.run(kill("rule:payment-failed", "a test", "wrong prices"))
            given = event("billing.payment.failed", id="dry")
            given["data"]["customer_id"] = "c-1"
            (found,) = (await shop.post(given, query="?dry_run=true")).json()["messages"]
            assert (found["state"], found["reason"], found["due_at"]) == ("held", "killed", None)
            assert found["worth_until"] > given["time"]
            assert "until it is released" in found["because"]

    run(body())


def test_texts_of_a_dry_run_are_for_those_who_may_reveal_and_that_is_written_down(tmp_path):
    async def body():
        async with edge(tmp_path, started=True) as shop:
            await shop.post([found.event for found in introductions()])
            await until(shop.engine.at_rest)
            given = event("billing.payment.failed", id="dry")
            given["data"]["customer_id"] = "c-1"
            keys = {False: await shop.key("one", "events", "decisions"), True: await shop.key("two", "events", REVEAL)}
            for may, key in keys.items():
                found = (await shop.post(given, query="?dry_run=true", key=key)).json()
                sent = [one for one in found["messages"] if one["state"] == "would_send"]
                assert sent, found
                assert all((one["text"] is not None) == may and one["template"] for one in sent)
                lines = [
                    one
                    for one in await shop.engine.store.read(lambda: (yield Scan("audit")))
                    if one["verb"] == "dry-run"
                ]
                assert [one["who"] for one in lines] == ["two"] * may
            assert canonical.loads(lines[0]["body"])["recipients"] == ["customer:c-1"]


CHANGED = (
    RULES
    + b"""
  - id: email-changed
    title: The address was changed
    owner: team-crm
    severity: high
    status: live
    when: { event: crm.customer.changed, changed: [email] }
    to: customer
    topic: news
    then: [{ send: email, template: failed, with: { code: customer_id } }]
"""
)


def test_a_dry_run_judges_an_event_as_completed_and_never_calls_silent_what_speaks(tmp_path):
    def changed(name: str, at: str, email: str) -> dict[str, Any]:
        data = {
            "customer_id": "c-1", "before": None, "after": {"email": email}, "changed_fields": ["email"],
            "before_coverage": "UNKNOWN", "after_coverage": "FULL",
        }  # fmt: skip
        return event("crm.customer.changed", id=name, subject="c-1", time=at) | {"data": data}

    async def body():
        async with edge(tmp_path, started=True, rules=CHANGED) as shop:
            now = wall_clock()
            at, later = rfc3339(now - 60_000_000), rfc3339(now)
            assert (await shop.post(changed("a", at, "ada@example.org"))).status_code == 202
            await until(shop.engine.at_rest)
            found = (await shop.post(changed("b", later, "ada@example.com"), query="?dry_run=true")).json()
            assert "email-changed" in {one["rule"] for one in found["decisions"]}, json.dumps(found)
            assert "email-changed" not in {one["rule"] for one in found["silent"]}
            # The same address again: silent, and the stored one is veiled.
            found = (await shop.post(changed("b", later, "ada@example.org"), query="?dry_run=true")).json()
            assert "email-changed" not in {one["rule"] for one in found["decisions"]}
            (silent,) = (one for one in found["silent"] if one["rule"] == "email-changed")
            assert "email changed is false" in silent["because"]
            assert "ada@" not in json.dumps(found["silent"])

    run(body())


def introductions() -> list[Any]:
    return [
        one for one in examples() if one.full_name.startswith("tidings.customer.v1.Profile") and not one.refused_at
    ][:1]
