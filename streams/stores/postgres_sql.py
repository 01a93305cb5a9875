"""The statements of the PostgreSQL store, made from `tidings.tables`: text only, nothing is run here.

Rows go in as one array a column. All statements name their columns, so that a release which adds some shares the
database with the one before. Keys are in byte order: text columns collate as "C".
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from tidings.ports import Find, FindEach, Scan
from tidings.tables import TABLES, Table

TYPES = {"int": "bigint", "text": "text", "bytes": "bytea"}


def names(columns: Iterable[str], of: str = "", *, down: bool = False) -> str:
    """Quote names and join them, each behind `of`; `down`: for an order that begins with the last."""
    return ", ".join(f'{of}"{name}"{" DESC" if down else ""}' for name in columns)


def all_names(table: Table) -> tuple[str, ...]:
    """Return the names of all columns, in their order."""
    return tuple(column.name for column in table.columns)


def _unnest(table: Table, first: int, count: int) -> str:
    """Arrays of the first `count` columns, from parameter `first` on, as rows."""
    arrays = ", ".join(f"${first + at}::{TYPES[column.kind]}[]" for at, column in enumerate(table.columns[:count]))
    return f"unnest({arrays}) AS q({names(column.name for column in table.columns[:count])})"


def _same_key(table: Table) -> str:
    return " AND ".join(f't."{name}" = q."{name}"' for name in table.key_names)


@cache
def make_and_lock(name: str) -> str:
    """Make rows that are not there, lock those that are, in key order; answers the keys of those that were made.

    `WHERE false` locks a row and leaves it as it is. What a row holds that was made here is nothing: whoever made it
    puts a real one in its place or deletes it before the commit, so nobody else ever sees it.
    """
    table = TABLES[name]
    blank = {"int": "0", "text": "''", "bytes": "''::bytea"}
    values = [
        f'q."{column.name}"' if at < table.key else "NULL" if column.null else blank[column.kind]
        for at, column in enumerate(table.columns)
    ]
    any_column = table.columns[table.key].name
    return (
        f'INSERT INTO "{name}" AS t ({names(all_names(table))}) SELECT {", ".join(values)} '
        f"FROM {_unnest(table, 1, table.key)} ORDER BY {names(table.key_names, 'q.')} "
        f"ON CONFLICT ({names(table.key_names)}) "
        f'DO UPDATE SET "{any_column}" = excluded."{any_column}" WHERE false RETURNING {names(table.key_names)}'
    )


@cache
def read(name: str) -> str:
    """Rows by their keys."""
    table = TABLES[name]
    columns = names(all_names(table), "t.")
    if table.key == 1:
        key = table.columns[0]
        return f'SELECT {columns} FROM "{name}" t WHERE t."{key.name}" = ANY($1::{TYPES[key.kind]}[])'
    return f'SELECT {columns} FROM {_unnest(table, 1, table.key)} JOIN "{name}" t ON {_same_key(table)}'


@cache
def lock(name: str, *, skip_locked: bool = False) -> str:
    """Lock rows that are there, in key order, and read them; or those of them that nobody holds."""
    order = names(TABLES[name].key_names, "t.")
    return f"{read(name)} ORDER BY {order} FOR NO KEY UPDATE OF t{' SKIP LOCKED' if skip_locked else ''}"


@cache
def put(name: str, first: int = 1) -> str:
    """Insert or replace rows."""
    table = TABLES[name]
    rest = [column.name for column in table.columns[table.key :]]
    news = ", ".join(f'"{one}" = excluded."{one}"' for one in rest)
    return f"{_insert(table, first)} ON CONFLICT ({names(table.key_names)}) DO UPDATE SET {news}"


@cache
def update(name: str, columns: tuple[str, ...], first: int = 1) -> str:
    """Write some columns of rows that are there for sure: they are locked."""
    table = TABLES[name]
    kept = [column for column in table.columns if column.name in (*table.key_names, *columns)]
    news = ", ".join(f'"{one}" = q."{one}"' for one in columns)
    arrays = ", ".join(f"${first + at}::{TYPES[column.kind]}[]" for at, column in enumerate(kept))
    rows = f"unnest({arrays}) AS q({names(column.name for column in kept)})"
    return f'UPDATE "{name}" t SET {news} FROM {rows} WHERE {_same_key(table)}'


@cache
def insert(name: str, first: int = 1) -> str:
    """Insert rows whose keys are not there."""
    return f"{_insert(TABLES[name], first)} ON CONFLICT DO NOTHING"


@cache
def insert_and_tell(name: str) -> str:
    """Insert rows whose keys are not there; answers the keys of those that went in."""
    return f"{insert(name)} RETURNING {names(TABLES[name].key_names)}"


@cache
def delete(name: str, first: int = 1) -> str:
    """Delete rows by their keys."""
    table = TABLES[name]
    if table.key == 1:
        key = table.columns[0]
        return f'DELETE FROM "{name}" t WHERE t."{key.name}" = ANY(${first}::{TYPES[key.kind]}[])'
    return f'DELETE FROM "{name}" t USING {_unnest(table, first, table.key)} WHERE {_same_key(table)}'


def _insert(table: Table, first: int) -> str:
    columns = names(all_names(table))
    return f'INSERT INTO "{table.name}" ({columns}) SELECT * FROM {_unnest(table, first, len(table.columns))}'


def find(op: Find, more: int = 0) -> tuple[str, list[object]]:
    """Rows of an index in its order; `more` rows beyond the limit."""
    bounds = [op.upto is not None, op.above is not None, op.after is not None]
    given = [*(bound for bound in (op.upto, op.above) if bound is not None), *(op.after or ())]
    text = _find(op.table, op.index, len(op.equals), *bounds, op.backwards, _limit(op.limit, more))
    return text, [*op.equals, *given]


def find_each(op: FindEach, more: int = 0) -> str:
    """Rows of an index for each of some values, in its order for each of them; a bound comes after their arrays."""
    return _find_each(op.table, op.index, len(op.equals[0]), _limit(op.limit, more), upto=op.upto is not None)


@cache
def index_columns(name: str, index: str) -> tuple[str, ...]:
    """Return the columns of an index."""
    return next(one.columns for one in TABLES[name].indexes if one.name == index)


@cache
def _find_each(name: str, index: str, equals: int, limit: str, *, upto: bool) -> str:
    table, columns = TABLES[name], index_columns(name, index)
    kinds = {column.name: TYPES[column.kind] for column in table.columns}
    arrays = ", ".join(f"${at}::{kinds[column]}[]" for at, column in enumerate(columns[:equals], 1))
    where = [f't."{column}" = q."{column}"' for column in columns[:equals]]
    where += [f't."{column}" IS NOT NULL' for column in columns[equals : equals + 1]]
    if upto:
        where.append(f't."{columns[equals]}" <= ${equals + 1}')
    order = names(dict.fromkeys((*columns, *table.key_names)), "t.")
    one = f'SELECT {names(all_names(table), "t.")} FROM "{name}" t WHERE {" AND ".join(where)} ORDER BY {order}{limit}'
    given = f"unnest({arrays}) AS q({names(columns[:equals])})"
    return f"SELECT {names(all_names(table), 'f.')} FROM {given} CROSS JOIN LATERAL ({one}) f"


@cache
def _find(name: str, index: str, equals: int, upto: bool, above: bool, after: bool, down: bool, limit: str) -> str:  # noqa: FBT001 - which bounds there are
    table, columns = TABLES[name], index_columns(name, index)
    where = [f'"{column}" = ${at}' for at, column in enumerate(columns[:equals], 1)]
    if equals < len(columns):
        bound, at = columns[equals], equals + 1
        where.append(f'"{bound}" IS NOT NULL')
        if upto:
            where.append(f'"{bound}" <= ${at}')
            at += 1
        if above:
            where.append(f'"{bound}" > ${at}')
            at += 1
        if after:
            given = ", ".join(f"${at + more}" for more in range(1 + table.key))
            where.append(f"({names((bound, *table.key_names))}) > ({given})")
    order = names(dict.fromkeys((*columns, *table.key_names)), down=down)
    return f'SELECT {names(all_names(table))} FROM "{name}" WHERE {" AND ".join(where)} ORDER BY {order}{limit}'


def scan(op: Scan, more: int = 0) -> tuple[str, list[object]]:
    """All rows in the order of their keys, from one on."""
    return _scan(op.table, _limit(op.limit, more), go_on=op.after is not None), list(op.after or ())


@cache
def _scan(name: str, limit: str, *, go_on: bool) -> str:
    table = TABLES[name]
    keys = names(table.key_names)
    where = f" WHERE ({keys}) > ({', '.join(f'${at}' for at in range(1, table.key + 1))})" if go_on else ""
    return f'SELECT {names(all_names(table))} FROM "{name}"{where} ORDER BY {keys}{limit}'


def _limit(limit: int | None, more: int) -> str:
    # Written out: for a parameter the planner assumes a tenth of the table, and sorts it.
    return "" if limit is None else f" LIMIT {limit + more}"
