"""Dead letters on the page: a trial first, then a redrive that says how many leave; bytes are opened, and that is written down."""

import re
from typing import Any

import pytest

from gateway.console.letters import dump
from gateway.letters import HELPS, at_fault
from gateway.redriving import read_place
from schemas import contracts
from streams.embedded import wall_clock
from streams.embedded_log import Append
from streams.ledger.lists import COUNTED
from streams.ledger.rows import Count
from tests.edge import edge
from tests.http.asking import run, until
from tests.ledger.laboratory import stands
from tests.live.engines import customer, failed, rows
from tidings import canonical
from tidings.errors import Refusal
from tidings.event import MINUTE, SECOND
from tidings.ports import Insert, Put, Scan

pytestmark = pytest.mark.live

TOPIC = "billing.payment.failed.v1"


async def letters(shop: Any, count: int) -> None:
    async def there() -> bool:
        return len(await rows(shop.engine, "dead_letters")) == count

    await until(there)


async def text(shop: Any, path: str = "/dead-letters") -> str:
    return plain((await shop.get(path)).body)


def plain(body: bytes) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body.decode()))


async def audit(shop: Any) -> list[tuple[str, dict[str, Any]]]:
    return [(row["verb"], canonical.loads(row["body"])) for row in await rows(shop.engine, "audit")]


@pytest.mark.parametrize("kept", ["sqlite", "postgres"])
def test_a_record_of_two_readers_counts_once_and_is_found_however_old_it_is(tmp_path, kept):
    def letter(offset: int, at: int, **more: Any) -> dict[str, Any]:
        return {
            "reader": "detect", "topic": TOPIC, "partition": 0, "offset": offset, "reason": "not_avro", "detail": "",
            "schema_id": None, "appended_at": at, "key": None, "value": b"x", "headers": b"[]", "redriven_at": None,
            "aside_at": None, **more,
        }  # fmt: skip

    def body():
        # Older than all that were dealt with, of which there are more than are counted.
        waiting = [letter(n, n) for n in range(30)]
        yield Insert("dead_letters", [*waiting, *({**one, "reader": "people"} for one in waiting)])
        for start in range(100, 100 + COUNTED + 500, 500):
            yield Insert("dead_letters", [letter(n, n, aside_at=1) for n in range(start, start + 500)])

    for stand in stands(kept, tmp_path):
        stand(stand.store.run(body))
        assert stand(stand.ledger.dead_letter_counts()) == {"not_avro": Count(30)}
        first = stand(stand.ledger.dead_letters(waiting=True, limit=25))
        second = stand(stand.ledger.dead_letters(waiting=True, limit=25, before=first.older))
        assert [one.offset for one in (*first.rows, *second.rows)] == list(reversed(range(30)))
        assert second.older is None


def test_a_record_is_tried_redriven_and_told_and_another_is_set_aside(tmp_path):
    async def body():
        async with edge(tmp_path) as shop:
            await shop.engine.publish("customer.profile.changed", customer("c-1"))
            # Its producer's clock is ten minutes ahead; it can be read once that time has come.
            kind = "billing.payment.failed"
            ahead = failed("p-1")
            ahead["meta"]["occurred_at"] = wall_clock() + 10 * MINUTE
            key, value = shop.engine.codec.encode(kind, ahead)
            await shop.engine.log.append([Append(TOPIC, key, value), Append(TOPIC, b"k", b"{ no Avro")])
            await letters(shop, 2)
            page = await text(shop)
            assert "2 records could not be read" in page
            assert "time in future" in page
            assert "not avro" in page
            chosen = {"r-1": f"{TOPIC}/0/0", "r-2": f"{TOPIC}/0/1"}
            tried = plain((await shop.submit("/dead-letters", "/dead-letters/try", **chosen)).body)
            assert "0 of 2 can be read now" in tried
            assert not await rows(shop.engine, "messages")

            def earlier():
                row = next(row for row in (yield Scan("dead_letters")) if row["offset"] == 0)
                ours = failed("p-1")
                _, good = shop.engine.codec.encode(kind, ours)
                yield Put("dead_letters", [{**row, "value": good}])

            await shop.engine.store.run(earlier)
            tried = plain((await shop.submit("/dead-letters", "/dead-letters/try", **chosen)).body)
            assert "1 of 2 can be read now" in tried
            assert "Redrive 1: 1 message leaves" in tried
            assert not await rows(shop.engine, "messages")
            assert (await shop.submit("/dead-letters", "/dead-letters/redrive", **chosen, reason=" ")).status == 422
            done = await shop.submit("/dead-letters", "/dead-letters/redrive", **chosen, reason="the clock is mended")
            assert done.status == 303

            async def told() -> bool:
                return len(shop.provider.taken) == 1

            await until(told)
            # A page that was open for long redrives nothing twice.
            again = await shop.submit("/dead-letters", "/dead-letters/redrive", **chosen, reason="once more")
            assert again.status == 422
            aside = await shop.submit("/dead-letters", "/dead-letters/set-aside", **chosen, reason="a test of theirs")
            assert aside.status == 303
            assert "Every record could be read, or was dealt with" in await text(shop)
            assert "set aside" in await text(shop, "/dead-letters?tab=all")
            said = await audit(shop)
            assert said == [
                ("dead-letters redrive", {"letters": [[TOPIC, 0, 0]], "reason": "the clock is mended"}),
                ("dead-letters set aside", {"letters": [[TOPIC, 0, 1]], "reason": "a test of theirs"}),
            ]

    run(body())


