"""Processor time of a contestant and of the database server on its behalf, as Linux counts it."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

TICK = os.sysconf("SC_CLK_TCK")
SHARED = ("walwriter", "background writer", "checkpointer")
"""Processes of the server that write for everybody; on an idle machine for us alone."""


def used(pid: int) -> float:
    """Return the seconds of processor time that a process has had, its threads included; 0.0: it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text("ascii", "replace")
    except OSError:
        return 0.0
    fields = text.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def used_by(pid: int) -> float:
    """Return what a process and its children have had."""
    total = used(pid)
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            total += sum(used_by(int(child)) for child in file.read_text("ascii").split())
    return total


@dataclass
class Server:
    """The server's processes that work for one database: looked at while it runs, as their connections end with it."""

    admin: asyncpg.Connection
    """In another database."""
    database: str
    ours: int = 0
    """The process that serves whoever measures."""
    seen: dict[int, tuple[float, float]] = field(default_factory=dict)
    """By process: its time when it was first seen, and now. One that came for us began at 0."""

    async def look(self) -> float:
        """Return the seconds that they have had since the first look."""
        rows = await self.admin.fetch(
            "SELECT pid, backend_type FROM pg_stat_activity WHERE (datname = $1 OR backend_type = ANY($2)) AND pid <> $3",
            self.database,
            SHARED,
            self.ours,
        )
        for pid, kind in rows:
            now = used(pid)
            first, last = self.seen.get(pid, (now if kind in SHARED else 0.0, now))
            self.seen[pid] = first, max(now, last)
        return sum(last - first for first, last in self.seen.values())


@dataclass(frozen=True)
class Measured:
    """One run."""

    events: int
    wall: float
    client: float
    """Seconds of processor time."""
    server: float
    transactions: int

    @property
    def rate(self) -> float:
        """Events a second."""
        return self.events / self.wall

    def micros(self, seconds: float) -> float:
        """Return microseconds an event."""
        return seconds / self.events * 1e6
