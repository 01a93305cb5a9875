"""What a core system is promised when it publishes over HTTP."""

import asyncio
import json
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from gateway.http.app import create_app
from gateway.http.problems import KINDS
from gateway.metrics import Metrics
from schemas import contracts
from schemas.examples import examples
from streams.embedded import wall_clock
from tests.http.asking import run
from tests.intake.answers import cloud, decoded, is_problem
from tests.intake.edge import edge, event
from tidings import ids

pytestmark = pytest.mark.live

STRUCTURED, BATCH = "application/cloudevents+json", "application/cloudevents-batch+json"


def test_202_means_that_the_event_is_in_the_log_as_it_was_given(tmp_path):
    async def body():
        async with edge(tmp_path) as shop:
            given = event(subject="invoice/7", correlation_id="c-1")
            answer = await shop.post(given)
            assert answer.status_code == 202
            (stored,) = await decoded(shop)
            assert answer.json() == {"event_ref": stored.ref, "id": given["id"], "status": "accepted"}
            assert (stored.source, stored.subject, stored.correlation_id) == (given["source"], "invoice/7", "c-1")
            assert stored.tenant == "default"
            assert stored.ref == ids.event_ref("default", given["source"], given["id"], stored.occurred_at)

    run(body())


def test_every_form_of_one_event_is_the_same_event(tmp_path):
    async def body():
        async with edge(tmp_path) as shop:
            given = event(subject="ä/7")
            plain = await shop.post(given)
            (first,) = await decoded(shop)
            headers = {f"ce-{name}": given[name] for name in ("id", "source", "type", "time")}
            answers = [
                await shop.post(cloud(given), kind=STRUCTURED),
                await shop.post(cloud(given), kind=f"{STRUCTURED}; charset=UTF-8"),
                await shop.post(given["data"], **headers, **{"ce-specversion": "1.0", "ce-subject": "%C3%A4/7"}),
            ]
            bulk = [
                await shop.post([cloud(given)], kind=BATCH),
                await shop.post([given]),
                await shop.post(json.dumps(given).encode() + b"\n\n", kind="application/x-ndjson"),
            ]
            assert {answer.json()["event_ref"] for answer in [plain, *answers]} == {first.ref}
            assert {answer.json()["items"][0]["event_ref"] for answer in bulk} == {first.ref}
            assert {answer.status_code for answer in [*answers, *bulk]} == {202}
            # What is there already is said to be there, and not written again.
            assert len(await shop.log()) == 1
            assert {answer.json()["status"] for answer in answers} == {"known"}

    run(body())


def test_attributes_of_a_binary_event_are_headers_and_their_mistakes_are_told_there(tmp_path):
    async def body():
        async with edge(tmp_path) as shop:
            given = event()
            answer = await shop.post(
                {**given["data"], "amuont": 1}, **{"ce-specversion": "0.3", "ce-id": given["id"], "ce-source": "%FF", "ce-type": given["type"],
                "ce-time": "yesterday"}
            )  # fmt: skip
            errors = is_problem(answer, "contract-violation")["errors"]
            assert {one["header"]: one["code"] for one in errors if "header" in one} == {
                "ce-specversion": "unsupported", "ce-source": "missing", "ce-time": "bad-time",
            } | {"ce-source": "missing"}  # fmt: skip
            assert ("/amuont", "amount") in [(one.get("pointer"), one.get("did_you_mean")) for one in errors]

    run(body())


def test_all_mistakes_are_told_at_once_with_their_places_and_what_was_meant(tmp_path):
    async def body():
        async with edge(tmp_path) as shop:
            given = event(subjcet="x", time="2026-03-05T10:00:00")
            given["data"]["amount"] = 12
            given["data"].pop("customer_id")
            answer = await shop.post(given)
            found = {one["pointer"]: one for one in is_problem(answer, "contract-violation")["errors"]}
            assert found["/subjcet"]["did_you_mean"] == "subject"
            assert found["/time"]["code"] == "bad-time"
            assert found["/data/amount"]["code"] == "wrong-kind"
            assert found["/data/customer_id"]["code"] == "missing"
            other = is_problem(await shop.post(event(type="billing.invoice.piad")), "contract-violation")
            assert other["errors"][0] == {
                "pointer": "/type", "code": "no-such-contract", "detail": "there is no such contract",
                "did_you_mean": "billing.invoice.paid",
            }  # fmt: skip
            assert not await shop.log()

    run(body())


