"""The journal: one row for every detection transaction, enough to run `decide` again and get the same bytes.

Rows are numbered by `seq`, drawn after all locks of the transaction are held, so that the order of `seq` is a valid
serial order. A row names records of the log by offset, and never holds them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tidings import canonical
from tidings.event import Micros

CODE_VERSION = 2
"""Raised when the meaning of `decide` changes, so that a replay knows which code wrote a row."""


@dataclass(frozen=True, slots=True)
class Span:
    """Offsets [start, end) of one partition that a batch took, without those that were set aside."""

    topic: str
    partition: int
    start: int
    end: int
    left_out: tuple[int, ...] = ()
    """Offsets that the codec refused, or that were bisected out."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One detection transaction. Kinds: batch, tick, and the switch of a rule set."""

    seq: int
    kind: Literal["batch", "tick", "switch"]
    rule_set: str
    spans: tuple[Span, ...] = ()
    keys: tuple[bytes, ...] = ()
    """The rows that a tick took."""
    w_before: Mapping[str, Micros] = field(default_factory=dict)
    w_after: Mapping[str, Micros] = field(default_factory=dict)
    floors: Mapping[str, Micros] = field(default_factory=dict)
    code: int = CODE_VERSION

    def to_bytes(self) -> bytes:
        """Return the row's body."""
        return canonical.dumps(
            {
                "rule_set": self.rule_set,
                "spans": [[s.topic, s.partition, s.start, s.end, list(s.left_out)] for s in self.spans],
                "keys": [k.hex() for k in self.keys],
                "w_before": dict(self.w_before),
                "w_after": dict(self.w_after),
                "floors": dict(self.floors),
                "code": self.code,
            }
        )


def read_entry(row: Mapping[str, Any]) -> Entry:
    """Return the entry of a row of the table `journal`."""
    body = canonical.loads(row["body"])
    return Entry(
        seq=row["seq"],
        kind=row["kind"],
        rule_set=body["rule_set"],
        spans=tuple(Span(t, p, a, b, tuple(left)) for t, p, a, b, left in body["spans"]),
        keys=tuple(bytes.fromhex(k) for k in body["keys"]),
        w_before=body["w_before"],
        w_after=body["w_after"],
        floors=body["floors"],
        code=body["code"],
    )


def canonical_records(bodies: Sequence[tuple[str, str, int, bytes]]) -> bytes:
    """Return detection records (firing id, kind, n, body) as the bytes that a replay must reproduce."""
    return b"\n".join(body for _, _, _, body in sorted(bodies))
