"""What came of a replay of the journal: what was compared, what differs, and what could not be replayed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

SHOWN = 10
"""Differences, and rows that were not replayed, that are kept to be shown; all are counted."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Where the replay and the store disagree. It holds names, never what an event says."""

    seq: int
    what: str
    """`missing`: only the replay has it. `extra`: only the store. `differs`. `state`: a tick took a key without one.
    `snapshot`: the replay does not remember what a snapshot does."""
    rule: str
    firing: str
    kind: str
    n: int
    fields: tuple[str, ...] = ()
    """What differs, where both have it."""
    sure: bool = True
    """Whether everything before it was replayed."""


@dataclass(frozen=True, slots=True)
class NotReplayed:
    """A row of the journal that could not be replayed."""

    seq: int
    reason: str
    """`not_archived`, `let_go`, `unreadable`, `other_code`, `rules`, or `failed`."""
    detail: str


WORDS: Mapping[str, str] = {
    "not_archived": "their events were not copied into the archive yet",
    "let_go": "their events are in the archive no more, or never were",
    "unreadable": "their events cannot be read with these contracts",
    "other_code": "another version of the code decided them",
    "rules": "their rule set does not load with this version",
    "failed": "the code fails on them",
}


@dataclass
class Verdict:
    """What was compared, and what came of it."""

    rows: int = 0
    """Of the journal, replayed or not."""
    events: int = 0
    """That were decided again."""
    decided: int = 0
    """Detection records that the replay made, repeats included."""
    repeats: int = 0
    """Of these, what was recorded by an earlier row already."""
    compared: int = 0
    """Stored records that the replay made as well."""
    differences: int = 0
    unsure: int = 0
    """Of the differences, those after a row that was not replayed."""
    unseen: int = 0
    """Stored records of rows that were not replayed."""
    let_go: int = 0
    """Records that the replay made, whose episode is so old that they may have been let go."""
    begins: int = 0
    """The row of the journal with whose snapshot it began; 0: with nothing."""
    begins_how: str = ""
    """`replayed` or `taken`: how that snapshot was made."""
    snapshots: int = 0
    """Snapshots whose content the replay has reached as well."""
    not_replayed: Counter[str] = field(default_factory=Counter)
    """Rows of the journal, by reason."""
    first: list[Difference] = field(default_factory=list)
    first_not: list[NotReplayed] = field(default_factory=list)

    @property
    def code(self) -> int:
        """Return 0: no difference; 1: there is one; 2: it cannot be told."""
        if self.differences > self.unsure:
            return 1
        return 2 if self.not_replayed else 0


Progress = Callable[[int, int], None]
"""Told after every page: the last `seq` that was compared, and the one at which it ends."""
