"""How a stop ends: its messages go on (release) or are cancelled (drop), in pages, whoever runs.

The end is durable first: one transaction takes the kill away and leaves a row in `endings`, with how far it has come.
Then page after page of what waits, each a transaction of its own; killed anywhere, the next who runs goes on, and a
page that comes twice does nothing twice. A later kill of the scope is a row of its own, and stands.

A release wakes recipients; what leaves is said by the gates, so what another kill covers stays. A drop goes on to hold
what was there when it was asked (`DROPPING`, read by claim, dispatch and intent) until a page has cancelled it; what is
decided from then on leaves as ever. What was first is said by the number of the drop, which `CONTROLS` orders, and by no
clock. It misses none that waited: what is pending is claimed no more, and who had claimed it by then gives it back to be
pending, or is told by the intent to hold it, which are looked through afterwards. What came to be held meanwhile, as its
quiet hours were over, is woken at last. What was with a provider, and comes back behind that, is outside the drop.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from streams.processors.audit import audit
from streams.processors.deliver import lock_people, wake
from streams.processors.dispatch import CONTROLS, Drops, active_kills, read_drops, write_drops
from tidings.dispatch import Outside, is_before
from tidings.event import MINUTE, SECOND, Micros
from tidings.gates import GROUND
from tidings.message import message_row, read_message
from tidings.ports import Body, Delete, Exclude, Find, Insert, Lock, Now, Put, Read, Row, Scan, Store, Transaction
from tidings.reasons import MessageState, Reason
from tidings.scopes import reaches_row

RELEASE, DROP = "release", "drop"
ENDINGS = "endings"
"""Named lock under which a page is done: one at a time. Taken before `CONTROLS`, where both are."""
PAGE = 500
"""Messages that are looked at in one transaction; whoever waits for one of their recipients waits for so long."""
MOVES = ("sweep", "due_at", "after_at", "after_id", "done", "kept")
"""Columns of the row that a page changes."""
CANCEL, WAKE = "cancel", "wake"
SWEEPS: dict[str, tuple[tuple[MessageState, str], ...]] = {
    RELEASE: ((MessageState.HELD, WAKE),),
    DROP: (
        (MessageState.PENDING, CANCEL), (MessageState.CLAIMED, CANCEL), (MessageState.PENDING, CANCEL),
        (MessageState.HELD, CANCEL), (MessageState.HELD, WAKE),
    ),
}  # fmt: skip
"""The states that are gone through one after another, and what is done with what is found there."""
PATIENCE = 2.0
"""Seconds that whoever asks waits for the end; then it is left to whoever runs."""
ROUND = 5.0
"""Seconds for which whoever runs goes on with one, before it looks for others."""
TAKEN: Micros = 2 * SECOND
"""So long after a page somebody is at it, and nobody else waits for the lock to do the next."""
SHOWN: Micros = 3 * MINUTE
"""How long the row of one that is over stays, for whoever waits for it."""


@dataclass(frozen=True, slots=True)
class Ending:
    """A stop that ends: which kill, how, and how far it has come."""

    scope: str
    at: Micros
    """Of the kill."""
    verb: str
    begun_at: Micros
    by: str
    reason: str
    done: int
    """Messages that go on, or were cancelled."""
    kept: int
    """Of those to be released: what another kill keeps."""
    total: int | None
    """Messages that waited when it began; None: nobody could count them in time."""
    is_over: bool
    """Whether every message has had its turn."""


def begun() -> Transaction[list[Ending]]:
    """Read which stops are ending, the oldest first."""
    found = [_read(row) for row in (yield Scan("endings"))]
    return sorted((one for one in found if not one.is_over), key=lambda one: (one.begun_at, one.scope))


def begin(verb: str, row: Row, by: str, reason: str, total: int | None = None) -> Transaction[Ending]:
    """Take a kill away and let it end, under `ENDINGS` and `CONTROLS`."""
    now = yield Now()
    ending = {
        "scope": row["scope"], "at": row["at"], "verb": verb, "begun_at": now, "by": by, "reason": reason,
        "sweep": 0, "due_at": 0, "after_at": None, "after_id": None, "done": 0, "kept": 0, "total": total,
    }  # fmt: skip
    yield Delete("kills", [(row["scope"],)])
    yield Insert("endings", [ending])
    if verb == DROP:
        drops = yield from read_drops()
        number = drops.last + 1
        yield from write_drops(Drops(number, {**drops.of, (row["scope"], row["at"]): number}))
    return _read(ending)


def end(
    verb: str, scope: str, by: str, reason: str, *, at: Micros | None = None, total: int | None = None
) -> Body[Ending | None]:
    """Return the body that begins to end a kill, or finds that it does already; None: nothing is stopped, or is ending."""

    def body() -> Transaction[Ending | None]:
        yield Exclude(ENDINGS)
        yield Exclude(CONTROLS)
        row = (yield Read("kills", [(scope,)])).get((scope,))
        if row is None or at not in (None, row["at"]):
            found = [one for one in (yield from begun()) if (one.scope, one.verb) == (scope, verb)]
            return next((one for one in found if at in (None, one.at)), None)
        ending = yield from begin(verb, row, by, reason, total)
        yield from audit(f"{verb} begun", by, {"scope": scope, "reason": reason, "waiting": total})
        return ending

    return body


def page(scope: str, at: Micros, *, idle: bool = False, size: int | None = None) -> Body[Ending | None]:
    """Return the body that does the next page of an ending; None: it is gone, or with `idle` somebody is at it."""

    def body() -> Transaction[Ending | None]:
        yield Exclude(ENDINGS)
        row = (yield Read("endings", [(scope, at)])).get((scope, at))
        now = yield Now()
        if row is None or (idle and _is_taken(row, now)):
            return None
        if _is_over(row):
            if _is_taken(row, now):
                return _read(row)
            yield Delete("endings", [(scope, at)])
            return None
        state, act = SWEEPS[row["verb"]][row["sweep"]]
        if (row["verb"], act) == (DROP, WAKE):
            yield from _stop_holding(row)
        after = None if row["after_at"] is None else (row["after_at"], row["after_id"])
        limit = PAGE if size is None else size
        rows = yield Find("messages", "by_work", (str(state),), limit=limit, after=after)
        row = dict(row)
        mine = [one for one in rows if is_stopped(scope, one)]
        yield from (_cancel(row, mine) if act == CANCEL else _release(row, mine, now))
        if len(rows) == limit:
            row |= {"after_at": rows[-1]["due_at"], "after_id": rows[-1]["message_id"]}
        else:
            row |= {"sweep": row["sweep"] + 1, "after_at": None, "after_id": None}
        row["due_at"] = now + (SHOWN if _is_over(row) else TAKEN)
        if _is_over(row):
            yield from _tell(row)
        yield Put("endings", [row], only=MOVES)
        return _read(row)

    return body


async def finish(store: Store, ending: Ending, *, patience: float | None = None) -> Ending:
    """Do an ending's pages until it is over, or for `patience` seconds; return how far it has come."""
    until = None if patience is None else time.monotonic() + patience
    while not ending.is_over and (until is None or time.monotonic() < until):
        later = await store.run(page(ending.scope, ending.at))
        if later is None:
            break  # somebody else has done the rest
        ending = later
    return ending


