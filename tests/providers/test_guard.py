"""Server-side request forgery: no request reaches this machine or its neighbours, whatever the URL says."""

import asyncio
import contextlib
import socket
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.providers import web as requests
from handlers.providers.guard import Forbidden, checked, refused
from handlers.providers.web import Limits, Web
from streams.embedded import wall_clock
from tests.providers.stand_ins import QUICK, Receiver, served
from tidings.ports import Outcome

PRIVATE = [
    "127.0.0.1", "127.255.255.254", "0.0.0.0", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254",
    "100.64.0.1", "192.0.0.1", "192.0.0.9", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "240.0.0.1",
    "255.255.255.255", "192.88.99.1", "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:8.8.8.8",
    "64:ff9b::7f00:1", "64:ff9b::10.0.0.1", "64:ff9b:1::1", "2002:7f00:1::", "2002:a00:1::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:db8::1", "2001:20::1", "3fff::1", "5f00::1", "fc00::1", "fd12:3456::1", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1",
    "100::1", "no address", "",
]  # fmt: skip
PUBLIC = ["8.8.8.8", "1.1.1.1", "93.184.215.14", "2606:4700:4700::1111", "2a00:1450:4001:81b::200e", "2620:fe::fe"]


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_that_is_not_public_is_refused(address):
    assert refused(address) is not None


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_not(address):
    assert refused(address) is None
    assert refused(address, allow_loopback=True, loopback_only=True) is not None


def test_for_trials_this_machine_is_allowed_and_nothing_else():
    assert refused("127.0.0.1", allow_loopback=True) is None
    assert refused("::1", allow_loopback=True, loopback_only=True) is None
    assert refused("10.0.0.1", allow_loopback=True) is not None
    assert refused("::ffff:127.0.0.1", allow_loopback=True) is not None


@settings(deadline=None)
@given(st.ip_addresses())
def test_what_is_allowed_is_global_and_no_tunnel(address):
    if refused(str(address)) is None:
        assert address.is_global
        assert not (address.is_private)
        assert not (address.is_loopback)
        assert not (address.is_link_local)
        assert not (address.is_multicast)
        if address.version == 6:
            assert address.sixtofour is None
            assert address.teredo is None
            assert address.ipv4_mapped is None


URLS = [
    "http://example.org/", "ftp://example.org/", "file:///etc/passwd", "gopher://127.0.0.1/", "https://", "https:///x", "example.org", "",
    "https://user:password@example.org/", "https://example.org@127.0.0.1/", "https://example.org/#x", "https://example.org/\r\nHost: evil",
    "https://exa mple.org/", "https://example.org\\@127.0.0.1/", "https://example.org:99999/", "https://[::1", "https://" + "x" * 3000,
    "javascript:alert(1)", "//example.org", "https://example.org/\x00", "https://example.org/<x>",
]  # fmt: skip


@pytest.mark.parametrize("url", URLS)
def test_a_url_that_is_no_plain_https_is_refused_without_being_shown(url):
    with pytest.raises(Forbidden) as told:
        checked(url)
    assert not url or len(url) < 4 or url not in str(told.value)


@settings(deadline=None)
@given(st.text(max_size=100) | st.text(max_size=60).map("https://".__add__))
def test_any_text_is_a_url_or_forbidden(text):
    with contextlib.suppress(Forbidden):
        assert checked(text).scheme == "https"


LITERALS = [
    "https://127.0.0.1:{port}/", "https://localhost:{port}/", "https://[::1]:{port}/", "https://2130706433:{port}/", "https://0x7f.1:{port}/",
    "https://127.1:{port}/", "https://0:{port}/", "https://[::ffff:127.0.0.1]:{port}/", "https://[::127.0.0.1]:{port}/",
    "https://[64:ff9b::7f00:1]:{port}/", "https://[2002:7f00:1::]:{port}/", "https://localhost.:{port}/", "https://１２７.0.0.1:{port}/",
]  # fmt: skip


