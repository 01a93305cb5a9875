"""Whom our own code fails on: their turn comes again later and later, and everybody else's goes on."""

from __future__ import annotations

import logging
import traceback
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from tidings.event import HOUR, MINUTE, Micros

logger = logging.getLogger("tidings.deliverer")

FIRST, LONGEST = MINUTE, HOUR
"""Until the next try: doubled each time, up to the longest."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class InternalError:
    """Our own code failed on something, and went on without it."""

    where: str
    """`dispatch`, `reconcile` or `outcomes`."""


@dataclass
class Setbacks(Generic[T]):
    """What failed, and until when it rests; of this process only, for another version may know better."""

    known: dict[T, tuple[Micros, Micros]] = field(default_factory=dict)
    """Until when, and how long that was."""

    def resting(self, now: Micros) -> frozenset[T]:
        """Return whose turn has not come. A clock that was set back makes nobody wait for longer than was meant."""
        return frozenset(what for what, (until, wait) in self.known.items() if now < until <= now + wait)

    def note(self, what: T, now: Micros) -> Micros:
        """Take down one more failure, and return how long it rests."""
        _, before = self.known.pop(what, (0, 0))
        wait = min(2 * before or FIRST, LONGEST)
        self.known[what] = (now + wait, wait)
        return wait

    def forget(self, what: T) -> None:
        """It went well."""
        self.known.pop(what, None)


def log_fault(where: str, fault: BaseException, wait: Micros) -> None:
    """Log type and line only: the text of an exception may hold what a row holds."""
    frame = traceback.extract_tb(fault.__traceback__)[-1]
    at = f"{frame.filename}:{frame.lineno}"
    logger.error("internal_error in %s: %s in %s; tried again in %d s", where, type(fault).__name__, at, wait // 10**6)
