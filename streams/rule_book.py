"""The rule book: rule sets by hash, built from the sources that the store keeps, whoever made them active."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

from handlers.rules.load import load_sources
from schemas import Contracts
from streams.processors.detect import EPOCH
from tidings.errors import Misconfigured
from tidings.ports import Body, Read, Reader, Transaction
from tidings.rule import RuleSet

KEPT = 64
"""Rule sets that a process holds at once; messages seldom wait longer than so many switches."""


class UnknownRules(Exception):
    """A rule set that this process has not read yet: learn it, and begin again.

    No `LookupError`: a transaction's body takes those for a rule that is gone.
    """

    def __init__(self, digest: str) -> None:
        super().__init__(f"rule set {digest[:12]} is not read yet")
        self.digest = digest


Learn = Callable[[str], Awaitable[RuleSet]]
"""From a hash to its set, read from the store."""


async def nobody_switches(digest: str) -> RuleSet:
    """Learn nothing: for those who hold every set that can be asked for."""
    raise UnknownRules(digest)


async def now_active(load_rules: Callable[[str], RuleSet], learn: Learn, digest: str) -> RuleSet:
    """Return the set that has become active, learned if need be.

    Raises:
        Misconfigured: it does not load with this version. Nothing can be decided then, and no record is to blame.
    """
    try:
        try:
            return load_rules(digest)
        except UnknownRules:
            return await learn(digest)
    except ValueError as fault:
        text = f"the active rules do not load with this version: {fault}"
        raise Misconfigured(text) from fault


@dataclass
class RuleBook:
    """What this process knows of the rule sets. Rows are never changed, so what was read once stays true."""

    contracts: Contracts
    store: Reader
    _built: OrderedDict[str, RuleSet | ValueError] = field(default_factory=OrderedDict)
    _reading: asyncio.Lock = field(default_factory=asyncio.Lock)

    def add(self, rules: RuleSet) -> None:
        """Take a set that was built from its files."""
        self._keep(rules.hash, rules)

    def get(self, digest: str) -> RuleSet:
        """Return a set that is known.

        Raises:
            UnknownRules: it was not read yet.
            ValueError: it does not load with this version any more, or the store has lost it.
        """
        found = self._built.get(digest)
        if found is None:
            raise UnknownRules(digest)
        self._built.move_to_end(digest)
        if isinstance(found, ValueError):
            raise found
        return found

    async def learn(self, digest: str) -> RuleSet:
        """Return a set, read and built if need be.

        Raises:
            ValueError: as `get`.
            StoreUnavailable: it cannot be read now.
        """
        async with self._reading:
            if digest not in self._built:
                source = await self.store.read(_source(digest))
                # Beside the loop: a thousand rules take most of a second.
                self._keep(digest, await asyncio.to_thread(self._build, digest, source))
        return self.get(digest)

    async def active(self) -> RuleSet | None:
        """Return the set that decides; None where none has been made active yet.

        Raises:
            Misconfigured: it does not load with this version.
        """
        digest = await self.store.read(_active)
        return None if digest is None else await now_active(self.get, self.learn, digest)

    def _build(self, digest: str, source: bytes | None) -> RuleSet | ValueError:
        if source is None:
            return ValueError(f"the store has no rule set {digest[:12]}")
        try:
            # The row names it: with contracts of another version the same texts would have another hash.
            return replace(load_sources(source, self.contracts.by_type), hash=digest)
        except ValueError as fault:
            return fault

    def _keep(self, digest: str, found: RuleSet | ValueError) -> None:
        self._built[digest] = found
        self._built.move_to_end(digest)
        while len(self._built) > KEPT:
            self._built.popitem(last=False)


def _source(digest: str) -> Body[bytes | None]:
    def body() -> Transaction[bytes | None]:
        row = (yield Read("rule_sets", [(digest,)])).get((digest,))
        return None if row is None else bytes(row["body"])

    return body


def _active() -> Transaction[str | None]:
    row = (yield Read("epochs", [(EPOCH,)])).get((EPOCH,))
    return None if row is None else row["value"]
