"""The local socket of a running engine: who owns the file takes what others want appended, or stopped.

One JSON line there, one back; bounded, readable and writable by the owner of the file only.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from streams.embedded_log import Append, append
from streams.processors import keys, kills
from streams.processors.endings import PATIENCE, Ending
from streams.processors.kills import Kill
from streams.redrive import Redriven, from_json, letters_from_json, letters_to_json, redrive, to_json
from tidings.event import Micros
from tidings.ports import Body, Store, StoreUnavailable
from tidings.scopes import read_scope

MAX_LINE = 8 * 1024 * 1024
TIMEOUT = 20.0
MAX_PATH = 100
"""Unix sockets have paths of about 108 bytes at most."""


def path_of(folder: Path) -> Path:
    """Return the socket of a folder."""
    return folder / "tidings.sock"


@contextlib.asynccontextmanager
async def serving(folder: Path, store: Store) -> Any:
    """Serve while the context lasts; without a socket where the path is too long for one."""
    path = path_of(folder)
    if len(str(path).encode()) > MAX_PATH:
        yield None
        return

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(TIMEOUT):
                answer = await _answer(await reader.readline(), store)
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


def _asked(line: bytes) -> Callable[[Store], Awaitable[Any]]:
    """Return what a line asks for."""
    asked = json.loads(line)
    (verb,) = asked
    what = asked[verb]
    match verb:
        case "append":
            return _running(append([from_json(row) for row in what]))
        case "redrive":
            return _running(redrive(letters_from_json(what)))
        case "kill" | "release" | "drop":
            scope, by, reason, at, total = what
            numbers = (None if at is None else int(at), None if total is None else int(total))
            return _stopping(verb, read_scope(str(scope)), str(by), str(reason), *numbers)
        case "add_key":
            row, who = what
            return _running(keys.add({**row, "proof": bytes.fromhex(row["proof"])}, str(who)))
        case "revoke_key":
            return _running(keys.revoke(*map(str, what)))
    raise ValueError(verb)


def _running(body: Body[Any]) -> Callable[[Store], Awaitable[Any]]:
    return lambda store: store.run(body)


def _stopping(
    verb: str, scope: str, by: str, reason: str, at: Micros | None, total: int | None
) -> Callable[[Store], Awaitable[Any]]:
    async def stop(store: Store) -> Any:
        done: Kill | Ending | None
        if verb == "kill":
            done = await store.run(kills.kill(scope, by, reason), urgent=True)
        else:
            end = kills.drop if verb == "drop" else kills.release
            done = await end(store, scope, by, reason, at=at, total=total, patience=PATIENCE)
        return None if done is None else asdict(done)

    return stop


async def _answer(line: bytes, store: Store) -> dict[str, Any]:
    try:
        doing = _asked(line)
    except (ValueError, TypeError, KeyError, AttributeError):
        return {"error": "this is no request"}
    try:
        return {"done": await doing(store)}
    except Exception as fault:  # noqa: BLE001 - the engine goes on, whatever was asked
        return {"error": f"{type(fault).__name__}: {fault}"}


NOBODY: Any = object()
"""Answered where no engine runs."""


def stop_by(
    folder: Path, verb: str, scope: str, by: str, reason: str, at: Micros | None = None, total: int | None = None
) -> Any:
    """Kill, release or drop through the running engine of a folder, as `streams.processors.kills`; `NOBODY` runs.

    What ends takes its time: after `PATIENCE` seconds the engine goes on with it by itself.

    Raises:
        StoreUnavailable: one runs, and did not do it.
    """
    done = _ask(folder, {verb: [scope, by, reason, at, total]}, NOBODY)
    if not isinstance(done, dict):
        return done
    return Kill(**done) if verb == "kill" else Ending(**done)


def append_by(folder: Path, appends: Sequence[Append]) -> list[Any] | None:
    """Append through the running engine of a folder; None where none runs.

    Raises:
        StoreUnavailable: one runs, and did not take them.
    """
    done = _ask(folder, {"append": [to_json(one) for one in appends]})
    return None if done is None else list(done)


def redrive_by(folder: Path, letters: Sequence[Redriven]) -> int | None:
    """Redrive through the running engine of a folder; None where none runs.

    Raises:
        StoreUnavailable: one runs, and did not take them.
    """
    done = _ask(folder, {"redrive": letters_to_json(letters)})
    return None if done is None else int(done)


def add_key_by(folder: Path, row: Mapping[str, Any], who: str) -> str | None:
    """Keep a new key through the running engine of a folder; why not, or nothing; None where none runs.

    Raises:
        StoreUnavailable: one runs, and did not take it.
    """
    done = _ask(folder, {"add_key": [{**row, "proof": row["proof"].hex()}, who]})
    return None if done is None else str(done)


def revoke_key_by(folder: Path, tenant: str, key: str, who: str) -> str | None:
    """End a key through the running engine of a folder; as `add_key_by`."""
    done = _ask(folder, {"revoke_key": [tenant, key, who]})
    return None if done is None else str(done)


def _ask(folder: Path, request: dict[str, Any], nobody: Any = None) -> Any:
    path = path_of(folder)
    line = json.dumps(request).encode() + b"\n"
    if len(line) > MAX_LINE:
        text = f"{len(line)} bytes at once are more than the running engine takes; give it fewer"
        raise StoreUnavailable(text)
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(TIMEOUT)
            connection.connect(str(path))
            connection.sendall(line)
            with connection.makefile("rb") as file:
                answer = json.loads(file.readline(MAX_LINE) or b"{}")
    except (FileNotFoundError, ConnectionRefusedError):
        return nobody
    except (OSError, ValueError) as fault:
        text = f"{path}: {fault}"
        raise StoreUnavailable(text) from fault
    if "done" not in answer:
        text = f"the running engine did not take it: {answer.get('error', 'no answer')}"
        raise StoreUnavailable(text)
    return answer["done"]