async def go_on(store: Store, *, patience: float = ROUND, size: int | None = None) -> bool:
    """Go on for a while with everything that ends and that nobody is at; say whether there was anything."""
    due = await store.read(_due)
    for scope, at in due:
        taken = await store.run(page(scope, at, idle=True, size=size))
        if taken is not None:
            await finish(store, taken, patience=patience)
    return bool(due)


def _due() -> Transaction[list[tuple[str, Micros]]]:
    rows = yield Scan("endings")
    now = yield Now()
    return [(row["scope"], row["at"]) for row in rows if not _is_taken(row, now)]


def _is_taken(row: Row, now: Micros) -> bool:
    """Return whether somebody is at it, or its row is still shown. Further ahead than that was a clock that is wrong."""
    return bool(0 < row["due_at"] - now <= (SHOWN if _is_over(row) else TAKEN))


def _is_over(row: Row) -> bool:
    return bool(row["sweep"] >= len(SWEEPS[row["verb"]]))


def _tell(row: Row) -> Transaction[None]:
    """Write down how it ended."""
    said = {"scope": row["scope"], "reason": row["reason"]}
    if row["verb"] == DROP:
        yield from audit(DROP, row["by"], {**said, "cancelled": row["done"]})
    elif row["scope"] != GROUND:  # whose release has been written down
        yield from audit(RELEASE, row["by"], {**said, "messages": row["done"], "kept": row["kept"]})


