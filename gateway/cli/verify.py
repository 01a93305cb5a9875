"""`tidings verify`: the journal again on scratch state; what it decides must be what is stored, byte for byte."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gateway.cli.place import folder_of, settings_of
from gateway.codec import codec_of
from gateway.config import Config
from schemas import contracts
from streams.codec import Codec
from streams.rule_book import RuleBook
from streams.stores.postgres import PostgresStore
from streams.stores.sqlite import SqliteReader
from streams.verdict import WORDS, Difference, Progress, Verdict
from streams.verify import FileJournal, Journal, ServerJournal
from streams.verify import verify as compare
from streams.wording import counted
from tidings.errors import Misconfigured
from tidings.ports import StoreUnavailable

CANNOT_TELL = 2


def verify(arguments: Namespace) -> int:
    """`tidings verify`: 0 no difference, 1 a difference, 2 it cannot be told."""
    try:
        settings = settings_of(arguments)
        if settings is not None and settings.on_cluster:
            place = settings.postgres()
            name = f"the database {place.host}:{place.port}/{place.database}"
            verdict = asyncio.run(_on_server(settings))
        else:
            path = folder_of(arguments) / "tidings.db"
            name = str(path)
            verdict = asyncio.run(_on_file(path))
    except (Misconfigured, StoreUnavailable) as fault:
        print(f"tidings: {fault}", file=sys.stderr)
        return CANNOT_TELL
    if arguments.json:
        print(json.dumps({"read": name, **_plain(verdict)}))
    else:
        print(f"read      {name}")
        print("\n".join(_lines(verdict)))
    return verdict.code


async def _on_file(path: Path) -> Verdict:
    file = SqliteReader(path)
    try:
        return await _compare(FileJournal(file), Codec(contracts()))
    finally:
        file.close()


async def _on_server(settings: Config) -> Verdict:
    store = await PostgresStore.open(settings.postgres(), writers=1, urgent=1, readers=1)
    try:
        codec = codec_of(settings)
        try:
            return await _compare(ServerJournal(store), codec)
        finally:
            await codec.close()
    finally:
        await store.close()


async def _compare(journal: Journal, codec: Codec) -> Verdict:
    with progress() as tell:
        return await compare(journal, RuleBook(contracts(), journal), codec, tell)


@contextlib.contextmanager
def progress() -> Iterator[Progress]:
    """Show how far it is, where a person watches."""
    if not sys.stderr.isatty():
        yield lambda _seq, _until: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("replaying"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("journal", total=None)
        yield lambda seq, until: bar.update(task, completed=seq, total=until)


def _lines(verdict: Verdict) -> Iterator[str]:
    replayed = verdict.rows - verdict.not_replayed.total()
    if verdict.begins:
        before = "was verified, and let go" if verdict.begins_how == "replayed" else "was taken as it stood"
        yield f"begins    with the snapshot at row {verdict.begins}; what lies before {before}"
    yield f"journal   {counted(verdict.rows, 'row')}, {replayed} of them replayed; {counted(verdict.events, 'event')}"
    for reason, number in sorted(verdict.not_replayed.items()):
        yield f"          {number} not replayed: {WORDS[reason]}"
    for one in verdict.first_not:
        yield f"          row {one.seq}: {one.detail}"
    said = f"{verdict.decided} decided again, {verdict.repeats} of them said before; {verdict.compared} compared"
    unseen = f"; {verdict.unseen} stored by rows that were not replayed" if verdict.unseen else ""
    old = f"; {verdict.let_go} of episodes so old that they may have been let go" if verdict.let_go else ""
    yield f"records   {said}{unseen}{old}"
    if verdict.snapshots:
        yield f"snapshots {counted(verdict.snapshots, 'snapshot')} on the way hold what the replay does, or are below"
    for difference in verdict.first:
        yield f"          {_difference(difference)}"
    if verdict.differences > len(verdict.first):
        yield f"          … and {verdict.differences - len(verdict.first)} more"
    sure = verdict.differences - verdict.unsure
    if sure:
        yield f"{counted(sure, 'difference')}: what is stored is not what these rules make of these events"
    if verdict.unsure:
        yield (
            f"{counted(verdict.unsure, 'difference')} after the first row that was not replayed: "
            "they may come from what is missing"
        )
    if verdict.code == CANNOT_TELL:
        yield "It cannot be told: not everything could be replayed. See docs/verify.md."
    elif not sure:
        yield "No difference: every record is what the journal says, byte for byte."


def _difference(one: Difference) -> str:
    where = f"row {one.seq}"
    firing = f"{one.rule}  {one.firing}  {one.kind}({one.n})"
    doubt = "" if one.sure else "  (unsure)"
    match one.what:
        case "missing":
            return f"{where}: {firing} is not stored{doubt}"
        case "extra":
            return f"{where}: {firing} is stored, and nothing decides it{doubt}"
        case "state":
            return f"{where}: a tick took key {one.firing}, of which the replay knows nothing{doubt}"
        case "snapshot":
            return f"{where}: the snapshot there ({one.kind}) holds something else than the replay"
        case _:
            return f"{where}: {firing} differs in {', '.join(one.fields)}{doubt}"


def _plain(verdict: Verdict) -> dict[str, Any]:
    return {
        "rows": verdict.rows, "replayed": verdict.rows - verdict.not_replayed.total(), "events": verdict.events,
        "decided": verdict.decided, "repeats": verdict.repeats, "compared": verdict.compared,
        "differences": verdict.differences, "unsure": verdict.unsure, "unseen": verdict.unseen,
        "let_go": verdict.let_go, "begins": verdict.begins, "begins_how": verdict.begins_how, "snapshots": verdict.snapshots,
        "not_replayed": dict(verdict.not_replayed),
        "first": [
            {
                "seq": one.seq, "what": one.what, "rule": one.rule, "firing": one.firing, "kind": one.kind, "n": one.n,
                "fields": list(one.fields), "sure": one.sure,
            }
            for one in verdict.first
        ],
        "first_not_replayed": [{"seq": n.seq, "reason": n.reason, "detail": n.detail} for n in verdict.first_not],
        "code": verdict.code,
    }  # fmt: skip