@pytest.mark.live
@pytest.mark.parametrize("url", LITERALS)
def test_no_way_of_writing_this_machine_reaches_it(url):
    """A real listener on loopback: no connection comes, and the outcome asks for another configuration."""

    async def story() -> Any:
        came: list[str] = []

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            came.append("connected")
            writer.close()

        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        out = await Web(wall_clock, QUICK, allow_loopback=False).ask("POST", url.format(port=port), (), b"x")
        await asyncio.sleep(0)
        server.close()
        return out, came

    outcome, came = asyncio.run(story())
    assert isinstance(outcome, Outcome)
    assert (outcome.stage, outcome.first_byte_at, came) == ("not_sent", None, [])


@pytest.mark.live
def test_a_name_that_is_bound_anew_between_check_and_connection_gains_nothing(monkeypatch):
    """The address is checked when the socket is made: what the name meant before does not matter."""
    answers = iter(["93.184.215.14", "127.0.0.1"])

    async def story() -> Any:
        receiver = Receiver()
        async with served(receiver) as base:
            port = int(base.rpartition(":")[2])
            loop = asyncio.get_running_loop()

            async def lookup(host: Any, port: Any, **_: Any) -> Any:
                return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), port))]

            monkeypatch.setattr(loop, "getaddrinfo", lookup)
            # Somebody looks first, and sees a public address.
            ((*_, place),) = await loop.getaddrinfo("rebinding.example.org", port)
            assert refused(str(place[0])) is None
            out = await Web(wall_clock, QUICK, allow_loopback=False).ask(
                "POST", f"https://rebinding.example.org:{port}/", (), b"x"
            )
        return out, receiver.asked

    outcome, asked = asyncio.run(story())
    assert (outcome.stage, outcome.detail, asked) == ("not_sent", "configuration: 127.0.0.1 is no public address", [])


@pytest.mark.live
def test_a_redirect_is_not_followed():
    async def story() -> Any:
        inner = Receiver(200, "secret")
        async with served(inner) as target:
            outer = Receiver(307, headers={"Location": target})
            async with served(outer) as url:
                return await Web(wall_clock, QUICK, allow_loopback=True).ask("POST", url, (), b"x"), inner.asked

    answer, asked = asyncio.run(story())
    assert (answer.status, asked) == (307, [])


@pytest.mark.live
def test_an_answer_is_read_to_its_cap_only_and_never_unpacked():
    async def story() -> Any:
        sent = 0

        async def endless(request: web.Request) -> web.StreamResponse:
            nonlocal sent
            response = web.StreamResponse(headers={"Content-Encoding": "gzip"})
            await response.prepare(request)
            for _ in range(2000):
                await response.write(b"x" * 65536)
                sent += 65536
            return response

        async with served(endless) as url:
            limits = Limits(connect=1, total=2, answer=1000)
            return await Web(wall_clock, limits, allow_loopback=True).ask("GET", url, (), b""), sent

    answer, sent = asyncio.run(story())
    assert answer.body == b"x" * 1000
    assert sent < 2000 * 65536


@pytest.mark.live
def test_no_header_is_added_that_nobody_composed():
    async def story() -> Any:
        receiver = Receiver()
        async with served(receiver) as url:
            await Web(wall_clock, QUICK, allow_loopback=True).ask("POST", url, (("X-One", "1"),), b"body")
        return receiver.asked[0]

    names = {name.lower() for name, _ in asyncio.run(story()).headers}
    assert names == {"host", "x-one", "content-length", "connection"}


def test_what_went_wrong_is_named_without_the_url():
    outcome = asyncio.run(Web(wall_clock, QUICK, allow_loopback=True).ask("POST", "http://127.0.0.1:1/token", (), b"x"))
    assert isinstance(outcome, Outcome)
    assert "token" not in outcome.detail
    assert requests._named(ValueError("https://x/token")) == "ValueError"
