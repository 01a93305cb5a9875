"""`tidings ingest`: a payload of another system becomes an event, a decision, a message; told step by step."""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
import time
from argparse import Namespace
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path

from gateway import config
from gateway.cli.folder import example, loaded, read
from gateway.cli.republish import published, told_of
from gateway.cli.told import Told
from gateway.cli.watch import Watch, summary, waiting
from gateway.codec import codec_of
from gateway.demo.customers import everybody, introduction
from handlers.providers.catcher import FileCatcher
from handlers.providers.ways import Ways
from schemas import contracts
from streams import control
from streams.codec import Codec
from streams.embedded import Engine, claim, count, wall_clock
from streams.embedded_log import Append, append, read_record
from streams.explaining.whom import content_of, person_of
from streams.json_events import TIME, from_json, micros, rfc3339
from streams.processors.detect import Refused, dead_letter
from streams.sources import intake
from streams.sources.mapping import SourceMap
from streams.sources.mapping import load as load_mapping
from streams.stores.sqlite import SqliteStore
from streams.wording import counted, moment, span
from tidings.errors import BadContract, Refusal
from tidings.event import DAY, MINUTE, Micros
from tidings.log import LogRecord
from tidings.ports import Find, Insert, NextSeq, Scan, Transaction
from tidings.reasons import MessageState

MAPPING = "sources.yaml"
PEOPLE = "customers.json"
EVENT = "event"
"""As `--now`: the clock follows the events."""
SKEW = 5 * MINUTE
"""What lies further ahead is refused as the future."""
PATIENCE = 15.0
"""Seconds to wait for the end of what was begun."""


def ingest(arguments: Namespace) -> int:
    """Run the verb; 0 if every payload became an event, 1 if one went to the dead letters."""
    see_that_it_exists(arguments.source)
    if arguments.config is not None:
        return _hand_over(arguments)
    clock = Reference(at_of(arguments.now))
    mapping = mapped(arguments.mapping, arguments.rules)
    payloads = [(path, read(path)) for path in arguments.files]
    if arguments.data is not None:
        return asyncio.run(_ingest(arguments, payloads, mapping, clock, arguments.data))
    with tempfile.TemporaryDirectory(prefix="tidings-") as folder:
        return asyncio.run(_ingest(arguments, payloads, mapping, clock, Path(folder)))


def see_that_it_exists(source: str) -> None:
    """See that payloads of a system can be read.

    Raises:
        Told: they cannot; the text names those that can.
    """
    if source not in intake.READERS:
        near = get_close_matches(source, intake.READERS, 1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(intake.READERS)}"
        raise Told(f"there is no source {source!r}{hint}")


class Reference:
    """A clock that begins at a time of reference and goes on from there; it may be moved ahead, never back."""

    def __init__(self, at: Micros | None = None) -> None:
        self.offset = 0 if at is None else at - wall_clock()

    def __call__(self) -> Micros:
        """Return the time."""
        return self.offset + wall_clock()

    def ahead_to(self, at: Micros) -> None:
        """Be at least at an instant."""
        self.offset = max(self.offset, at - wall_clock())


def at_of(text: str | None) -> Micros | None:
    """Return the time of reference that `--now` gives; the beginning of time for `event`, None for the clock."""
    if text is None:
        return None
    if text == EVENT:
        return 0
    if TIME.fullmatch(text) is None:
        raise Told(f"--now {text!r} is no time with zone; write 2012-01-18T12:00:00Z, or 'event' for each event's own")
    try:
        return micros(datetime.fromisoformat(text))
    except ValueError as fault:
        raise Told(f"--now {text!r}: {fault}") from fault


def mapped(file: Path | None, folder: Path | None = None) -> SourceMap:
    """Return the declared mapping: of a file, else of a folder of rules, else that of the example.

    A folder without one maps nothing: CloudEvents whose type is one of our contracts need none.
    """
    path = (folder or example()) / MAPPING if file is None else file
    known = contracts().by_type
    if file is None and folder is not None and not path.exists():
        return SourceMap({}, known, f"{folder.absolute().name}/{MAPPING} (there is none)")
    found, diagnostics = load_mapping(read(path), known, f"{path.absolute().parent.name}/{path.name}")
    if found is None:
        raise Told(f"{path} has mistakes:\n" + "\n".join(str(one) for one in diagnostics))
    return found


