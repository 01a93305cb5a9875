"""What an explanation looks at: a store, the codec of its records, the rule sets that it keeps, the workers' clock."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, field, replace

from handlers.channels.content import Contents
from streams.codec import Codec
from streams.explaining.archive import Archive
from streams.ledger.asking import Asking
from streams.ledger.find import Finder
from streams.processors.deliverer import Render
from streams.rule_book import RuleBook
from tidings.errors import Misconfigured
from tidings.event import Micros
from tidings.ports import Reader
from tidings.rule import RuleSet


@dataclass
class Books:
    """One installation, as whoever asks may read it."""

    reader: Reader
    codec: Codec
    now: Callable[[], Micros]
    tenant: str = "default"
    render: Render = field(default_factory=Contents)
    asking: Asking | None = None
    """Answers in SQL beside the port: with it events are found by the catalogue."""
    name: str = "the store"
    """For a sentence."""

    def __post_init__(self) -> None:
        finder = None if self.asking is None else Finder(self.asking, self.tenant, self.codec)
        self.archive = Archive(self.reader, self.codec, finder)
        self.sets = RuleBook(self.codec.contracts, self.reader)

    def once(self) -> Books:
        """Return the same for one page: what it asks twice is found once."""
        found = copy(self)
        found.archive = replace(self.archive, known={})
        return found

    async def active(self) -> RuleSet:
        """Return the rules in force.

        Raises:
            Misconfigured: there are none yet, or they do not load with this version.
        """
        found = await self.sets.active()
        if found is None:
            text = f"no rules are active in {self.name} yet"
            raise Misconfigured(text)
        return found

    async def pinned(self, digest: str) -> RuleSet | None:
        """Return the rules with which something was decided; None where they do not load with this version any more."""
        try:
            return await self.sets.learn(digest)
        except ValueError:
            return None
