"""What rules did, counted beside the pages: a page takes what is known, and asks for newer figures without waiting long."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from dataclasses import dataclass, field

from streams.explaining.books import Books
from streams.explaining.lines import Did, did
from tidings.ports import StoreUnavailable
from tidings.rule import RuleSet

logger = logging.getLogger("tidings.console")

PATIENCE = 0.01
"""Seconds that a page waits for figures."""
FRESH = 30.0
"""Seconds for which figures are shown without being counted anew."""
RESTS = 20
"""Times that the counting rests as long as it took."""
KEPT = 500


@dataclass
class Counting:
    """One rule is counted at a time, so that counting takes a bounded part of the process however many ask."""

    books: Books
    _known: OrderedDict[tuple[str, str], tuple[Did, float]] = field(default_factory=OrderedDict)
    _under_way: dict[tuple[str, str], asyncio.Task[None]] = field(default_factory=dict)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    def known(self, rules: RuleSet, rule_id: str) -> Did | None:
        """Return the figures of a rule, if there are any yet, and let them be counted where they are old or missing."""
        place = (rules.hash, rule_id)
        found = self._known.get(place)
        if (found is None or time.monotonic() - found[1] > FRESH) and place not in self._under_way:
            task = asyncio.create_task(self._count(rules, rule_id))
            self._under_way[place] = task
            task.add_done_callback(lambda _: self._under_way.pop(place, None))
        return None if found is None else found[0]

    async def of(self, rules: RuleSet, rule_id: str) -> Did | None:
        """Return the figures of a rule; None where they are not there in a moment."""
        found = self.known(rules, rule_id)
        if found is None and (task := self._under_way.get((rules.hash, rule_id))) is not None:
            await asyncio.wait([task], timeout=PATIENCE)
            found = self.known(rules, rule_id)
        return found

    async def _count(self, rules: RuleSet, rule_id: str) -> None:
        async with self._turn:
            begun = time.monotonic()
            try:
                counted = await did(self.books, rules.by_id[rule_id], rules.hash)
            except StoreUnavailable:
                return  # whoever asks next counts
            except Exception:
                logger.exception("a rule could not be counted")
                return
            took = time.monotonic() - begun
            self._known[rules.hash, rule_id] = (counted, time.monotonic() + max(0.0, took * RESTS - FRESH))
            self._known.move_to_end((rules.hash, rule_id))
            while len(self._known) > KEPT:
                self._known.popitem(last=False)
