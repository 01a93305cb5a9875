"""Stopping over HTTP and from the page: who may, what it says, and that it counts at once."""

import json
import re
from typing import Any

import pytest

from gateway.stopping import kept_in_words
from streams.processors import endings, kills
from streams.stores.counts import MOST, Unsent
from tests.edge import edge
from tests.http.asking import run, until
from tests.live.engines import customer, failed, rows

pytestmark = pytest.mark.live

JSON = "application/json"


async def waiting(shop: Any, count: int) -> None:
    """Let some messages wait behind a kill of their channel."""
    await shop.engine.publish("customer.profile.changed", customer("c-1"))
    for number in range(count):
        await shop.engine.publish("billing.payment.failed", failed(f"p-{number}"))

    async def held() -> bool:
        return [row["reason"] for row in await rows(shop.engine, "messages")] == ["killed"] * count

    await until(held)


async def ended(shop: Any, count: int) -> None:
    async def all_ended() -> bool:
        return len([row for row in await rows(shop.engine, "messages") if row["open"] is None]) == count

    await until(all_ended)


def test_a_request_that_leaves_something_out_is_told_what(tmp_path):
    async def body():
        async with edge(tmp_path) as shop:
            key = f"Bearer {await shop.key('on-call', 'kill')}"
            for asked, wrong in (
                ('{"scope": "all"}', ("/reason", "missing")),
                ('{"scope": "all", "reason": "x", "secret-word": 1}', ("", "extra-forbidden")),
                ('{"scope": "all"', ("", "json-invalid")),
            ):
                answer = await shop.post("/v1/kills", asked, JSON, authorization=key)
                assert (answer.status, answer.json["code"]) == (422, "invalid")
                assert [(one["pointer"], one["code"]) for one in answer.json["errors"]] == [wrong]
                assert "secret-word" not in answer.body.decode()

    run(body())


def test_a_script_of_whoever_is_on_call_stops_counts_and_releases(tmp_path):
    async def body():
        async with edge(tmp_path) as shop:
            key = f"Bearer {await shop.key('on-call', 'kill')}"

            async def post(path: str, **asked: str) -> tuple[int, Any]:
                answer = await shop.post(path, json.dumps(asked), JSON, authorization=key)
                return answer.status, answer.json

            status, one = await post("/v1/kills", scope="channel:email", reason="wrong prices")
            assert (status, one["scope"], one["by"], one["reason"]) == (201, "channel:email", "on-call", "wrong prices")
            assert await post("/v1/kills", scope="channel:email", reason="me too") == (200, one)
            await waiting(shop, 3)
            listed = (await shop.get("/v1/kills", authorization=key)).json["items"]
            assert [(each["id"], each["waiting"]["stopped"]) for each in listed] == [(one["id"], 3)]
            status, done = await post(f"/v1/kills/{one['id']}/release", reason="right again")
            assert (status, done) == (200, {"id": one["id"], "messages": 3, "kept": 0, "complete": True})
            await ended(shop, 3)
            assert len(shop.provider.taken) == 3
            # An id names one kill: what comes late ends no later one.
            _, other = await post("/v1/kills", scope="channel:email", reason="again")
            assert other["id"] != one["id"]
            assert (await post(f"/v1/kills/{one['id']}/release", reason="late"))[0] == 404
            assert (await post(f"/v1/kills/{other['id']}/drop", reason="never"))[1]["cancelled"] == 0
            audit = [(row["verb"], row["who"]) for row in await rows(shop.engine, "audit")]
            verbs = ("kill", "release begun", "release", "kill", "drop begun", "drop")
            assert audit[-6:] == [(verb, "on-call") for verb in verbs]

    run(body())


def test_who_may_not_stops_nothing(tmp_path):
    async def body():
        async with edge(tmp_path, started=False) as shop:
            ask = json.dumps({"scope": "all", "reason": "because"})
            viewer, other = await shop.key("viewer", "decisions"), await shop.key("theirs", "kill", tenant="other")
            assert (await shop.post("/v1/kills", ask, JSON)).status == 401
            assert (await shop.post("/v1/kills", ask, JSON, authorization=f"Bearer {viewer}")).status == 403
            for scope in ("all", "channel:email", "tenant:default", "tenant:other"):
                asked = json.dumps({"scope": scope, "reason": "because"})
                answer = await shop.post("/v1/kills", asked, JSON, authorization=f"Bearer {other}")
                assert answer.status == 401, scope
            own = await shop.key("on-call", "kill")
            unknown = await shop.post("/v1/kills?dry_run=true", ask, JSON, authorization=f"Bearer {own}")
            assert unknown.status == 400
            await shop.engine.store.run(kills.kill("all", "ann", "secret words"))
            seen = await shop.get("/v1/kills", authorization=f"Bearer {other}")
            assert (seen.status, "secret words" in seen.body.decode()) == (401, False)
            assert [row["scope"] for row in await rows(shop.engine, "kills")] == ["all"]

    run(body())


@pytest.mark.parametrize("asked", [
    {}, {"scope": "all"}, {"scope": "all", "reason": ""}, {"scope": "all", "reason": "x" * 501}, {"scope": "all", "reason": 7},
    {"scope": "everything", "reason": "r"}, {"scope": "ground", "reason": "r"}, {"scope": "channel:fax", "reason": "r"},
    {"scope": "rule:payment-faild", "reason": "r"}, {"scope": "tenant:defualt", "reason": "r"}, {"scope": "all", "reason": "r", "more": 1}, {"scope": "all", "reason": "a\u0000b"},
    [], "all",
], ids=str)  # fmt: skip
def test_what_cannot_be_meant_is_refused_and_stops_nothing(tmp_path, asked):
    async def body():
        async with edge(tmp_path, started=False) as shop:
            answer = await shop.post("/v1/kills", json.dumps(asked), JSON)
            assert answer.status == 422
            assert not await rows(shop.engine, "kills")

    run(body())


