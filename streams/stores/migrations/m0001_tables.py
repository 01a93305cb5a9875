"""The tables of the first version, those that grow for ever in partitions.

It is frozen, as every step is: what has changed since in `tidings.tables` is a step of its own.

`records` are partitioned by the month of their episode, `log` by the day of the append, `journal` by a million
numbers. What lies outside of all partitions goes to a default one: nothing is refused because nobody made a
partition in time. The function `make_partitions` makes those that will be needed; anyone who works here may call it.

The unique index of a partitioned table holds the column that it is partitioned by: an archived record that comes again
has the append time that it had. Tables whose rows are rewritten have pages that are not filled at first: a new version of a
row beside the old one touches no index, and is cleaned without VACUUM. A queue is read in order, a few rows at a time,
and a night's messages may all be due at one instant: the key is in its index, so that nothing is sorted, and the index
holds only what waits.
"""

from __future__ import annotations

from collections.abc import Iterable

TITLE = "tables, partitions, indexes and sequences"

STORAGE = "autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02"

LAYOUT = """
CREATE TABLE "sources" ("reader" text COLLATE "C" NOT NULL, "topic" text COLLATE "C" NOT NULL, "partition" bigint NOT NULL, "next_offset" bigint NOT NULL, "max_time" bigint, "caught_up_at" bigint, "connected_at" bigint NOT NULL, "history" text COLLATE "C" NOT NULL, "base" bigint NOT NULL, "log_id" text COLLATE "C", "fingerprint" text COLLATE "C", PRIMARY KEY ("reader", "topic", "partition")) WITH (fillfactor = 20, {storage})
CREATE TABLE "holds" ("reader" text COLLATE "C" NOT NULL, "topic" text COLLATE "C" NOT NULL, "partition" bigint NOT NULL, "reason" text COLLATE "C" NOT NULL, "at" bigint NOT NULL, "body" bytea NOT NULL, PRIMARY KEY ("reader", "topic", "partition")) WITH ({storage})
CREATE TABLE "audit" ("seq" bigint NOT NULL, "at" bigint NOT NULL, "who" text COLLATE "C" NOT NULL, "verb" text COLLATE "C" NOT NULL, "body" bytea NOT NULL, PRIMARY KEY ("seq")) WITH ({storage})
CREATE TABLE "floors" ("rule" text COLLATE "C" NOT NULL, "w" bigint NOT NULL, PRIMARY KEY ("rule")) WITH ({storage})
CREATE TABLE "state" ("k" bytea NOT NULL, "class" text COLLATE "C" NOT NULL, "tenant" text COLLATE "C" NOT NULL, "key" text COLLATE "C" NOT NULL, "value" bytea, "due" bigint, PRIMARY KEY ("k")) WITH (fillfactor = 80, {storage})
CREATE INDEX "state_by_due" ON "state" ("class", "due", "k") WHERE "due" IS NOT NULL
CREATE TABLE "buffer" ("k" bytea NOT NULL, "time" bigint NOT NULL, "rank" bigint NOT NULL, "source" text COLLATE "C" NOT NULL, "ref" text COLLATE "C" NOT NULL, "value" bytea NOT NULL, PRIMARY KEY ("k", "time", "rank", "source", "ref")) WITH ({storage})
CREATE TABLE "records" ("episode_at" bigint NOT NULL, "firing_id" text COLLATE "C" NOT NULL, "kind" text COLLATE "C" NOT NULL, "n" bigint NOT NULL, "tenant" text COLLATE "C" NOT NULL, "rule" text COLLATE "C" NOT NULL, "recipient" text COLLATE "C" NOT NULL, "seq" bigint NOT NULL, "logical_at" bigint NOT NULL, "body" bytea NOT NULL, "unread" bigint, PRIMARY KEY ("episode_at", "firing_id", "kind", "n")) PARTITION BY RANGE ("episode_at")
CREATE TABLE "records_default" PARTITION OF "records" DEFAULT WITH ({storage})
CREATE INDEX "records_by_unread" ON "records" ("unread", "seq", "episode_at", "firing_id", "kind", "n") WHERE "unread" IS NOT NULL
CREATE INDEX "records_by_recipient" ON "records" ("tenant", "recipient", "unread", "episode_at", "firing_id", "kind", "n") WHERE "unread" IS NOT NULL
CREATE INDEX "records_by_firing" ON "records" ("firing_id", "seq")
CREATE INDEX "records_by_seq" ON "records" ("seq")
CREATE TABLE "journal" ("seq" bigint NOT NULL, "kind" text COLLATE "C" NOT NULL, "body" bytea NOT NULL, PRIMARY KEY ("seq")) PARTITION BY RANGE ("seq")
CREATE TABLE "journal_default" PARTITION OF "journal" DEFAULT WITH ({storage})
CREATE TABLE "snapshots" ("seq" bigint NOT NULL, "part" bigint NOT NULL, "body" bytea NOT NULL, PRIMARY KEY ("seq", "part")) WITH ({storage})
CREATE INDEX "snapshots_by_part" ON "snapshots" ("part", "seq")
CREATE TABLE "epochs" ("name" text COLLATE "C" NOT NULL, "value" text COLLATE "C" NOT NULL, PRIMARY KEY ("name")) WITH (fillfactor = 50, {storage})
CREATE TABLE "rule_sets" ("hash" text COLLATE "C" NOT NULL, "body" bytea NOT NULL, PRIMARY KEY ("hash")) WITH ({storage})
CREATE TABLE "log" ("topic" text COLLATE "C" NOT NULL, "partition" bigint NOT NULL, "offset" bigint NOT NULL, "appended_at" bigint NOT NULL, "key" bytea, "value" bytea, "headers" bytea NOT NULL, PRIMARY KEY ("topic", "partition", "offset", "appended_at")) PARTITION BY RANGE ("appended_at")
CREATE TABLE "log_default" PARTITION OF "log" DEFAULT WITH ({storage})
CREATE TABLE "log_heads" ("topic" text COLLATE "C" NOT NULL, "partition" bigint NOT NULL, "next_offset" bigint NOT NULL, PRIMARY KEY ("topic", "partition")) WITH (fillfactor = 20, {storage})
CREATE TABLE "dead_letters" ("reader" text COLLATE "C" NOT NULL, "topic" text COLLATE "C" NOT NULL, "partition" bigint NOT NULL, "offset" bigint NOT NULL, "reason" text COLLATE "C" NOT NULL, "detail" text COLLATE "C" NOT NULL, "schema_id" bigint, "appended_at" bigint NOT NULL, "key" bytea, "value" bytea, "headers" bytea NOT NULL, "redriven_at" bigint, "aside_at" bigint, PRIMARY KEY ("reader", "topic", "partition", "offset")) WITH ({storage})
CREATE INDEX "dead_letters_by_time" ON "dead_letters" ("appended_at")
CREATE TABLE "recipients" ("tenant" text COLLATE "C" NOT NULL, "recipient" text COLLATE "C" NOT NULL, "linked_to" text COLLATE "C", "profile" bytea NOT NULL, "next_at" bigint, "rev" bigint NOT NULL, PRIMARY KEY ("tenant", "recipient")) WITH (fillfactor = 80, {storage})
CREATE INDEX "recipients_by_next" ON "recipients" ("next_at", "tenant", "recipient") WHERE "next_at" IS NOT NULL
CREATE TABLE "runs" ("run_id" text COLLATE "C" NOT NULL, "tenant" text COLLATE "C" NOT NULL, "recipient" text COLLATE "C" NOT NULL, "firing_id" text COLLATE "C" NOT NULL, "n" bigint NOT NULL, "rule" text COLLATE "C" NOT NULL, "state" text COLLATE "C" NOT NULL, "reason" text COLLATE "C", "rule_set" text COLLATE "C" NOT NULL, "logical_at" bigint NOT NULL, "steps_due" bigint NOT NULL, "open" bigint, "body" bytea NOT NULL, "decided_at" bigint NOT NULL, PRIMARY KEY ("run_id")) WITH (fillfactor = 85, {storage})
CREATE INDEX "runs_by_recipient" ON "runs" ("tenant", "recipient", "open", "run_id") WHERE "open" IS NOT NULL
CREATE INDEX "runs_by_firing" ON "runs" ("firing_id", "n")
CREATE INDEX "runs_by_time" ON "runs" ("tenant", "decided_at")
CREATE INDEX "runs_by_rule" ON "runs" ("tenant", "rule", "decided_at")
CREATE INDEX "runs_by_person" ON "runs" ("tenant", "recipient", "decided_at")
CREATE TABLE "messages" ("message_id" text COLLATE "C" NOT NULL, "tenant" text COLLATE "C" NOT NULL, "recipient" text COLLATE "C" NOT NULL, "run_id" text COLLATE "C" NOT NULL, "firing_id" text COLLATE "C" NOT NULL, "rule" text COLLATE "C" NOT NULL, "role" text COLLATE "C" NOT NULL, "step" bigint NOT NULL, "channel" text COLLATE "C" NOT NULL, "state" text COLLATE "C" NOT NULL, "reason" text COLLATE "C", "open" bigint, "due_at" bigint, "created_at" bigint NOT NULL, "deadline" bigint NOT NULL, "start_by" bigint, "seen" bigint NOT NULL, "rev" bigint NOT NULL, "owner" text COLLATE "C", "attempt" bigint NOT NULL, "on_unknown" text COLLATE "C" NOT NULL, "receipt" text COLLATE "C", "body" bytea NOT NULL, "reference" text COLLATE "C", PRIMARY KEY ("message_id")) WITH (fillfactor = 80, {storage})
CREATE INDEX "messages_by_work" ON "messages" ("state", "due_at", "message_id") WHERE "due_at" IS NOT NULL
CREATE INDEX "messages_by_channel" ON "messages" ("state", "channel", "due_at", "message_id") WHERE "due_at" IS NOT NULL
CREATE INDEX "messages_by_recipient" ON "messages" ("tenant", "recipient", "open", "message_id") WHERE "open" IS NOT NULL
CREATE INDEX "messages_by_run" ON "messages" ("run_id", "step")
CREATE INDEX "messages_by_outcome" ON "messages" ("tenant", "role", "state", "created_at", "run_id")
CREATE INDEX "messages_by_reason" ON "messages" ("tenant", "reason", "created_at", "message_id") WHERE "reason" IS NOT NULL
CREATE INDEX "messages_by_reference" ON "messages" ("reference", "message_id") WHERE "reference" IS NOT NULL
CREATE TABLE "attempts" ("message_id" text COLLATE "C" NOT NULL, "no" bigint NOT NULL, "provider" text COLLATE "C" NOT NULL, "owner" text COLLATE "C" NOT NULL, "intent_at" bigint NOT NULL, "start_by" bigint NOT NULL, "seen" bigint NOT NULL, "asked" bytea NOT NULL, "outcome" text COLLATE "C", "ended_at" bigint, "first_byte_at" bigint, "detail" text COLLATE "C" NOT NULL, PRIMARY KEY ("message_id", "no")) WITH ({storage})
CREATE TABLE "receipts" ("message_id" text COLLATE "C" NOT NULL, "provider_id" text COLLATE "C" NOT NULL, "receipt" text COLLATE "C" NOT NULL, "at" bigint NOT NULL, "received_at" bigint NOT NULL, "detail" text COLLATE "C" NOT NULL, PRIMARY KEY ("message_id", "provider_id")) WITH ({storage})
CREATE TABLE "kills" ("scope" text COLLATE "C" NOT NULL, "state" text COLLATE "C" NOT NULL, "at" bigint NOT NULL, "by" text COLLATE "C" NOT NULL, "reason" text COLLATE "C" NOT NULL, PRIMARY KEY ("scope")) WITH ({storage})
CREATE TABLE "outbox" ("id" text COLLATE "C" NOT NULL, "topic" text COLLATE "C" NOT NULL, "key" text COLLATE "C" NOT NULL, "about" text COLLATE "C" NOT NULL, "seq" bigint NOT NULL, "no" bigint NOT NULL, "at" bigint NOT NULL, "unpublished" bigint NOT NULL, "partition" bigint, "number" bigint, "body" bytea NOT NULL, PRIMARY KEY ("id")) WITH ({storage})
CREATE INDEX "outbox_by_open" ON "outbox" ("topic", "unpublished", "seq", "no", "id")
CREATE TABLE "outbox_heads" ("topic" text COLLATE "C" NOT NULL, "partition" bigint NOT NULL, "number" bigint NOT NULL, PRIMARY KEY ("topic", "partition")) WITH ({storage})
CREATE TABLE "catalogued" ("topic" text COLLATE "C" NOT NULL, "partition" bigint NOT NULL, "next_offset" bigint NOT NULL, PRIMARY KEY ("topic", "partition")) WITH ({storage})
CREATE TABLE "blocks" ("topic" text COLLATE "C" NOT NULL, "partition" bigint NOT NULL, "block" bigint NOT NULL, "appended_at" bigint NOT NULL, PRIMARY KEY ("topic", "partition", "block")) WITH ({storage})
CREATE INDEX "blocks_by_time" ON "blocks" ("appended_at")
CREATE TABLE "catalogue" ("topic" text COLLATE "C" NOT NULL, "partition" bigint NOT NULL, "block" bigint NOT NULL, "tenant" text COLLATE "C" NOT NULL, "term" bigint NOT NULL, "offset" bigint NOT NULL, "appended_at" bigint NOT NULL, PRIMARY KEY ("topic", "partition", "block", "tenant", "term", "offset")) WITH ({storage})
CREATE TABLE "told" ("id" text COLLATE "C" NOT NULL, "state" text COLLATE "C" NOT NULL, "reason" text COLLATE "C", "reference" text COLLATE "C", "at" bigint NOT NULL, PRIMARY KEY ("id")) WITH ({storage})
CREATE TABLE "keys" ("id" text COLLATE "C" NOT NULL, "tenant" text COLLATE "C" NOT NULL, "name" text COLLATE "C" NOT NULL, "proof" bytea NOT NULL, "scopes" text COLLATE "C" NOT NULL, "sources" text COLLATE "C" NOT NULL, "created_at" bigint NOT NULL, "expires_at" bigint, "revoked_at" bigint, "used_at" bigint, PRIMARY KEY ("id")) WITH ({storage})
CREATE INDEX "keys_by_name" ON "keys" ("tenant", "name")
CREATE TABLE "intake" ("seq" bigint NOT NULL, "at" bigint NOT NULL, "topic" text COLLATE "C" NOT NULL, "key" bytea, "value" bytea NOT NULL, "headers" bytea NOT NULL, PRIMARY KEY ("seq")) WITH ({storage})
CREATE INDEX dead_letters_by_wait ON dead_letters (appended_at, reader, topic, partition, "offset") WHERE redriven_at IS NULL AND aside_at IS NULL
CREATE SEQUENCE "seq_journal"
CREATE SEQUENCE "seq_refused"
CREATE SEQUENCE "seq_audit"
CREATE SEQUENCE "seq_outbox"
CREATE SEQUENCE "seq_intake"
"""
"""A statement a line."""

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
    yield from LAYOUT.replace("{storage}", STORAGE).strip().splitlines()
    yield MAKE_PARTITIONS.format(schema=f'"{schema}"', storage=f"'{STORAGE}'")
    yield "SELECT make_partitions((extract(epoch FROM now()) * 1000000)::bigint)"