def _hand_over(arguments: Namespace) -> int:
    """Append to the log of `tidings run`, through its socket while it runs; all payloads, or none where one is refused."""
    for name, given in (("--now", arguments.now), ("--data", arguments.data), ("--rules", arguments.rules),
                        ("--json", arguments.json or None)):  # fmt: skip
        if given is not None:
            raise Told(
                f"{name} does not go with --config: 'tidings run' has its own clock, file and rules, and decides"
            )
    settings = config.read(arguments.config)
    mapping = mapped(arguments.mapping, settings.rules)
    payloads = [(path, read(path)) for path in arguments.files]
    print(f"mapping {mapping.file}")
    codec = codec_of(settings)
    asyncio.run(_enlisted(codec))
    appends: list[Append] = []
    refused = 0
    for path, raw in payloads:
        try:
            found, kinds = intake.appends_of(codec, mapping, arguments.source, raw, wall_clock())
            appends += found
            print(f"{path.name}  {', '.join(kinds)}")
        except BadContract as fault:
            refused += 1
            print(f"{path.name}  {fault.reason}: {fault.detail}")
    if refused:
        print(f"{refused} of {len(payloads)} cannot be read; nothing was appended")
        return 1
    if settings.on_cluster:
        done = asyncio.run(published(settings, appends, [None] * len(appends)))
        for one in done:
            print(f"published {one}")
        print(told_of(done))
        return 0
    events = counted(len(appends), "event")
    if control.append_by(settings.data, appends) is None:
        asyncio.run(_append(settings.data / "tidings.db", appends))
        print(f"{events} appended; 'tidings run' decides on them when it runs")
    else:
        print(f"{events} handed to the running engine")
    return 0


async def _enlisted(codec: Codec) -> None:
    try:
        await codec.enlist()
    finally:
        await codec.close()


async def _append(file: Path, appends: list[Append]) -> None:
    store = await SqliteStore.open(file)
    try:
        await claim(store, file, "run")
        await store.run(append(appends))
    finally:
        await store.close()


async def _ingest(
    arguments: Namespace, payloads: list[tuple[Path, bytes]], mapping: SourceMap, clock: Reference, folder: Path
) -> int:
    place = arguments.rules or example()
    found, files, texts = loaded(place)
    if found.rules is None:
        raise Told(f"the rules of {place} have errors; 'tidings rules check {place}' tells them")
    follows = arguments.now == EVENT
    if follows:
        payloads.sort(key=lambda one: newest(arguments.source, one[1]) or 0)
        times = [at for _, raw in payloads if (at := newest(arguments.source, raw)) is not None]
        clock.ahead_to(min(times, default=wall_clock()))
    watch = Watch(
        found.rules, clock, as_json=arguments.json, stamp=lambda at: rfc3339(at)[:16].replace("T", " "), held={}
    )
    engine = Engine(
        folder / "tidings.db", contracts(), files, texts, found.rules,
        Ways(FileCatcher(folder / "caught.jsonl", clock)).of, clock, history="live", observe=watch, kind="ingest",
    )  # fmt: skip
    refused = 0
    async with engine:
        _introduce(watch, place, mapping, await _customers(engine, place))
        watch.seen.update(await _known(engine))
        if follows:
            await engine.start()
        for path, raw in payloads:
            if follows:
                await _pass(engine, watch, clock, newest(arguments.source, raw) or 0)
            refused += await _one(engine, watch, mapping, arguments, path, raw)
            if follows:
                await _rest(engine, watch)
        if not follows:
            await engine.start()
            await _rest(engine, watch)
        await engine.stop()
        counts = await count(engine.store)
    lines, data, holds = summary(counts)
    if arguments.json:
        print(json.dumps({"what": "summary", **data}))
    elif holds and not data["steps_due"]:
        print(f"\nNo message was due; {waiting(counts)}.")
    else:
        print("\n" + "\n".join(lines[1:]))
    return 0 if holds and not refused else 1


