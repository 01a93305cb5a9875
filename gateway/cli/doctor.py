"""`tidings doctor`: what is missing or wrong, and how to mend it. It changes nothing and sends nothing."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import time
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

from gateway import config
from gateway.cli import doctor_access, doctor_waits
from gateway.cli.doctor_ways import ways
from gateway.cli.folder import read_rules
from gateway.cli.found import Found
from gateway.cli.run import report_of
from gateway.cli.told import Told
from gateway.config import Config
from gateway.sections import Http
from handlers.rules.load import load
from schemas import contracts
from streams import control
from streams.processors.kills import Kill
from streams.stores.counts import count_unsent, count_waiting
from streams.stores.sqlite import SqliteReader
from tidings import canonical
from tidings.errors import Misconfigured
from tidings.ports import Read, Row, Scan, StoreUnavailable, Transaction
from tidings.rule import RuleSet

LEAST_FREE = 512 * 1024 * 1024
PATIENCE = 5.0
"""Seconds for counting what waits."""
MOST_COUNTED = 1000
"""Recipients that are looked at, to count the customers among them."""
HISTORY = {
    "past": "what newly connected topics hold already is told to nobody",
    "live": "what newly connected topics hold already is told as if it came now",
}


def doctor(arguments: Namespace) -> int:
    """Run the verb; 0 if nothing is wrong."""
    found: list[Found] = []
    try:
        if arguments.data is not None:
            found += examine_folder(arguments.data)
        else:
            settings = config.read(arguments.config)
            found.append(Found("configuration", "ok", str(arguments.config)))
            found += examine(settings)
    except Misconfigured as fault:
        mend = "mend the file; docs/running.md has an example, docs/cluster.md one for a cluster"
        found += [Found("configuration", "wrong", line, mend) for line in str(fault).splitlines()]
    wrong = [one for one in found if one.state == "wrong"]
    if arguments.json:
        print(json.dumps([vars(one) for one in found], ensure_ascii=False))
        return 1 if wrong else 0
    for one in found:
        print(f"{one.state:5}  {one.what}: {one.says}")
        if one.mend:
            print(f"       {one.mend}")
    waiting = any(one.what in (doctor_waits.STOPPED, doctor_waits.LETTERS) for one in found)
    well = "Nothing is broken; what is noted above waits for a person." if waiting else "Everything is in order."
    print(f"\n{len(wrong)} to mend" if wrong else f"\n{well}")
    return 1 if wrong else 0


def examine(settings: Config) -> Iterator[Found]:
    """Yield everything that can be looked at from outside."""
    rules, found = _rules(settings)
    yield from found
    yield doctor_access.secret(settings)
    yield Found("history", "ok", f"{settings.settings.history}: {HISTORY[settings.settings.history]}")
    if settings.on_cluster:
        from gateway.cli.doctor_cluster import cluster  # what Kafka needs is read only where there is one

        yield from cluster(settings)
        yield from ways(settings, rules)
        return
    yield from _file(settings.data, rules)
    yield from _keys(settings)
    yield _disk(settings.data if settings.data.is_dir() else settings.path.parent)
    running = _running(settings.data)
    if running:
        yield Found("engine", "ok", "running")
    else:
        yield Found("engine", "note", "not running; start it with 'tidings run'")
    yield _http(settings.settings.http, running=running)
    yield from ways(settings, rules)


def examine_folder(folder: Path) -> Iterator[Found]:
    """Yield what can be said of a file without a configuration, or past a broken one."""
    yield Found("configuration", "note", f"not looked at: --data names {folder}")
    if not (folder / "tidings.db").is_file():
        mend = "name the folder of 'tidings run' (its 'data') or of 'tidings demo'"
        yield Found("file", "wrong", f"there is no file {folder / 'tidings.db'}", mend)
        return
    yield from _file(folder, None, demo=True)
    yield _disk(folder)
    running = "running" if _running(folder) else "not running"
    yield Found("engine", "ok" if running == "running" else "note", running)


def _rules(settings: Config) -> tuple[RuleSet | None, list[Found]]:
    try:
        files, texts = read_rules(settings.rules)
    except (Told, OSError) as fault:
        mend = "name the folder with rules/ and templates/ as 'rules' in the configuration"
        return None, [Found("rules", "wrong", str(fault), mend)]
    loaded = load(files, texts, contracts().by_type)
    if loaded.rules is None:
        mend = "mend it; the last good rules stay in use"
        return None, [Found("rules", "wrong", str(one), mend) for one in loaded.errors]
    live = sum(rule.status == "live" for rule in loaded.rules.rules)
    found = [
        Found("rules", "ok", f"{len(loaded.rules.rules)} rules, {live} of them live, set {loaded.rules.hash[:12]}")
    ]
    if report_of(settings.data).is_file():
        why = json.loads(report_of(settings.data).read_text("utf-8"))["why"]
        text = "the edited rules are not in use:\n" + "\n".join(why)
        found.append(Found("rules in use", "wrong", text, "mend them and save again"))
    return loaded.rules, found


def _file(folder: Path, rules: RuleSet | None, *, demo: bool = False) -> Iterator[Found]:
    """Look at the file; `demo`: it may be the demonstration's."""
    path = folder / "tidings.db"
    if not path.is_file():
        above = next(one for one in (folder, *folder.absolute().parents) if one.exists())
        if above.is_dir() and os.access(above, os.W_OK | os.X_OK):
            yield Found("file", "note", f"{path} is not there yet; 'tidings run' makes it")
        else:
            yield Found(
                "file",
                "wrong",
                f"{path} cannot be made: {above} is no folder that may be written",
                "name another folder as 'data'",
            )
        return

    def looked() -> Transaction[tuple[str, list[Row], tuple[list[Kill], int, bool]]]:
        rows = yield Read("epochs", [("kind",)])
        people = yield Scan("recipients", limit=MOST_COUNTED)
        held = yield from doctor_waits.waiting_for_people()
        return str(rows["kind",]["value"]) if rows else "run", people, held

    try:
        reader = SqliteReader(path)
        try:
            kind, people, (standing, letters, whole) = reader.read(looked)
        finally:
            reader.close()
    except Misconfigured as fault:
        yield Found("file", "wrong", str(fault), "name another folder as 'data', or move the file away")
        return
    if kind == "demo" and not demo:
        yield Found("file", "wrong", f"{path} is the demonstration's", "name another folder as 'data'")
        return
    whose = ", the demonstration's" if kind == "demo" else ""
    yield Found("file", "ok", f"{path}, {path.stat().st_size // 1024} KiB{whose}")
    known = sum("profile" in canonical.loads(one["profile"]) for one in people)
    more = len(people) == MOST_COUNTED
    if known or more:
        yield Found("customers", "ok", f"{known}{' or more' if more else ''} known")
    else:
        yield Found(
            "customers", "note", "0 known; without a profile no customer gets anything",
            "docs/running.md, 'Who your customers are', has a payload to copy",
        )  # fmt: skip
    counts = None
    with contextlib.suppress(StoreUnavailable):
        counts = count_unsent(path, within=PATIENCE) if standing else None
    yield from doctor_waits.waits(standing, counts, letters, whole=whole)
    if rules is not None:
        yield from _left(path, rules)


