"""`tidings run`: everything in one process, with real mail; rules are read again when their files change."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
from argparse import Namespace
from collections.abc import AsyncGenerator, Container
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from gateway import config, logs
from gateway.cli.folder import loaded
from gateway.cli.told import Told
from gateway.config import Config
from gateway.metrics import Metrics
from gateway.ways import provider_of, unreadable
from handlers.channels.content import Contents
from handlers.providers.ways import Ways
from handlers.rules.load import BESIDE
from schemas import contracts
from streams import control
from streams.embedded import Engine, calm_collector
from tidings.ports import StoreUnavailable

logger = logging.getLogger("tidings.run")
LOOK_EVERY = 1.0
"""Seconds between two looks at the rule files."""
COUNT_WITHIN = 2.0
"""Seconds for counting what the rules that left have waiting."""


def run(arguments: Namespace) -> int:
    """Run until SIGTERM or Ctrl-C; 0 when it ended in order."""
    settings = config.read(arguments.config)
    if settings.on_cluster:
        raise Told(
            f"{settings.path.name} names a cluster, and 'tidings run' is for one file; on a cluster start "
            "'tidings worker', 'tidings deliver' and 'tidings archive', as docs/cluster.md says"
        )
    known = stamp(settings.rules)  # before they are read, so that an edit while we start is seen
    found, files, texts = loaded(settings.rules)
    if found.rules is None:
        raise Told("the rules have errors:\n" + "\n".join(str(one) for one in found.errors))
    logs.configure()
    ways = provider_of(settings)
    contents = Contents(settings.settings.public_url, settings.link_key())
    engine = Engine(
        settings.data / "tidings.db", contracts(), files, texts, found.rules, ways.of,
        history=settings.settings.history, render=contents,
    )  # fmt: skip
    metrics = Metrics(lambda: engine.rules, contracts().by_type, engine.clock)
    log = logs.observing(lambda: engine.rules)

    def observe(seen: object) -> None:
        metrics.observe(seen)
        log(seen)

    engine.observe = observe
    return asyncio.run(_run(settings, engine, metrics, ways, known))


async def _run(settings: Config, engine: Engine, metrics: Metrics, ways: Ways, known: str) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stop.set)
    refused: list[str] = []
    async with (
        engine,
        control.serving(settings.data, engine.store),
        _served(settings, engine, metrics, refused) as place,
    ):
        await engine.start()
        calm_collector()
        fields: dict[str, Any] = {"rules": len(engine.rules.rules), "out": ways.name}
        if settings.settings.test is not None:
            fields["test"] = "every message goes to one address"
        if place is not None:
            fields["http"] = "http://{}:{}".format(*place)
        logger.info("running", extra={"fields": fields})
        if missing := unreadable(settings, engine.rules):
            said = {"count": len(missing), "names": missing, "mend": "set them; 'tidings doctor' says what names them"}
            logger.warning("secrets are missing; messages that need them wait", extra={"fields": said})
        report(settings, [])  # what was refused before this start is not what runs now
        await _tell_left(engine)
        reload = asyncio.create_task(_reload(settings, engine, metrics, refused, known))
        stopping = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set():
                engine.check()
                if reload.done():
                    reload.result()
                await asyncio.wait([stopping], timeout=0.2)
        finally:
            reload.cancel()
            stopping.cancel()
            await engine.stop()
        logger.info("stopped")
    return 0


@contextlib.asynccontextmanager
async def _served(
    settings: Config, engine: Engine, metrics: Metrics, refused: list[str]
) -> AsyncGenerator[tuple[str, int] | None]:
    """Serve the edge while the context lasts, where [http] is configured: intake, console, links, health, metrics."""
    http = settings.settings.http
    if http is None:
        yield None
        return
    from gateway.edge import site_of
    from gateway.http.app import create_app
    from gateway.http.serve import serving

    site = replace(site_of(engine, http.host, settings), refused=lambda: refused)
    try:
        async with serving(create_app(engine, metrics, site=site), http.host, http.port) as place:
            yield place
    finally:
        await site.close()


async def _reload(settings: Config, engine: Engine, metrics: Metrics, refused: list[str], known: str) -> None:
    """Look for changed rules; a set with errors, or one whose edits would change live state, leaves the last good one.

    `refused` is kept as what the console says: why edited rules are not in use; `known` is the stamp of those that are.
    """
    while True:
        await asyncio.sleep(LOOK_EVERY)
        try:
            now = stamp(settings.rules)
            if now == known:
                continue
            known = now
            why = await _take(settings, engine)
        except (Told, OSError, StoreUnavailable) as fault:
            why = [str(fault)]
        if metrics.refused and not why:
            fields = {"rules": len(engine.rules.rules), "set": engine.rules.hash[:12]}
            logger.info("rules in order again", extra={"fields": fields})
        metrics.refused = bool(why)
        refused[:] = why
        report(settings, why)


async def _take(settings: Config, engine: Engine) -> list[str]:
    """Read the rules, and make them the active ones; return why not."""
    # Beside the loops: a thousand rules take most of a second.
    found, files, texts = await asyncio.to_thread(loaded, settings.rules)
    if found.rules is None:
        return [str(one) for one in found.errors]
    if found.rules.hash == engine.rules.hash:
        return []
    before = engine.rules.by_id
    if why := await engine.replace_rules(files, texts, found.rules):
        return why
    logger.info("rules", extra={"fields": {"rules": len(found.rules.rules), "set": found.rules.hash[:12]}})
    await _tell_left(engine, before)
    return []


async def _tell_left(engine: Engine, among: Container[str] | None = None) -> None:
    """Warn of rules that are in use no more and have something waiting: it rests, and nobody hears of it."""
    try:
        waiting = await engine.waiting(within=COUNT_WITHIN)
    except StoreUnavailable:
        return  # a warning less; the switch itself is done
    for rule, count in sorted(waiting.keys.items()):
        if rule not in engine.rules.by_id and (among is None or rule in among):
            fields = {"rule": rule, "waiting": count, "mend": "put the rule back, if this was not meant"}
            logger.warning("a rule left; what it waited for rests", extra={"fields": fields})


def stamp(folder: Path) -> str:
    """Return a digest of name, size and time of every file that makes a rule set."""
    seen = sha256()
    inside = [path for name in ("rules", "templates") for path in (folder / name).rglob("*")]
    for path in sorted([*inside, *(folder / name for name in BESIDE)]):
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
    if why:
        logger.error("rules refused; the last good ones stay", extra={"fields": {"why": why}})
    try:
        if why:
            path.write_text(json.dumps({"why": why}, indent=1) + "\n", "utf-8")
        else:
            path.unlink(missing_ok=True)
    except OSError as fault:
        logger.error("%s cannot be written: %s", path.name, fault.strerror)  # noqa: TRY400 - the disk, not us
