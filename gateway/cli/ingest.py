"""`tidings ingest`: a payload of another system becomes an event, a decision, a message; told step by step."""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path

from gateway import config
from gateway.cli.folder import example, loaded
from gateway.cli.told import Told
from gateway.cli.watch import Watch, summary
from gateway.demo.customers import customers
from handlers.providers.catcher import FileCatcher
from handlers.providers.ways import Ways
from schemas import contracts
from streams import control
from streams.codec import Codec
from streams.embedded import Engine, claim, count
from streams.embedded_log import Append, append
from streams.json_events import TIME, from_json, micros
from streams.processors.detect import Refused, dead_letter
from streams.sources import intake
from streams.sources.mapping import SourceMap
from streams.sources.mapping import load as load_mapping
from streams.stores.sqlite import SqliteStore
from tidings.errors import BadContract, Refusal
from tidings.event import DAY
from tidings.log import LogRecord
from tidings.ports import Insert, NextSeq, Transaction

MAX_FILE = 1024 * 1024
PATIENCE = 15.0
"""Seconds to wait for the end of what was begun."""


def ingest(arguments: Namespace) -> int:
    """Run the verb; 0 if every payload became an event, 1 if one went to the dead letters."""
    if arguments.source not in intake.READERS:
        near = get_close_matches(arguments.source, intake.READERS, 1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(intake.READERS)}"
        raise Told(f"there is no source {arguments.source!r}{hint}")
    mapped(arguments.mapping)
    clock = reference(arguments.now)
    payloads = [(path, read(path)) for path in arguments.files]
    if arguments.config is not None:
        return _hand_over(arguments, payloads, clock)
    if arguments.data is not None:
        return asyncio.run(_ingest(arguments, payloads, clock, arguments.data))
    with tempfile.TemporaryDirectory(prefix="tidings-") as folder:
        return asyncio.run(_ingest(arguments, payloads, clock, Path(folder)))


def reference(text: str | None) -> Callable[[], int]:
    """Return a clock that begins at the time of reference and goes on from there."""
    began = time.time_ns() // 1000
    if text is None:
        return lambda: time.time_ns() // 1000
    if TIME.fullmatch(text) is None:
        raise Told(f"--now {text!r} is no time with zone; write 2012-01-18T02:25:00Z")
    try:
        start = micros(datetime.fromisoformat(text))
    except ValueError as fault:
        raise Told(f"--now {text!r}: {fault}") from fault
    return lambda: start + time.time_ns() // 1000 - began


def read(path: Path) -> bytes:
    """Return the bytes of a payload."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE + 1)
    except OSError as fault:
        raise Told(f"{path}: {fault.strerror}") from fault
    if len(raw) > MAX_FILE:
        raise Told(f"{path} is larger than {MAX_FILE} bytes")
    return raw


def mapped(file: Path | None) -> SourceMap:
    """Return the declared mapping, by default that of the example."""
    path = example() / "sources.yaml" if file is None else file
    found, diagnostics = load_mapping(read(path), contracts().by_type, path.name)
    if found is None:
        raise Told(f"{path} has mistakes:\n" + "\n".join(str(one) for one in diagnostics))
    return found


def _hand_over(arguments: Namespace, payloads: list[tuple[Path, bytes]], clock: Callable[[], int]) -> int:
    """Append to the log of `tidings run`, through its socket while it runs; all payloads, or none where one is refused."""
    settings = config.read(arguments.config)
    mapping = mapped(arguments.mapping or settings.rules / "sources.yaml")
    codec = Codec(contracts())
    appends: list[Append] = []
    refused = 0
    for path, raw in payloads:
        try:
            found, kinds = intake.appends_of(codec, mapping, arguments.source, raw, clock())
            appends += found
            print(f"{path.name}  {', '.join(kinds)}")
        except BadContract as fault:
            refused += 1
            print(f"{path.name}  {fault.reason}: {fault.detail}")
    if refused:
        print(f"{refused} of {len(payloads)} cannot be read; nothing was appended")
        return 1
    if control.append_by(settings.data, appends) is None:
        asyncio.run(_append(settings.data / "tidings.db", appends))
        print(f"{len(appends)} events appended; 'tidings run' decides on them when it runs")
    else:
        print(f"{len(appends)} events handed to the running engine")
    return 0


async def _append(file: Path, appends: list[Append]) -> None:
    store = await SqliteStore.open(file)
    try:
        await claim(store, file, "run")
        await store.run(append(appends))
    finally:
        await store.close()


async def _ingest(
    arguments: Namespace, payloads: list[tuple[Path, bytes]], clock: Callable[[], int], folder: Path
) -> int:
    found, files, texts = loaded(example())
    assert found.rules is not None, "the example's rules load; a test says so"
    provider = FileCatcher(folder / "caught.jsonl", clock)
    watch = Watch(found.rules, clock, as_json=arguments.json)
    file = folder / "tidings.db"
    engine = Engine(
        file,
        contracts(),
        files,
        texts,
        found.rules,
        Ways(provider).of,
        clock,
        history="live",
        observe=watch,
        kind="demo",
    )
    refused = 0
    async with engine:
        # The demonstration's customers, as if they had been known for a day; repeats change nothing.
        for kind, event in customers(example(), clock() // DAY * DAY - DAY):
            await engine.publish(kind, from_json(contracts().by_type[kind], event))
        mapping = mapped(arguments.mapping)
        for path, raw in payloads:
            refused += await _one(engine, watch, mapping, arguments.source, path, raw)
        await engine.start()
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and not await engine.at_rest():
            engine.check()
            await asyncio.sleep(0.05)
        await engine.stop()
        counts = await count(engine.store)
    lines, data, holds = summary(counts)
    print(json.dumps({"what": "summary", **data}) if arguments.json else "\n" + "\n".join(lines[1:]))
    return 0 if holds and not refused else 1


async def _one(engine: Engine, watch: Watch, mapping: SourceMap, source: str, path: Path, raw: bytes) -> int:
    """Publish one payload, all its events or none; 1 where it went to the dead letters."""
    try:
        appends, kinds = intake.appends_of(engine.codec, mapping, source, raw, engine.clock())
    except BadContract as fault:
        return await _refuse(engine, watch, source, path, raw, fault.reason, fault.detail)
    await engine.log.append(appends)
    watch.say("taken", f"{path.name} as {', '.join(kinds)}", file=path.name, types=kinds)
    return 0


async def _refuse(
    engine: Engine, watch: Watch, source: str, path: Path, raw: bytes, reason: Refusal, detail: str
) -> int:
    def body() -> Transaction[None]:
        number = yield NextSeq("refused")
        record = LogRecord(f"ingest:{source}", 0, number, engine.clock(), path.name.encode(), raw)
        yield Insert("dead_letters", [dead_letter(Refused(record, str(reason), detail), "ingest")])

    await engine.store.run(body)
    watch.say("refused", f"{path.name}: {reason}: {detail}", file=path.name, reason=str(reason), detail=detail)
    return 1
