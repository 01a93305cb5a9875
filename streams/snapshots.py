"""Snapshots in the store: where a replay begins, and which others it passes.

Retention writes them (`streams.stores.retention`), as the owner of the tables; nobody else may. A row of part `BEGINS`
says that what lies before it may be gone, so that a replay begins with that snapshot; the greatest counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tidings import canonical, snapshot
from tidings.errors import Misconfigured
from tidings.event import Micros
from tidings.ports import Body, Find, Read, Reader, Transaction
from tidings.replay import Replay
from tidings.rule import NEVER
from tidings.snapshot import HEAD, Digest, Head

BEGINS = -1
"""Number of the part that is a mark."""


@dataclass(frozen=True)
class Chain:
    """The snapshots from which, and past which, a replay goes."""

    begin: Head | None = None
    """None: it begins with the first row of the journal, and nothing."""
    passed: Mapping[int, Head] = field(default_factory=dict)
    """By number of the journal, in order."""
    records_from: Micros = NEVER
    """Records of episodes before this instant may have been let go."""

    @property
    def seq(self) -> int:
        """The last row of the journal that is not replayed."""
        return 0 if self.begin is None else self.begin.seq


def mark(records_from: Micros) -> bytes:
    """Return the body of a mark."""
    return canonical.dumps({"records_from": records_from})


def chain_of() -> Transaction[Chain]:
    """Read the chain.

    Raises:
        Misconfigured: a mark has no snapshot.
    """
    marks = yield Find("snapshots", "by_part", (BEGINS,))
    at = marks[-1]["seq"] if marks else 0
    rows = yield Find("snapshots", "by_part", (HEAD,), above=at - 1)
    heads = {row["seq"]: snapshot.read_head(row["seq"], bytes(row["body"])) for row in rows}
    if not marks:
        return Chain(None, heads)
    if at not in heads:
        text = f"what lies before row {at} of the journal was let go, and its snapshot is not there: restore the table snapshots"
        raise Misconfigured(text)
    begin = heads.pop(at)
    return Chain(begin, heads, canonical.loads(bytes(marks[-1]["body"]))["records_from"])


async def load(reader: Reader, head: Head, rule_sets: Replay) -> Replay:
    """Return a replay that holds what a snapshot holds.

    Raises:
        Misconfigured: it is not what its head says.
        StoreUnavailable: it cannot be read.
    """
    replay, digest = Replay(rule_sets.rule_set), Digest()
    for number in range(1, head.parts + 1):
        body = await reader.read(_part(head.seq, number))
        try:
            content = snapshot.unpacked(body or b"")
        except ValueError:
            content = b""
        digest.add(content)
        if not content:
            break
        snapshot.load(replay, content)
    if str(digest) != head.digest:
        text = f"the snapshot at row {head.seq} of the journal is damaged: nothing can be replayed from it; restore the table snapshots"
        raise Misconfigured(text)
    return replay


def _part(seq: int, number: int) -> Body[bytes | None]:
    def body() -> Transaction[bytes | None]:
        row = (yield Read("snapshots", [(seq, number)])).get((seq, number))
        return None if row is None else bytes(row["body"])

    return body