def test_the_page_says_how_much_before_the_button_and_every_page_says_what_is_stopped(tmp_path):
    async def body():
        async with edge(tmp_path) as shop:

            async def text(path: str = "/kills") -> str:
                return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", (await shop.get(path)).body.decode()))

            assert "Nothing is stopped" in await text()
            assert "Stop everything: 0 are waiting to leave" in await text()
            stopped = await shop.submit("/kills", "/kills", kind="channel", name="email", reason="wrong prices")
            assert (stopped.status, stopped.headers["location"]) == (303, "/kills?done=stopped")
            await waiting(shop, 3)
            page = await text()
            assert "Stop everything: 3 are waiting to leave" in page
            assert "Release: 3 go on" in page
            assert "Drop: 3 are cancelled" in page

            async def said() -> bool:
                return "Stopped: channel email" in await text("/keys")

            await until(said)
            (one,) = await rows(shop.engine, "kills")
            found = re.search(r'action="(/kills/kil_[0-9a-f]+)/drop"', (await shop.get("/kills")).body.decode())
            assert found is not None
            no_reason = await shop.submit("/kills", f"{found[1]}/drop", reason="  ")
            assert (no_reason.status, await rows(shop.engine, "kills")) == (422, [one])
            dropped = await shop.submit("/kills", f"{found[1]}/drop", reason="nobody shall get these")
            assert dropped.status == 303
            assert [(row["state"], row["reason"]) for row in await rows(shop.engine, "messages")] == [
                ("cancelled", "killed")
            ] * 3
            late = await shop.submit("/kills", f"{found[1]}/release", reason="late")
            assert late.status == 404

    run(body())


def test_how_far_an_end_is_stands_on_the_page_and_in_the_answer_and_the_same_request_goes_on_with_it(tmp_path):
    async def body():
        async with edge(tmp_path, started=False) as shop:  # nobody runs
            store = shop.engine.store
            await store.run(kills.kill("all", "ann", "wrong prices"))
            (kill,) = (await shop.get("/v1/kills")).json["items"]
            await store.run(endings.end("release", "all", "bob", "mended", total=71_000))
            page = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", (await shop.get("/kills")).body.decode()))
            assert "Nothing is stopped" in page
            assert "Releasing: 0 of 71,000. What another stop covers keeps waiting." in page
            listed = (await shop.get("/v1/kills")).json
            assert listed["items"] == []
            assert [(one["id"], one["state"], one["by"], one["done"], one["total"]) for one in listed["ending"]] == [
                (kill["id"], "releasing", "bob", 0, 71_000)
            ]
            path = f"/v1/kills/{kill['id']}"
            asked = json.dumps({"reason": "mended"})
            assert (await shop.post(f"{path}/drop", asked, JSON)).status == 404
            done = await shop.post(f"{path}/release", asked, JSON)
            assert (done.status, done.json["complete"]) == (200, True)
            assert (await shop.get("/v1/kills")).json == {"items": [], "ending": []}

    run(body())


def test_what_another_kill_means_for_an_end_is_said_with_its_number():
    counts = Unsent([("t", "r", "email", "held", "killed", 3), ("t", "r", "sms", "held", "killed", 1)])
    standing = ["all", "channel:email", "rule:other"]
    assert kept_in_words("release", "all", counts, standing) == (
        "3 of them keep waiting: channel email is stopped as well"
    )
    assert kept_in_words("drop", "all", counts, standing) == (
        "3 of them are stopped by channel email as well, and cancelled all the same"
    )
    assert kept_in_words("release", "all", counts, ["all", "rule:other"]) == ""
    both = kept_in_words("release", "channel:sms", counts, [*standing, "channel:sms", "rule:r"])
    assert both == "1 of them keeps waiting: everything and rule r are stopped as well"
    many = Unsent([("t", "r", "email", "held", "killed", MOST)])
    assert kept_in_words("release", "all", many, standing).startswith(f"at least {MOST:,} of them keep waiting")


def test_a_form_of_somebody_else_stops_nothing(tmp_path):
    async def body():
        async with edge(tmp_path, started=False) as shop:
            fields = "kind=&name=&reason=because"
            own = f"http://127.0.0.1:{shop.port}"
            for words in (
                {}, {"origin": "https://evil.example"}, {"origin": "null"}, {"origin": own},
                {"origin": "null", "sec_fetch_site": "cross-site"}, {"origin": own, "sec_fetch_site": "same-site"},
            ):  # fmt: skip
                assert (await shop.post("/kills", fields, **words)).status == 403
            wrong = await shop.submit("/kills", "/kills", kind="rule", name="payment-faild", reason="because")
            assert wrong.status == 422
            assert "did you mean &#39;payment-failed&#39;?" in wrong.body.decode()
            wrong = await shop.submit("/kills", "/kills", kind="tenant", name="defualt", reason="because")
            assert (wrong.status, "did you mean &#39;default&#39;?" in wrong.body.decode()) == (422, True)
            assert not await rows(shop.engine, "kills")

    run(body())