@pytest.mark.parametrize(
    ("change", "pointer", "code"),
    [
        ({"time": "2199-01-01T00:00:00Z"}, "/time", "in-future"),
        ({"time": "1969-12-31T23:59:59Z"}, "/time", "out-of-range"),
        ({"time": None}, "/time", "bad-time"),
        ({"type": "decision.firing.recorded"}, "/type", "no-such-contract"),
        ({"tenant": "another"}, "/tenant", "other-tenant"),
        ({"id": "x" * 600}, "/id", "too-long"),
        ({"id": "a\x00b"}, "/id", "bad-text"),
        ({"source": "\ud800"}, "/source", "bad-text"),
        ({"data": [1]}, "/data", "wrong-kind"),
        ({"specversion": "1.0"}, "/specversion", "unknown-field"),
    ],
)
def test_what_the_platform_could_not_read_is_refused_at_its_place(tmp_path, change, pointer, code):
    async def body():
        async with edge(tmp_path) as shop:
            answer = await shop.post({**event(), **change})
            errors = is_problem(answer, "contract-violation")["errors"]
            assert (pointer, code) in [(one["pointer"], one["code"]) for one in errors]
            assert not await shop.log()

    run(body())


def test_an_attribute_that_is_nearly_one_of_ours_is_a_slip_and_any_other_an_extension(tmp_path):
    async def body():
        async with edge(tmp_path) as shop:
            given = event()
            assert (await shop.post(cloud(given, traceparent="00-1"), kind=STRUCTURED)).status_code == 202
            errors = is_problem(await shop.post(cloud(given, subjcet="x"), kind=STRUCTURED), "contract-violation")[
                "errors"
            ]
            assert errors[0]["did_you_mean"] == "subject"
            good, other = f"https://events.example.org/v1/contracts/{given['type']}#billing.invoice.paid.v1", "urn:v2"
            assert (await shop.post(cloud(given, dataschema=good), kind=STRUCTURED)).status_code == 202
            answer = await shop.post(cloud(given, dataschema=other), kind=STRUCTURED)
            assert is_problem(answer, "contract-violation")["errors"][0]["pointer"] == "/dataschema"

    run(body())


def test_the_same_id_with_another_time_is_refused_as_what_it_is(tmp_path):
    async def body():
        async with edge(tmp_path) as shop:
            given = event()
            assert (await shop.post(given)).status_code == 202
            moved = {**given, "time": "2026-01-01T00:00:00Z"}
            assert is_problem(await shop.post(moved), "state-conflict")["errors"][0]["pointer"] == "/time"
            assert (await shop.post({**moved, "source": "another"})).status_code == 202
            both = await shop.post([event(id="two"), event(id="two", time="2026-01-01T00:00:00Z")])
            assert [one["status"] for one in both.json()["items"]] == ["accepted", "refused"]
            assert both.json()["items"][1]["problem"]["code"] == "state-conflict"

    run(body())


def test_a_batch_takes_what_is_good_and_tells_each_of_the_others(tmp_path):
    async def body():
        async with edge(tmp_path) as shop:
            given = [event(id="a"), {}, event(id="b"), 3, event(id="a", data={})]
            given.append(given[0])
            answer = await shop.post(given)
            assert answer.status_code == 207
            found = answer.json()
            assert (found["accepted"], found["refused"]) == (3, 3)
            assert [one["index"] for one in found["items"]] == list(range(6))
            assert [one["status"] for one in found["items"]] == [
                "accepted",
                "refused",
                "accepted",
                "refused",
                "refused",
                "known",
            ]
            assert [stored.id for stored in await decoded(shop)] == ["a", "b"]

    run(body())


def test_atomic_takes_all_of_a_batch_or_nothing_of_it(tmp_path):
    async def body():
        async with edge(tmp_path) as shop:
            refused = await shop.post([event(id="a"), event(id="b", data={})], query="?atomic=true")
            assert {one["index"] for one in is_problem(refused, "contract-violation")["errors"]} == {1}
            assert not await shop.log()
            moved = await shop.post([event(id="c"), event(id="c", time="2026-01-01T00:00:00Z")], query="?atomic=true")
            assert is_problem(moved, "contract-violation")["errors"][0]["code"] == "conflict"
            assert not await shop.log()
            assert (await shop.post([event(id="a"), event(id="c")], query="?atomic=true")).status_code == 202
            assert len(await shop.log()) == 2

    run(body())


def test_a_parameter_that_nobody_knows_is_refused_and_not_ignored(tmp_path):
    async def body():
        async with edge(tmp_path) as shop:
            for query in ("?dryrun=true", "?dry_run=yes", "?dry_run=true&x=1"):
                errors = is_problem(await shop.post(event(), query=query), "unknown-parameter")["errors"]
                assert errors
            assert errors[0]["code"] == "unknown-parameter"
            assert not await shop.log()

    run(body())


