"""The tables of `tidings.tables`, those that grow for ever in partitions.

`records` are partitioned by the month of their episode, `log` by the day of the append, `journal` by a million
numbers. What lies outside of all partitions goes to a default one: nothing is refused because nobody made a
partition in time. The function `make_partitions` makes those that will be needed; anyone who works here may call it.
"""

from __future__ import annotations

from collections.abc import Iterable

from streams.stores.counts import LETTERS_WAIT
from streams.stores.postgres_sql import names
from tidings.tables import SEQUENCES, TABLES, Table

TITLE = "tables, partitions, indexes and sequences"
KINDS = {"int": "bigint", "text": 'text COLLATE "C"', "bytes": "bytea"}

PARTITIONED = {"records": "episode_at", "log": "appended_at", "journal": "seq"}
"""By table: the column that says into which partition a row goes."""

UPDATED = {"state": 80, "recipients": 80, "messages": 80, "runs": 85, "sources": 20, "log_heads": 20, "epochs": 50}
"""Tables whose rows are rewritten, with the share of a page that is filled at first: a new version of a row beside the
old one touches no index, and is cleaned without VACUUM."""

EMPTIED = frozenset({"outbox", "intake"})
"""Tables of which a row is deleted when its work is done: all of it waits."""

STORAGE = "autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02"

MAKE_PARTITIONS = """
CREATE FUNCTION make_partitions(now bigint) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema}, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
    made integer := 0;
    today timestamp := date_trunc('day', to_timestamp(now / 1000000) AT TIME ZONE 'UTC');
    head bigint;
    want record;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('make_partitions', 0));
    SELECT last_value / 1000000 INTO head FROM seq_journal;
    FOR want IN
        SELECT 'records' AS parent, 'episode_at' AS by_column, to_char(m, '"records_"YYYYMM') AS name,
               (extract(epoch FROM m AT TIME ZONE 'UTC') * 1000000)::bigint AS low,
               (extract(epoch FROM (m + interval '1 month') AT TIME ZONE 'UTC') * 1000000)::bigint AS high
        FROM generate_series(date_trunc('month', today) - interval '1 month',
                             date_trunc('month', today) + interval '2 months', interval '1 month') AS m
        UNION ALL
        SELECT 'log', 'appended_at', to_char(d, '"log_"YYYYMMDD'),
               (extract(epoch FROM d AT TIME ZONE 'UTC') * 1000000)::bigint,
               (extract(epoch FROM (d + interval '1 day') AT TIME ZONE 'UTC') * 1000000)::bigint
        FROM generate_series(today - interval '1 day', today + interval '7 days', interval '1 day') AS d
        UNION ALL
        SELECT 'journal', 'seq', 'journal_' || lpad(n::text, 9, '0'), n * 1000000, (n + 1) * 1000000
        FROM generate_series(head, head + 3) AS n
    LOOP
        CONTINUE WHEN to_regclass(want.name) IS NOT NULL;
        -- Rows that came before their partition stay in the default one, and the partition is left out.
        EXECUTE format('SELECT 1 FROM %I WHERE %I >= $1 AND %I < $2 LIMIT 1', want.parent || '_default',
                       want.by_column, want.by_column) INTO head USING want.low, want.high;
        CONTINUE WHEN head IS NOT NULL;
        EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%s) TO (%s) WITH (' || {storage} || ')',
                       want.name, want.parent, want.low, want.high);
        made := made + 1;
    END LOOP;
    RETURN made;
END $$
"""


def statements(schema: str) -> Iterable[str]:
    """Return the statements of the step."""
    for table in TABLES.values():
        yield from _table(table)
    yield f"CREATE INDEX {LETTERS_WAIT}"
    for name in SEQUENCES:
        yield f'CREATE SEQUENCE "seq_{name}"'
    yield MAKE_PARTITIONS.format(schema=f'"{schema}"', storage=f"'{STORAGE}'")
    yield "SELECT make_partitions((extract(epoch FROM now()) * 1000000)::bigint)"


def _table(table: Table) -> Iterable[str]:
    columns = ", ".join(f'"{c.name}" {KINDS[c.kind]}{"" if c.null else " NOT NULL"}' for c in table.columns)
    by = PARTITIONED.get(table.name)
    # A unique index of a partitioned table holds the column that it is partitioned by. An archived record that comes
    # again has the append time that it had.
    key = dict.fromkeys((*table.key_names, *((by,) if by is not None else ())))
    fill = f"fillfactor = {UPDATED[table.name]}, " if table.name in UPDATED else ""
    kind = f'PARTITION BY RANGE ("{by}")' if by is not None else f"WITH ({fill}{STORAGE})"
    yield f'CREATE TABLE "{table.name}" ({columns}, PRIMARY KEY ({names(key)})) {kind}'
    if by is not None:
        yield f'CREATE TABLE "{table.name}_default" PARTITION OF "{table.name}" DEFAULT WITH ({STORAGE})'
    for index in table.indexes:
        if index.columns == tuple(key)[: len(index.columns)]:
            continue  # the primary key is that index
        nullable = [f'"{c.name}" IS NOT NULL' for c in table.columns if c.null and c.name in index.columns]
        where = f" WHERE {' AND '.join(nullable)}" if nullable else ""
        # A queue is read in order, a few rows at a time, and a night's messages may all be due at one instant: the key
        # is in the index, so that nothing is sorted. It holds only what waits.
        indexed = names(
            dict.fromkeys((*index.columns, *(table.key_names if nullable or table.name in EMPTIED else ())))
        )
        yield f'CREATE INDEX "{table.name}_{index.name}" ON "{table.name}" ({indexed}){where}'
