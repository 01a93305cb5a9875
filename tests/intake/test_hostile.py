"""Hostile bodies and slow clients: bounded work, a clear answer, and the next request is served."""

import asyncio
import json
import time
from difflib import get_close_matches
from typing import Any

import pytest

from gateway.http.serve import _Timed
from gateway.intake.bounds import AT_ONCE, MOST_BODY, MOST_EVENT, MOST_EVENTS, MOST_UNKNOWN
from gateway.intake.reading import read
from streams.json_events import MOST_HINTS
from tests.http.asking import exchange, parsed, run
from tests.intake.answers import is_problem
from tests.intake.edge import edge, event
from tests.intake.test_publish import BATCH, STRUCTURED

pytestmark = pytest.mark.live

GOOD = json.dumps(event()).encode()


def inside(value: str) -> bytes:
    return GOOD[:-1] + b', "subject": ' + value.encode() + b"}"


@pytest.mark.parametrize(
    ("raw", "kind", "code"),
    [
        (b"", "application/json", "malformed"),
        (b"{", "application/json", "malformed"),
        (b"\xff\xfe", "application/json", "malformed"),
        (b"\x00" * 1000, "application/json", "malformed"),
        (inside("NaN"), "application/json", "malformed"),
        (inside("-Infinity"), "application/json", "malformed"),
        (inside("1" * 5000), "application/json", "malformed"),
        (inside('"a", "subject": "b"'), "application/json", "malformed"),
        (inside("1e999"), "application/json", "contract-violation"),
        (inside('"\\u0000"'), "application/json", "contract-violation"),
        (inside('"\\ud800"'), "application/json", "contract-violation"),
        (inside("[" * 33 + "]" * 33), "application/json", "contract-violation"),
        (b"[" * 200_000, "application/json", "contract-violation"),
        (b'{"a":' * 40_000, STRUCTURED, "contract-violation"),
        (b"[" * MOST_BODY, BATCH, "contract-violation"),
        (b"[]", BATCH, "contract-violation"),
        (b"{}", BATCH, "contract-violation"),
        (b"\n\n", "application/x-ndjson", "contract-violation"),
        (inside(json.dumps("x" * MOST_EVENT)), "application/json", "too-large"),
        (b"[" + b"{}," * MOST_EVENTS + b"{}]", BATCH, "contract-violation"),
        (b"{}\n" * (MOST_EVENTS + 1), "application/x-ndjson", "contract-violation"),
        (GOOD, "text/plain", "unsupported-media-type"),
        (GOOD, "application/json; charset=utf-16", "unsupported-media-type"),
        (GOOD, "application/x-www-form-urlencoded", "unsupported-media-type"),
    ],
    ids=range(24),
)
def test_a_hostile_body_is_refused_with_what_is_wrong_and_the_next_one_is_taken(tmp_path, raw, kind, code):
    async def body():
        async with edge(tmp_path) as shop:
            is_problem(await shop.post(raw, kind=kind), code)
            assert (await shop.post(event())).status_code == 202
            assert len(await shop.log()) == 1

    run(body())


def test_an_event_of_a_batch_may_be_no_larger_than_one_alone(tmp_path):
    async def body():
        async with edge(tmp_path) as shop:
            large = event(id="large", subject="x" * MOST_EVENT)
            answer = await shop.post([event(id="a"), large])
            assert [one["status"] for one in answer.json()["items"]] == ["accepted", "refused"]
            assert answer.json()["items"][1]["problem"]["code"] == "too-large"
            lines = b"\n".join(json.dumps(one).encode() for one in (event(id="b"), large))
            answer = await shop.post(lines, kind="application/x-ndjson")
            assert answer.json()["items"][1]["problem"]["code"] == "too-large"

    run(body())


def test_a_batch_that_is_too_large_is_refused_by_its_head(tmp_path):
    async def body():
        async with edge(tmp_path) as shop:
            head = f"POST /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {MOST_BODY + 1}\r\n\r\n"
            answer = parsed(await exchange(shop.port, head.encode()))
            assert (answer.status, answer.json["code"]) == (413, "too-large")

    run(body())


def test_mistakes_without_number_are_told_up_to_a_bound(tmp_path):
    async def body():
        async with edge(tmp_path) as shop:
            given = event()
            given["data"] |= {f"field{n}": n for n in range(5000)}
            found = is_problem(await shop.post(given), "contract-violation")
            assert len(found["errors"]) == 100
            # Nothing of what was sent comes back but names: values may be personal.
            secret = event(source="x")
            secret["data"]["customer_id"] = {"MARKER": "ada@example.org"}
            assert "ada@example.org" not in (await shop.post(secret)).text

    run(body())