def test_what_became_of_an_event_can_be_asked_by_whoever_may_publish_it(tmp_path):
    async def body():
        async with edge(tmp_path) as shop:
            key, other = await shop.key("one", sources=("team-billing",)), await shop.key("two", sources=("crm",))
            given = event(source="team-billing")
            ref = (await shop.post(given, key=key)).json()["event_ref"]

            async def state(key: str) -> Any:
                answer = await shop.client.get(f"/v1/events/{ref}", headers={"authorization": f"Bearer {key}"})
                return answer.json()["state"] if answer.status_code == 200 else answer.json()["code"]

            assert await state(key) == "waiting"
            assert await state(other) == "not-found"
            await shop.engine.start()
            async with asyncio.timeout(20):
                while await state(key) != "decided":  # noqa: ASYNC110 - over the wire nobody tells
                    await asyncio.sleep(0.05)

    run(body())


def test_an_event_that_came_through_another_process_is_found_in_the_log(tmp_path):
    async def body():
        async with edge(tmp_path) as shop:
            given = event(source="team-billing")
            ref = (await shop.post(given)).json()["event_ref"]
            await shop.engine.start()
            app = create_app(
                shop.engine, Metrics(lambda: shop.engine.rules, contracts().by_type, wall_clock), site=shop.site
            )
            transport = httpx.ASGITransport(app, client=("127.0.0.1", 1))
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as beside:
                async with asyncio.timeout(20):
                    while (answer := await beside.get(f"/v1/events/{ref}")).status_code == 404:  # noqa: ASYNC110 - as above
                        await asyncio.sleep(0.05)
                found = answer.json()
                assert (found["event_ref"], found["id"], found["source"]) == (ref, given["id"], "team-billing")
                assert found["state"] == "decided"
                for unknown in ("nothing", "\x00" * 36, ref[:-1] + ("0" if ref[-1] != "0" else "1")):
                    assert (await beside.get("/v1/events/" + quote(unknown))).status_code == 404

    run(body())


def test_every_example_of_a_contract_is_taken_or_refused_where_it_says(tmp_path):
    async def body():
        async with edge(tmp_path) as shop:
            for one in examples():
                contract = contracts().by_full_name[one.full_name]
                if contract.type.startswith(("decision.", "notification.", "ops.")):
                    continue
                given = {"type": contract.type, **one.event} if isinstance(one.event, dict) else one.event
                answer = await shop.post(
                    {**given, "source": one.file} if isinstance(given, dict) and "source" in given else given
                )
                if one.refused_at:
                    assert {e["pointer"] for e in answer.json()["errors"]} >= set(one.refused_at), one.file
                else:
                    assert answer.status_code == 202, (one.file, answer.text)

    run(body())


def test_the_example_of_a_contract_can_be_posted_as_it_is(tmp_path):
    async def body():
        async with edge(tmp_path) as shop:
            listed = (await shop.client.get("/v1/contracts")).json()["items"]
            assert len(listed) > 20
            assert not [one for one in listed if one["type"].startswith("ops.")]
            for one in listed:
                shown = (await shop.client.get(one["href"])).json()
                assert (await shop.post(shown["example"])).json()["status"] == "accepted"
            missing = is_problem(await shop.client.get("/v1/contracts/billing.invoice.piad"), "not-found")
            assert "billing.invoice.paid" in missing["detail"]

    run(body())


def test_a_sender_of_cloudevents_may_ask_first_whether_it_may_deliver(tmp_path):
    async def body():
        async with edge(tmp_path) as shop:
            asked = await shop.client.options("/v1/events", headers={"webhook-request-origin": "events.example.org"})
            assert asked.status_code == 204
            assert asked.headers["webhook-allowed-origin"] == "events.example.org"
            assert "POST" in asked.headers["allow"]
            await shop.key()
            shop.site.door.keys._looked = float("-inf")
            is_problem(await shop.client.options("/v1/events"), "unauthorized")

    run(body())


def test_concurrent_requests_share_commits_and_each_has_its_own_answer(tmp_path):
    async def body():
        async with edge(tmp_path) as shop:
            given = [event(id=f"e{n}") for n in range(60)]
            answers = await asyncio.gather(*(shop.post(one) for one in given))
            assert [answer.json()["id"] for answer in answers] == [one["id"] for one in given]
            assert {stored.id for stored in await decoded(shop)} == {one["id"] for one in given}
            again = await asyncio.gather(*(shop.post(given[0]) for _ in range(10)))
            assert {answer.json()["status"] for answer in again} == {"known"}

    run(body())


def test_every_problem_has_a_page_that_says_how_to_mend_it(tmp_path):
    async def body():
        async with edge(tmp_path) as shop:
            for code, kind in KINDS.items():
                page = await shop.client.get(f"/problems/{code}")
                assert page.status_code == 200
                assert kind.hint.replace("'", "&#x27;") in page.text or kind.hint in page.text
                assert "default-src" in page.headers["content-security-policy"]
            assert (await shop.client.get("/problems/none")).status_code == 404

    run(body())
