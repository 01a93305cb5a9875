"""The pages that explain, and the same for scripts: what they say, what they hide, how large they are."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from gateway.console.parameters import EVERY, TAKES, fault
from tests.explaining.laboratory import EURO_90, SOON, Shop, browsing, opened, run
from tidings.event import HOUR
from tidings.ports import Scan

SECRETS = ("jonas@wald.de", "jonas@see.de", "wald.de", "Jonas")


async def eventful(shop: Shop) -> None:
    await shop.customer()
    await shop.rests()
    full = {"email": "jonas@wald.de", "first_name": "Jonas", "plan": "free"}
    await shop.happens(
        "crm.customer.changed", customer_id="c-1", before_coverage="ABSENT", after=full, after_coverage="FULL"
    )
    await shop.happens(
        "billing.payment.failed", payment_id="pay-1", customer_id="c-1", amount=EURO_90, code="expired_card"
    )
    await shop.happens(
        "billing.payment.failed", payment_id="pay-2", customer_id="c-1", amount=EURO_90, code="fraud_suspected"
    )
    await shop.rests(SOON)
    await shop.happens("customer.preference.changed", customer_id="c-1", topic="orders", allowed=False)
    await shop.rests(SOON)
    await shop.happens("sales.order.placed", order_id="ord-1", customer_id="c-1", total=EURO_90)
    await shop.happens("crm.complaint.opened", complaint_id="cmp-1", customer_id="c-1", topic="late", tier="vip")
    news = {"email": "jonas@see.de"}
    await shop.happens(
        "crm.customer.changed",
        customer_id="c-1",
        after=news,
        after_coverage="CHANGED_FIELDS_ONLY",
        changed_fields=["email"],
    )
    await shop.rests(10 * HOUR)
    await shop.happens(
        "billing.payment.failed", payment_id="pay-3", customer_id="c-1", amount=EURO_90, code="expired_card"
    )
    await shop.rests(1)


@pytest.fixture(scope="module")
def looked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Every page of an eventful shop, by its path; `decisions`: the paths of its decisions by rule."""

    async def story() -> dict[str, Any]:
        async with opened(tmp_path_factory.mktemp("pages"), Shop()) as shop, browsing(shop) as client:
            await eventful(shop)

            def body() -> Any:
                return [row for row in (yield Scan("records")) if row["kind"] == "fired"]

            rows = sorted(await shop.store.read(body), key=lambda row: row["episode_at"])
            paths = {row["rule"]: f"/decisions/{row['firing_id']}" for row in rows}
            others = [f"/rules/{rule.id}" for rule in shop.rules.rules]
            others += [
                "/rules",
                "/customers/c-1",
                "/customers/c-1?ask=1",
                "/customers/nobody?ask=1",
                "/customers/c-1?ask=1&rule=nope",
            ]
            others += ["/", "/decisions", "/messages", "/near-misses", "/dead-letters", "/kills", "/audit"]
            others += ["/decisions/nothing", "/rules/payment-faild", "/customers/c-1?ask=1&about=ord-1&window=1d"]
            found: dict[str, Any] = {"decisions": paths}
            for path in (*paths.values(), *others):
                answer = await client.get(path)
                for _ in range(100):
                    if "refresh" not in answer.headers:
                        break
                    answer = await client.get(path)
                found[path] = answer
            for path in ("/v1/why-not?customer=c-1", "/v1/explain?event=evt-3", f"/v1{paths['email-changed']}",
                         "/v1/why-not?customer=c-1&rule=nope", "/v1/why-not", "/v1/why-not?customer=c-1&x=1",
                         "/v1/why-not?customer=c-1&window=soon", "/v1/explain?event=%00", "/v1/decisions/nothing"):  # fmt: skip
                found[path] = await client.get(path, headers={"accept": "application/json"})
            return found

    found: dict[str, Any] = run(story())
    return found


