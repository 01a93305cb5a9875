"""The example shop in a store of either kind, on a clock that a test moves: events in, everything decided and handed over."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import httpx
import pytest
from fastapi import FastAPI

from gateway.access.door import Door
from gateway.access.keys import Keys, pepper_of
from gateway.cli.folder import example, read_rules
from gateway.console.app import console, in_frame, routes
from gateway.explaining.app import routes as api_routes
from gateway.http.app import protect
from gateway.site import Site
from handlers.channels.content import Contents
from handlers.rules.load import load
from schemas import contracts
from streams import rule_switch
from streams.codec import Codec
from streams.delivering import Way
from streams.embedded_log import Append, EmbeddedLog, create
from streams.explaining.books import Books
from streams.json_events import from_json, rfc3339
from streams.ledger.asking import Asking, PostgresAsking, SqliteAsking
from streams.ledger.ledger import Ledger
from streams.ledger.proof import Proof
from streams.processors import detect, people
from streams.processors.catalogue import CatalogueReader
from streams.processors.deliverer import Deliverer
from streams.processors.worker import PeopleReader, Worker
from streams.rule_book import RuleBook
from streams.stores.migrate import migrate
from streams.stores.place import Place
from streams.stores.postgres import PostgresStore
from streams.stores.sqlite import SqliteStore
from tests import services
from tidings.delivery import Pace
from tidings.event import HOUR, MINUTE, Micros
from tidings.ports import Find, Outcome, Outgoing, Reader
from tidings.rule import Channel

NOON = 1_800_014_400_000_000 // HOUR * HOUR
"""A Friday, 12:00 UTC; 13:00 in Berlin."""


class Post:
    """A provider that takes everything, unless a test says otherwise."""

    name = "post"
    lease = 30_000_000
    can_look_up = False

    def __init__(self) -> None:
        self.taken: list[Outgoing] = []
        self.answers: list[Outcome] = []

    async def send(self, outgoing: Outgoing) -> Outcome:
        self.taken.append(outgoing)
        return self.answers.pop(0) if self.answers else Outcome("accepted", f"ref-{len(self.taken)}")

    async def look_up(self, _: str) -> str | None:
        return None


class Runtime:
    """Nobody sleeps."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop

    def now(self) -> Micros:
        return self.shop.clock

    async def sleep(self, _: Micros) -> None:
        await asyncio.sleep(0)

    async def gather(self, jobs: Any) -> list[Any]:
        return list(await asyncio.gather(*jobs))


