"""The tables behind the store port, as values: every store builds its schema from these.

An index is searched by equality on its first columns and by `≤` on the one after (`ports.Find`). Columns that mark
work (`unread`, `open`, `due`, `next_at`) are null when there is none, so that their indexes hold only what waits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Column:
    """A column: integers are 64 bit, text is UTF-8."""

    name: str
    kind: Literal["int", "text", "bytes"]
    null: bool = False


@dataclass(frozen=True, slots=True)
class Index:
    """A secondary index; its last column may carry a bound."""

    name: str
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A table with its primary key, which is the first `key` columns."""

    name: str
    key: int
    columns: tuple[Column, ...]
    indexes: tuple[Index, ...] = ()

    @property
    def key_names(self) -> tuple[str, ...]:
        """Names of the primary key's columns."""
        return tuple(column.name for column in self.columns[: self.key])


def _columns(spec: str) -> tuple[Column, ...]:
    columns = []
    for word in spec.split():
        name, _, kind = word.partition(":")
        null = kind.endswith("?")
        columns.append(Column(name, kind.rstrip("?"), null))  # type: ignore[arg-type]
    return tuple(columns)


def _table(name: str, key: int, spec: str, **indexes: str) -> Table:
    return Table(name, key, _columns(spec), tuple(Index(n, tuple(c.split())) for n, c in indexes.items()))


SOURCES = _table(
    "sources",
    3,
    "reader:text topic:text partition:int next_offset:int max_time:int? caught_up_at:int? connected_at:int "
    "history:text base:int log_id:text? fingerprint:text?",
    by_topic="reader topic",
)
HOLDS = _table("holds", 3, "reader:text topic:text partition:int reason:text at:int body:bytes")
AUDIT = _table(
    "audit",
    1,
    "seq:int at:int who:text verb:text body:bytes",
    by_who="who seq",
    by_verb="verb seq",
    by_both="who verb seq",
)
FLOORS = _table("floors", 1, "rule:text w:int")
STATE = _table("state", 1, "k:bytes class:text tenant:text key:text value:bytes? due:int?", by_due="class due")
BUFFER = _table("buffer", 5, "k:bytes time:int rank:int source:text ref:text value:bytes", by_time="k time")
RECORDS = _table(
    "records",
    4,
    "episode_at:int firing_id:text kind:text n:int tenant:text rule:text recipient:text seq:int logical_at:int "
    "body:bytes unread:int?",
    by_unread="unread seq",
    by_recipient="tenant recipient unread",
    by_firing="firing_id seq",
    by_seq="seq",
)
JOURNAL = _table("journal", 1, "seq:int kind:text body:bytes")
SNAPSHOTS = _table("snapshots", 2, "seq:int part:int body:bytes", by_part="part seq")
EPOCHS = _table("epochs", 1, "name:text value:text")
RULE_SETS = _table("rule_sets", 1, "hash:text body:bytes")
LOG = _table(
    "log",
    3,
    "topic:text partition:int offset:int appended_at:int key:bytes? value:bytes? headers:bytes",
    by_offset="topic partition offset",
)
LOG_HEADS = _table("log_heads", 2, "topic:text partition:int next_offset:int")
DEAD_LETTERS = _table(
    "dead_letters",
    4,
    "reader:text topic:text partition:int offset:int reason:text detail:text schema_id:int? appended_at:int "
    "key:bytes? value:bytes? headers:bytes redriven_at:int? aside_at:int?",
    by_time="appended_at",
)
RECIPIENTS = _table(
    "recipients",
    2,
    "tenant:text recipient:text linked_to:text? profile:bytes next_at:int? rev:int",
    by_next="next_at",
)
RUNS = _table(
    "runs",
    1,
    "run_id:text tenant:text recipient:text firing_id:text n:int rule:text state:text reason:text? rule_set:text "
    "logical_at:int steps_due:int open:int? body:bytes decided_at:int",
    by_recipient="tenant recipient open",
    by_firing="firing_id n",
    by_time="tenant decided_at",
    by_rule="tenant rule decided_at",
    by_person="tenant recipient decided_at",
)
MESSAGES = _table(
    "messages",
    1,
    "message_id:text tenant:text recipient:text run_id:text firing_id:text rule:text role:text step:int channel:text "
    "state:text reason:text? open:int? due_at:int? created_at:int deadline:int start_by:int? seen:int rev:int "
    "owner:text? attempt:int on_unknown:text receipt:text? body:bytes reference:text?",
    by_work="state due_at",
    by_channel="state channel due_at",
    by_recipient="tenant recipient open",
    by_run="run_id step",
    by_outcome="tenant role state created_at run_id",
    by_reason="tenant reason created_at",
    by_reference="reference",
)
ATTEMPTS = _table(
    "attempts",
    2,
    "message_id:text no:int provider:text owner:text intent_at:int start_by:int seen:int asked:bytes outcome:text? "
    "ended_at:int? first_byte_at:int? detail:text",
)
RECEIPTS = _table("receipts", 2, "message_id:text provider_id:text receipt:text at:int received_at:int detail:text")
KILLS = _table("kills", 1, "scope:text state:text at:int by:text reason:text")
ENDINGS = _table(
    "endings",
    2,
    "scope:text at:int verb:text begun_at:int by:text reason:text sweep:int due_at:int after_at:int? after_id:text? "
    "done:int kept:int total:int?",
)
OUTBOX = _table(
    "outbox",
    1,
    "id:text topic:text key:text about:text seq:int no:int at:int unpublished:int partition:int? number:int? body:bytes",
    by_open="topic unpublished seq no",
)
OUTBOX_HEADS = _table("outbox_heads", 2, "topic:text partition:int number:int")
CATALOGUED = _table("catalogued", 2, "topic:text partition:int next_offset:int")
BLOCKS = _table("blocks", 3, "topic:text partition:int block:int appended_at:int", by_time="appended_at")
CATALOGUE = _table("catalogue", 6, "topic:text partition:int block:int tenant:text term:int offset:int appended_at:int")
TOLD = _table("told", 1, "id:text state:text reason:text? reference:text? at:int")
KEYS = _table(
    "keys",
    1,
    "id:text tenant:text name:text proof:bytes scopes:text sources:text created_at:int expires_at:int? revoked_at:int? "
    "used_at:int?",
    by_name="tenant name",
)
SIGNED_OUT = _table("signed_out", 1, "session:text until:int", by_until="until")
INTAKE = _table("intake", 1, "seq:int at:int topic:text key:bytes? value:bytes headers:bytes")

TABLES: Mapping[str, Table] = {
    table.name: table
    for table in (
        SOURCES, HOLDS, AUDIT, FLOORS, STATE, BUFFER, RECORDS, JOURNAL, SNAPSHOTS, EPOCHS, RULE_SETS, LOG, LOG_HEADS, DEAD_LETTERS,
        RECIPIENTS, RUNS, MESSAGES, ATTEMPTS, RECEIPTS, KILLS, ENDINGS, OUTBOX, OUTBOX_HEADS, CATALOGUED, BLOCKS, CATALOGUE, TOLD, KEYS,
        SIGNED_OUT, INTAKE,
    )
}  # fmt: skip

LOCK_ORDER = ("log_heads", "sources", "state", "recipients", "runs", "messages", "outbox")
"""Tables whose rows are locked explicitly, in the one order in which a transaction may lock them. Named locks come first."""

SEQUENCES = ("journal", "refused", "audit", "outbox", "intake")
"""Names that `ports.NextSeq` may draw from."""
