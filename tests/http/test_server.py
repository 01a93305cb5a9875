"""The server's bounds, over raw sockets: slow, oversized and malformed requests end, with a problem, in bounded time."""

import asyncio
import socket

import pytest
from fastapi import FastAPI, Request

from gateway.http import serve
from gateway.http.app import protect
from gateway.http.bounds import MAX_BODY
from gateway.http.serve import _Timed, serving
from tests.http.asking import Answer, closed, exchange, parsed, run, served
from tidings.errors import Misconfigured

pytestmark = pytest.mark.live


class Hasty(_Timed):
    """The same protocol with short patience, so that the tests are not slow."""

    head_within = 0.4
    body_within = 0.4
    read_within = 0.4


def small() -> FastAPI:
    app = FastAPI(openapi_url=None)
    protect(app)

    @app.post("/length")
    async def length(request: Request) -> dict[str, int]:
        return {"length": len(await request.body())}

    @app.post("/parsed")
    async def parse(body: dict[str, int]) -> dict[str, int]:
        return body

    @app.get("/large")
    async def large() -> str:
        return "x" * 50_000_000

    return app


def is_problem(answer: Answer, status: int, code: str) -> bool:
    body = answer.json
    assert answer.status == body["status"] == status, answer
    assert answer.headers["content-type"] == "application/problem+json"
    assert {"type", "title", "status", "code"} <= set(body)
    return bool(body["code"] == code)


def test_what_is_not_served_and_how_it_is_not_served_are_problems(tmp_path):
    async def body():
        async with served(tmp_path) as shop:
            for path in ("/", "/nowhere", "/healthz/", "/docs", "/redoc", "/openapi.json", "/%00", "/../etc/passwd"):
                missing = await shop.get(path)
                assert is_problem(missing, 404, "not-found"), path
                assert missing.json["request_id"] == missing.headers["request-id"]
            refused = await shop.get("/metrics", method="DELETE")
            assert is_problem(refused, 405, "method-not-allowed")
            assert refused.headers["allow"] == "GET"
            assert "server" not in refused.headers

    run(body())


def test_a_fault_of_ours_is_a_problem_without_its_text_and_a_line_in_the_log(tmp_path, caplog):
    def widen(app):
        async def broken() -> None:
            raise RuntimeError("MARKER ada@example.org")

        app.add_api_route("/broken", broken)

    async def body():
        async with served(tmp_path, widen=widen) as shop:
            answer = await shop.get("/broken?who=MARKER")
            assert is_problem(answer, 500, "internal-error")
            assert b"MARKER" not in answer.body
            assert b"Traceback" not in answer.body
            (line,) = [one for one in caplog.records if one.name == "tidings.http"]
            assert line.fields == {"request": answer.headers["request-id"], "path": "/broken"}
            # uvicorn has nothing to add, which would be with the text.
            assert not [one for one in caplog.records if one.name.startswith("uvicorn")]
            assert (await shop.get("/healthz")).status == 200

    run(body())


def test_a_request_that_is_too_large_is_refused_before_it_is_read(tmp_path):
    async def body():
        async with served(tmp_path) as shop:
            for path in ("/healthz", "/nowhere"):
                head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 40000000\r\n\r\n".encode()
                assert is_problem(parsed(await exchange(shop.port, head)), 413, "too-large")
            assert is_problem(await shop.get("/" + "x" * 5000), 414, "url-too-long")
            assert is_problem(await shop.get("/?" + "x" * 5000), 414, "url-too-long")
            many = "".join(f"X-{n}: 1\r\n" for n in range(500))
            assert is_problem(await shop.get("/healthz", headers=many), 431, "headers-too-large")
            for long in (17_000, 100_000):
                answer = await shop.get("/healthz", headers=f"X: {'x' * long}\r\n")
                assert is_problem(answer, 431, "headers-too-large"), long

    run(body())


