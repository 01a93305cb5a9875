"""What an operator stops, and how it goes on: kill, release, drop.

Dispatch and the intent (T3) share `CONTROLS` and read `kills` under it, which a kill takes alone: after the answer to a
kill no intent follows, in whatever process. An intent that was committed before has `start_by`, five seconds at most
after it, and no first byte leaves later. A kill is a row: a restart finds it. It is a scope and its instant: no act
ends a later one. What becomes of the messages of one that ends: `endings`.
"""

from __future__ import annotations

from dataclasses import dataclass

from streams.processors import endings
from streams.processors.audit import audit
from streams.processors.dispatch import CONTROLS
from streams.processors.endings import DROP, RELEASE, Ending
from tidings.event import Micros
from tidings.gates import GROUND
from tidings.ports import Body, Exclude, Now, Put, Read, Scan, Store, Transaction

KILLED = "killed"


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
        # Another one than those of the scope that are ending, however the clock runs.
        ending = [row["at"] + 1 for row in (yield Scan("endings")) if row["scope"] == scope]
        at = max([(yield Now()), *ending])
        yield Put("kills", [{"scope": scope, "state": KILLED, "at": at, "by": by, "reason": reason}])
        yield from audit("kill", by, {"scope": scope, "reason": reason})
        return None

    return body


async def release(
    store: Store,
    scope: str,
    by: str,
    reason: str = "",
    *,
    at: Micros | None = None,
    total: int | None = None,
    patience: float | None = None,
) -> Ending | None:
    """End a kill and let go on what it held; returns how far that has come. None: nothing was stopped.

    `at`: of the kill that is meant; a later one of the same scope stays. None: whichever stands. `total`: how much waits.
    After `patience` seconds it is left to whoever runs; None: until it is over.
    """
    ending = await store.run(endings.end(RELEASE, scope, by, reason, at=at, total=total), urgent=True)
    return None if ending is None else await endings.finish(store, ending, patience=patience)


async def drop(
    store: Store,
    scope: str,
    by: str,
    reason: str,
    *,
    at: Micros | None = None,
    total: int | None = None,
    patience: float | None = None,
) -> Ending | None:
    """End a kill and cancel what waits to leave in its scope; as `release`.

    What waits for a reason of its own, as quiet hours, was not stopped by the kill, and stays. On a cluster the store is
    one that tells (`streams.processors.outcomes`).
    """
    ending = await store.run(endings.end(DROP, scope, by, reason, at=at, total=total), urgent=True)
    return None if ending is None else await endings.finish(store, ending, patience=patience)
