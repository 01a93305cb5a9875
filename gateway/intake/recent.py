"""What was taken a moment ago: a repeat is known without a look at the store, and so is another event under an old name."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

from tidings.event import Micros

MOST = 50_000
"""Events that are remembered; each takes about 500 bytes."""

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


@dataclass
class Recent:
    """The newest events of this process."""

    most: int = MOST
    _by_name: OrderedDict[Name, Known] = field(default_factory=OrderedDict)
    _by_ref: dict[str, Name] = field(default_factory=dict)

    def get(self, name: Name) -> Known | None:
        """Return what bears a name, if it is remembered."""
        return self._by_name.get(name)

    def of_ref(self, tenant: str, ref: str) -> tuple[Name, Known] | None:
        """Return an event of a tenant by our reference, if it is remembered and durable."""
        name = self._by_ref.get(ref)
        known = None if name is None or name[0] != tenant else self._by_name.get(name)
        return None if name is None or known is None or not known.durable else (name, known)

    def begin(self, name: Name, known: Known) -> None:
        """Remember what is about to be published, so that two at a time cannot take one name."""
        self._by_name[name] = known
        self._by_ref[known.ref] = name
        if len(self._by_name) > self.most:
            _, old = self._by_name.popitem(last=False)
            self._by_ref.pop(old.ref, None)

    def forget(self, names: Iterable[Name]) -> None:
        """Forget what was not published after all."""
        for name in names:
            known = self._by_name.get(name)
            if known is not None and not known.durable:
                del self._by_name[name]
                self._by_ref.pop(known.ref, None)
