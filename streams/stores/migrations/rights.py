"""Who may do what: the group roles of a cluster, and the rights of each on every table.

They are granted anew at the end of every migration, and what is not here is taken away. The roles cannot log in: an
installation makes one user for each process (`CREATE ROLE w1 LOGIN PASSWORD '…' IN ROLE tidings_worker`). Roles belong
to the server, so another database may have made them.

S select, I insert, U update, D delete. A lock makes rows that are not there, and takes them out again: that is why
whoever locks may insert, and delete what it locks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tidings.tables import SEQUENCES, TABLES

WORKER, DELIVERER, GATEWAY, READER, VERIFIER, OPERATOR = (
    "tidings_worker", "tidings_deliverer", "tidings_gateway", "tidings_reader", "tidings_verifier", "tidings_operator",
)  # fmt: skip

ROLES: Mapping[str, str] = {
    WORKER: "detects, projects people, archives; writes no message, run or attempt but whose they are",
    DELIVERER: "dispatches and delivers; touches neither positions nor state of the rules",
    GATEWAY: "serves the HTTP edge: shows everything, takes events and choices of customers, stops and releases, writes down who did what",
    READER: "shows: reads everything, writes nothing",
    VERIFIER: "replays the journal, and reads what it was decided from: the log, with all that events say of people; writes nothing",
    OPERATOR: "applies rules and topics, stops and releases, mends; every row, no table",
}

RIGHTS: Mapping[str, Mapping[str, str]] = {
    "sources": {WORKER: "SIUD", DELIVERER: "S", VERIFIER: "S"},
    "holds": {WORKER: "SIUD", DELIVERER: "SI"},
    "audit": {OPERATOR: "SI", DELIVERER: "SI", GATEWAY: "SI"},
    "floors": {WORKER: "S", DELIVERER: "S", VERIFIER: "S"},
    "state": {WORKER: "SIUD"},
    "buffer": {WORKER: "SID"},
    "records": {WORKER: "SI", DELIVERER: "S", VERIFIER: "S"},
    "journal": {WORKER: "SI", VERIFIER: "S"},
    "snapshots": {OPERATOR: "S", VERIFIER: "S"},
    "epochs": {WORKER: "SIU", DELIVERER: "SIU", GATEWAY: "SIU", VERIFIER: "S"},
    "rule_sets": {WORKER: "S", DELIVERER: "S", VERIFIER: "S"},
    "log": {WORKER: "SI", DELIVERER: "S", VERIFIER: "S"},
    "log_heads": {WORKER: "S", DELIVERER: "S"},
    "dead_letters": {WORKER: "SI", DELIVERER: "S", GATEWAY: "SU"},
    "recipients": {WORKER: "SIUD", DELIVERER: "SIUD", GATEWAY: "SIUD"},
    "runs": {WORKER: "S", DELIVERER: "SIUD"},
    "messages": {WORKER: "S", DELIVERER: "SIUD", GATEWAY: "SIUD"},
    "attempts": {DELIVERER: "SIU"},
    "receipts": {DELIVERER: "SI"},
    "kills": {WORKER: "SI", DELIVERER: "SI", GATEWAY: "SIUD"},
    "endings": {DELIVERER: "SUD", GATEWAY: "SIUD"},
    "outbox": {WORKER: "SI", DELIVERER: "SIUD", GATEWAY: "SI"},
    "outbox_heads": {DELIVERER: "SIU"},
    "catalogued": {},
    "blocks": {WORKER: "SI"},
    "catalogue": {WORKER: "SI"},
    "told": {DELIVERER: "S"},
    "keys": {GATEWAY: "S"},
    "signed_out": {GATEWAY: "SID"},
    "intake": {GATEWAY: "SID"},
}
"""What READER and GATEWAY may is S, and what OPERATOR may SIUD, where it is not written: what was done is written down for good. Whoever finds the database too old may stop sending."""

COLUMNS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("runs", WORKER): ("recipient",),
    ("messages", WORKER): ("recipient",),
    ("records", DELIVERER): ("unread",),
    ("keys", GATEWAY): ("used_at",),
}
"""Single columns that may be updated: who reads that a foreign id is a customer's gives the customer what is open;
whoever dispatches marks decisions as read; whoever serves takes down when a key was used."""

EPOCHS: Mapping[str, tuple[str, ...]] = {
    WORKER: ("ground:compared", "readyz"),
    DELIVERER: ("ground:compared", "relay", "readyz", "dropping"),
    GATEWAY: ("intake", "readyz", "dropping"),
}
"""Rows of `epochs` that a process may write; the rule set and all else is an operator's."""

