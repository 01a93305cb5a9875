"""Retention and verify together: what is let go was proved first, and what is left can be verified from there."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from gateway.cli.main import main
from schemas import contracts
from streams.codec import Codec
from streams.horizon import Differs, Horizon, advance, take
from streams.rule_book import RuleBook
from streams.stores.migrate import migrate
from streams.stores.place import Place
from streams.stores.retention import Behind, Retained, retain
from streams.verify import ServerJournal
from tests.again import laboratory
from tests.again.test_verify import configured
from tests.services import database
from tidings.event import DAY, HOUR
from tidings.ports import StoreUnavailable

pytestmark = pytest.mark.live

LATER = laboratory.NOW + 20 * DAY
BEFORE = laboratory.NOW + 10 * DAY
"""Between the two halves of what was decided."""


@pytest.fixture
def place() -> Iterator[Place]:
    """A database in which something was decided, and twenty days later something more."""
    with database() as found:
        asyncio.run(migrate(found))
        asyncio.run(_decided(found))
        yield found


async def _decided(place: Place) -> None:
    async with laboratory.opened(place) as store:
        await laboratory.detected(store, 150)
        await laboratory.idle(store, laboratory.NOW + 10 * HOUR)
    async with laboratory.opened(place, lambda: LATER) as store:
        await laboratory.detected(store, 150, clock=lambda: LATER)
        await laboratory.idle(store, LATER + 10 * HOUR)
    await ask(place, "UPDATE records SET unread = NULL")


async def ask(place: Place, statement: str, *values: object) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(
        host=place.host, port=place.port, database=place.database, user=place.user,
        server_settings={"search_path": place.schema},
    )  # fmt: skip
    try:
        return list(await connection.fetch(statement, *values))
    finally:
        await connection.close()


def asked(place: Place, statement: str, *values: object) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in asyncio.run(ask(place, statement, *values))]


def moved(place: Place, before: int = BEFORE, *, anew: bool = False) -> Horizon:
    async def body() -> Horizon:
        async with laboratory.opened(place) as store:
            journal = ServerJournal(store)  # type: ignore[arg-type]
            book = RuleBook(contracts(), journal)
            return await advance(place, journal, book, Codec(contracts()), before, LATER, anew=anew)

    return asyncio.run(body())


def let_go(place: Place, horizon: Horizon, before: int = BEFORE) -> Retained:
    behind = Behind(horizon.seq, horizon.positions)
    return asyncio.run(retain(place, before, behind, now=LATER))


def verified(place: Place, folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    code = main(["verify", "--config", str(configured(folder, place)), "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_what_is_old_goes_and_what_is_left_has_no_difference_from_the_snapshot_on(place, tmp_path, capsys):
    whole = verified(place, tmp_path, capsys)[1]
    last = asked(place, "SELECT max(seq) FROM journal")[0][0]
    horizon = moved(place)
    assert 0 < horizon.seq < last
    assert horizon.head is not None
    assert (horizon.head.how, horizon.head.keys > 0, horizon.head.compared > 0) == ("replayed", True, True)
    done = let_go(place, horizon)
    assert done.deleted > 100
    assert asked(place, "SELECT count(*) FROM log WHERE appended_at < $1", BEFORE) == [(0,)]
    code, told = verified(place, tmp_path, capsys)
    assert (code, told["differences"], told["not_replayed"], told["begins"]) == (0, 0, {}, horizon.seq)
    assert told["compared"] + horizon.head.compared == whole["compared"]
    assert main(["verify", "--config", str(configured(tmp_path, place))]) == 0
    assert f"with the snapshot at row {horizon.seq}; what lies before was verified" in capsys.readouterr().out


def test_each_snapshot_follows_from_the_one_before_and_only_the_last_one_keeps_its_content(place):
    first = moved(place)
    let_go(place, first)
    second = moved(place, LATER + DAY)
    assert first.head is not None
    assert second.head is not None
    assert second.head.before == (first.seq, first.head.digest)
    let_go(place, second, LATER + DAY)
    parts = asked(place, "SELECT seq, array_agg(part ORDER BY part) FROM snapshots GROUP BY seq ORDER BY seq")
    assert parts == [(first.seq, [0]), (second.seq, [-1, *range(second.head.parts + 1)])]
    again = moved(place, LATER + DAY)
    assert (again.seq, again.moved) == (second.seq, False)


def test_what_a_replay_remembers_is_what_the_tables_hold_to_the_byte(place):
    taken = asyncio.run(take(place, LATER))
    replayed = moved(place, LATER + DAY).head
    assert replayed is not None
    assert (replayed.seq, replayed.digest, replayed.keys) == (taken.seq, taken.digest, taken.keys)
    assert replayed.positions.items() <= taken.positions.items()


def test_a_snapshot_that_holds_something_else_than_the_replay_is_a_difference(place, tmp_path, capsys):
    asyncio.run(take(place, LATER))
    code, told = verified(place, tmp_path, capsys)
    assert (code, told["snapshots"], told["begins"]) == (0, 1, 0)
    assert asked(place, "DELETE FROM state WHERE k = (SELECT k FROM state ORDER BY k LIMIT 1) RETURNING 1")
    taken = asyncio.run(take(place, LATER))
    code, told = verified(place, tmp_path, capsys)
    assert (code, [(one["what"], one["seq"]) for one in told["first"]]) == (1, [("snapshot", taken.seq)])


def test_nothing_is_let_go_where_a_replay_finds_a_difference_unless_a_person_takes_it_as_it_stands(
    place, tmp_path, capsys
):
    # What was decided last, so that the time of the world lets everything go.
    file = configured(tmp_path, place)
    asked(
        place, "DELETE FROM records WHERE kind = 'fired' AND seq = (SELECT max(seq) FROM records WHERE kind = 'fired')"
    )
    asked(place, "UPDATE log SET appended_at = 1")
    with pytest.raises(Differs):
        moved(place, LATER + DAY)
    assert main(["migrate", "--config", str(file), "--retain", "30"]) == 1
    assert "what would go is the evidence" in capsys.readouterr().err
    assert asked(place, "SELECT count(*) FROM snapshots") == [(0,)]
    assert main(["migrate", "--config", str(file), "--retain", "30", "--anew"]) == 0
    assert "as --anew asks for it; verify begins with it" in capsys.readouterr().out
    assert asked(place, "SELECT count(*) FROM log") == [(0,)]
    code, told = verified(place, tmp_path, capsys)
    assert (code, told["rows"], told["begins_how"]) == (0, 0, "taken")


def test_rows_that_cannot_be_replayed_let_the_chain_begin_anew_and_it_is_said(place, tmp_path, capsys):
    asked(place, "DELETE FROM log WHERE appended_at < $1", BEFORE)
    assert verified(place, tmp_path, capsys)[0] == 2
    horizon = moved(place)
    assert (horizon.why, horizon.seq) == ("let_go", asked(place, "SELECT max(seq) FROM journal")[0][0])
    let_go(place, horizon)

    async def more() -> None:
        async with laboratory.opened(place, lambda: LATER + DAY) as store:
            await laboratory.detected(store, 50, clock=lambda: LATER + DAY)
            await laboratory.idle(store, LATER + DAY + 10 * HOUR)

    asyncio.run(more())
    code, told = verified(place, tmp_path, capsys)
    assert (code, told["not_replayed"], told["begins_how"]) == (0, {}, "taken")
    assert told["events"] > 0


def test_a_snapshot_that_is_damaged_or_gone_is_no_verdict(place, tmp_path, capsys):
    let_go(place, moved(place))
    asked(place, "UPDATE snapshots SET body = substr(body, 1, 100) WHERE part = 1")
    assert main(["verify", "--config", str(configured(tmp_path, place))]) == 2
    assert "is damaged" in capsys.readouterr().err
    asked(place, "DELETE FROM snapshots WHERE part >= 0")
    assert main(["verify", "--config", str(configured(tmp_path, place))]) == 2
    assert "restore the table snapshots" in capsys.readouterr().err


def test_an_event_that_comes_again_after_its_record_was_let_go_is_no_difference(place, tmp_path, capsys):
    horizon = moved(place)
    let_go(place, horizon)
    # The second half says again what the first has said: those records are older than the horizon now.
    asked(place, "DELETE FROM records WHERE seq <= $1 AND episode_at < $2", horizon.seq, BEFORE)
    code, told = verified(place, tmp_path, capsys)
    assert (code, told["differences"]) == (0, 0)


def test_whoever_holds_a_table_too_long_is_told_and_nothing_is_lost(place):
    horizon = moved(place)

    async def body() -> None:
        connection = await asyncpg.connect(host=place.host, port=place.port, database=place.database, user=place.user)
        try:
            async with connection.transaction():
                await connection.execute("LOCK TABLE tidings.journal_default IN ACCESS EXCLUSIVE MODE")
                await connection.execute("LOCK TABLE tidings.snapshots IN ACCESS EXCLUSIVE MODE")
                with pytest.raises(StoreUnavailable):
                    await retain(place, BEFORE, Behind(horizon.seq, horizon.positions), now=LATER)
        finally:
            await connection.close()

    asyncio.run(body())
    assert asked(place, "SELECT count(*) > 0 FROM log WHERE appended_at < $1", BEFORE) == [(True,)]
