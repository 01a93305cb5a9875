"""The console's door: who signs in, and for how long."""

from urllib.parse import urlencode

from tests.edge import Edge, edge
from tests.http.asking import Answer, run

PAGE = {"accept": "text/html"}


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
