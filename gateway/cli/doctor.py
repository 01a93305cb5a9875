"""`tidings doctor`: what is missing or wrong, and how to mend it. It changes nothing and sends nothing."""

from __future__ import annotations

import json
import os
import shutil
import socket
from argparse import Namespace
from collections.abc import Iterator

from gateway import config
from gateway.cli.doctor_ways import ways
from gateway.cli.folder import read_rules
from gateway.cli.found import Found
from gateway.cli.run import report_of
from gateway.cli.told import Told
from gateway.config import Config
from handlers.rules.load import load
from schemas import contracts
from streams import control
from streams.stores.sqlite import SqliteReader
from tidings.errors import Misconfigured
from tidings.ports import Read, Transaction
from tidings.rule import RuleSet

LEAST_FREE = 512 * 1024 * 1024


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
    rules, found = _rules(settings)
    yield from found
    yield from _file(settings)
    yield from _disk(settings)
    yield from _engine(settings)
    yield from ways(settings, rules)


def _rules(settings: Config) -> tuple[RuleSet | None, list[Found]]:
    try:
        files, texts = read_rules(settings.rules)
    except (Told, OSError) as fault:
        mend = "name the folder with rules/ and templates/ as 'rules' in the configuration"
        return None, [Found("rules", "wrong", str(fault), mend)]
    loaded = load(files, texts, contracts().by_type)
    if loaded.rules is None:
        text = "\n".join(str(one) for one in loaded.errors)
        return None, [Found("rules", "wrong", text, "mend them; the last good ones stay in use")]
    live = sum(rule.status == "live" for rule in loaded.rules.rules)
    found = [Found("rules", "ok", f"{len(loaded.rules.rules)} rules, {live} of them live")]
    if report_of(settings.data).is_file():
        why = json.loads(report_of(settings.data).read_text("utf-8"))["why"]
        text = "the edited rules are not in use:\n" + "\n".join(why)
        found.append(Found("rules in use", "wrong", text, "mend them and save again"))
    return loaded.rules, found


def _file(settings: Config) -> Iterator[Found]:
    path = settings.data / "tidings.db"
    if not path.is_file():
        above = next(folder for folder in (settings.data, *settings.data.parents) if folder.exists())
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
