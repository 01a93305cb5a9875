"""What was taken a moment ago: a repeat is known without a look at the store, and so is another event under an old name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from tidings.event import Micros

MOST = 100_000
"""Events that are remembered, the newest half of them surely; each takes about 400 bytes."""

Name = tuple[str, str, str]
"""(tenant, source, id): what a producer calls an event."""


@dataclass(slots=True)
class Known:
    """One event."""

    at: Micros
    ref: str
    type: str
    place: tuple[str, int, int] | None = None
    """Topic, partition and offset of its record; None: it waits for Kafka, or is being published."""
    durable: bool = False


class _Generation:
    def __init__(self) -> None:
        self.by_name: dict[Name, Known] = {}
        self.by_ref: dict[str, Name] = {}


@dataclass
class Recent:
    """The newest events of this process, in two generations: the older one goes as a whole, when the younger is full."""

    most: int = MOST
    _young: _Generation = field(default_factory=_Generation)
    _old: _Generation = field(default_factory=_Generation)

    def get(self, name: Name) -> Known | None:
        """Return what bears a name, if it is remembered."""
        return self._young.by_name.get(name) or self._old.by_name.get(name)

    def of_ref(self, tenant: str, ref: str) -> tuple[Name, Known] | None:
        """Return an event of a tenant by our reference, if it is remembered and durable."""
        name = self._young.by_ref.get(ref) or self._old.by_ref.get(ref)
        known = None if name is None or name[0] != tenant else self.get(name)
        return None if name is None or known is None or not known.durable else (name, known)

    def begin(self, name: Name, known: Known) -> None:
        """Remember what is about to be published, so that two at a time cannot take one name."""
        if len(self._young.by_name) >= self.most // 2:
            self._young, self._old = _Generation(), self._young
        self._young.by_name[name] = known
        self._young.by_ref[known.ref] = name

    def forget(self, names: Iterable[Name]) -> None:
        """Forget what was not published after all."""
        for name in names:
            for part in (self._young, self._old):
                known = part.by_name.get(name)
                if known is not None and not known.durable:
                    del part.by_name[name]
                    part.by_ref.pop(known.ref, None)