class Shop:
    """One installation."""

    def __init__(self, files: dict[str, bytes] | None = None, texts: dict[str, str] | None = None) -> None:
        self.clock: Micros = NOON
        self.number = 0
        ours, ours_texts = read_rules(example())
        self.files = files or ours
        self.texts = texts or ours_texts
        loaded = load(self.files, self.texts, contracts().by_type)
        assert loaded.rules is not None, [str(one) for one in loaded.diagnostics]
        self.rules = loaded.rules
        self.codec = Codec(contracts())
        self.post = Post()
        self.asking: Asking

    async def open(self, store: SqliteStore | PostgresStore) -> None:
        self.store = store
        self.log = EmbeddedLog(store, 0)
        known = contracts().by_type.values()
        self.places = [(one.topic, 0) for one in known]
        persons = [(one.topic, 0) for one in known if one.type.startswith("customer.")]
        await store.run(create(self.places))
        await store.run(detect.connect(self.places, self.clock, grace=0, history="live"))
        await store.run(detect.connect(persons, self.clock, grace=0, history="live", reader=people.READER))
        book = RuleBook(contracts(), store)
        done = await rule_switch.apply(store, book, self.rules, self.files, self.texts, grace=0)
        assert not done.why
        runtime = Runtime(self)
        self.worker = Worker(
            store, self.log, runtime, self.codec.decode, self.rules, book.get, 0, 100, learn=book.learn
        )  # fmt: skip
        self.reader = PeopleReader(store, self.log, self.codec.decode)
        self.deliverer = Deliverer(
            "one", store, runtime, lambda _: self.post, self.rules, book.get, Contents(), pace=Pace(), learn=book.learn
        )  # fmt: skip
        await self.worker.assign(self.places)
        await self.reader.assign(persons)
        self.asking = SqliteAsking(store.path) if isinstance(store, SqliteStore) else PostgresAsking(store.place, 1)
        self.books = Books(store, self.codec, lambda: self.clock, asking=self.asking)

    def site(self) -> Site:
        """Return the shop as its pages see it."""
        door = Door(Keys(self.store, pepper_of(b"only for tests"), lambda: self.clock), "127.0.0.1")
        ledger = Ledger(self.asking, lambda: self.rules, codec=self.codec)
        return Site(
            name="the small shop", store=self.store, contracts=contracts(), codec=self.codec, rules=lambda: self.rules,
            now=lambda: self.clock, publish=self.log.append, ledger=ledger,
            proof=Proof(ledger, lambda: self.clock), door=door, still=self.still, secret=b"only for tests", folder=example(),
            ways=lambda: {"post": Way(self.deliverer.holding.breaker, frozenset(get_args(Channel)))},
        )  # fmt: skip

    @asynccontextmanager
    async def still(self) -> AsyncIterator[Reader]:
        """Nobody else works here."""
        yield self.store

    async def happens(self, kind: str, *, at: Micros | None = None, ident: str = "", **data: Any) -> str:
        """Append an event, and return its id."""
        self.number += 1
        name = ident or f"evt-{self.number}"
        contract = contracts().by_type[kind]
        time = rfc3339(self.clock if at is None else at)
        payload = from_json(contract, {"id": name, "source": "shop", "time": time, "data": data})
        key, value = self.codec.encode(kind, payload)
        await self.log.append([Append(contract.topic, key, value)])
        return name

    async def customer(self, name: str = "c-1", **profile: Any) -> None:
        """Make a customer known, in Berlin, with an address."""
        known = {"email": "jonas@wald.de", "name": "Jonas", "locale": "en-GB", "timezone": "Europe/Berlin"}
        await self.happens("customer.profile.changed", customer_id=name, **{**known, **profile})

    async def rests(self, after: Micros = 0) -> None:
        """Let time pass, and everything be done that is due."""
        self.clock += after
        for _ in range(50):
            busy = False
            for step in (self.reader.step, self.worker.step, self._idle, self.deliverer.attend, self.deliverer.deliver):
                busy = bool(await step()) or busy
            if not busy:
                return

    async def catalogued(self) -> None:
        """Let the catalogue read all that has come."""
        reader = CatalogueReader(self.store, self.codec.decode, contracts().by_type, sleep=lambda _: asyncio.sleep(0))
        while await reader.step():
            pass

    async def _idle(self) -> bool:
        def rows() -> Any:
            return (yield Find("sources", "by_topic", (detect.READER,)))

        sources = await self.store.read(rows)
        marks = [detect.Idle((row["topic"], row["partition"]), row["next_offset"], self.clock) for row in sources]
        await self.store.run(detect.mark_idle(marks))
        return await self.worker.tick()


Where = Path | Place


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.live)])
def where(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Where]:
    if request.param == "sqlite":
        yield tmp_path_factory.mktemp("explaining")
        return
    with services.database() as place:
        asyncio.run(migrate(place))
        yield place


@asynccontextmanager
async def opened(where: Where, shop: Shop) -> AsyncIterator[Shop]:
    """Open an empty store of either kind, and the shop on it."""
    store: SqliteStore | PostgresStore
    if isinstance(where, Path):
        name = f"{len(list(where.glob('*.db')))}.db"
        store = await SqliteStore.open(where / name, lambda: shop.clock)
    else:
        await services.empty(where)
        store = await PostgresStore.open(where, lambda: shop.clock)
    try:
        await shop.open(store)
        yield shop
        await shop.asking.close()
    finally:
        await store.close()


@asynccontextmanager
async def browsing(shop: Shop, **words: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Give a client before the pages, at the same machine; `words`: what is different about the site."""
    site = replace(shop.site(), **words)
    pages = console(site)
    app = FastAPI(openapi_url=None, redirect_slashes=False)
    protect(app, refuse=in_frame(pages))
    app.include_router(api_routes(site))
    app.include_router(routes(site, pages))
    transport = httpx.ASGITransport(app, client=("127.0.0.1", 1))
    headers = {"accept": "text/html"}
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=headers) as client:
        yield client


def run(what: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(what, 60))


def shown(body: Any) -> str:
    """Return JSON for a look."""
    return json.dumps(body, indent=1, ensure_ascii=False)


EURO_90 = {"amount_minor": 9000, "currency": "EUR"}
SOON = 5 * MINUTE
