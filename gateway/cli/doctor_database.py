"""`tidings doctor` on a cluster: the database, as far as its user may see."""

from __future__ import annotations

from collections.abc import AsyncIterator

from gateway.cli.found import Found
from streams.clock_guard import LIMIT
from streams.processors.detect import EPOCH
from streams.stores.migrations.rights import ROLES, WORDS, rights_of
from streams.stores.postgres import PostgresStore
from streams.stores.postgres_connections import connect
from streams.wording import counted
from tidings.event import SECOND
from tidings.ports import Read, Transaction
from tidings.rule import RuleSet
from tidings.tables import TABLES

OLDEST = 140000
"""Servers before 14 are not tried."""
MAY = """
SELECT asked.role, bool_and(has_table_privilege(current_user, format('%I.%I', $1::text, asked.name), asked.word))
FROM unnest($2::text[], $3::text[], $4::text[]) AS asked(role, name, word) GROUP BY asked.role
"""
SETTINGS = ("server_version", "server_version_num", "synchronous_commit", "fsync", "full_page_writes")


async def database(store: PostgresStore, rules: RuleSet | None) -> AsyncIterator[Found]:
    """Yield what there is to say of an open database."""
    place = store.place
    connection = await connect(place)
    try:
        shown = {name: str(await connection.fetchval(f"SHOW {name}")) for name in SETTINGS}
        user = await connection.fetchval("SELECT current_user")
        asked = [
            (role, table, WORDS[letter])
            for table in TABLES
            for role, letters in rights_of(table).items()
            for letter in letters
        ]
        answers = await connection.fetch(MAY, place.schema, *zip(*asked, strict=True))
        may = {str(role): bool(all_of) for role, all_of in answers}
    finally:
        await connection.close()
    where = f"{place.host}:{place.port}/{place.database}"
    text = f"{where}, PostgreSQL {shown['server_version'].split()[0]}, {'TLS' if place.tls else 'no TLS'}, migrated"
    if int(shown["server_version_num"]) < OLDEST:
        yield Found("database", "wrong", text, "use version 14 or newer")
    else:
        yield Found("database", "ok", text)
    for name in ("synchronous_commit", "fsync", "full_page_writes"):
        if shown[name] in ("off", "local"):
            says = f"{name} is {shown[name]}: what was committed may be lost, and a message sent twice"
            yield Found("durability", "wrong", says, f"set {name} = on")
    yield _rights(user, may)
    skew = await store.skew()
    how = f"{abs(skew) / SECOND:.3f} s {'ahead of' if skew >= 0 else 'behind'} ours"
    if abs(skew) <= LIMIT:
        yield Found("clock of the database", "ok", how)
    else:
        says = f"{how}; above {LIMIT / SECOND:g} s nothing is claimed"
        yield Found("clock of the database", "wrong", says, "set the clocks by NTP, here and there")
    yield await _active(store, rules)


def _rights(user: str, may: dict[str, bool]) -> Found:
    able = [role.removeprefix("tidings_") for role in ROLES if may.get(role)]
    if able:
        return Found("rights", "ok", f"user {user} may do the work of: {', '.join(able)}")
    says = f"user {user} may do no process's work"
    return Found("rights", "wrong", says, f"GRANT tidings_worker TO {user}, or another of {', '.join(ROLES)}")


async def _active(store: PostgresStore, rules: RuleSet | None) -> Found:
    def body() -> Transaction[str | None]:
        row = (yield Read("epochs", [(EPOCH,)])).get((EPOCH,))
        return None if row is None else row["value"]

    active = await store.read(body)
    if active is None:
        return Found("rules in use", "wrong", "no rule set is active: nothing is decided", "tidings rules apply")
    if rules is None or rules.hash == active:
        return Found("rules in use", "ok", f"set {active[:12]}{'' if rules is None else ', that of the folder'}")
    says = f"set {active[:12]}; the folder holds another, {rules.hash[:12]}, of {counted(len(rules.rules), 'rule')}"
    return Found("rules in use", "note", says, "tidings rules apply --dry-run says what differs")
