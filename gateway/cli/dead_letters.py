"""`tidings dead-letters`: what could not be read, and a second try for what can be read now."""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gateway.cli.ingest import mapped
from gateway.cli.told import Told
from gateway.cli.watch import Watch
from handlers.providers.catcher import FileCatcher
from handlers.providers.ways import Ways
from handlers.rules.load import load
from schemas import contracts
from streams import control
from streams.clock import clock_of
from streams.codec import Codec
from streams.embedded import Engine
from streams.embedded_log import Append, read_record
from streams.json_events import rfc3339
from streams.processors.detect import EPOCH
from streams.processors.intake import prepare
from streams.redrive import Redriven
from streams.redrive import redrive as again_as_intake
from streams.sources.intake import appends_of
from streams.stores.sqlite import SqliteReader, SqliteStore
from tidings import canonical
from tidings.errors import BadContract
from tidings.ports import Read, Row, Scan, Transaction
from tidings.rule import RuleSet

INGESTED = "ingest:"
"""Topics of payloads that never became records begin with this; the source's name follows."""
PATIENCE = 20.0


@contextlib.contextmanager
def reading(folder: Path) -> Iterator[SqliteReader]:
    """Open the file of a folder for reading, beside the process that may own it."""
    reader = SqliteReader(folder / "tidings.db")
    try:
        yield reader
    finally:
        reader.close()


def place_of(row: Row) -> str:
    """Return how a dead letter is named: `topic[partition]@offset`."""
    return f"{row['topic']}[{row['partition']}]@{row['offset']}"


def key_of(row: Row) -> tuple[str, str, int, int]:
    """Return the key of a dead letter's row."""
    return (row["reader"], row["topic"], row["partition"], row["offset"])


def letters_of(reader: SqliteReader) -> list[Row]:
    """Return every dead letter once, the oldest first; one that two readers could not read is one."""

    def body() -> Transaction[list[Row]]:
        rows = yield Scan("dead_letters")
        return sorted(rows, key=lambda row: (row["appended_at"], place_of(row), row["reader"]))

    found: dict[str, Row] = {}
    for row in reader.read(body):
        found.setdefault(place_of(row), row)
    return list(found.values())


def listing(arguments: Namespace) -> int:
    """`tidings dead-letters list`."""
    with reading(arguments.data) as reader:
        letters = [row for row in letters_of(reader) if arguments.reason in (None, row["reason"])]
    if arguments.json:
        print(json.dumps([_plain(row) for row in letters], indent=1))
        return 0
    for row in letters:
        again = "  (redriven)" if row["redriven_at"] is not None else ""
        print(f"{rfc3339(row['appended_at'])[:19]}Z  {place_of(row)}  {row['reason']}: {row['detail'][:120]}{again}")
    counts: dict[str, int] = {}
    for row in letters:
        counts[row["reason"]] = counts.get(row["reason"], 0) + 1
    reasons = ", ".join(f"{number} {reason}" for reason, number in sorted(counts.items()))
    print(f"{len(letters)} dead letters" + (f": {reasons}" if reasons else "; everything could be read"))
    return 0


def show(arguments: Namespace) -> int:
    """`tidings dead-letters show PLACE`."""
    with reading(arguments.data) as reader:
        (row,) = _named(letters_of(reader), [arguments.place])
    if arguments.json:
        print(json.dumps(_plain(row), indent=1))
        return 0
    value = row["value"] or b""
    print(f"{place_of(row)}\n  reason    {row['reason']}: {row['detail']}\n  appended  {rfc3339(row['appended_at'])}")
    print(
        f"  read by   {row['reader']}\n  schema    {row['schema_id'] if row['schema_id'] is not None else 'not known'}"
    )
    print(f"  key       {_shown(row['key'])}\n  value     {len(value)} bytes")
    for start in range(0, min(len(value), 256), 16):
        part = value[start : start + 16]
        letters = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)  # noqa: PLR2004 - printable ASCII
        print(f"    {start:04x}  {part.hex(' '):47}  {letters}")
    if len(value) > 256:  # noqa: PLR2004 - what is shown
        print(f"    … {len(value) - 256} more; --json gives all of them")
    return 0


def _shown(raw: bytes | None) -> str:
    return "missing" if raw is None else repr(raw[:80])[1:]


def _plain(row: Row) -> dict[str, Any]:
    at = row["redriven_at"]
    return {
        "place": place_of(row), "reason": row["reason"], "detail": row["detail"], "reader": row["reader"],
        "appended_at": rfc3339(row["appended_at"]), "schema_id": row["schema_id"],
        "key_hex": None if row["key"] is None else row["key"].hex(),
        "value_hex": None if row["value"] is None else row["value"].hex(),
        "redriven_at": None if at is None else rfc3339(at),
    }  # fmt: skip


