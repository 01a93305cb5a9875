"""Who reads what: the members of the workers' group, their partitions, and how far behind they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Partition = tuple[str, int]


@dataclass(frozen=True)
class Member:
    """One worker, as the brokers and the demonstration know it."""

    name: str
    partitions: int = 0
    lag: int = 0
    """Records of its partitions that nobody has decided."""
    up: bool = True


@dataclass(frozen=True)
class Group:
    """All workers at one moment."""

    members: tuple[Member, ...] = ()
    partitions: int = 0
    lag: int = 0
    """Of all partitions; those without an owner are among them."""
    orphans: int = 0
    """Partitions without an owner."""
    rebalances: int = 0
    """How often partitions changed hands since the start."""
    kills: int = 0
    """Workers that were killed on purpose."""


@dataclass
class Watcher:
    """Makes groups of what was asked, and counts how often partitions change hands."""

    names: tuple[str, ...]
    """Of the workers, in the order in which they are shown."""
    owners: dict[Partition, str] = field(default_factory=dict)
    rebalances: int = 0
    kills: int = 0

    def look(
        self,
        assigned: Mapping[str, frozenset[Partition]],
        positions: Mapping[Partition, int],
        ends: Mapping[Partition, int],
        down: frozenset[str],
    ) -> Group:
        """Return the group: `assigned` by worker, `positions` in the database, `ends` of the log, who is `down`."""
        owners = {place: name for name, places in assigned.items() for place in places}
        # What is under way shows as partitions without owner; a rebalance is over once all have one again.
        if owners.keys() >= ends.keys():
            if self.owners and owners != self.owners:
                self.rebalances += 1
            self.owners = owners
        behind = {place: max(0, end - positions.get(place, 0)) for place, end in ends.items()}
        members = tuple(
            Member(
                name,
                len(places := assigned.get(name, frozenset())),
                sum(behind.get(place, 0) for place in places),
                name not in down,
            )
            for name in self.names
        )
        orphans = len(ends.keys() - owners.keys())
        return Group(members, len(ends), sum(behind.values()), orphans, self.rebalances, self.kills)
