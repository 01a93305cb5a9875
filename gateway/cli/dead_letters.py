"""`tidings dead-letters`: what could not be read, and a second try for what can be read now."""

from __future__ import annotations

import asyncio
import json
from argparse import Namespace
from collections import Counter
from collections.abc import Sequence
from difflib import get_close_matches
from textwrap import shorten
from typing import Any

from gateway.cli.beside import Reader, beside
from gateway.cli.ingest import mapped
from gateway.cli.installation import Installation, looked_at
from gateway.cli.told import Told
from gateway.letters import INGESTED, Again, again_of, place_of
from handlers.rules.load import load
from schemas import contracts
from streams.embedded_log import read_record
from streams.json_events import rfc3339
from streams.processors.detect import EPOCH
from streams.redrive import Redriven
from streams.wording import counted
from tidings import canonical
from tidings.ports import Read, Row, Scan, Transaction
from tidings.rule import RuleSet
from tidings.scopes import read_reason

PATIENCE = 20.0
DETAIL = 160
"""Characters of a detail in a list; `show` gives all of it."""
MAX_LINES, MAX_TEXT = 40, 4000
"""Of a value that is text."""


def key_of(row: Row) -> tuple[str, str, int, int]:
    """Return the key of a dead letter's row."""
    return (row["reader"], row["topic"], row["partition"], row["offset"])


def every_letter() -> Transaction[list[Row]]:
    """Read every dead letter once, the oldest first; one that two readers could not read is one."""
    found: dict[str, Row] = {}
    rows = yield Scan("dead_letters")
    for row in sorted(rows, key=lambda row: (row["appended_at"], place_of(row), row["reader"])):
        found.setdefault(place_of(row), row)
    return list(found.values())


def listing(arguments: Namespace) -> int:
    """`tidings dead-letters list`."""
    with beside(arguments) as reader:
        every = reader.read(every_letter)
    letters = [row for row in every if arguments.reason in (None, row["reason"])]
    if arguments.json:
        print(json.dumps([_plain(row) for row in letters]))
        return 0
    for row in letters:
        again = (
            "  (redriven)" if row["redriven_at"] is not None else "  (set aside)" if row["aside_at"] is not None else ""
        )
        detail = shorten(row["detail"], DETAIL, placeholder=" …")
        print(f"{rfc3339(row['appended_at'])[:19]}Z  {place_of(row)}  {row['reason']}: {detail}{again}")
    print(_sum(letters, every, arguments.reason))
    return 0


def _sum(letters: Sequence[Row], every: Sequence[Row], reason: str | None) -> str:
    counts = Counter(row["reason"] for row in every)
    if reason is not None and every and not letters:
        near = get_close_matches(reason, counts, 1)
        hint = f"; did you mean '{near[0]}'?" if near else f"; the reasons are {', '.join(sorted(counts))}"
        return f"none of {counted(len(every), 'dead letter')} has the reason '{reason}'{hint}"
    if not letters:
        return "0 dead letters; everything could be read"
    reasons = ", ".join(f"{number} {name}" for name, number in sorted(counts.items()) if reason in (None, name))
    return f"{counted(len(letters), 'dead letter')}: {reasons}"


def show(arguments: Namespace) -> int:
    """`tidings dead-letters show PLACE`."""
    with beside(arguments) as reader:
        (row,) = _named(reader.read(every_letter), [arguments.place])
    if arguments.json:
        print(json.dumps(_plain(row)))
        return 0
    value = row["value"] or b""
    print(f"{place_of(row)}\n  reason    {row['reason']}: {row['detail']}\n  appended  {rfc3339(row['appended_at'])}")
    if row["redriven_at"] is not None:
        print(f"  redriven  {rfc3339(row['redriven_at'])}")
    if row["topic"].startswith(INGESTED):
        # A payload that never became a record has no key and no schema: its key is the name of its file.
        print(f"  file      {_shown(row['key'])}")
    else:
        schema = row["schema_id"] if row["schema_id"] is not None else "not known"
        print(f"  read by   {row['reader']}\n  schema    {schema}\n  key       {_shown(row['key'])}")
    print(f"  value     {counted(len(value), 'byte')}")
    lines = _text(value) or _dump(value)
    print("\n".join(f"    {line}" for line in lines))
    return 0


def _text(value: bytes) -> list[str]:
    """Return the lines of a value that is text, as many as a person reads; none where it is something else."""
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        return []
    if not all(one.isprintable() or one in "\n\r\t" for one in text):
        return []
    lines = text[:MAX_TEXT].expandtabs(2).splitlines()
    more = len(lines) > MAX_LINES or len(text) > MAX_TEXT
    return [*lines[:MAX_LINES], *(["… more; --json gives all of it"] if more else [])]


def _dump(value: bytes) -> list[str]:
    """Return a value as hexadecimal digits and letters."""
    lines = []
    for start in range(0, min(len(value), 256), 16):
        part = value[start : start + 16]
        letters = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)  # noqa: PLR2004 - printable ASCII
        lines.append(f"{start:04x}  {part.hex(' '):47}  {letters}")
    if len(value) > 256:  # noqa: PLR2004 - what is shown
        lines.append(f"… {len(value) - 256} more; --json gives all of them")
    return lines


