"""The console's door: who signs in, and for how long."""

import asyncio
import re
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import pytest

from gateway.console import live, session
from gateway.http.app import create_app
from gateway.http.serve import serving
from gateway.metrics import Metrics
from schemas import contracts
from streams.embedded import wall_clock
from streams.processors import keys
from tests.edge import Edge, edge
from tests.http.asking import Answer, run
from tests.live.engines import rows


async def sign_out(shop: Edge, cookie: str) -> None:
    page = (await shop.get("/kills", cookie=cookie)).body.decode()
    (token, *_) = re.findall(r'name="csrf" value="([^"]+)"', page)
    origin = f"http://127.0.0.1:{shop.port}"
    assert (await shop.post("/sign-out", urlencode({"csrf": token}), origin=origin, cookie=cookie)).status == 303


async def sign_in(shop: Edge, key: str) -> Answer:
    return await shop.post("/sign-in", urlencode({"key": key, "next": "/"}), origin=f"http://127.0.0.1:{shop.port}")


def cookie_of(answer: Answer) -> str:
    return answer.headers["set-cookie"].partition(";")[0]


def test_a_key_of_another_tenant_neither_signs_in_nor_goes_on_with_a_session(tmp_path):
    async def body():
        async with edge(tmp_path, started=False) as shop:
            other = await shop.key("eve", "admin", tenant="other")
            assert (await sign_in(shop, other)).status == 403
            assert (await shop.get("/v1/kills", authorization=f"Bearer {other}")).status == 401
            ours = cookie_of(await sign_in(shop, await shop.key("ada", "admin")))
            assert (await shop.get("/kills", cookie=ours)).status == 200
            # The same session, as it would stand before the installation of another tenant.
            object.__setattr__(shop.site.door, "tenant", "elsewhere")
            assert (await shop.get("/kills", cookie=ours)).status == 401

    run(body())


def test_without_keys_neither_console_nor_v1_is_open_through_a_proxy(tmp_path):
    async def body():
        async with edge(tmp_path, started=False) as shop:
            for path in ("/kills", "/v1/kills"):
                assert (await shop.get(path)).status == 200
                for name in ("x-forwarded-proto", "x-forwarded-port", "cf-connecting-ip", "forwarded", "via"):
                    assert (await shop.get(path, **{name: "1"})).status in (401, 403), (path, name)

    run(body())


def test_signing_out_ends_the_session_also_for_a_copy_of_its_cookie_and_no_other_session(tmp_path):
    async def body():
        async with edge(tmp_path, started=False) as shop:
            key = await shop.key("ada", "admin")
            mine, other = [cookie_of(await sign_in(shop, key)) for _ in range(2)]
            await sign_out(shop, mine)
            assert (await shop.get("/kills", cookie=mine)).status == 401
            assert (await shop.get("/kills", cookie=other)).status == 200

    run(body())


def test_who_signs_out_at_one_gateway_is_signed_out_at_every_other_also_after_a_restart(tmp_path):
    async def body():
        async with edge(tmp_path, started=False) as shop:
            mine, other = [cookie_of(await sign_in(shop, key)) for key in [await shop.key("ada", "admin")] * 2]
            metrics = Metrics(lambda: shop.engine.rules, contracts().by_type, wall_clock)
            beside = replace(shop.site, door=replace(shop.site.door, keys=replace(shop.site.door.keys)))

            async def seen(cookie: str) -> int:
                async with serving(create_app(shop.engine, metrics, site=beside), "127.0.0.1", 0) as (_, port):
                    return (await replace(shop, port=port).get("/kills", cookie=cookie)).status

            async with serving(create_app(shop.engine, metrics, site=beside), "127.0.0.1", 0) as (_, port):
                second = replace(shop, port=port)
                assert [(await one.get("/kills", cookie=mine)).status for one in (shop, second)] == [200, 200]
                await sign_out(second, mine)
                assert [(await one.get("/kills", cookie=mine)).status for one in (shop, second)] == [401, 401]
            assert (await seen(mine), await seen(other)) == (401, 200)

    run(body())


def test_an_ended_session_is_forgotten_when_it_would_be_over_by_itself(tmp_path):
    async def body():
        async with edge(tmp_path, started=False) as shop:
            store, now = shop.engine.store, wall_clock()
            await store.run(keys.sign_out("old", now - 1, now))
            await store.run(keys.sign_out("new", now + session.LASTS, now))
            assert [row["session"] for row in await rows(shop.engine, "signed_out")] == ["new"]

    run(body())


def test_a_stream_ends_with_the_session_and_with_the_key(tmp_path, monkeypatch):
    monkeypatch.setattr(live, "ASKED_AGAIN", 0.0)
    monkeypatch.setattr(live, "EVERY", 0.02)

    async def body():
        async with edge(tmp_path, started=False) as shop:
            key = await shop.key("ada", "admin")
            signed_out, revoked = [cookie_of(await sign_in(shop, key)) for _ in range(2)]
            looking = [asyncio.create_task(shop.get("/live/overview", cookie=one)) for one in (signed_out, revoked)]
            await asyncio.sleep(0.2)
            await sign_out(shop, signed_out)
            assert (await looking[0]).status == 200
            assert not looking[1].done()
            await shop.engine.store.run(keys.revoke("default", key.split("_")[2], "a test"))
            assert (await looking[1]).status == 200

    run(body())


@pytest.mark.parametrize(
    ("host", "public", "secure"),
    [
        ("127.0.0.1", None, False),
        ("127.0.0.1", "http://localhost:8321", False),
        ("127.0.0.1", "https://news.example.org", True),
        ("0.0.0.0", None, True),
    ],
)
def test_beyond_loopback_the_cookie_goes_over_tls_only_and_browsers_are_told(host, public, secure, tmp_path):
    async def body():
        async with edge(tmp_path, started=False) as shop:
            key = await shop.key("ada", "admin")
            settings: Any = SimpleNamespace(settings=SimpleNamespace(public_url=public, http=None))
            site = replace(shop.site, settings=settings, door=replace(shop.site.door, host=host))
            metrics = Metrics(lambda: shop.engine.rules, contracts().by_type, wall_clock)
            async with serving(create_app(shop.engine, metrics, site=site), "127.0.0.1", 0) as (_, port):
                there = replace(shop, port=port)
                signed = await sign_in(there, key)
                cookie = signed.headers["set-cookie"]
                assert cookie.startswith("__Host-tidings=") is secure
                assert ("; Secure" in cookie) is secure
                assert ("strict-transport-security" in signed.headers) is secure
                assert (await there.get("/kills", cookie=cookie_of(signed))).status == 200

    run(body())
