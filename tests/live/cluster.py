"""Parts of a cluster for tests: a migrated database, rules, and detection that reads the log beside it in the database.

What is tested with it needs no broker: deliverers see rows, whoever wrote them.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from handlers.rules.load import load
from schemas import contracts
from streams import rule_switch
from streams.codec import Codec
from streams.embedded import wall_clock
from streams.embedded_log import Append, EmbeddedLog, create
from streams.loops import RealRuntime
from streams.processors import detect, people
from streams.processors.worker import PeopleReader, Worker
from streams.rule_book import RuleBook
from streams.stores.migrate import migrate
from streams.stores.place import Place
from streams.stores.postgres import PostgresStore
from tests import services
from tests.live import engines
from tidings.ports import Scan
from tidings.rule import RuleSet


@contextmanager
def database() -> Iterator[Place]:
    with services.database() as place:
        asyncio.run(migrate(place))
        yield place


def rule_set(rules: bytes = engines.RULES, templates: Mapping[str, str] = engines.TEMPLATES):
    files = {"rules/test.yaml": rules, "topics.yaml": engines.TOPICS}
    loaded = load(files, templates, contracts().by_type)
    assert loaded.rules is not None, [str(one) for one in loaded.diagnostics]
    return loaded.rules, files, templates


@dataclass
class Cluster:
    """A store, and whoever detects."""

    store: PostgresStore
    codec: Codec = field(default_factory=lambda: Codec(contracts()))

    def __post_init__(self):
        self.book = RuleBook(contracts(), self.store)
        self.log = EmbeddedLog(self.store)

    async def apply(self, rules: bytes = engines.RULES, templates: Mapping[str, str] = engines.TEMPLATES):
        applied = await rule_switch.apply(self.store, self.book, *rule_set(rules, templates), grace=0)
        assert not applied.why, applied.why
        return applied

    async def connect(self):
        types = contracts().by_type.values()
        everything = [(c.topic, 0) for c in types]
        persons = [(c.topic, 0) for c in types if c.type.startswith("customer.")]
        await self.store.run(create(everything))
        await self.store.run(detect.connect(everything, wall_clock(), grace=0, history="live"))
        await self.store.run(detect.connect(persons, wall_clock(), grace=0, history="live", reader=people.READER))
        self.places = everything, persons

    def worker(self, rules: RuleSet) -> Worker:
        return Worker(
            self.store,
            self.log,
            RealRuntime(wall_clock),
            self.codec.decode,
            rules,
            self.book.get,
            0,
            learn=self.book.learn,
        )

    async def publish(self, *events: tuple[str, dict[str, Any]]):
        appends = [Append(contracts().by_type[kind].topic, *self.codec.encode(kind, body)) for kind, body in events]
        await self.log.append(appends)

    async def decide(self):
        """Read everything that is in the log."""
        rules = await self.book.active()
        assert rules is not None
        reader = PeopleReader(self.store, self.log, self.codec.decode)
        await reader.assign(self.places[1])
        while await reader.step():
            pass
        worker = self.worker(rules)
        await worker.assign(self.places[0])
        while await worker.step():
            pass

    async def rows(self, table: str) -> list[dict[str, Any]]:
        def body():
            return list((yield Scan(table)))

        return await self.store.read(body)

    async def states(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for row in await self.rows("messages"):
            found[row["state"]] = found.get(row["state"], 0) + 1
        return found


@asynccontextmanager
async def opened(place: Place) -> AsyncIterator[Cluster]:
    store = await PostgresStore.open(place)
    try:
        yield Cluster(store)
    finally:
        await store.close()
