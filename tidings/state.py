"""Rows of state as values: the key of a rule, or the image of an entity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tidings import canonical
from tidings.event import Micros
from tidings.rule import Item, State
from tidings.value import value

STATE_FORMAT = 2
"""Format number in every state; the reader upgrades older ones. 1 had no `first`."""

Order = tuple[Micros, int, str, str]


@value
class StateRef:
    """A row of state that a transaction locks: a rule's key, or an entity's image."""

    k: bytes
    kind: str
    """Class: `rule:<id>` or `image:<entity>`."""
    tenant: str
    key: tuple[Any, ...]
    text: str
    """The key as canonical JSON."""

    @property
    def rule(self) -> str | None:
        """The rule's id, or None of an image."""
        return self.kind[5:] if self.kind.startswith("rule:") else None


@dataclass(slots=True)
class Kept:
    """What the row of a rule's key holds."""

    state: State | None = None
    waits: int = 0
    """How many events wait in the buffer."""
    first: Micros | None = None
    """Time of the first of them."""
    overflow: Micros | None = None
    """Until W has passed it, the key's firings are told as flooded: a full buffer refused events up to here."""

    @classmethod
    def read(cls, raw: bytes | None) -> Kept:
        """Read a row's value."""
        if raw is None:
            return cls()
        value = canonical.loads(raw)
        return cls(value["state"], value["waits"], value.get("first"), value["overflow"])

    def to_bytes(self) -> bytes | None:
        """Return the row's value, or None where there is nothing to keep."""
        if self.state is None and self.overflow is None and not self.waits:
            return None
        return canonical.dumps(
            {
                "format": STATE_FORMAT,
                "state": self.state,
                "waits": self.waits,
                "first": self.first,
                "overflow": self.overflow,
            }
        )


@dataclass(slots=True)
class KeyState:
    """What is known of one row when `decide` begins."""

    ref: StateRef
    value: bytes | None = None
    waiting: Sequence[Item] = ()
    """Buffered items that W after reaches, in order."""
    next_wait: Micros | None = None
    """Time of the first buffered item beyond W after."""
    present: frozenset[Order] = frozenset()
    """Which of the batch's items wait in the buffer already."""
    _kept: Kept | None = None

    @property
    def kept(self) -> Kept:
        """The value of a rule's row, read once."""
        if self._kept is None:
            self._kept = Kept.read(self.value)
        return self._kept