def text_of(looked: dict[str, Any], path: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", looked[path].text))


def pages_of(looked: dict[str, Any]) -> list[str]:
    return [path for path in looked if path.startswith("/") and not path.startswith("/v1")]


def test_no_page_and_no_answer_shows_what_is_personal(looked: dict[str, Any]) -> None:
    for path, answer in looked.items():
        if path != "decisions":
            assert not [secret for secret in SECRETS if secret in answer.text], path


def test_no_page_is_larger_than_its_budget_nor_holds_script_or_style(looked: dict[str, Any]) -> None:
    for path in pages_of(looked):
        text = looked[path].text
        assert len(text.encode()) <= 40_000, path
        assert not re.search(
            r"<script(?![^>]*\bsrc=)|\bstyle=|\bon[a-z]+=|javascript:|https?://(?!www\.w3\.org)", text
        ), path


def test_no_link_and_no_form_asks_a_page_for_what_it_does_not_take(looked: dict[str, Any]) -> None:
    asked: set[tuple[str, str, str]] = set()
    for path in pages_of(looked):
        text = looked[path].text
        for link in re.findall(r'href="([^"#]+)', text):
            found = urlsplit(html.unescape(link))
            asked |= {(found.path or path.partition("?")[0], name, value) for name, value in parse_qsl(found.query)}
        for action, fields in re.findall(
            r'<form[^>]* method="get" action="([^"]+)"[^>]*>(.*?)</form>', text, re.DOTALL
        ):
            asked |= {(action, name, "") for name in re.findall(r' name="([^"]+)"', fields)}
    takes = {re.compile(re.sub(r"\{[^}]+\}", ".+", one)): words for one, words in TAKES.items()}
    assert len(asked) > 10
    for path, name, value in asked:
        mine = next((words for one, words in takes.items() if one.fullmatch(path)), {})
        assert not fault({**mine, **EVERY}, name, value), (path, name, value)


def test_the_first_line_of_a_decision_answers(looked: dict[str, Any]) -> None:
    said = {
        rule: re.search(r"<h1[^>]*>(.*?)</h1>", looked[path].text)[1]  # type: ignore[index]
        for rule, path in looked["decisions"].items()
    }
    assert said["order-confirmed"] == "Not told: they have switched this topic off"
    assert said["payment-failed"] == "Not told yet: held until 2027-01-16 08:00 in Berlin, quiet hours"
    assert said["email-changed"] == "Told by e-mail"
    assert said["vip-complaint"] == "Told in Slack, with a ticket, over a webhook and with a workflow"


def test_a_decision_shows_every_rule_that_looked_and_the_gate_that_said_no(looked: dict[str, Any]) -> None:
    text = text_of(looked, looked["decisions"]["order-confirmed"])
    assert "3 rules looked at it" in text
    assert "item_count" in text
    assert "Stopped at “Topic”" in text
    assert "would pass: j•••@w•••.de" in text
    assert "In plain words" in text


def test_a_customer_is_asked_about_in_the_url_and_what_is_still_to_come_stands_there(looked: dict[str, Any]) -> None:
    text = text_of(looked, "/customers/c-1?ask=1")
    assert "Not told: they have switched this topic off." in text
    assert "code != &#34;fraud_suspected&#34; was false" in text
    told = "it tells on 2027-01-16 12:10 UTC unless sales.order.shipped comes, but they have switched this topic off"
    assert told in text
    assert "switched off" in text
    nobody = text_of(looked, "/customers/nobody?ask=1")
    assert "Nothing of this customer arrived in this time that these rules read." in nobody
    assert "there is no rule or topic" in text_of(looked, "/customers/c-1?ask=1&rule=nope")


def test_a_rule_shows_what_its_lines_did_and_how_its_tests_end(looked: dict[str, Any]) -> None:
    text = text_of(looked, "/rules/payment-failed")
    assert re.search(r"if : worth_telling 2 of 3 passed", text)
    assert "1 sent, 1 wait" in text
    assert "5 of 5 pass" in text
    assert "of all 3 events that it reads" in text


def test_the_list_of_rules_has_three_counts_for_each(looked: dict[str, Any]) -> None:
    text = text_of(looked, "/rules")
    assert re.search(r"A payment failed payment-failed team-billing 3 2 1", text)
    assert "16 live, 1 in shadow" in text


def test_what_does_not_exist_is_a_page_that_helps_or_a_problem(looked: dict[str, Any]) -> None:
    assert looked["/decisions/nothing"].status_code == 404
    assert "There is no decision with this id" in looked["/decisions/nothing"].text
    assert "there is payment-failed" in looked["/rules/payment-faild"].text
    for path, status in (("/v1/why-not?customer=c-1&rule=nope", 404), ("/v1/why-not", 422), ("/v1/decisions/nothing", 404),
                         ("/v1/why-not?customer=c-1&x=1", 400), ("/v1/why-not?customer=c-1&window=soon", 422),
                         ("/v1/explain?event=%00", 422)):  # fmt: skip
        answer = looked[path]
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), path


def test_scripts_read_the_same(looked: dict[str, Any]) -> None:
    found = looked["/v1/why-not?customer=c-1"].json()
    (orders,) = [one for one in found["rules"] if one["rule"] == "order-confirmed"]
    assert (orders["answer"], orders["event"]["type"]) == ("not_told", "sales.order.placed")
    (rule,) = looked["/v1/explain?event=evt-3"].json()["rules"]
    assert (rule["rule"], rule["outcome"]) == ("payment-failed", "fired")
    assert looked[f"/v1{looked['decisions']['email-changed']}"].json()["state"] == "sent"


def test_a_key_that_may_only_publish_reads_no_decision(tmp_path: Path) -> None:
    from gateway.access.keys import make, pepper_of
    from streams.processors import keys as rows

    async def story() -> list[int]:
        async with opened(tmp_path, Shop()) as shop, browsing(shop) as client:
            statuses = []
            for scopes in ({"events"}, {"decisions"}):
                sources = ("*",) if "events" in scopes else ()
                made = make(
                    pepper_of(b"only for tests"),
                    "-".join(scopes),
                    tenant="default",
                    scopes=frozenset(scopes),
                    sources=sources,
                )
                assert not await shop.store.run(rows.add(made.row, "tests"))
                headers = {"authorization": f"Bearer {made.key}", "accept": "application/json"}
                statuses.append((await client.get("/v1/why-not?customer=c-1", headers=headers)).status_code)
            statuses.append((await client.get("/v1/why-not?customer=c-1")).status_code)
            statuses.append((await client.get("/customers/c-1")).status_code)
            return statuses

    assert run(story()) == [403, 200, 401, 303]
