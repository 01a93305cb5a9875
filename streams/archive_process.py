"""A process that copies the records of Kafka into the database. The composition root of `tidings archive`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from streams.codec import Codec
from streams.kafka.archive import Archive
from streams.kafka.connection import Connection
from streams.loops import AWAY_LIMIT, Loop, Loops, maintaining
from streams.processors.ground import ARCHIVE
from streams.stores.counts import Waiting
from streams.stores.postgres import PostgresStore
from tidings.event import Micros
from tidings.rule import RuleSet

MAINTAIN = 3600.0
"""Seconds between two looks for partitions of the database that will be needed."""
STAND_BY = 1.0
"""Seconds between two tries to take over."""
ROUND = 10.0


@dataclass
class ArchiveProcess:
    """Made over an open store; `start` runs the loops, `stop` ends them."""

    store: PostgresStore
    connection: Connection
    codec: Codec | None = None
    """Reads by which words records are found; None: they are not."""
    away_limit: float = AWAY_LIMIT
    rules: RuleSet = field(default_factory=lambda: RuleSet("", (), {}), init=False)
    """None decide here."""
    skews: Mapping[str, Micros | None] = field(default_factory=dict, init=False)
    halted: str = field(default="", init=False)
    concerns: frozenset[str] = field(default=frozenset(), init=False)

    def __post_init__(self) -> None:
        self.archive = Archive(self.store, self.store.place, self.connection, self.codec)
        self.loops = Loops(lambda _: None)

    def start(self) -> None:
        """Run the loops."""
        loops = {"archive": Loop(self.archive.step, STAND_BY), "maintain": Loop(maintaining(self.store), MAINTAIN)}
        self.loops.start(loops)

    async def stop(self) -> None:
        """End the loops; another process may copy from now on."""
        await self.loops.stop(ROUND)
        await self.archive.close()
        if self.codec is not None:
            await self.codec.close()

    @property
    def progress(self) -> Mapping[str, float]:
        """By loop: when it last finished a round, or was started, or until when it rests (`time.monotonic`)."""
        return self.loops.progress

    @property
    def lags(self) -> Mapping[tuple[str, str], int]:
        """By topic: records that were not copied."""
        found: dict[tuple[str, str], int] = {}
        for (topic, _), count in self.archive.lag.items():
            found[ARCHIVE, topic] = found.get((ARCHIVE, topic), 0) + count
        return found

    def check(self) -> None:
        """Raise what ended a loop, or that the database or every broker has been away for long."""
        self.loops.check()
        self.loops.check_store(self.away_limit)
        self.archive.check()

    async def waiting(self, *, within: float) -> Waiting:
        """Count what is open, in about `within` seconds at most."""
        return await self.store.waiting(within=within)
