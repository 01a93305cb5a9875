"""Who may publish, how much, and what is answered when it cannot be kept."""

import gzip
import json
import random
from typing import Any

import cramjam
import pytest

from gateway.http.problems import Refused
from gateway.intake.bounds import MOST_BODY
from gateway.intake.inflate import inflate
from gateway.intake.quota import Quota
from gateway.intake.recent import Known, Recent
from gateway.site import Paused
from streams.processors import keys as rows
from tests.http.asking import run
from tests.intake.answers import is_problem
from tests.intake.edge import edge, event
from tidings.ports import StoreUnavailable

pytestmark = pytest.mark.live


def test_a_key_publishes_as_its_own_sources_and_does_nothing_else(tmp_path):
    async def body():
        async with edge(tmp_path) as shop:
            key = await shop.key("billing", sources=("team-billing", "shop/*"))
            reader = await shop.key("reader", "decisions")
            refused = is_problem(await shop.post(event(), key=None), "unauthorized")
            assert "tid_live" in refused["hint"]
            is_problem(await shop.post(event(), key=key[:-1] + "x"), "unauthorized")
            is_problem(await shop.post(event(), key=reader), "scope-missing")
            assert (await shop.post(event(source="shop/7"), key=key)).status_code == 202
            foreign = is_problem(await shop.post(event(source="crm"), key=key), "scope-missing")
            assert foreign["errors"][0]["pointer"] == "/source"
            both = (await shop.post([event(id="y", source="shop/7"), event(source="crm")], key=key)).json()
            assert [one["status"] for one in both["items"]] == ["accepted", "refused"]
            assert both["items"][1]["problem"]["status"] == 403

    run(body())


def test_a_revoked_key_is_refused_and_a_missing_one_says_how_to_ask(tmp_path):
    async def body():
        async with edge(tmp_path) as shop:
            key = await shop.key()
            assert (await shop.post(event(), key=key)).status_code == 202
            await shop.engine.store.run(rows.revoke("default", key.split("_")[2], "a test"))
            shop.site.door.keys._fresh.clear()
            answer = await shop.post(event(), key=key)
            is_problem(answer, "unauthorized")
            assert answer.headers["www-authenticate"].startswith("Bearer")

    run(body())


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_a_compressed_body_is_read_within_the_bounds_of_one_that_is_not(tmp_path, coding):
    def packed(raw: bytes) -> bytes:
        return gzip.compress(raw) if coding == "gzip" else bytes(cramjam.zstd.compress(raw))

    async def body():
        async with edge(tmp_path) as shop:
            good = await shop.post(packed(json.dumps(event()).encode()), **{"content-encoding": coding})
            assert good.status_code == 202
            for bomb in (b" " * (5 << 20), b"[" * (64 << 20)):
                answer = await shop.post(packed(bomb), **{"content-encoding": coding})
                assert answer.status_code in (400, 413), answer.text
            broken = await shop.post(packed(json.dumps(event()).encode())[:-4], **{"content-encoding": coding})
            is_problem(broken, "malformed")
            answer = await shop.post(b"x", **{"content-encoding": "br"})
            is_problem(answer, "unsupported-media-type")

    run(body())


@pytest.mark.parametrize("size", [0, 1, 255, 300, 70_000, 3_000_000])
@pytest.mark.parametrize("bytes_of", [bytes, random.Random(7).randbytes])
def test_a_zstd_body_is_one_frame_and_nothing_behind_it(size, bytes_of):
    raw = bytes_of(size)
    frame = bytes(cramjam.zstd.compress(raw))
    stream = cramjam.zstd.Compressor()
    stream.compress(raw)
    for one in (frame, bytes(stream.finish())):
        assert inflate("zstd", one, MOST_BODY) == raw
        for more in (frame, b"\x50\x2a\x4d\x18\x00\x00\x00\x00", b"\x00"):
            with pytest.raises(Refused) as told:
                inflate("zstd", one + more, MOST_BODY)
            assert told.value.code == "malformed"


def test_a_store_that_cannot_keep_it_is_a_503_and_no_event(tmp_path):
    async def body():
        async with edge(tmp_path) as shop:
            whole = shop.engine.store.run

            async def full(body: Any, **words: Any) -> Any:
                raise StoreUnavailable("the disk is full")

            shop.engine.store.run = full  # type: ignore[method-assign]
            answer = await shop.post(event(id="later"))
            is_problem(answer, "store-unavailable")
            assert int(answer.headers["retry-after"]) > 0
            shop.engine.store.run = whole  # type: ignore[method-assign]
            # Nothing is remembered of what was not taken.
            assert (await shop.post(event(id="later"))).json()["status"] == "accepted"

    run(body())


def test_intake_pauses_where_more_waits_than_is_worked_off(tmp_path):
    async def body():
        async with edge(tmp_path) as shop:
            shop.site.paused.untaken = 0  # type: ignore[attr-defined]
            assert (await shop.post(event(id="a"))).status_code == 202
            shop.site.paused._seen = None  # type: ignore[attr-defined]
            answer = await shop.post(event(id="b"))
            is_problem(answer, "intake-paused")
            assert 0 < int(answer.headers["retry-after"]) <= 300
            assert isinstance(await shop.site.paused(), Paused)

    run(body())


def test_a_key_has_a_quota_of_bytes_which_every_answer_tells(tmp_path):
    async def body():
        async with edge(tmp_path) as shop:
            answer = await shop.post(event())
            assert answer.headers["ratelimit-policy"].startswith('"intake";q=')
            assert answer.headers["ratelimit"].startswith('"intake";r=')

    run(body())
    now = [0.0]
    quota = Quota(1000, lambda: now[0])
    assert quota.take("a", 900) is None
    wait = quota.take("a", 200)
    assert wait is not None
    assert 6 < wait <= 12
    assert quota.take("b", 900) is None, "each key has its own"
    now[0] += 7
    assert quota.take("a", 200) is None
    assert quota.headers("a") == {
        "ratelimit-policy": '"intake";q=1000;qu="content-bytes";w=60', "ratelimit": '"intake";r=16;t=58',
    }  # fmt: skip


def test_what_is_remembered_is_bounded_and_forgets_the_oldest():
    recent = Recent(most=2)
    for n in range(3):
        recent.begin(("t", "s", str(n)), Known(n, f"ref-{n}", "x", durable=True))
    assert recent.get(("t", "s", "0")) is None
    assert recent.of_ref("t", "ref-0") is None
    assert recent.of_ref("t", "ref-2") is not None
    assert recent.of_ref("other", "ref-2") is None
