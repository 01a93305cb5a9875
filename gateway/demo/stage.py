"""Where the shop is played: what a play needs of the system under it, embedded or on a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from gateway.demo.members import Group
from gateway.demo.shop import Fact
from schemas import Contracts
from streams.codec import Codec
from streams.embedded import Engine, count
from streams.embedded_log import Append, append
from streams.json_events import from_json
from tidings.event import Micros
from tidings.ports import Now, Put, Read, Store, Transaction

ROW = "shop"
"""Name of the epoch row with the next number that nothing bears yet."""


class Stage(Protocol):
    """The system that a play is played on."""

    @property
    def store(self) -> Store:
        """Where the shop's own number is kept."""
        ...

    @property
    def contracts(self) -> Contracts:
        """The contracts of the events."""
        ...

    @property
    def clock(self) -> Callable[[], Micros]:
        """The shop's clock."""
        ...

    async def happen(self, facts: Sequence[Fact], number: int) -> None:
        """Publish events as of this instant, and keep the next free number before any of them can be seen."""
        ...

    async def publish(self, topic: str, key: bytes, value: bytes) -> None:
        """Publish bytes as they are."""
        ...

    def check(self) -> None:
        """Raise what ended a part of the system."""
        ...

    async def at_rest(self) -> bool:
        """Return whether everything was taken and nothing is under way."""
        ...

    async def count(self) -> dict[str, Any]:
        """Return the totals, for the sum that must hold."""
        ...

    async def group(self) -> Group | None:
        """Return who reads what; None where one process reads everything."""
        ...


def number() -> Transaction[int | None]:
    """Read the next free number; None where the shop is new."""
    row = (yield Read("epochs", [(ROW,)])).get((ROW,))
    return None if row is None else int(row["value"])


def encoded(codec: Codec, facts: Sequence[Fact], now: Micros) -> Iterator[Append]:
    """Yield the records of events that happen now."""
    for fact in facts:
        contract = codec.contracts.by_type[fact.type]
        key, value = codec.encode(fact.type, from_json(contract, fact.at(now)))
        yield Append(contract.topic, key, value)


@dataclass(frozen=True)
class OneFile:
    """The embedded engine as a stage."""

    engine: Engine

    @property
    def store(self) -> Store:
        """Return the engine's."""
        return self.engine.store

    @property
    def contracts(self) -> Contracts:
        """Return the engine's."""
        return self.engine.contracts

    @property
    def clock(self) -> Callable[[], Micros]:
        """Return the engine's."""
        return self.engine.clock

    async def happen(self, facts: Sequence[Fact], number: int) -> None:
        """Stamp events in the transaction that appends them.

        The clock runs so fast that an event which is stamped first and appended a moment later would be hours late.
        The next free number goes with them, so that a crash lets nothing bear a name twice.
        """

        def body() -> Transaction[None]:
            now = yield Now()
            yield from append(list(encoded(self.engine.codec, facts, now)))()
            yield Put("epochs", [{"name": ROW, "value": str(number)}])

        await self.engine.store.run(body)

    async def publish(self, topic: str, key: bytes, value: bytes) -> None:
        """Append a record."""
        await self.engine.log.append([Append(topic, key, value)])

    def check(self) -> None:
        """Raise what ended a loop."""
        self.engine.check()

    async def at_rest(self) -> bool:
        """Ask the engine."""
        return await self.engine.at_rest()

    async def count(self) -> dict[str, Any]:
        """Count what the file holds."""
        return await count(self.engine.store)

    async def group(self) -> Group | None:
        """Return nobody: there is one process."""
        return None