def _named(letters: Sequence[Row], places: Sequence[str]) -> list[Row]:
    known = {place_of(row): row for row in letters}
    for place in places:
        if place not in known:
            text = f"there is no dead letter {place!r}; 'tidings dead-letters list' names them"
            raise Told(text)
    return [known[place] for place in dict.fromkeys(places)]


@dataclass(frozen=True)
class Again:
    """A dead letter, and what it would be appended as now; or why it still cannot be read."""

    row: Row
    appends: tuple[Append, ...] = ()
    fault: str = ""


def redrive(arguments: Namespace) -> int:
    """`tidings dead-letters redrive`: propose by default; with `--confirm` it is new intake."""
    with reading(arguments.data) as reader:
        letters = letters_of(reader)
        chosen = (
            _named(letters, arguments.places) if arguments.places else [r for r in letters if r["redriven_at"] is None]
        )
        now = clock_of(reader.path)()
        again = [_again(row, arguments.mapping, now) for row in chosen]
        readable = [one for one in again if one.appends]
        for one in again:
            what = f"still cannot be read: {one.fault}" if one.fault else f"can be read: {len(one.appends)} event(s)"
            print(f"{place_of(one.row)}  {what}")
        if not readable:
            print("nothing to redrive")
            return 0 if not again else 1
        if not arguments.confirm:
            print("\nIf you confirm, this is what happens (tried on a copy; nobody was told):\n")
            with tempfile.TemporaryDirectory(prefix="tidings-") as folder:
                copied = Path(folder) / "tidings.db"
                reader.copy(copied)
                asyncio.run(_propose(copied, readable))
            print("\nNothing was sent. Add --confirm to do it.")
            return 0
    count, who = _confirm(arguments.data, [Redriven(key_of(one.row), one.appends) for one in readable])
    print(f"{count} redriven; {who}")
    return 0


def _again(row: Row, mapping: Path | None, now: int) -> Again:
    if row["value"] is None:
        return Again(row, fault="it has no bytes")
    codec = Codec(contracts())
    try:
        if row["topic"].startswith(INGESTED):
            source = row["topic"].removeprefix(INGESTED)
            appends, _ = appends_of(codec, mapped(mapping), source, row["value"], row["appended_at"])
            return Again(row, tuple(appends))
        # What lay in the future when it came may have happened meanwhile.
        record = replace(read_record(row), appended_at=max(row["appended_at"], now))
        batch = prepare([record], {(record.topic, record.partition): record.offset}, codec.decode)
    except BadContract as fault:
        return Again(row, fault=f"{fault.reason}: {fault.detail}")
    if batch.refused:
        return Again(row, fault=f"{batch.refused[0].reason}: {batch.refused[0].detail}")
    return Again(row, (Append(record.topic, record.key, record.value, record.headers),))


def active_rules(reader: SqliteReader) -> tuple[RuleSet, dict[str, bytes], dict[str, str]]:
    """Return the rule set that is active in a file, with its texts."""

    def body() -> Transaction[bytes]:
        rows = yield Read("epochs", [(EPOCH,)])
        if not rows:
            raise Told("no rules are active in this file yet")
        name = rows[EPOCH,]["value"]
        return bytes((yield Read("rule_sets", [(name,)]))[name,]["body"])

    sources = canonical.loads(reader.read(body))
    files = {name: text.encode() for name, text in sources["files"].items()}
    found = load(files, sources["templates"], contracts().by_type)
    if found.rules is None:
        raise Told("the active rules do not load with this version:\n" + "\n".join(str(one) for one in found.errors))
    return found.rules, files, sources["templates"]


async def _propose(file: Path, again: Sequence[Again]) -> None:
    with contextlib.closing(SqliteReader(file)) as reader:
        rules, files, texts = active_rules(reader)
    clock = clock_of(file)
    provider = FileCatcher(file.parent / "caught.jsonl", clock)
    lines: list[str] = []
    watch = Watch(rules, clock, out=lines.append)
    engine = Engine(file, contracts(), files, texts, rules, Ways(provider).of, clock, observe=watch, kind=None)
    async with engine:
        await engine.start()
        # What was under way anyway is not the proposal's.
        await _rest(engine)
        lines.clear()
        await engine.log.append([one for each in again for one in each.appends])
        await _rest(engine)
        await engine.stop()
    print("\n".join(lines) or "no rule has anything to say about it")


async def _rest(engine: Engine) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and not await engine.at_rest():
        engine.check()
        await asyncio.sleep(0.02)


def _confirm(folder: Path, letters: Sequence[Redriven]) -> tuple[int, str]:
    """Redrive by the running engine, or by taking the file where none runs; return how many, and who decides now."""
    count = control.redrive_by(folder, letters)
    if count is not None:
        return count, "the running engine decides on them"
    return asyncio.run(_take(folder / "tidings.db", letters)), "the next run of the engine decides on them"


async def _take(file: Path, letters: Sequence[Redriven]) -> int:
    store = await SqliteStore.open(file, clock_of(file))
    try:
        return await store.run(again_as_intake(letters))
    finally:
        await store.close()
