"""Why a server was not reached: one word for it, whatever a library calls it."""

import asyncio
import errno
import socket
import ssl

import aiohttp
import aiosmtplib
import pytest

from handlers.providers.reach import NO_ANSWER, NO_NAME, NO_TLS, NO_TRUST, NO_WAY, NOBODY_LISTENS, UNREACHED, unreached


def caused(fault: Exception, cause: Exception) -> Exception:
    fault.__cause__ = cause
    return fault


def around(fault: Exception) -> Exception:
    fault.__context__ = fault
    return fault


REASONS = [
    (ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed ('127.0.0.1', 25)"), NOBODY_LISTENS),
    (OSError("Multiple exceptions: [Errno 111] Connect call failed ('::1', 1), [Errno 111] Connect call failed"), NOBODY_LISTENS),
    (OSError("Multiple exceptions: [Errno 111] Connect call failed ('::1', 1), [Errno 113] No route"), None),
    (caused(aiosmtplib.SMTPConnectError("Error connecting"), ConnectionRefusedError(errno.ECONNREFUSED, "x")), NOBODY_LISTENS),
    (socket.gaierror(-2, "Name or service not known"), NO_NAME),
    (OSError(errno.EHOSTUNREACH, "No route to host"), NO_WAY),
    (TimeoutError(), NO_ANSWER),
    (caused(aiosmtplib.SMTPConnectError("x"), ssl.SSLCertVerificationError("x")), NO_TRUST),
    (ssl.SSLError("wrong version number"), NO_TLS),
    (ConnectionResetError(errno.ECONNRESET, "reset by ada@example.org"), None),
    (aiosmtplib.SMTPServerDisconnected("ada@example.org"), None),
    (around(ValueError("x")), None),
]  # fmt: skip


@pytest.mark.parametrize(("fault", "says"), REASONS, ids=lambda one: repr(one)[:50])
def test_a_fault_is_named_by_what_is_at_its_bottom(fault, says):
    assert unreached(fault) == says
    assert says is None or says in UNREACHED


@pytest.mark.live
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_port_on_which_nobody_listens_is_named_the_same_by_both_libraries(host):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound and not listening: refused, and nobody else's meanwhile
        port = closed.getsockname()[1]

        async def story() -> list[str | None]:
            found = []
            try:
                await aiosmtplib.SMTP(hostname=host, port=port, start_tls=False).connect()
            except aiosmtplib.SMTPException as fault:
                found.append(unreached(fault))
            async with aiohttp.ClientSession() as session:
                try:
                    await session.get(f"http://{host}:{port}")
                except aiohttp.ClientError as fault:
                    found.append(unreached(fault))
            return found

        assert asyncio.run(story()) == [NOBODY_LISTENS, NOBODY_LISTENS]
