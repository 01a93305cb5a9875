"""`tidings run`: everything in one process, with real mail; rules are read again when their files change."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
from argparse import Namespace
from hashlib import sha256
from pathlib import Path

from gateway import config, logs
from gateway.cli.folder import read_rules
from gateway.cli.told import Told
from gateway.config import Config
from gateway.ways import provider_of
from handlers.rules.load import load
from schemas import contracts
from streams import control
from streams.embedded import Engine
from tidings.delivery import Pace

logger = logging.getLogger("tidings.run")
LOOK_EVERY = 1.0
"""Seconds between two looks at the rule files."""


def run(arguments: Namespace) -> int:
    """Run until SIGTERM or Ctrl-C; 0 when it ended in order."""
    settings = config.read(arguments.config)
    files, texts = read_rules(settings.rules)
    found = load(files, texts, contracts().by_type)
    if found.rules is None:
        raise Told("the rules have errors:\n" + "\n".join(str(one) for one in found.errors))
    logs.configure()
    provider = provider_of(settings)
    pace = Pace(lease=provider.lease)
    engine = Engine(
        settings.data / "tidings.db", contracts(), files, texts, found.rules, lambda _channel: provider,
        history=settings.settings.history, observe=logs.observe, pace=pace,
    )  # fmt: skip
    return asyncio.run(_run(settings, engine))


async def _run(settings: Config, engine: Engine) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stop.set)
    async with engine, control.serving(settings.data, engine.store):
        await engine.start()
        ways = "test mode, " if settings.settings.test is not None else ""
        logger.info(
            "running",
            extra={"fields": {"rules": len(engine.rules.rules), "out": ways + engine.provider_of("email").name}},
        )
        reload = asyncio.create_task(_reload(settings, engine))
        try:
            while not stop.is_set():
                engine.check()
                await asyncio.wait([asyncio.create_task(stop.wait())], timeout=0.2)
        finally:
            reload.cancel()
            await engine.stop()
        logger.info("stopped")
    return 0


async def _reload(settings: Config, engine: Engine) -> None:
    """Look for changed rules; a set with errors, or one whose edits would change live state, leaves the last good one."""
    known = stamp(settings.rules)
    while True:
        await asyncio.sleep(LOOK_EVERY)
        try:
            now = stamp(settings.rules)
            if now == known:
                continue
            known = now
            files, texts = read_rules(settings.rules)
        except (Told, OSError) as fault:
            report(settings, [str(fault)])
            continue
        found = load(files, texts, contracts().by_type)
        if found.rules is None:
            report(settings, [str(one) for one in found.errors])
            continue
        why = await engine.replace_rules(files, texts, found.rules)
        report(settings, why)
        if not why:
            logger.info("rules", extra={"fields": {"rules": len(found.rules.rules), "set": found.rules.hash[:12]}})


def stamp(folder: Path) -> str:
    """Return a digest of every name, size and time below a folder's rules and templates."""
    seen = sha256()
    for name in ("rules", "templates"):
        for path in sorted((folder / name).rglob("*")):
            if path.is_file():
                state = path.stat()
                seen.update(f"{path}\0{state.st_size}\0{state.st_mtime_ns}\0".encode())
    return seen.hexdigest()


def report_of(folder: Path) -> Path:
    """Return the file that says why edited rules are not in use."""
    return folder / "rules-refused.json"


def report(settings: Config, why: list[str]) -> None:
    """Say in the log, and in a file that `doctor` reads, why edited rules are not in use; or that they are."""
    path = report_of(settings.data)
    if not why:
        path.unlink(missing_ok=True)
        return
    path.write_text(json.dumps({"why": why}, indent=1) + "\n", "utf-8")
    logger.error("rules refused; the last good ones stay", extra={"fields": {"why": why}})
