"""Liveness and readiness that mean progress: which loop stands since when; whether what comes in can go out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from gateway.access.keys import UNPROVEN, Keys
from gateway.http.look import Asked, Look, Progress, held_back, look, ways_of
from gateway.logs import cause_of
from streams.processors.detect import READER
from tidings.event import SECOND, Micros
from tidings.gates import GROUND
from tidings.ports import Now, Put, StoreUnavailable, Transaction

T = TypeVar("T")

PATIENCE = 0.8
"""Seconds for which an answer waits for the store: the whole answer stays below one."""
KEEP = 0.5
"""Seconds for which an answer of the store is given again, so that nobody can make it work by asking often."""
PROBE = "readyz"
"""The row of `epochs` that readiness writes: when it did so last."""


@dataclass(frozen=True)
class Limits:
    """From where on something is wrong."""

    round: float = 30.0
    """Seconds for one round of a loop."""
    rounds: Mapping[str, float] = field(
        default_factory=lambda: {"deliver": 450.0, "reconcile": 450.0, "relay": 150.0, "intake": 60.0}
    )
    """By the first word of a loop's name, where another figure counts: one delivery may take a lease, which is 6 min for SMTP;
    `intake` stands since a worker has unread records and commits no batch."""
    untaken: int = 50_000
    """Records that detection has not taken: some seconds of work."""
    waits: Micros = 300 * SECOND
    """How long what is due may wait: a backlog of ten minutes has to be gone in five (`delivery.md`)."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    state: str
    """`ok`, `note`, `wrong`"""
    says: str


def body_of(verdict: str, checks: list[Check]) -> tuple[int, dict[str, Any]]:
    """Return status and JSON of some checks: 503 if one of them is wrong."""
    wrong = any(check.state == "wrong" for check in checks)
    rows = [{"name": check.name, "state": check.state, "says": check.says} for check in checks]
    return 503 if wrong else 200, {verdict: not wrong, "checks": rows}


def alive(engine: Progress, limits: Limits, now: float | None = None) -> list[Check]:
    """Return a check for every loop. Asks nobody: a store that is away is no reason to be restarted."""
    now = time.monotonic() if now is None else now
    checks = []
    for name, since in sorted(engine.progress.items()):
        most, age = limits.rounds.get(name.partition(" ")[0], limits.round), max(0.0, now - since)
        says = f"last round {age:.1f} s ago"
        if age > most:
            says = f"stands since {age:.0f} s; a round takes {most:g} s at most"
        checks.append(Check(name, "wrong" if age > most else "ok", says))
    if not checks:
        checks.append(Check("loops", "wrong", "none has begun"))
    try:
        engine.check()
    except BaseException as fault:  # noqa: BLE001 - whatever it was, it ended a loop
        # The type only: the text of an exception may hold what a record holds.
        checks.append(Check("loops", "wrong", f"one has ended with {type(fault).__name__}; the log says more"))
    return checks


