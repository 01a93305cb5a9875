"""Verify: what is stored is what the journal says, and whatever is not so is told."""

import asyncio
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from gateway.cli.main import main
from streams.stores.migrate import migrate
from streams.stores.migrations import rights
from streams.stores.place import Place
from tests.again import laboratory
from tests.services import administer, database

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def decided(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("decided")
    asyncio.run(laboratory.whole(folder))
    return folder


@pytest.fixture
def folder(decided: Path, tmp_path: Path) -> Path:
    """A copy to be spoiled."""
    with (
        closing(sqlite3.connect(decided / "tidings.db")) as one,
        closing(sqlite3.connect(tmp_path / "tidings.db")) as two,
    ):
        one.backup(two)
    return tmp_path


def spoil(folder: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(folder / "tidings.db")) as file:
        assert file.execute(statement, values).rowcount > 0
        file.commit()


def verify(capsys, *words: object) -> tuple[int, Any]:
    code = main(["verify", *map(str, words), "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_what_was_decided_in_order_has_no_difference(decided, capsys):
    code, told = verify(capsys, "--data", decided)
    assert (code, told["differences"], told["not_replayed"]) == (0, 0, {})
    assert told["events"] >= 300
    assert told["compared"] > 100
    assert told["repeats"] > 0, "the workload repeats events"
    with closing(sqlite3.connect(decided / "tidings.db")) as file:
        assert file.execute("select count(*) from records").fetchone() == (told["compared"],)
        assert {row[0] for row in file.execute("select kind from journal")} == {"switch", "batch", "tick"}
        assert file.execute("select count(*) from dead_letters").fetchone()[0] > 0
    assert main(["verify", "--data", str(decided)]) == 0
    assert "byte for byte" in capsys.readouterr().out


SPOILS = {
    "extra": "insert into records select episode_at, 'forged', kind, n, tenant, rule, recipient, seq, logical_at, body, "
    "unread from records limit 1",
    "missing": "delete from records where firing_id = (select min(firing_id) from records where kind = 'fired')",
    "differs": 'update records set body = cast(replace(cast(body as text), \'"severity":"\', \'"severity":"very \') as blob) '
    "where firing_id = (select min(firing_id) from records where kind = 'fired')",
}


@pytest.mark.parametrize("what", SPOILS)
def test_a_record_that_was_forged_lost_or_changed_is_told_by_rule_and_firing(folder, capsys, what):
    spoil(folder, SPOILS[what])
    code, told = verify(capsys, "--data", folder)
    assert code == 1
    one = told["first"][0]
    assert {other["firing"] for other in told["first"]} == {one["firing"]}
    assert (one["what"], one["kind"], one["sure"]) == (what, "fired", True)
    assert one["rule"] in ("payment-failed", "order-placed", "invoice-overdue")
    assert one["fields"] == (["body.severity"] if what == "differs" else [])


AGAINST_THE_JOURNAL = {
    "a number beyond the end": "insert into records select episode_at, 'forged', kind, n, tenant, rule, recipient, "
    "(select max(seq) + 1000 from journal), logical_at, body, unread from records limit 1",
    "a journal cut short": "delete from journal where seq > (select min(seq) from records)",
    "an emptied journal": "delete from journal",
}


@pytest.mark.parametrize("looked_at_once", [1, 2_000])
@pytest.mark.parametrize("what", AGAINST_THE_JOURNAL)
def test_records_that_no_row_of_the_journal_accounts_for_are_differences(
    folder, capsys, monkeypatch, what, looked_at_once
):
    monkeypatch.setattr("streams.verify.RECORDS", looked_at_once)
    spoil(folder, AGAINST_THE_JOURNAL[what])
    with closing(sqlite3.connect(folder / "tidings.db")) as file:
        (count,) = file.execute("select count(*) from records where seq not in (select seq from journal)").fetchone()
    assert count > 0
    code, told = verify(capsys, "--data", folder)
    assert (code, told["differences"]) == (1, count)
    assert {(one["what"], one["sure"]) for one in told["first"]} == {("extra", True)}


def test_an_event_that_was_changed_in_the_log_shows(folder, capsys):
    with closing(sqlite3.connect(folder / "tidings.db")) as file:
        (value,) = file.execute("select value from log where topic like 'sales.order.placed%' limit 1").fetchone()
    at = value.index(b"o-")
    spoil(folder, "update log set value = ? where value = ?", value[:at] + b"x" + value[at + 1 :], value)
    code, told = verify(capsys, "--data", folder)
    assert code == 1
    assert {one["what"] for one in told["first"]} <= {"missing", "extra", "differs"}


def test_rows_that_cannot_be_replayed_are_counted_and_what_follows_is_not_called_a_difference(folder, capsys):
    spoil(folder, "delete from log where topic like 'billing.invoice.issued%' and offset < 30")
    code, told = verify(capsys, "--data", folder)
    assert code == 2
    assert told["not_replayed"]["let_go"] >= 1
    assert told["rows"] == told["replayed"] + sum(told["not_replayed"].values())
    assert told["differences"] == told["unsure"]
    assert main(["verify", "--data", str(folder)]) == 2
    assert "cannot be told" in capsys.readouterr().out


def test_what_another_version_of_the_code_decided_is_left_to_it(folder, capsys):
    with closing(sqlite3.connect(folder / "tidings.db")) as file:
        (seq,) = file.execute("select max(seq) from journal where kind = 'tick'").fetchone()
    spoil(
        folder,
        "update journal set body = cast(replace(cast(body as text), '\"code\":', '\"code\":9') as blob) where seq = ?",
        seq,
    )
    code, told = verify(capsys, "--data", folder)
    assert (code, told["not_replayed"]) == (2, {"other_code": 1})
    assert told["unseen"] >= 1


def test_there_is_no_file(tmp_path, capsys):
    assert main(["verify", "--data", str(tmp_path)]) == 2
    assert "there is no file" in capsys.readouterr().err


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with database() as found:
        asyncio.run(migrate(found))
        asyncio.run(administer(f"CREATE ROLE {found.database}_verifier LOGIN IN ROLE {rights.VERIFIER}"))
        asyncio.run(laboratory.whole(found))
        yield found
        asyncio.run(administer(f"DROP ROLE {found.database}_verifier"))


def configured(folder: Path, place: Place) -> Path:
    file = folder / "tidings.toml"
    file.write_text(
        f'[kafka]\nbootstrap = ["127.0.0.1:1"]\n[postgres]\nhost = "{place.host}"\nport = {place.port}\n'
        f'database = "{place.database}"\nuser = "{place.user}"\n'
    )
    return file


def test_on_a_server_the_verifiers_few_rights_are_enough(place, tmp_path, capsys):
    mine = replace(place, user=f"{place.database}_verifier")
    code, told = verify(capsys, "--config", configured(tmp_path, mine))
    assert (code, told["differences"], told["not_replayed"]) == (0, 0, {})
    assert told["compared"] > 100

    async def spoilt() -> None:
        connection = await asyncpg.connect(host=place.host, port=place.port, database=place.database, user=place.user)
        try:
            await connection.execute("DELETE FROM tidings.records WHERE kind = 'fired' AND rule = 'order-placed'")
        finally:
            await connection.close()

    asyncio.run(spoilt())
    code, told = verify(capsys, "--config", configured(tmp_path, mine))
    assert code == 1
    assert {one["what"] for one in told["first"]} == {"missing"}
    assert len(told["first"]) == 10 < told["differences"]
