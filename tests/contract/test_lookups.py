"""A row that is asked for by its key is found by its key, however many share the beginning of it."""

import sqlite3

import pytest

from streams.stores.sqlite import by_keys
from streams.stores.sqlite_format import prepare
from tidings.tables import TABLES


@pytest.mark.parametrize("number", [1, 2, 50])
@pytest.mark.parametrize("table", TABLES.values(), ids=lambda one: one.name)
def test_every_table_of_the_file_is_searched_by_its_whole_key(tmp_path, table, number):
    connection = sqlite3.connect(tmp_path / "tidings.db", isolation_level=None)
    prepare(connection, tmp_path / "tidings.db")
    plan = connection.execute(f"EXPLAIN QUERY PLAN {by_keys(table, number)}", [0] * table.key * number).fetchall()
    connection.close()
    (search,) = [line for *_, line in plan if line.startswith("SEARCH t")]
    assert search.count("=?") == table.key, plan
