"""`tidings doctor`: what waits for a person: standing kills, dead letters. Notes, as nothing of it is broken."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gateway.cli.found import Found
from gateway.stopping import waits_in_words
from streams.processors import kills
from streams.processors.kills import Kill
from streams.stores.counts import Unsent
from streams.wording import moment
from tidings.ports import Row, Scan, Transaction
from tidings.scopes import said
from tidings.tables import TABLES

STOPPED, LETTERS = "stopped", "dead letters"
PAGE = 500
PAGES = 20
"""Of dead letters that are looked at, those that are mended among them."""


def waiting_for_people() -> Transaction[tuple[list[Kill], int, bool]]:
    """Read what is stopped, how many dead letters wait, and whether all were looked at."""
    standing = yield from kills.standing()
    found: set[tuple[str, int, int]] = set()
    after, rows = None, list[Row]()
    for _ in range(PAGES):
        rows = yield Scan("dead_letters", after=after, limit=PAGE)
        # One that several readers could not read is one.
        found |= {
            (row["topic"], row["partition"], row["offset"])
            for row in rows
            if row["redriven_at"] is None and row["aside_at"] is None
        }
        if len(rows) < PAGE:
            break
        after = tuple(rows[-1][name] for name in TABLES["dead_letters"].key_names)
    return standing, len(found), len(rows) < PAGE


def waits(standing: Sequence[Kill], counts: Unsent | None, letters: int, *, whole: bool) -> Iterator[Found]:
    """Yield a note of each."""
    for one in standing:
        why = f": {one.reason}" if one.reason else ""
        held = waits_in_words(None if counts is None else counts.of(one.scope))
        says = f"{said(one.scope)}, by {one.by} since {moment(one.at)}{why}; {held}"
        yield Found(
            STOPPED, "note", says, "'tidings release' lets it go on, 'tidings drop' cancels it; docs/stopping.md"
        )
    if letters:
        least = "" if whole else "at least "
        says = f"{least}{letters:,} {'waits' if letters == 1 else 'wait'} for a person"
        yield Found(LETTERS, "note", says, "'tidings dead-letters list' says why each could not be used")