def _keys(settings: Config) -> Iterator[Found]:
    """Look at the keys of a file that can be read; what is wrong with one that cannot has been said."""
    path = settings.data / "tidings.db"
    if not path.is_file():
        return
    with contextlib.suppress(Misconfigured, StoreUnavailable), contextlib.closing(SqliteReader(path)) as reader:
        yield doctor_access.keys(settings, reader.read(doctor_access.every_key), time.time_ns() // 1000)


def _left(path: Path, rules: RuleSet) -> Iterator[Found]:
    """Look for rules that are gone and have something waiting."""
    try:
        waiting = count_waiting(path, within=PATIENCE)
    except StoreUnavailable as fault:
        yield Found("waiting", "note", f"not counted: {fault}")
        return
    for rule, count in sorted(waiting.keys.items()):
        if rule not in rules.by_id:
            waits = "1 key rests" if count == 1 else f"{count} keys rest"
            yield Found(f"rule {rule}", "note", f"it left; {waits}", "put the rule back, if this was not meant")


def _disk(folder: Path) -> Found:
    free = shutil.disk_usage(folder).free
    state = "ok" if free >= LEAST_FREE else "wrong"
    mend = "" if state == "ok" else "make room: a full disk stops everything (nothing is lost)"
    return Found("disk", state, f"{free // 1024**2} MiB free", mend)


def _running(folder: Path) -> bool:
    """Return whether an engine answers on its socket."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(2)
            connection.connect(str(control.path_of(folder)))
    except OSError:
        return False
    return True


def _http(http: Http | None, *, running: bool) -> Found:
    """Listen where `run` would, and stop at once; while an engine runs, the place is its own."""
    if http is None:
        return Found("http", "note", "no [http]: health and metrics are served nowhere")
    place = f"http://{http.host}:{http.port}"
    if running:
        return Found("http", "ok", f"{place}, served by the running engine")
    from gateway.http.serve import listen

    try:
        listen(http.host, http.port).close()
    except Misconfigured as fault:
        mend = "name another port in [http], or end what listens there"
        return Found("http", "wrong", str(fault).removeprefix("[http] "), mend)
    return Found("http", "ok", f"{place} is free")