def test_bytes_are_shown_when_asked_for_with_those_at_fault_marked_and_that_is_written_down(tmp_path):
    async def body():
        async with edge(tmp_path) as shop:
            await shop.engine.log.append([Append(TOPIC, b"k", b"\x00\x00\x00\x12\x67and <b>what</b> follows")])
            await letters(shop, 1)
            record = f"{TOPIC}/0/0"
            page = (await shop.get(f"/dead-letters?record={record}")).body
            assert b"what</b>" not in page
            assert b"and &lt;b&gt;" not in page
            assert b"Release the contract" in page
            assert not await audit(shop)
            opened = (await shop.submit("/dead-letters", "/dead-letters/open", record=record)).body.decode()
            assert "<mark>00 00 00 12 67</mark> 61 6e 64" in opened
            assert "&lt;b&gt;" in opened
            assert "<b>what" not in opened
            assert await audit(shop) == [("dead-letters open", {"letter": [TOPIC, 0, 0]})]
            for wrong in ("", "x", f"{TOPIC}/0/99", f"{TOPIC}/-1/0", "a" * 400):
                assert (await shop.submit("/dead-letters", "/dead-letters/open", record=wrong)).status == 404

    run(body())


def test_who_may_not_sees_neither_bytes_nor_buttons(tmp_path):
    async def body():
        async with edge(tmp_path, started=False) as shop:
            key = await shop.key("viewer", "decisions")
            origin = f"http://127.0.0.1:{shop.port}"
            signed = await shop.post("/sign-in", f"key={key}&next=/", origin=origin)
            cookie = signed.headers["set-cookie"].partition(";")[0]
            assert (await shop.get("/dead-letters", cookie=cookie)).status == 403
            kills = (await shop.get("/kills", cookie=cookie)).body.decode()
            assert "Stopping needs a key with the scope" in kills
            token = re.search(r'name="csrf" value="([^"]+)"', kills)
            assert 'href="/dead-letters"' not in kills
            fields = f"csrf={'' if token is None else token[1]}&reason=because&record={TOPIC}/0/0"
            for path in (
                "/kills",
                "/dead-letters/open",
                "/dead-letters/try",
                "/dead-letters/redrive",
                "/dead-letters/set-aside",
            ):
                assert (await shop.post(path, fields, origin=origin, cookie=cookie)).status == 403, path

    run(body())


def test_failed_deliveries_are_counted_beside_and_never_added(tmp_path):
    class Refuses:
        name, lease, can_look_up = "refuses", 30 * SECOND, False

        async def send(self, outgoing):
            from tidings.ports import Outcome

            return Outcome("permanent", detail="no such mailbox")

        async def look_up(self, _):
            return None

    async def body():
        async with edge(tmp_path, provider=Refuses()) as shop:
            await shop.engine.publish("customer.profile.changed", customer("c-1"))
            await shop.engine.publish("billing.payment.failed", failed("p-1"))
            await shop.engine.log.append([Append(TOPIC, b"k", b"{")])
            await letters(shop, 1)

            async def refused() -> bool:
                return [row["state"] for row in await rows(shop.engine, "messages")] == ["failed"]

            await until(refused)
            page = await text(shop, "/dead-letters?tab=deliveries")
            assert "1 record could not be read" in page
            assert "1 failed, 0 unresolved" in page
            assert "The provider refused the message for good." in page
            assert "2" not in re.findall(r"\d+", page.partition("Kind")[0].partition("could not be read")[0][-20:])

    run(body())


def test_every_reason_says_what_helps():
    assert set(HELPS) == set(Refusal)
    assert contracts().by_type["billing.payment.failed"].topic == TOPIC


@pytest.mark.parametrize(("reason", "value", "detail", "marked"), [
    ("unknown_schema", b"\x00\x00\x00\x12\x67rest", "no contract has the schema id 4711", [0, 1, 2, 3, 4]),
    ("trailing_bytes", b"0123456789", "3 bytes are left over", [7, 8, 9]), ("not_avro", b"{}", "the first byte is 7b, not 00", [0]),
    ("truncated", b"abc", "the record ends inside a value (1 bytes)", [2]), ("bad_value", b"abc", "ValueError", []),
    ("trailing_bytes", b"01", "99999 bytes are left over", [0, 1]), ("not_avro", None, "the record has no value", []),
])  # fmt: skip
def test_the_bytes_at_fault_are_marked_where_they_are_known(reason, value, detail, marked):
    fault = at_fault({"reason": reason, "value": value, "detail": detail})
    assert list(fault) == marked
    lines = dump(value or b"", fault)
    assert (
        "".join(f"{line.before}{line.inside}{line.behind}" for line in lines).replace(" ", "") == (value or b"").hex()
    )


@pytest.mark.parametrize("text", ["", "a", "a/b/c", "a/1", "a/1/-1", "a/1/" + "9" * 30, "ä/1/1", "a/1/1/1"])
def test_what_names_no_place_is_none(text):
    assert read_place(text) is None
