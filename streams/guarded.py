"""What is asked of every process that runs loops under a guard of its clock: by health, metrics, and whoever ends it."""

from __future__ import annotations

from collections.abc import Mapping

from streams.clock_guard import ClockGuard
from streams.loops import Loops
from tidings.event import Micros


class Guarded:
    """Base of such a process; it makes `loops` and `guard`."""

    loops: Loops
    guard: ClockGuard

    @property
    def progress(self) -> Mapping[str, float]:
        """By loop: when it last finished a round, or was started (`time.monotonic`)."""
        return self.loops.progress

    @property
    def skews(self) -> Mapping[str, Micros | None]:
        """By whose clock: how far it is ahead of ours."""
        return {"database": self.guard.skew}

    @property
    def halted(self) -> str:
        """Why nothing is begun now, or nothing."""
        return self.guard.halted
