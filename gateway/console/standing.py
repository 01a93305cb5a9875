"""What the frame of every page shows of the installation: what waits for a person, and what should be looked at.

Parts of the console add questions; they are asked beside the page, at most once a second, and one that does not answer in
time leaves its place empty instead of keeping the page.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from gateway.http.look import Asked

PATIENCE = 0.3
"""Seconds that a page waits for its frame."""
KEEP = 1.0


@dataclass(frozen=True, slots=True)
class Attention:
    """What a person should look at, on every page: state, sentence, where it goes on."""

    state: str
    """`expd` (a warning) or `dead` (a person has to act)."""
    says: str
    href: str
    link: str


@dataclass(frozen=True, slots=True)
class Standing:
    """What one part knows."""

    waiting: Mapping[str, int] = field(default_factory=dict)
    """By name of an entry of the rail: how much waits there."""
    banners: Sequence[Attention] = ()


class Standings:
    """All parts together."""

    def __init__(self) -> None:
        self._asked: list[Asked[Standing]] = []

    def add(self, ask: Callable[[], Awaitable[Standing]]) -> Asked[Standing]:
        """Let a part be asked from now on; its own page lets what is remembered of it be forgotten."""
        self._asked.append(Asked(ask, patience=PATIENCE, keep=KEEP))
        return self._asked[-1]

    async def __call__(self) -> Standing:
        """Return what is known now."""
        found = await asyncio.gather(*(one() for one in self._asked), return_exceptions=True)
        known = [one for one in found if isinstance(one, Standing)]
        waiting = {name: count for one in known for name, count in one.waiting.items()}
        return Standing(waiting, tuple(banner for one in known for banner in one.banners))
