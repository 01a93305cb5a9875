"""Near misses: what one term alone kept from firing, and nothing that more was against."""

from __future__ import annotations

import re
from typing import Any

import pytest

from streams.explaining.terms import begins, look
from tests.explaining.laboratory import Shop, browsing, opened, run

RULES = b"""
version: 1
rules:
  - id: large
    title: A large payment failed
    owner: team-billing
    severity: high
    status: live
    policy: at-any-hour
    when: { event: billing.payment.failed, if: 'amount >= money(100, "EUR")' }
    to: customer
    topic: billing
    then: [{ send: email, template: billing/payment-failed, with: { amount: amount, code: code } }]
  - id: anna
    title: Anna changed her plan
    owner: team-crm
    severity: low
    status: live
    policy: at-any-hour
    when: { event: crm.customer.changed, changed: [plan], if: 'after.first_name == "Anna"' }
    to: customer
    topic: account
    then: [{ send: email, template: account/welcome, with: { name: after.first_name } }]
  - id: draft
    title: A draft
    owner: team-billing
    severity: low
    status: draft
    policy: at-any-hour
    when: { event: billing.payment.failed, if: 'amount >= money(100, "EUR") && code == "x"' }
    to: customer
    topic: billing
    then: [{ send: email, template: billing/payment-failed, with: { amount: amount, code: code } }]
policies:
  at-any-hour: { consent: transactional }
"""


def euro(whole: int) -> dict[str, Any]:
    return {"amount_minor": whole * 100, "currency": "EUR"}


@pytest.fixture(scope="module")
def looked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The page of all rules, of one, and of none that there is, in words."""

    async def story() -> dict[str, str]:
        files, texts = Shop().files, Shop().texts
        kept = {name: body for name, body in files.items() if "rules/" not in name}
        shop = Shop({**kept, "rules/near.yaml": RULES}, texts)
        async with opened(tmp_path_factory.mktemp("near"), shop), browsing(shop) as client:
            await shop.customer()
            for number, amount in enumerate((100, 99, 75, 74, 8, 500)):
                failed: dict[str, Any] = {"payment_id": f"pay-{number}", "customer_id": "c-1", "code": "expired_card"}
                await shop.happens("billing.payment.failed", amount=euro(amount), **failed)
            for before, after, name in (("free", "pro", "Jonas"), ("pro", "pro", "Jonas"), ("free", "pro", "Anna")):
                await shop.happens(
                    "crm.customer.changed", customer_id="c-1",
                    before={"plan": before, "first_name": name}, before_coverage="FULL",
                    after={"plan": after, "first_name": name}, after_coverage="FULL",
                )  # fmt: skip
            await shop.rests(1)
            found = {}
            for path in ("/near-misses", "/near-misses?rule=large", "/near-misses?rule=larg", "/near-misses?rule=draft", "/rules/large",
                         "/decisions", "/decisions?rule=large"):  # fmt: skip
                answer = await client.get(path)
                for _ in range(100):
                    if "refresh" not in answer.headers:
                        break
                    answer = await client.get(path)
                found[path] = answer.text
            return found

    found: dict[str, str] = run(story())
    return found


def test_what_begins_something_is_known_without_its_explanation(tmp_path):
    async def story() -> None:
        async with opened(tmp_path, Shop()) as shop:
            await shop.customer()
            for number, code in enumerate(("expired_card", "fraud_suspected")):
                failed: dict[str, Any] = {"payment_id": f"pay-{number}", "customer_id": "c-1", "code": code}
                await shop.happens("billing.payment.failed", amount=euro(90), **failed)
            await shop.happens("sales.order.placed", order_id="ord-1", customer_id="c-1", total=euro(90))
            await shop.happens("sales.order.shipped", order_id="ord-1", customer_id="c-1")
            await shop.happens(
                "crm.customer.changed", customer_id="c-1", before_coverage="ABSENT", after_coverage="FULL",
                after={"email": "jonas@wald.de", "first_name": "Jonas", "plan": "free"},
            )  # fmt: skip
            events = await shop.books.archive.newest({one for rule in shop.rules.active for one in rule.types}, 100)
            seen = [(look(rule, event).outcome, begins(rule, event)) for rule in shop.rules.active for event in events]
            assert {outcome for outcome, _ in seen} >= {"fired", "armed", "disarmed", "no_match", "other_event"}
            assert all(begun is (outcome in ("fired", "armed")) for outcome, begun in seen)

    run(story())


def words(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


def rows(page: str) -> list[str]:
    body = re.search(r"<tbody>(.*?)</tbody>", page, re.DOTALL)
    return [] if body is None else [words(one) for one in re.findall(r"<tr>(.*?)</tr>", body[1], re.DOTALL)]


def test_what_came_within_a_quarter_of_the_only_limit_is_near_and_what_fired_or_was_far_is_not(looked):
    found = rows(looked["/near-misses?rule=large"])
    assert [re.findall(r"pay-\d", one) for one in found] == [["pay-2"], ["pay-1"]]
    assert "was false: amount is 75.00 EUR, 25.00 EUR away" in found[0]


def test_of_several_terms_the_one_that_failed_alone_is_named_and_its_personal_value_is_not_shown(looked):
    (found,) = [one for one in rows(looked["/near-misses"]) if "anna" in one]
    assert "after.first_name is ••• (5 letters)" in found
    assert "Jonas" not in looked["/near-misses"]


def test_a_near_miss_leads_to_its_event_its_rule_and_whom_it_would_have_told(looked):
    page = looked["/near-misses?rule=large"]
    assert len(re.findall(r'class="go" href="/events/[^"]+"', page)) == 2
    assert 'href="/rules/large"' in page
    assert 'href="/customers/c-1"' in page


def test_decisions_and_rules_lead_to_near_misses_of_the_same_rule(looked):
    assert 'href="/near-misses"' in looked["/decisions"]
    assert 'href="/near-misses?rule=large"' in looked["/decisions?rule=large"]
    assert "Came closest" in looked["/rules/large"]


def test_a_rule_that_is_not_there_or_decides_nothing_is_said_so(looked):
    assert "There is no such rule; there is large" in looked["/near-misses?rule=larg"]
    assert "A draft decides nothing" in looked["/near-misses?rule=draft"]
