"""`GET /v1/decisions`: each decision once, by a cursor that nobody makes up; and answers of the declared shapes."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from gateway.explaining.models import DecisionList, DecisionStory, EventStory, WhyNotAnswer
from gateway.http.shapes import Shape
from tests.explaining.laboratory import Shop, browsing, opened, run
from tests.explaining.test_pages import SECRETS, eventful

JSON = {"accept": "application/json"}


async def asked(client: Any, path: str, **params: Any) -> Any:
    return await client.get(path, params=params, headers=JSON)


def test_the_cursor_leads_through_every_decision_once_and_is_of_one_question_only(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(tmp_path, Shop()) as shop, browsing(shop) as client:
            await eventful(shop)
            whole = DecisionList.model_validate((await asked(client, "/v1/decisions", limit=200)).json())
            assert whole.next is None
            assert len(whole.items) >= 6
            seen, cursor = [], None
            while True:
                part = DecisionList.model_validate(
                    (await asked(client, "/v1/decisions", limit=2, **({"cursor": cursor} if cursor else {}))).json()
                )
                seen += part.items
                first, cursor = cursor or part.next, part.next
                if cursor is None:
                    break
            assert seen == whole.items
            assert first is not None
            other = "0" if first[-1] != "0" else "1"
            for params in (
                {"cursor": first[:-1] + other},
                {"cursor": first, "rule": "payment-failed"},
                {"cursor": "x"},
            ):
                assert (await asked(client, "/v1/decisions", **params)).status_code == 422

    run(story())


def test_the_filters_are_those_of_the_page_and_what_nobody_knows_is_refused(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(tmp_path, Shop()) as shop, browsing(shop) as client:
            await eventful(shop)
            whole = (await asked(client, "/v1/decisions")).json()["items"]
            for name, field in (
                ("rule", "rule"),
                ("outcome", "outcome"),
                ("reason", "reason"),
                ("firing", "firing_id"),
            ):
                value = next(one[field] for one in whole if one[field])
                some = (await asked(client, "/v1/decisions", **{name: value})).json()["items"]
                assert some == [one for one in whole if one[field] == value], name
            since = whole[1]["decided_at"]
            some = (await asked(client, "/v1/decisions", **{"from": since})).json()["items"]
            assert some == [
                one for one in whole if datetime.fromisoformat(one["decided_at"]) >= datetime.fromisoformat(since)
            ]
            assert [one["about"] for one in whole if one["rule"] == "payment-failed"] == ["pay-3", "pay-1"]
            for params, status in (({"since": since}, 400), ({"outcome": "lost"}, 422), ({"from": "yesterday"}, 422),
                                   ({"from": "2026-13-01T00:00:00Z"}, 422), ({"limit": 0}, 422)):  # fmt: skip
                assert (await asked(client, "/v1/decisions", **params)).status_code == status, params

    run(story())


def test_what_is_answered_has_the_declared_shape_and_nothing_personal(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(tmp_path, Shop()) as shop, browsing(shop) as client:
            await eventful(shop)
            listed = await asked(client, "/v1/decisions")
            answers: list[tuple[type[Shape], Any]] = [(DecisionList, listed), (WhyNotAnswer, await asked(client, "/v1/why-not", customer="c-1")),
                       *[(DecisionStory, await asked(client, f"/v1/decisions/{one['id']}")) for one in listed.json()["items"]],
                       *[(EventStory, await asked(client, "/v1/explain", event=f"evt-{n}")) for n in range(1, 10)]]  # fmt: skip
            for shape, answer in answers:
                shape.model_validate(answer.json())
                assert not [secret for secret in SECRETS if secret in answer.text]

    run(story())
