"""What every foreign payload is first made into: one change or fact of another system, before anything is mapped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tidings.errors import BadContract, Refusal
from tidings.event import SECOND, Micros

Op = Literal["fact", "create", "read", "update", "delete"]

FROM: Micros = 0
UNTIL: Micros = 2**52
"""Instants outside (1970 … 2112) are a unit that was mistaken, or rubbish."""


@dataclass(frozen=True)
class Foreign:
    """One record of another system."""

    names: tuple[str, ...]
    """What a mapping may call it, the most specific first: `shop.public.customers`, `public.customers`, `customers`."""
    id: str
    source: str
    time: Micros
    op: Op
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None
    """For a fact its content; for a change the row as it is, None where it was deleted."""
    subject: str | None = None
    whole: bool = False
    """The source always sends the whole object: what is not there is null, not unknown."""
    correlation_id: str | None = None
    causation_id: str | None = None

    @property
    def row(self) -> Mapping[str, Any]:
        """The newest row that is known."""
        found = self.after if self.after is not None else self.before
        return {} if found is None else found


def refuse(text: str, reason: Refusal = Refusal.BAD_VALUE) -> BadContract:
    """Return the error of a payload that cannot become an event."""
    return BadContract(reason, text)


def instant(value: Any) -> Micros | None:
    """Return an instant that is given in s, ms, µs or ns, as a number or as text; its size tells the unit.

    Sources do send nanoseconds in fields that are called `_ms`, and numbers as text. Zero means "not known".
    """
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 20:  # noqa: PLR2004 - ns
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        return None
    for below, numerator, denominator in ((10**11, SECOND, 1), (10**14, 1000, 1), (10**17, 1, 1), (10**20, 1, 1000)):
        if value < below:
            found = value * numerator // denominator
            return found if FROM < found < UNTIL else None
    return None


def mapping_of(value: Any, what: str) -> Mapping[str, Any]:
    """Return an object, or refuse."""
    if not isinstance(value, Mapping):
        text = f"{what} is {type(value).__name__}, not an object"
        raise refuse(text)
    return value