NUMBERS: Mapping[str, tuple[str, ...]] = {
    "journal": (WORKER,),
    "refused": (),
    "audit": (DELIVERER, GATEWAY),
    "outbox": (DELIVERER, GATEWAY),
    "intake": (GATEWAY,),
}
"""Who draws from a sequence, beside OPERATOR."""

WORDS = {"S": "SELECT", "I": "INSERT", "U": "UPDATE", "D": "DELETE"}


def rights_of(table: str) -> dict[str, str]:
    """Return the rights on a table by role."""
    return {READER: "S", GATEWAY: "S", OPERATOR: "SIUD", **RIGHTS[table]}


def statements(schema: str) -> Iterable[str]:
    """Return the statements that make the roles and give them their rights, and nothing else."""
    everyone = ", ".join(ROLES)
    for role, words in ROLES.items():
        yield (
            f"DO $$ BEGIN IF to_regrole('{role}') IS NULL THEN CREATE ROLE {role} NOLOGIN; "
            f"COMMENT ON ROLE {role} IS '{words.replace(chr(39), chr(39) * 2)}'; END IF; "
            "EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
        )
    yield f'REVOKE ALL ON ALL TABLES IN SCHEMA "{schema}" FROM {everyone}'
    yield f'REVOKE ALL ON ALL SEQUENCES IN SCHEMA "{schema}" FROM {everyone}'
    yield f'GRANT USAGE ON SCHEMA "{schema}" TO {everyone}'
    yield f"GRANT SELECT ON schema_version TO {everyone}"
    for table in TABLES:
        for role, letters in rights_of(table).items():
            yield f'GRANT {", ".join(WORDS[letter] for letter in letters)} ON "{table}" TO {role}'
    for (table, role), columns in COLUMNS.items():
        yield f'GRANT UPDATE ({", ".join(columns)}) ON "{table}" TO {role}'
    for name in SEQUENCES:
        yield f'GRANT USAGE, SELECT ON SEQUENCE "seq_{name}" TO {", ".join((OPERATOR, *NUMBERS[name]))}'
        yield f'GRANT SELECT ON SEQUENCE "seq_{name}" TO {READER}'
    yield "REVOKE ALL ON FUNCTION make_partitions(bigint) FROM PUBLIC"
    yield f"GRANT EXECUTE ON FUNCTION make_partitions(bigint) TO {WORKER}, {DELIVERER}, {OPERATOR}"
    # The rule set is a row among others that processes write; it is changed by an operator only.
    yield "ALTER TABLE epochs ENABLE ROW LEVEL SECURITY"
    yield "DROP POLICY IF EXISTS seen ON epochs"
    yield "CREATE POLICY seen ON epochs FOR SELECT USING (true)"
    yield "DROP POLICY IF EXISTS applied ON epochs"
    yield f"CREATE POLICY applied ON epochs TO {OPERATOR} USING (true) WITH CHECK (true)"
    for verb, check in (("INSERT", "WITH CHECK"), ("UPDATE", "USING")):
        yield f"DROP POLICY IF EXISTS kept_{verb.lower()} ON epochs"
        for role, rows in EPOCHS.items():
            policy = f"{role}_{verb.lower()}"
            yield f"DROP POLICY IF EXISTS {policy} ON epochs"
            listed = ", ".join(f"'{name}'" for name in rows)
            yield f"CREATE POLICY {policy} ON epochs FOR {verb} TO {role} {check} (name IN ({listed}))"