class Readiness:
    """Asks the store, with deadlines."""

    def __init__(
        self, engine: Progress, limits: Limits, refused: Callable[[], bool], keys: Keys | None = None, speed: int = 1
    ) -> None:  # fmt: skip
        self.engine = engine
        self.limits = limits
        self.refused = refused
        self.dead = Asked(_no if keys is None else keys.are_dead, patience=PATIENCE, keep=KEEP)
        self.look = Asked(
            lambda: engine.store.read(look(engine.rules, speed, held_back(engine))), patience=PATIENCE, keep=KEEP
        )
        self.commit = Asked(lambda: engine.store.run(_probe, urgent=True), patience=PATIENCE, keep=KEEP)

    async def __call__(self) -> list[Check]:
        """Return every check, within a second."""
        committed, seen, dead = await asyncio.gather(_tried(self.commit()), _tried(self.look()), _tried(self.dead()))
        checks = [Check("store", *_stored(committed))]
        if not isinstance(seen, Look):
            return [*checks, Check("work", "wrong", f"the store cannot be read: {_why(seen)}")]
        looked = [self._rules(seen), self._lag(seen), self._due(seen), _sending(seen)]
        checks += [check for check in looked if check.name in self.engine.concerns]
        if dead is True:
            checks.append(Check("keys", "wrong", f"{UNPROVEN}; set secret_key"))
        if self.engine.skews:
            why = self.engine.halted
            checks.append(Check("clock", "wrong" if why else "ok", why or "agrees with the others"))
        return checks

    def _rules(self, seen: Look) -> Check:
        rules = self.engine.rules
        if seen.active is None:
            return Check("rules", "wrong", "no rule set is active")
        says = f"{len(rules.active)} rules decide, set {seen.active[:12]}"
        if self.refused():
            return Check("rules", "note", f"{says}; an edited set was refused, and this last good one stays")
        return Check("rules", "ok" if rules.active else "note", says)

    def _lag(self, seen: Look) -> Check:
        lags = seen.lag or self.engine.lags
        untaken = sum(count for (reader, _), count in lags.items() if reader == READER)
        wrong = untaken > self.limits.untaken
        limit = f"; the limit is {self.limits.untaken}" if wrong else ""
        return Check("detection", "wrong" if wrong else "ok", f"{untaken} records not taken{limit}")

    def _due(self, seen: Look) -> Check:
        away = "".join(f"; {one}" for one in away_of(self.engine, seen.now, seen.speed))
        if not seen.due:
            return Check("deliveries", "note" if seen.again or away else "ok", f"nothing is due{_again(seen)}{away}")
        what = min(seen.due, key=lambda one: seen.due[one])
        says = f"the first {what} that is due waits since {seen.waits / SECOND:.1f} s{_again(seen)}{away}"
        if seen.stands > self.limits.waits:
            return Check("deliveries", "wrong", f"{says}; the limit is {self.limits.waits / SECOND:g} s")
        # What waits for a provider that is away leaves by itself; a process that says so works.
        return Check("deliveries", "note" if away else "ok", says)


def away_of(engine: object, now: Micros, speed: int = 1) -> list[str]:
    """Say of each provider that messages are held back from why, since when, and when it is asked again.

    `now` is of the clock that runs `speed` times as fast as ours.
    """
    found = []
    for name, way in ways_of(engine).items():
        breaker = way.breaker
        if breaker.is_open:
            cause = cause_of(breaker.why)
            why = f" ({cause})" if cause else ""
            word = "does not take us" if breaker.misconfigured else "is away"
            left = max(0, breaker.until - now) / SECOND / speed
            again = "now" if breaker.probe or not left else f"in {left:.0f} s"
            found.append(
                f"{name} {word} since {max(0, now - breaker.since) / SECOND / speed:.0f} s{why}, asked again {again} by one message"
            )
    return found


async def _no() -> bool:
    return False


def _again(seen: Look) -> str:
    """Say how many were tried and not sent: a server that is away shows here, before anything is late."""
    if not seen.again:
        return ""
    count = f"{len(seen.again)} wait" if len(seen.again) > 1 else "1 waits"
    return f"; {count} for another attempt, the next in {(seen.again[0] - seen.now) / SECOND / seen.speed:.0f} s"


def _sending(seen: Look) -> Check:
    """Note what was stopped. It was meant, so it is no reason to take the process out of service."""
    if not seen.kills:
        return Check("sending", "ok", "nothing is stopped")
    if GROUND in seen.kills:
        return Check("sending", "wrong", "everything is held: the database is older than the topics; docs/ground.md")
    named = ", ".join(sorted({scope.partition(":")[0] for scope in seen.kills}))
    return Check("sending", "note", f"stopped by an operator: {len(seen.kills)} scopes ({named})")


def _probe() -> Transaction[int]:
    """Write one row, so that the answer is about commits and not about a file that can be opened."""
    now: int = yield Now()
    yield Put("epochs", [{"name": PROBE, "value": str(now)}])
    return now


async def _tried(asked: Awaitable[T]) -> T | Exception:
    try:
        return await asked
    except Exception as fault:  # noqa: BLE001 - an answer is owed whatever the store does
        return fault


def _stored(committed: object) -> tuple[str, str]:
    if isinstance(committed, Exception):
        return "wrong", f"does not commit: {_why(committed)}"
    return "ok", "commits"


def _why(fault: object) -> str:
    if isinstance(fault, TimeoutError):
        return f"no answer within {PATIENCE:g} s"
    if isinstance(fault, StoreUnavailable):
        return "it is not available (disk full, file gone, or server away); the log says more"
    return type(fault).__name__
