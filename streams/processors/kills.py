"""What an operator stops, and how it goes on: kill, release, drop. Each a transaction that takes `CONTROLS` alone.

Dispatch and the intent (T3) share that lock and read `kills` under it, so after the answer to a kill no intent follows,
in whatever process. An intent that was committed before has `start_by`, five seconds at most after it, and no first
byte leaves later. A kill is a row: a restart finds it.

A drop cancels in pages while the kill still stands, and ends it in the transaction that finds nothing left: cut off
anywhere, it is still a kill, and is dropped once more. A kill is a scope and its instant: no act ends a later one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from streams.processors.deliver import end_kill, lock_people, page_of, wake
from streams.processors.dispatch import CONTROLS
from streams.processors.ground import audit
from tidings.event import Micros
from tidings.gates import GROUND
from tidings.message import message_row, read_message
from tidings.ports import Body, Delete, Exclude, Lock, Now, Put, Read, Row, Scan, Store, Transaction
from tidings.reasons import MessageState, Reason
from tidings.scopes import reaches_row

KILLED = "killed"
WAITING: tuple[MessageState, ...] = (MessageState.HELD, MessageState.PENDING, MessageState.CLAIMED)
PAGE = 500
"""Messages that are cancelled in one transaction; whoever dispatches waits for so long."""


@dataclass(frozen=True, slots=True)
class Kill:
    """What is stopped, since when, by whom, and why."""

    scope: str
    at: Micros
    by: str
    reason: str

    @property
    def is_ours(self) -> bool:
        """Whether an operator ends it; the ground's ends when what was sent is known (`tidings ground rebuild`)."""
        return self.scope != GROUND


def standing() -> Transaction[list[Kill]]:
    """Read what is stopped, the oldest first: a table of a few rows."""
    rows = yield Scan("kills")
    found = [Kill(row["scope"], row["at"], row["by"], row["reason"]) for row in rows if row["state"] == KILLED]
    return sorted(found, key=lambda one: (one.at, one.scope))


def kill(scope: str, by: str, reason: str = "") -> Body[Kill | None]:
    """Stop a scope: after the answer no intent follows. Its result: who had stopped it before; then nothing changes."""

    def body() -> Transaction[Kill | None]:
        yield Exclude(CONTROLS)
        before = (yield Read("kills", [(scope,)])).get((scope,))
        if before is not None:
            return Kill(scope, before["at"], before["by"], before["reason"])
        now = yield Now()
        yield Put("kills", [{"scope": scope, "state": KILLED, "at": now, "by": by, "reason": reason}])
        yield from audit("kill", by, {"scope": scope, "reason": reason})
        return None

    return body


def release(scope: str, by: str, reason: str = "", *, at: Micros | None = None, page: int = 1_000) -> Body[int | None]:
    """End a kill and wake the recipients whose messages it held; returns how many. None: nothing was stopped.

    `at`: of the kill that is meant; a later one of the same scope stays. None: whichever stands.
    """

    def body() -> Transaction[int | None]:
        yield Exclude(CONTROLS)
        if (yield from _since(scope, at)) is None:
            return None
        woken = yield from end_kill(scope, page)
        yield from audit("release", by, {"scope": scope, "reason": reason, "recipients": woken})
        return woken

    return body


async def drop(store: Store, scope: str, by: str, reason: str, *, at: Micros | None = None) -> int | None:
    """End a kill and cancel what waits to leave in its scope; returns how many. None: nothing was stopped.

    What waits for a reason of its own, as quiet hours, was not stopped by the kill, and stays. Where somebody ends the
    kill meanwhile, the drop ends with it: a later kill of the same scope is another one. `at` as for `release`. On a
    cluster the store is one that tells (`streams.processors.outcomes`).
    """
    since = await store.run(_begin_drop(scope, by, reason, at))
    if since is None:
        return None
    act = _Drop(scope, since, by, reason)
    count = 0
    for state in WAITING:
        last: Micros | None = None
        while True:
            done = await store.run(_drop_page(act, state, last, count))
            if done is None:
                return count or None
            more, last = done
            count += more
            if last is None:
                break
    ended = await store.run(_end_drop(act, count))
    return count or None if ended is None else count + ended


@dataclass(frozen=True, slots=True)
class _Drop:
    """A drop of one kill: that which stands since `at`."""

    scope: str
    at: Micros
    by: str
    reason: str

    def audit(self, verb: str, count: int) -> Transaction[None]:
        return audit(verb, self.by, {"scope": self.scope, "reason": self.reason, "cancelled": count})

    def has_ended(self, count: int) -> Transaction[bool]:
        """Say whether somebody has ended the kill, and write down how far the drop came."""
        if (yield from _since(self.scope, self.at)) is not None:
            return False
        yield from self.audit("drop cut", count)
        return True


def _since(scope: str, at: Micros | None) -> Transaction[Micros | None]:
    """Read since when a scope is stopped; None: it is not, or not by the kill of `at`."""
    row = (yield Read("kills", [(scope,)])).get((scope,))
    return None if row is None or at not in (None, row["at"]) else row["at"]


def _begin_drop(scope: str, by: str, reason: str, at: Micros | None) -> Body[Micros | None]:
    """Write down that a drop begins, before it cancels anything; returns which kill it is of."""

    def body() -> Transaction[Micros | None]:
        yield Exclude(CONTROLS)
        since = yield from _since(scope, at)
        if since is not None:
            yield from audit("drop begun", by, {"scope": scope, "reason": reason})
        return since

    return body


def _drop_page(
    act: _Drop, state: MessageState, above: Micros | None, count: int
) -> Body[tuple[int, Micros | None] | None]:
    """Cancel a page of what waits; None: the kill has ended."""

    def body() -> Transaction[tuple[int, Micros | None] | None]:
        yield Exclude(CONTROLS)
        if (yield from act.has_ended(count)):
            return None
        rows, last = yield from page_of(str(state), above, PAGE)
        return (yield from _cancel(act.scope, rows)), last

    return body


def _end_drop(act: _Drop, count: int) -> Body[int | None]:
    """Cancel what has come meanwhile, and end the kill in the same transaction."""

    def body() -> Transaction[int | None]:
        yield Exclude(CONTROLS)
        if (yield from act.has_ended(count)):
            return None
        found: list[Row] = []
        for state in WAITING:
            last: Micros | None = None
            while True:
                rows, last = yield from page_of(str(state), last, PAGE)
                found += [row for row in rows if _is_stopped(act.scope, row)]
                if last is None:
                    break
        more = yield from _cancel(act.scope, found)
        yield Delete("kills", [(act.scope,)])
        yield from act.audit("drop", count + more)
        return more

    return body


def _cancel(scope: str, rows: Sequence[Row]) -> Transaction[int]:
    found = [row for row in rows if _is_stopped(scope, row)]
    if not found:
        return 0
    held = yield from lock_people(sorted({(row["tenant"], row["recipient"]) for row in found}))
    locked = yield Lock("messages", sorted((row["message_id"],) for row in found))
    ended = [
        read_message(row).ended(MessageState.CANCELLED, Reason.KILLED)
        for row in locked.values()
        if row is not None and _is_stopped(scope, row)
    ]
    if ended:
        yield Put("messages", [message_row(message) for message in ended])
        yield from wake(ended, held)
    return len(ended)


def _is_stopped(scope: str, row: Row) -> bool:
    """Return whether a message waits to leave, and the kill is what keeps it, or will when its turn comes."""
    state = row["state"]
    waits = row["reason"] == Reason.KILLED if state == MessageState.HELD else state in WAITING
    return waits and reaches_row(scope, row)
