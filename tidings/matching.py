"""Which rules an event may concern: by its type, then by a value that their conditions ask for.

A condition's top-level terms `path == literal` and `path in [literals]` (`Expression.equalities`) say of which values
one must be there, or it is certainly not true. One dictionary for each path leads from the event's value to the rules
that ask for it; rules without such a term are the rest, which is always asked. So a thousand rules cost what the few
cost that an event may concern.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from tidings.contract import value_at

T = TypeVar("T")
Path = tuple[str, ...]
Equalities = Mapping[Path, frozenset[Any]]
"""By path of the payload: values of which the condition needs one."""


@dataclass(frozen=True, slots=True)
class Asking(Generic[T]):
    """Somebody who may be concerned: if any of its conditions may hold."""

    who: T
    conditions: Sequence[Equalities]
    """One for each condition on this type of event; one that is empty may hold for every event."""

    def paths(self) -> list[Path]:
        """Return the paths of which every condition needs certain values."""
        first, *others = self.conditions
        return [path for path in first if all(path in other for other in others)]

    def values(self, path: Path) -> frozenset[Any]:
        """Return the values of which one must stand at `path`."""
        return frozenset().union(*(condition[path] for condition in self.conditions))


class Index(Generic[T]):
    """Immutable; answers in the order in which it was given its members."""

    __slots__ = ("_by_path", "_members", "_rest", "_rest_members")

    def __init__(self, asking: Sequence[Asking[T]]) -> None:
        self._members = tuple(one.who for one in asking)
        spread = _spread(asking)
        found: dict[Path, dict[Any, list[int]]] = {}
        rest = []
        for position, one in enumerate(asking):
            paths = one.paths()
            if not paths:
                rest.append(position)
                continue
            # The path that tells most values apart; `max` takes the first of equals.
            path = max(paths, key=lambda path: len(spread[path]))
            by_value = found.setdefault(path, {})
            for value in one.values(path):
                by_value.setdefault(value, []).append(position)
        self._rest = tuple(rest)
        self._rest_members = tuple(self._members[position] for position in rest)
        self._by_path = tuple(
            (path, {value: tuple(positions) for value, positions in by_value.items()})
            for path, by_value in found.items()
        )

    def candidates(self, data: Mapping[str, Any]) -> Sequence[T]:
        """Return every member whose conditions are not certainly untrue of the payload by their equalities."""
        hits: tuple[int, ...] = ()
        for path, by_value in self._by_path:
            value = data.get(path[0]) if len(path) == 1 else value_at(data, path)
            try:
                found = by_value.get(value)
            except TypeError:  # a record or a list, where no contract was asked: whoever asks there may be concerned
                found = tuple(position for positions in by_value.values() for position in positions)
            if found is not None:
                hits += found
        if not hits:
            return self._rest_members
        return [self._members[position] for position in sorted({*hits, *self._rest})]


def _spread(asking: Sequence[Asking[Any]]) -> dict[Path, set[Any]]:
    """Return all values that anybody asks for, by path."""
    found: dict[Path, set[Any]] = {}
    for one in asking:
        for path in one.paths():
            found.setdefault(path, set()).update(one.values(path))
    return found