def _release(row: Row, mine: Sequence[Row], now: Micros) -> Transaction[None]:
    """Let dispatch look again at whose messages the kill held."""
    free = yield from _uncovered(mine)
    held = yield from lock_people(_people(free))
    yield from _wake(_people(free), held, now)
    if row["verb"] == RELEASE:
        row["done"] += len(free)
        row["kept"] += len(mine) - len(free)


def _cancel(row: Row, mine: Sequence[Row]) -> Transaction[None]:
    """Cancel what was there when the drop was asked."""
    number = (yield from read_drops()).of[row["scope"], row["at"]]
    old = [one for one in mine if is_before(read_message(one), number)]
    if not old:
        return
    held = yield from lock_people(_people(old))
    locked = yield Lock("messages", sorted((one["message_id"],) for one in old))
    ended = [
        read_message(one).ended(MessageState.CANCELLED, Reason.KILLED)
        for one in locked.values()
        if one is not None and is_stopped(row["scope"], one)
    ]
    if ended:
        yield Put("messages", [message_row(message) for message in ended])
        yield from wake(ended, held)
    row["done"] += len(ended)


def _uncovered(rows: Sequence[Row]) -> Transaction[list[Row]]:
    """Return what no kill covers, and no drop.

    A release beside us goes through them itself: its kill's row is gone before it begins. A drop does so too, but holds
    what it is about until then.
    """
    if not rows:
        return []
    outside = Outside(kills=(yield from active_kills()), dropping=(yield from read_drops()).scopes)
    return [row for row in rows if not any(reaches_row(scope, row) for scope in outside.kills_of(read_message(row)))]


def _people(rows: Sequence[Row]) -> list[tuple[str, str]]:
    return sorted({(row["tenant"], row["recipient"]) for row in rows})


def _wake(whom: Sequence[tuple[str, str]], held: dict[tuple[str, ...], Row | None], now: Micros) -> Transaction[None]:
    asleep = [row for who in whom if (row := held[who]) and (row["next_at"] is None or row["next_at"] > now)]
    if asleep:
        yield Put("recipients", [{**row, "next_at": now} for row in asleep])


def is_stopped(scope: str, row: Row) -> bool:
    """Return whether a message waits to leave, and a kill of the scope is what keeps it, or would when its turn comes."""
    killed = row["state"] == MessageState.HELD and row["reason"] == Reason.KILLED
    waits: bool = killed or row["state"] in (MessageState.PENDING, MessageState.CLAIMED)
    return waits and reaches_row(scope, row)


def _stop_holding(row: Row) -> Transaction[None]:
    """Let a drop hold nothing any more, before what it held last is looked for.

    Alone: whoever holds something because of it has done so, and is seen, or reads that it is over. Before people are
    locked, for the intent locks them under `CONTROLS`.
    """
    if (row["scope"], row["at"]) in (yield from read_drops()).of:
        yield Exclude(CONTROLS)
        drops = yield from read_drops()
        mine = (row["scope"], row["at"])
        yield from write_drops(Drops(drops.last, {one: number for one, number in drops.of.items() if one != mine}))


def _read(row: Row) -> Ending:
    return Ending(
        row["scope"], row["at"], row["verb"], row["begun_at"], row["by"], row["reason"], row["done"], row["kept"],
        row["total"], _is_over(row),
    )  # fmt: skip
