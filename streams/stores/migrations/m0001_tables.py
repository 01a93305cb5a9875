"""The tables of `tidings.tables`, as they were when PostgreSQL joined."""

from __future__ import annotations

from collections.abc import Iterable

from streams.stores.postgres_sql import names
from tidings.tables import SEQUENCES, TABLES

TITLE = "tables, indexes and sequences"
KINDS = {"int": "bigint", "text": 'text COLLATE "C"', "bytes": "bytea"}


def statements() -> Iterable[str]:
    """Return the statements of the step."""
    for table in TABLES.values():
        columns = ", ".join(f'"{c.name}" {KINDS[c.kind]}{"" if c.null else " NOT NULL"}' for c in table.columns)
        yield f'CREATE TABLE "{table.name}" ({columns}, PRIMARY KEY ({names(table.key_names)}))'
        for index in table.indexes:
            if index.columns == table.key_names[: len(index.columns)]:
                continue  # the primary key is that index
            nullable = [f'"{c.name}" IS NOT NULL' for c in table.columns if c.null and c.name in index.columns]
            where = f" WHERE {' AND '.join(nullable)}" if nullable else ""
            yield f'CREATE INDEX "{table.name}_{index.name}" ON "{table.name}" ({names(index.columns)}){where}'
    for name in SEQUENCES:
        yield f'CREATE SEQUENCE "seq_{name}"'