def _shown(raw: bytes | None) -> str:
    return "missing" if raw is None else raw[:80].decode("utf-8", "backslashreplace").encode("unicode_escape").decode()


def _plain(row: Row) -> dict[str, Any]:
    at = row["redriven_at"]
    return {
        "place": place_of(row), "reason": row["reason"], "detail": row["detail"], "reader": row["reader"],
        "appended_at": rfc3339(row["appended_at"]), "schema_id": row["schema_id"],
        "key_hex": None if row["key"] is None else row["key"].hex(),
        "value_hex": None if row["value"] is None else row["value"].hex(),
        "redriven_at": None if at is None else rfc3339(at),
        "aside_at": None if row["aside_at"] is None else rfc3339(row["aside_at"]),
    }  # fmt: skip


def _named(letters: Sequence[Row], places: Sequence[str]) -> list[Row]:
    known = {place_of(row): row for row in letters}
    for place in places:
        if place not in known:
            text = f"there is no dead letter {place!r}; 'tidings dead-letters list' names them"
            raise Told(text)
    return [known[place] for place in dict.fromkeys(places)]


def redrive(arguments: Namespace) -> int:
    """`tidings dead-letters redrive`: propose by default; with `--confirm` it is new intake."""
    return asyncio.run(_redrive(arguments))


async def _redrive(arguments: Namespace) -> int:
    async with looked_at(arguments) as there:
        again = await _chosen(arguments, there)
        readable = [one for one in again if one.appends]
        if not readable:
            print("nothing to redrive")
            return 0 if not again else 1
        if not arguments.confirm:
            print("\nIf you confirm, this is what happens (tried beside the store; nobody was told):\n")
            _, lines = await there.preview([one for each in readable for one in each.appends], set())
            print("\n".join(lines) or "no rule has anything to say about it")
            print("\nNothing was sent. Add --confirm to do it.")
            return 0
    count, who = await there.redrive([Redriven(key_of(one.row), one.appends) for one in readable])
    print(f"{count} redriven; {who}")
    return 0


def aside(arguments: Namespace) -> int:
    """`tidings dead-letters set-aside`."""
    try:
        reason = read_reason(arguments.reason)
    except ValueError as fault:
        raise Told(str(fault)) from None
    return asyncio.run(_aside(arguments, reason))


async def _aside(arguments: Namespace, reason: str) -> int:
    async with looked_at(arguments) as there:
        named = set(map(place_of, _named(await there.reader.read(every_letter), arguments.places)))
        rows = await there.reader.read(_rows)
        # A record that two readers could not read is one letter, and goes with both.
        count = await there.set_aside([key_of(row) for row in rows if place_of(row) in named], reason)
    print(f"{counted(count, 'dead letter')} set aside; whoever names one redrives it all the same")
    return 0


def _rows() -> Transaction[list[Row]]:
    return (yield Scan("dead_letters"))  # type: ignore[no-any-return]


async def _chosen(arguments: Namespace, there: Installation) -> list[Again]:
    """Return the letters that were named, or all; say of each what it is now."""
    letters = await there.reader.read(every_letter)
    chosen = _named(letters, arguments.places) if arguments.places else letters
    for row in chosen if arguments.places else ():
        if row["redriven_at"] is not None:
            print(f"{place_of(row)}  already redriven at {rfc3339(row['redriven_at'])}")
    for row in chosen if arguments.places else ():
        if row["aside_at"] is not None:
            print(
                f"{place_of(row)}  set aside at {rfc3339(row['aside_at'])}; it is tried all the same, for it was named"
            )
    chosen = [row for row in chosen if row["redriven_at"] is None and (arguments.places or row["aside_at"] is None)]
    foreign = any(row["topic"].startswith(INGESTED) for row in chosen)
    rules = None if there.settings is None else there.settings.rules
    mapping = mapped(arguments.mapping, rules) if foreign else None
    await there.codec.ready(read_record(row) for row in chosen if row["value"] is not None)
    await there.codec.enlist()
    again = [again_of(there.codec, row, mapping, there.clock()) for row in chosen]
    for one in again:
        events = counted(len(one.appends), "event")
        what = f"still cannot be read: {one.fault}" if one.fault else f"can be read: {events}"
        print(f"{place_of(one.row)}  {what}")
    return again


def active_rules(reader: Reader) -> tuple[RuleSet, dict[str, bytes], dict[str, str]]:
    """Return the rule set that is active in a file, with its texts."""

    def body() -> Transaction[bytes]:
        rows = yield Read("epochs", [(EPOCH,)])
        if not rows:
            raise Told(f"no rules are active in {reader.name} yet")
        name = rows[EPOCH,]["value"]
        return bytes((yield Read("rule_sets", [(name,)]))[name,]["body"])

    sources = canonical.loads(reader.read(body))
    files = {name: text.encode() for name, text in sources["files"].items()}
    found = load(files, sources["templates"], contracts().by_type)
    if found.rules is None:
        raise Told("the active rules do not load with this version:\n" + "\n".join(str(one) for one in found.errors))
    return found.rules, files, sources["templates"]
