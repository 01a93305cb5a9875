"""The clock guard: leases and `start_by` compare the clocks of several machines, so ours must be near the database's.

Above the limit a process claims nothing, dispatches nothing and takes back nobody's lease; what is in flight is
finished.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from tidings.event import SECOND, Micros

logger = logging.getLogger("tidings.clock")

LIMIT: Micros = SECOND
"""A fifth of the time that an intent has for its first byte (`Pace.first_byte`)."""
EVERY = 10.0
"""Seconds between two measurements."""

Step = Callable[[], Awaitable[bool]]


class Measured(Protocol):
    """A store on another machine."""

    async def skew(self) -> Micros:
        """Return by how much its clock is ahead of ours."""
        ...


@dataclass
class ClockGuard:
    """Measures, and stands before each round of the loops that compare clocks."""

    store: Measured
    limit: Micros = LIMIT
    skew: Micros | None = None
    """As it was measured last; None: not yet."""

    @property
    def halted(self) -> str:
        """Why nothing is begun, or nothing."""
        if self.skew is None:
            return "our clock has not been compared with the database's yet"
        if abs(self.skew) <= self.limit:
            return ""
        how = "behind" if self.skew > 0 else "ahead of"
        return f"our clock is {abs(self.skew) / SECOND:.1f} s {how} the database's; set it by NTP"

    async def measure(self) -> bool:
        """One round: measure, and say once when the verdict changes."""
        before = self.halted if self.skew is not None else ""
        self.skew = await self.store.skew()
        if self.halted:
            # An answer that we came late to read looks like a clock that is wrong; one that is wrong is so twice.
            self.skew = min(self.skew, await self.store.skew(), key=abs)
        now = self.halted
        if now and not before:
            logger.error("nothing is claimed: %s", now)
        elif before and not now:
            logger.info("our clock agrees with the database's again")
        return False

    def before(self, step: Step) -> Step:
        """Return a round that does nothing while the clocks disagree."""

        async def guarded() -> bool:
            return False if self.halted else await step()

        return guarded
