"""`tidings doctor`: what is missing or wrong, and how to mend it. It changes nothing and sends nothing."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import aiosmtplib

from gateway import config
from gateway.cli.folder import read_rules
from gateway.cli.run import provider_of, report_of
from gateway.cli.told import Told
from gateway.config import Config
from handlers.providers.redirect import Redirected
from handlers.providers.smtp import SmtpProvider
from handlers.rules.load import load
from schemas import contracts
from streams import control
from streams.stores.sqlite import SqliteReader
from tidings.errors import Misconfigured
from tidings.ports import Read, Transaction

LEAST_FREE = 512 * 1024 * 1024


@dataclass(frozen=True)
class Found:
    """One thing that was looked at."""

    what: str
    state: str
    """`ok`, `note`, `wrong`"""
    says: str
    mend: str = ""


def doctor(arguments: Namespace) -> int:
    """Run the verb; 0 if nothing is wrong."""
    found: list[Found] = []
    try:
        settings = config.read(arguments.config)
        found.append(Found("configuration", "ok", str(arguments.config)))
        found += examine(settings)
    except Misconfigured as fault:
        found.append(Found("configuration", "wrong", str(fault), "mend the file; docs/running.md has an example"))
    wrong = [one for one in found if one.state == "wrong"]
    if arguments.json:
        print(json.dumps([vars(one) for one in found], indent=1, ensure_ascii=False))
        return 1 if wrong else 0
    for one in found:
        print(f"{one.state:5}  {one.what}: {one.says}")
        if one.mend:
            print(f"       {one.mend}")
    print(f"\n{len(wrong)} to mend" if wrong else "\nEverything is in order.")
    return 1 if wrong else 0


def examine(settings: Config) -> Iterator[Found]:
    """Yield everything that can be looked at from outside."""
    checks: list[Callable[[Config], Iterator[Found]]] = [_rules, _file, _disk, _engine, _mail]
    for check in checks:
        yield from check(settings)


def _rules(settings: Config) -> Iterator[Found]:
    try:
        files, texts = read_rules(settings.rules)
    except (Told, OSError) as fault:
        yield Found(
            "rules", "wrong", str(fault), "name the folder with rules/ and templates/ as 'rules' in the configuration"
        )
        return
    found = load(files, texts, contracts().by_type)
    if found.rules is None:
        yield Found(
            "rules", "wrong", "\n".join(str(one) for one in found.errors), "mend them; the last good ones stay in use"
        )
        return
    live = sum(rule.status == "live" for rule in found.rules.rules)
    yield Found("rules", "ok", f"{len(found.rules.rules)} rules, {live} of them live")
    if report_of(settings.data).is_file():
        why = json.loads(report_of(settings.data).read_text("utf-8"))["why"]
        yield Found(
            "rules in use", "wrong", "the edited rules are not in use:\n" + "\n".join(why), "mend them and save again"
        )


def _file(settings: Config) -> Iterator[Found]:
    path = settings.data / "tidings.db"
    if not path.is_file():
        yield Found("file", "note", f"{path} is not there yet; 'tidings run' makes it")
        return

    def kind() -> Transaction[str]:
        rows = yield Read("epochs", [("kind",)])
        return str(rows["kind",]["value"]) if rows else "run"

    try:
        reader = SqliteReader(path)
        try:
            found = reader.read(kind)
        finally:
            reader.close()
    except Misconfigured as fault:
        yield Found("file", "wrong", str(fault), "name another folder as 'data', or move the file away")
        return
    if found == "demo":
        yield Found("file", "wrong", f"{path} is the demonstration's", "name another folder as 'data'")
    else:
        yield Found("file", "ok", f"{path}, {path.stat().st_size // 1024} KiB")


def _disk(settings: Config) -> Iterator[Found]:
    folder = settings.data if settings.data.is_dir() else settings.path.parent
    free = shutil.disk_usage(folder).free
    state = "ok" if free >= LEAST_FREE else "wrong"
    mend = "" if state == "ok" else "make room: a full disk stops everything (nothing is lost)"
    yield Found("disk", state, f"{free // 1024**2} MiB free", mend)


def _engine(settings: Config) -> Iterator[Found]:
    path = control.path_of(settings.data)
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(2)
            connection.connect(str(path))
        yield Found("engine", "ok", "running")
    except OSError:
        yield Found("engine", "note", "not running; start it with 'tidings run'")


def _mail(settings: Config) -> Iterator[Found]:
    try:
        provider = provider_of(settings)
    except Misconfigured as fault:
        yield Found("mail", "wrong", str(fault), "set it, or name another reference")
        return
    if isinstance(provider, Redirected):
        yield Found("test mode", "note", f"every message goes to {provider.to}")
        provider = provider.provider
    if not isinstance(provider, SmtpProvider):
        yield Found(
            "mail", "note", f"no [smtp]: messages are caught in {settings.data / 'caught.jsonl'}, nobody gets them"
        )
        return
    yield asyncio.run(_greet(provider))


async def _greet(provider: SmtpProvider) -> Found:
    """Connect, encrypt and log in, as a message would; hand over nothing."""
    place = f"{provider.settings.host}:{provider.settings.port}"
    client = provider.client()
    try:
        async with asyncio.timeout(10):
            await client.connect()
    except aiosmtplib.SMTPAuthenticationError as fault:
        return Found("mail", "wrong", f"{place} refuses the credentials ({fault.code})", "check username and password")
    except (aiosmtplib.SMTPException, OSError, TimeoutError) as fault:
        why = str(fault) or type(fault).__name__
        return Found(
            "mail", "wrong", f"{place} cannot be reached: {why}", "check host, port and 'tls' (none, starttls, tls)"
        )
    finally:
        client.close()
    return Found("mail", "ok", f"{place}, tls {provider.settings.tls}")
