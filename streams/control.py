"""The local socket of a running engine: who owns the file takes what others want appended.

One JSON line there, one back; bounded, readable and writable by the owner of the file only.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from streams.embedded_log import Append
from tidings.ports import StoreUnavailable

MAX_LINE = 8 * 1024 * 1024
TIMEOUT = 20.0
MAX_PATH = 100
"""Unix sockets have paths of about 108 bytes at most."""

Handler = Callable[[dict[str, Any]], Awaitable[Any]]


def path_of(folder: Path) -> Path:
    """Return the socket of a folder."""
    return folder / "tidings.sock"


@contextlib.asynccontextmanager
async def serving(folder: Path, append: Callable[[Sequence[Append]], Awaitable[Any]]) -> Any:
    """Serve while the context lasts; without a socket where the path is too long for one."""
    path = path_of(folder)
    if len(str(path).encode()) > MAX_PATH:
        yield None
        return

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(TIMEOUT):
                answer = await _answer(await reader.readline(), append)
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        except (OSError, TimeoutError, ValueError):
            pass  # whoever asked has gone, or sent more than a line may hold
        finally:
            writer.close()

    path.unlink(missing_ok=True)  # the lock of the file says that nobody else is there
    before = os.umask(0o177)
    try:
        server = await asyncio.start_unix_server(talk, path, limit=MAX_LINE)
    finally:
        os.umask(before)
    try:
        yield server
    finally:
        server.close()
        path.unlink(missing_ok=True)


async def _answer(line: bytes, append: Callable[[Sequence[Append]], Awaitable[Any]]) -> dict[str, Any]:
    try:
        asked = json.loads(line)
        appends = [Append(topic, bytes.fromhex(key), bytes.fromhex(value)) for topic, key, value in asked["append"]]
    except (ValueError, TypeError, KeyError):
        return {"error": "this is no request"}
    try:
        return {"appended": await append(appends)}
    except Exception as fault:  # noqa: BLE001 - the engine goes on, whatever was asked
        return {"error": f"{type(fault).__name__}: {fault}"}


def append_by(folder: Path, appends: Sequence[Append]) -> list[Any] | None:
    """Append through the running engine of a folder; None where none runs.

    Raises:
        StoreUnavailable: one runs, and did not take them.
    """
    path = path_of(folder)
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(TIMEOUT)
            connection.connect(str(path))
            rows = [[one.topic, (one.key or b"").hex(), (one.value or b"").hex()] for one in appends]
            connection.sendall(json.dumps({"append": rows}).encode() + b"\n")
            with connection.makefile("rb") as file:
                answer = json.loads(file.readline(MAX_LINE) or b"{}")
    except (FileNotFoundError, ConnectionRefusedError):
        return None
    except (OSError, ValueError) as fault:
        text = f"{path}: {fault}"
        raise StoreUnavailable(text) from fault
    if "appended" not in answer:
        text = f"the running engine did not take it: {answer.get('error', 'no answer')}"
        raise StoreUnavailable(text)
    return list(answer["appended"])
