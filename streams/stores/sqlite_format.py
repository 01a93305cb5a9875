"""The layout of an embedded file: made new, or brought up from the one of an earlier version.

A file is brought up in one transaction by whoever opens it to write: tables, columns and indexes that are missing are
made from `tidings.tables`, so a step needs words of its own only where a new column has to be filled.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path

from streams.stores.counts import LETTERS_WAIT
from tidings.errors import Misconfigured
from tidings.tables import TABLES, Column

FORMAT = 8
"""Version of the file's layout, in `user_version`."""
OLDEST = 4
"""The oldest that is brought up."""
APPLICATION = 0x54_49_44_47
"""`application_id` of our files: "TIDG"."""

WIDE = frozenset({"log", "dead_letters", "rule_sets", "journal", "snapshots"})
"""Tables with long rows, which SQLite keeps better beside their key than in it."""

KINDS = {"int": "INTEGER", "text": "TEXT", "bytes": "BLOB"}
EMPTY = {"int": "0", "text": "''", "bytes": "x''"}

FILLED: Mapping[tuple[str, str], str] = {
    ("runs", "decided_at"): (
        "UPDATE runs SET decided_at = coalesce("
        "(SELECT min(created_at) FROM messages WHERE messages.run_id = runs.run_id AND role = 'notice'), logical_at)"
    ),
    ("messages", "reference"): (
        "UPDATE messages SET reference = json_extract(CAST(body AS TEXT), '$.reference') WHERE state = 'accepted'"
    ),
}
"""What fills a new column in the rows that are there."""


def prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Make the tables of a new file, or bring an earlier one up; set the writer's connection to what it must be.

    Raises:
        Misconfigured: it is not ours, or of a version that this one does not know.
    """
    try:
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    except sqlite3.DatabaseError as fault:
        raise Misconfigured(f"{path} is no SQLite file; name another one") from fault
    if tables and application != APPLICATION:
        raise Misconfigured(f"{path} is a SQLite file of something else; name another one")
    if version > FORMAT:
        raise Misconfigured(f"{path} was written by a newer version (format {version}; this one reads {FORMAT})")
    if 0 < version < OLDEST:
        text = f"{path} was written by an earlier version (format {version}), which is not migrated; begin a new file"
        raise Misconfigured(text)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA cache_size=-65536")
    connection.execute("PRAGMA temp_store=MEMORY")
    if version == FORMAT:
        return
    connection.execute("BEGIN IMMEDIATE")
    for statement in _missing_columns(connection) if version else ():
        connection.execute(statement)
    for statement in schema():
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id={APPLICATION}")
    connection.execute(f"PRAGMA user_version={FORMAT}")
    connection.execute("COMMIT")


def _missing_columns(connection: sqlite3.Connection) -> list[str]:
    """Return the statements that add what tables of an earlier format lack; new columns stand last."""
    found = []
    for table in TABLES.values():
        there = {row[1] for row in connection.execute(f'PRAGMA table_info("{table.name}")')}
        for column in table.columns if there else ():
            if column.name not in there:
                found.append(f'ALTER TABLE "{table.name}" ADD COLUMN {_declared(column, added=True)}')
                if filled := FILLED.get((table.name, column.name)):
                    found.append(filled)
    return found


def schema() -> Iterable[str]:
    """Return the statements that make the tables and indexes that are not there."""
    for table in TABLES.values():
        columns = ", ".join(_declared(column) for column in table.columns)
        yield (
            f'CREATE TABLE IF NOT EXISTS "{table.name}" ({columns}, PRIMARY KEY ({names(table.key_names)})) '
            f"STRICT{', WITHOUT ROWID' if table.name not in WIDE else ''}"
        )
        for index in table.indexes:
            if index.columns == table.key_names:
                continue  # the primary key is that index
            nullable = [f'"{c.name}" IS NOT NULL' for c in table.columns if c.null and c.name in index.columns]
            where = f" WHERE {' AND '.join(nullable)}" if nullable else ""
            yield f'CREATE INDEX IF NOT EXISTS "{table.name}_{index.name}" ON "{table.name}" ({names(index.columns)}){where}'
    yield f"CREATE INDEX IF NOT EXISTS {LETTERS_WAIT}"
    yield "CREATE TABLE IF NOT EXISTS sequences (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID"


def _declared(column: Column, *, added: bool = False) -> str:
    must = "" if column.null else f" NOT NULL{f' DEFAULT {EMPTY[column.kind]}' if added else ''}"
    return f'"{column.name}" {KINDS[column.kind]}{must}'


def names(columns: Iterable[str], *, down: bool = False) -> str:
    """Return names of columns for a statement; `down`: for an order that begins with the last."""
    return ", ".join(f'"{name}"{" DESC" if down else ""}' for name in columns)