def test_a_body_that_hides_its_length_is_cut_where_it_is_too_long(tmp_path):
    async def body():
        async with serving(small(), "127.0.0.1", 0) as (_, port):
            head = (
                b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
            )
            chunk = b"10000\r\n" + b" " * 65_536 + b"\r\n"
            for path in (b"/length", b"/parsed"):
                raw = await exchange(port, head % path, *[chunk] * (MAX_BODY // 65_536), b"1\r\n \r\n", pause=0.01)
                assert is_problem(parsed(raw), 413, "too-large")
            fits = b"Connection: close\r\nTransfer-Encoding"
            whole = (head % b"/length").replace(b"Transfer-Encoding", fits)
            raw = await exchange(port, whole, *[chunk] * (MAX_BODY // 65_536), b"0\r\n\r\n")
            assert parsed(raw).status == 200
            assert str(MAX_BODY).encode() in raw

    run(body())


@pytest.mark.parametrize(
    "raw",
    [
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        b"GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
        b"\r\n\r\n\r\n nonsense \r\n\r\n",
    ],
)  # fmt: skip
def test_what_is_no_request_is_answered_and_ends_the_connection(raw):
    async def body():
        async with serving(small(), "127.0.0.1", 0) as (_, port):
            assert is_problem(parsed(await exchange(port, raw)), 400, "malformed")

    run(body())


def test_a_head_that_trickles_in_is_ended_though_every_byte_comes_in_time():
    async def body():
        async with serving(small(), "127.0.0.1", 0, protocol=Hasty) as (_, port):
            trickle = [b"GET /healthz HTTP/1.1\r\nHost: x\r\n", *[b"X: y\r\n"] * 60]
            answer = await exchange(port, *trickle, pause=0.05)
            assert is_problem(parsed(answer), 408, "too-slow")
            # Nor does a connection stay that says nothing at all.
            assert is_problem(parsed(await exchange(port)), 408, "too-slow")
            # The second head of a connection has a time of its own, and an end as well.
            first = b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n"
            raw = await exchange(port, first, *trickle, pause=0.05)
            assert raw.count(b"HTTP/1.1 ") == 2
            assert is_problem(parsed(raw[raw.rindex(b"HTTP/1.1 ") :]), 408, "too-slow")

    run(body())


def test_a_body_that_trickles_in_is_ended_whether_it_is_read_or_not():
    async def body():
        async with serving(small(), "127.0.0.1", 0, protocol=Hasty) as (_, port):
            for path in (b"/length", b"/nowhere"):
                head = b"POST " + path + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
                raw = await exchange(port, head, *[b"x"] * 60, pause=0.05)
                if path == b"/length":
                    assert is_problem(parsed(raw), 408, "too-slow")
                else:
                    assert raw.startswith(b"HTTP/1.1 404 ")

    run(body())


def test_an_answer_that_nobody_reads_is_given_up():
    async def body():
        async with serving(small(), "127.0.0.1", 0, protocol=Hasty) as (_, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
            writer.write(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
            await asyncio.sleep(1.5)
            taken = 0
            while some := await reader.read(65_536):
                taken += len(some)
            assert 0 < taken < 50_000_000
            await closed(writer)

    run(body())


def test_half_a_header_keeps_nobody_else_waiting(tmp_path):
    async def body():
        async with served(tmp_path) as shop:
            idle = [await asyncio.open_connection("127.0.0.1", shop.port) for _ in range(100)]
            for _, writer in idle:
                writer.write(b"GET /healthz HTTP/1.1\r\nHost:")
            assert (await shop.get("/healthz")).status == 200
            for _, writer in idle:
                await closed(writer)

    run(body())


def test_a_port_that_is_taken_is_told_with_how_to_mend_it():
    async def body():
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(Misconfigured, match=rf"\[http\] 127.0.0.1:{port}: somebody else .* another 'port'"):
                async with serving(small(), "127.0.0.1", port):
                    pass
        for host, text in (
            ("203.0.113.7", "not one of this machine"),
            ("no such host", "no such address"),
            ("\ud800", "no such address"),
        ):
            with pytest.raises(Misconfigured, match=text):
                async with serving(small(), host, 0):
                    pass

    run(body())


def test_signals_stay_with_whoever_runs_the_loop_and_the_port_is_free_afterwards():
    import signal

    async def body():
        before = [signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM)]
        async with serving(small(), "127.0.0.1", 0) as (_, port):
            assert [signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM)] == before
            # One that is still being answered does not hold up the end.
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")
            await asyncio.sleep(0.05)
        await closed(writer)
        async with serving(small(), "127.0.0.1", port) as place:
            assert place == ("127.0.0.1", port)

    run(body())


def test_the_bounds_are_those_that_the_documents_name():
    assert (serve.HEAD_WITHIN, serve.BODY_WITHIN, MAX_BODY) == (10.0, 30.0, 256 * 1024)
