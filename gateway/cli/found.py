"""What `tidings doctor` says of one thing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Found:
    """One thing that was looked at."""

    what: str
    state: str
    """`ok`, `note`, `wrong`"""
    says: str
    mend: str = ""