async def _customers(engine: Engine, place: Path) -> tuple[Path, int]:
    """Make customers known, as if they had been for a day; repeats change nothing. Return whose, and how many."""
    file = place / PEOPLE if (place / PEOPLE).is_file() else example() / PEOPLE
    try:
        who = everybody(file.parent)
        for one in who:
            for kind, event in introduction(one.facts, engine.clock() // DAY * DAY - DAY):
                await engine.publish(kind, from_json(contracts().by_type[kind], event))
    except (ValueError, KeyError, TypeError, AttributeError) as fault:
        raise Told(f"{file} is no list of customers as examples/shop/{PEOPLE}: {fault}") from fault
    return file, len(who)


def _introduce(watch: Watch, place: Path, mapping: SourceMap, who: tuple[Path, int]) -> None:
    rules = counted(len(watch.rules.rules), "rule")
    people = f"{who[0].parent.name}/{who[0].name}"
    text = f"{rules} of {place}, mapping {mapping.file}, {counted(who[1], 'customer')} of {people}"
    watch.say("uses", text, rules=str(place), mapping=mapping.file, customers=people)


async def _known(engine: Engine) -> set[str]:
    """Return our references of the events that a kept file holds already."""

    def body() -> Transaction[list[LogRecord]]:
        return [read_record(row) for row in (yield Scan("log"))]

    found = set()
    for record in await engine.store.read(body):
        with contextlib.suppress(BadContract):
            found.add(engine.codec.decode(record).ref)
    return found


async def _rest(engine: Engine, watch: Watch) -> None:
    """Wait until nothing is left to do now; then tell what waits, and what it will say."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and not await engine.at_rest():
        engine.check()
        await asyncio.sleep(0.05)
    for message in (watch.held or {}).values():
        person = await engine.store.read(person_of(engine.rules, message))
        watch.hold(message, person, content_of(engine.render, engine.rules, message, person))
    watch.held = {}


async def _pass(engine: Engine, watch: Watch, clock: Reference, until: Micros) -> None:
    """Let time pass until an instant, with a stop wherever a message that is held may leave."""

    def held() -> Transaction[Micros | None]:
        rows = yield Find("messages", "by_work", (str(MessageState.HELD),), limit=1)
        return rows[0]["due_at"] if rows else None

    while (due := await engine.store.read(held)) is not None and clock() < due < until:
        clock.ahead_to(due)
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and await engine.store.read(held) == due:
            engine.check()
            await asyncio.sleep(0.02)
        await _rest(engine, watch)
    clock.ahead_to(until)


def newest(source: str, raw: bytes) -> Micros | None:
    """Return when the newest of what a payload tells happened, or None where it cannot be read or says no time."""
    try:
        return max((record.time for record in intake.records_of(source, raw, 0)), default=0) or None
    except BadContract:
        return None


async def _one(engine: Engine, watch: Watch, mapping: SourceMap, arguments: Namespace, path: Path, raw: bytes) -> int:
    """Publish one payload, all its events or none; 1 where it went to the dead letters."""
    try:
        appends, kinds = intake.appends_of(engine.codec, mapping, arguments.source, raw, engine.clock())
    except BadContract as fault:
        return await _refuse(engine, watch, arguments.source, path, raw, fault.reason, fault.detail)
    await engine.log.append(appends)
    watch.say("taken", f"{path.name} as {', '.join(kinds)}", file=path.name, types=kinds)
    at, now = newest(arguments.source, raw), engine.clock()
    if at is not None and (at > now + SKEW or (arguments.now is None and now - at > DAY)):
        far = f"{span(now - at)} before now" if at < now else f"{span(at - now)} after now"
        text = f"it happened {moment(at)}, {far}; try --now event, or --now {rfc3339(at)[:10]}T12:00:00Z"
        watch.say("note", text, file=path.name, happened=rfc3339(at))
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
