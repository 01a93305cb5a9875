"""What ends kills and sessions, and by what the audit is read.

`IF NOT EXISTS`: databases that were made between the first version and this one may have some of it.
"""

from __future__ import annotations

from collections.abc import Iterable

TITLE = "ends of kills, sessions that were signed out, indexes of the audit"

STORAGE = "autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02"


def statements(_: str) -> Iterable[str]:
    """Return the statements of the step."""
    yield (
        'CREATE TABLE IF NOT EXISTS "endings" ("scope" text COLLATE "C" NOT NULL, "at" bigint NOT NULL, '
        '"verb" text COLLATE "C" NOT NULL, "begun_at" bigint NOT NULL, "by" text COLLATE "C" NOT NULL, '
        '"reason" text COLLATE "C" NOT NULL, "sweep" bigint NOT NULL, "due_at" bigint NOT NULL, "after_at" bigint, '
        '"after_id" text COLLATE "C", "done" bigint NOT NULL, "kept" bigint NOT NULL, "total" bigint, '
        f'PRIMARY KEY ("scope", "at")) WITH ({STORAGE})'
    )
    yield (
        'CREATE TABLE IF NOT EXISTS "signed_out" ("session" text COLLATE "C" NOT NULL, "until" bigint NOT NULL, '
        f'PRIMARY KEY ("session")) WITH ({STORAGE})'
    )
    yield 'CREATE INDEX IF NOT EXISTS "signed_out_by_until" ON "signed_out" ("until")'
    yield 'CREATE INDEX IF NOT EXISTS "audit_by_who" ON "audit" ("who", "seq")'
    yield 'CREATE INDEX IF NOT EXISTS "audit_by_verb" ON "audit" ("verb", "seq")'
    yield 'CREATE INDEX IF NOT EXISTS "audit_by_both" ON "audit" ("who", "verb", "seq")'
