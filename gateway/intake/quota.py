"""How much one key may publish: bytes of content a minute, so that batches cost no more than what is in them.

It is counted in each process by itself: with several of them a key may have that many times as much, and which of
them answers is the balancer's affair. It keeps one system from filling a process; it is no price list.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from secrets import randbelow

WINDOW = 60
"""Seconds in which a whole quota comes back."""
BYTES = 256 * 1024 * 1024
"""By itself: some hundred thousand events a minute."""
MOST_KEYS = 4096
JITTER = 5
"""Seconds over which those who were refused together come back."""


@dataclass
class Quota:
    """A bucket for each key."""

    size: int = BYTES
    monotonic: Callable[[], float] = time.monotonic
    _left: dict[str, tuple[float, float]] = field(default_factory=dict)
    """By key: bytes that were left, and when."""

    def __post_init__(self) -> None:
        self._policy = f'"intake";q={self.size};qu="content-bytes";w={WINDOW}'

    def take(self, key: str, size: int) -> int | None:
        """Take bytes out; return how many seconds to wait where there are not enough, else None."""
        now = self.monotonic()
        left = self._at(key, now)
        if size > left:
            return 1 + int((min(size, self.size) - left) * WINDOW / self.size) + randbelow(JITTER)
        if len(self._left) >= MOST_KEYS:
            self._left.clear()
        self._left[key] = (left - size, now)
        return None

    def left(self, key: str) -> float:
        """Return how many bytes a key has now."""
        return self._at(key, self.monotonic())

    def _at(self, key: str, now: float) -> float:
        left, at = self._left.get(key, (float(self.size), now))
        return min(float(self.size), left + (now - at) * self.size / WINDOW)

    def headers(self, key: str) -> dict[str, str]:
        """Return what every answer says of it (draft-ietf-httpapi-ratelimit-headers-10)."""
        left = self.left(key)
        whole = int((self.size - left) * WINDOW / self.size)
        return {
            "ratelimit-policy": self._policy,
            "ratelimit": f'"intake";r={int(left)};t={whole}',
        }