@pytest.mark.parametrize("kind", ["application/json", BATCH])
def test_the_largest_batch_of_mistakes_costs_bounded_work_and_a_bounded_answer(tmp_path, monkeypatch, kind):
    asked = 0

    def near(*given: Any) -> list[str]:
        nonlocal asked
        asked += 1
        return get_close_matches(*given)

    monkeypatch.setattr("streams.json_events.get_close_matches", near)

    async def body():
        async with edge(tmp_path) as shop:
            more: dict[str, Any] = {"specversion": "1.0", **{f"subjec{n}": 1 for n in range(60)}}
            one = event(**(more if kind == BATCH else {}))
            room = MOST_BODY // MOST_EVENTS - len(json.dumps(one)) - 400
            one["data"] |= {f"custmer{n:03}": 1 for n in range(room // 17)}
            one["data"]["x" * 300] = one["data"]["custmer000"]
            raw = json.dumps([one] * MOST_EVENTS).encode()
            assert MOST_BODY * 0.9 < len(raw) <= MOST_BODY
            answer = await shop.post(raw, kind=kind)
            assert (answer.status_code, answer.json()["refused"]) == (207, MOST_EVENTS)
            assert all(item["problem"]["errors"] for item in answer.json()["items"])
            assert len(answer.content) < MOST_BODY / 8
            assert 0 < asked <= MOST_EVENTS * 2 * MOST_HINTS

    run(body())


def test_others_have_their_turn_while_a_batch_is_read():
    async def body():
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(other())
        found = await read(BATCH, [], b"[" + b",".join([GOOD] * MOST_EVENTS) + b"]")
        task.cancel()
        assert len(found.given) == MOST_EVENTS
        assert turns >= MOST_EVENTS // AT_ONCE

    run(body())


def test_more_unknown_attributes_than_anybody_needs_are_refused_as_one_mistake(tmp_path):
    async def body():
        async with edge(tmp_path) as shop:
            for more, status in ((MOST_UNKNOWN, 202), (MOST_UNKNOWN + 1, 422)):
                given = event(specversion="1.0") | {f"unrelated{n}": n for n in range(more)}
                answer = await shop.post(given, kind=STRUCTURED)
                assert answer.status_code == status, answer.text
            assert [one["code"] for one in answer.json()["errors"]] == ["too-many"]

    run(body())


def test_a_body_without_a_key_is_refused_before_it_is_read(tmp_path):
    async def body():
        async with edge(tmp_path) as shop:
            await shop.key()
            shop.site.door.keys._looked = float("-inf")
            head = (
                b"POST /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                b"Content-Length: 4000000\r\n\r\n"
            )
            answer = parsed(await exchange(shop.port, head))
            assert (answer.status, answer.json["code"]) == (401, "unauthorized")

    run(body())


def test_a_body_that_trickles_in_ends_and_holds_nobody_up(tmp_path, monkeypatch):
    monkeypatch.setattr(_Timed, "body_within", 0.5)

    async def body():
        async with edge(tmp_path) as shop:
            head = (
                b"POST /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                b"Content-Length: 1000\r\n\r\n"
            )
            began = time.monotonic()
            answer = parsed(await exchange(shop.port, head, *[b" "] * 40, pause=0.1, seconds=30))
            assert (answer.status, answer.json["code"]) == (408, "too-slow")
            assert time.monotonic() - began < 20
            assert (await shop.post(event())).status_code == 202

    run(body())


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example", "sec-fetch-site": "cross-site"},
        {"host": "evil.example"},
    ],
)
def test_a_page_of_somebody_else_publishes_nothing_on_an_open_laptop(tmp_path, headers):
    async def body():
        async with edge(tmp_path) as shop:
            is_problem(await shop.post(event(), **headers), "unauthorized")
            # A browser asks first whether it may, and is told nothing that lets it.
            asked = await shop.client.options(
                "/v1/events", headers={**headers, "access-control-request-method": "POST"}
            )
            assert not [name for name in asked.headers if name.startswith("access-control")]
            assert not await shop.log()

    run(body())


def test_a_second_key_in_one_request_is_refused(tmp_path):
    async def body():
        async with edge(tmp_path) as shop:
            key = await shop.key()
            answer: Any = await shop.client.post(
                "/v1/events",
                content=GOOD,
                headers=[("content-type", "application/json"), *[("authorization", f"Bearer {key}")] * 2],
            )
            is_problem(answer, "unauthorized")

    run(body())
