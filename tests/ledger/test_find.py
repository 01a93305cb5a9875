"""What people type is found, on both stores: by the catalogue of the log, and by the ids of what was decided."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.plausible import rows
from schemas import contracts
from streams.codec import Codec
from streams.embedded_log import Append, append
from streams.kafka.archive import keep
from streams.ledger.find import Finder
from streams.ledger.ledger import Ledger
from streams.processors import catalogue, detect
from streams.processors.catalogue import CatalogueReader
from streams.processors.ground import ARCHIVE
from streams.stores.migrate import migrate
from streams.stores.postgres import PostgresStore
from streams.stores.retention import Behind, retain
from streams.stores.sqlite import SqliteStore
from tests.ledger.laboratory import NOW, insert
from tests.services import database
from tidings.event import DAY
from tidings.log import LogRecord
from tidings.ports import Scan

pytestmark = pytest.mark.live

CODEC = Codec(contracts())
FAILED, PROFILE = "billing.payment.failed", "customer.profile.changed"


def payment(number: int) -> tuple[str, bytes, bytes]:
    meta = {
        "event_id": f"e-{number}", "type": FAILED, "source": "shop", "occurred_at": NOW + number, "recorded_at": NOW,
        "tenant": "default", "correlation_id": None, "subject": None, "actor": None, "causation_id": None, "sequence": None,
    }  # fmt: skip
    data = {
        "payment_id": f"pay-{number // 2}", "invoice_id": None, "customer_id": f"c-{number % 7}", "code": "card_declined",
        "amount": {"amount_minor": 4200, "currency": "EUR"}, "attempt": 1,
    }  # fmt: skip
    return (contracts().by_type[FAILED].topic, *CODEC.encode(FAILED, {"meta": meta, **data}))


class Shop:
    """A store with a log of 300 payments, a record that cannot be read, and some decisions."""

    def __init__(self, store: Any, ledger: Ledger, loop: asyncio.Runner, place: Any) -> None:
        self.store, self.ledger, self.loop, self.place = store, ledger, loop, place

    def find(self, text: str) -> list[tuple[str, str]]:
        return [(one.kind, one.why) for one in self.loop.run(self.ledger.find(text))]

    def events(self, word: str, limit: int = 50) -> list[str]:
        return [event.id for event in self.loop.run(self.ledger.events(word, limit))]


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def shop(request: Any, tmp_path_factory: Any) -> Iterator[Shop]:
    (decided,) = rows(50, NOW)
    with asyncio.Runner() as loop:
        if request.param == "sqlite":
            path: Path = tmp_path_factory.mktemp("find") / "tidings.db"
            file = loop.run(SqliteStore.open(path, lambda: NOW))
            records = [Append(*payment(number)) for number in range(300)]
            loop.run(file.run(append([*records[:150], Append(records[0].topic, b"x", b"no avro"), *records[150:]])))
            reader = CatalogueReader(file, CODEC.decode, contracts().by_type, sleep=_at_once)
            while loop.run(reader.step()):
                pass
            made = Shop(file, Ledger.of_file(path, codec=CODEC), loop, None)
            yield from _with(made, decided)
        else:
            with database() as place:
                loop.run(migrate(place))
                server = loop.run(PostgresStore.open(place, lambda: NOW))
                topic = payment(0)[0]
                log = [LogRecord(topic, 0, n, NOW + n, *payment(n)[1:]) for n in range(300)]
                found_by = catalogue.entries(catalogue.readable(log, CODEC.decode), contracts().by_type)
                loop.run(server.run(detect.connect([(topic, 0)], NOW, grace=0, history="past", reader=ARCHIVE)))
                assert loop.run(server.run(keep(log, {(topic, 0): 0}, found_by))) == len(log)
                yield from _with(Shop(server, Ledger.of_database(place, codec=CODEC), loop, place), decided)


async def _at_once(_: float) -> None:
    """Rest not at all."""


def _with(shop: Shop, decided: Any) -> Iterator[Shop]:
    shop.loop.run(shop.store.run(insert(decided)))
    try:
        yield shop
    finally:
        shop.loop.run(shop.ledger.close())
        shop.loop.run(shop.store.close())


def test_an_event_is_found_by_its_id_by_our_reference_and_by_its_business_key(shop):
    assert shop.find("e-17") == [("event", "id")]
    (found,) = shop.loop.run(shop.ledger.find("e-17"))
    assert (found.event_type, found.at, found.customer) == (FAILED, NOW + 17, "customer:c-3")
    assert shop.find(found.id) == [("event", "id")]
    assert shop.find("pay-8") == [("event", "payment_id")] * 2
    assert shop.events("pay-8") == ["e-17", "e-16"]


def test_the_newest_events_of_a_customer_are_found_newest_first(shop):
    mine = [f"e-{number}" for number in range(299, -1, -1) if number % 7 == 4]
    assert shop.events("c-4", 10) == mine[:10]
    assert shop.events("c-4", 500) == mine
    assert ("customer", "named by events") in shop.find("c-4") or ("customer", "id") in shop.find("c-4")


def test_of_each_of_several_words_the_newest_are_found_however_many_another_has(shop):
    mine = [f"e-{number}" for number in range(299, -1, -1) if number % 7 == 4]
    finder = Finder(shop.ledger.asking, shop.ledger.tenant, CODEC)
    words = ["c-4", "pay-0", "pay-1", "nobody"]
    found = [event.id for event in shop.loop.run(finder.events_of(words, 10))]
    assert found[:10] == mine[:10]
    assert {"e-0", "e-1", "e-2", "e-3"} <= set(found)
    assert len(found) == len(set(found))
    assert shop.loop.run(finder.events_of([], 10)) == []


def test_what_nothing_is_named_by_is_not_found(shop):
    for text in ("", "  ", "nobody", "e-300", "\x00", "x" * 5_000, "%", "'; DROP TABLE runs", "00000000"):
        assert shop.find(text) == [], text


def test_decisions_messages_and_firings_are_found_by_their_ids_and_by_the_beginnings_that_pages_show(shop):
    (decided,) = rows(50, NOW)
    run = decided.runs[3]
    message = next(m for m in decided.messages if m["reference"])
    assert ("decision", "id") in shop.find(run["run_id"])
    assert ("decision", "beginning of its id") in shop.find(run["run_id"][:8].upper())
    assert ("firing", "id") in shop.find(run["firing_id"])
    assert ("message", "id") in shop.find(message["message_id"])
    assert shop.find(message["reference"]) == [("message", "provider reference")]
    assert ("customer", "id") in shop.find(run["recipient"].partition(":")[2])


def test_another_tenant_finds_nothing(shop):
    other = Ledger(shop.ledger.asking, tenant="other", codec=CODEC)
    (decided,) = rows(50, NOW)
    for text in ("e-17", "c-4", "pay-8", decided.runs[0]["run_id"], decided.messages[0]["message_id"]):
        assert shop.loop.run(other.find(text)) == []


def test_what_left_the_log_leaves_the_catalogue_and_what_is_in_the_log_stays(shop):
    if shop.place is None:
        return
    shop.loop.run(retain(shop.place, NOW - 1, Behind(0), now=NOW))
    assert shop.events("e-17") == ["e-17"]
    shop.loop.run(retain(shop.place, NOW + 400 * DAY, Behind(0), now=NOW + 400 * DAY))
    for table in ("blocks", "catalogue"):
        assert shop.loop.run(shop.store.read(lambda table=table: _all(table))) == []


def _all(table: str) -> Any:
    return (yield Scan(table))
