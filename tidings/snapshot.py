"""A snapshot: what the rules remember at one number of the journal, from which a replay can begin.

It holds the state of keys, the images of entities and what waits in buffers: all that a replay has built up by then.
Positions say which records of the log lie behind it; watermarks and floors stand in each row of the journal. It comes in
parts of at most `KEYS` keys, in the order of the keys, so that two that hold the same are the same bytes, wherever they
were made: by a replay, or from the tables of a system that ran.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

from tidings import canonical
from tidings.errors import Misconfigured
from tidings.event import Micros
from tidings.journal import CODE_VERSION
from tidings.log import Partition
from tidings.replay import Replay
from tidings.rule import Item
from tidings.state import StateRef

FORMAT = 1
KEYS = 2_000
"""Keys in one part: about half a megabyte before it is compressed."""
HEAD = 0
"""Number of the part that says what the others hold."""


@dataclass(frozen=True, slots=True)
class Kept:
    """One key."""

    ref: StateRef
    value: bytes | None
    waits: Sequence[Item] = ()
    """What waits in its buffer, in order."""


@dataclass(frozen=True, slots=True)
class Head:
    """What is said of a snapshot. Heads are kept when their parts are gone: they are the chain."""

    seq: int
    """The last row of the journal that is in it."""
    how: Literal["replayed", "taken"]
    """From the snapshot before by replay, which compared all records between; or from the tables as they stood."""
    at: Micros
    """When it was made, for people."""
    positions: Mapping[Partition, int]
    """The first offset of each partition that is not in it."""
    keys: int
    parts: int
    digest: str
    before: tuple[int, str] | None = None
    """Number and digest of the snapshot that the replay began with; None: with nothing, or nowhere."""
    compared: int = 0
    """Stored records that the replay from there made as well, byte for byte."""
    code: int = CODE_VERSION

    def to_bytes(self) -> bytes:
        """Return the body of part 0."""
        return canonical.dumps(
            {
                "format": FORMAT, "how": self.how, "at": self.at, "keys": self.keys, "parts": self.parts, "digest": self.digest,
                "positions": [[topic, partition, at] for (topic, partition), at in sorted(self.positions.items())],
                "before": None if self.before is None else list(self.before), "compared": self.compared, "code": self.code,
            }
        )  # fmt: skip


def read_head(seq: int, body: bytes) -> Head:
    """Return the head of a row.

    Raises:
        Misconfigured: it is of a format that this release does not know.
    """
    found = canonical.loads(body)
    if found["format"] != FORMAT:
        text = f"the snapshot at row {seq} has format {found['format']}, this release reads {FORMAT}: use its release"
        raise Misconfigured(text)
    positions = {(topic, partition): at for topic, partition, at in found["positions"]}
    before = None if found["before"] is None else (found["before"][0], found["before"][1])
    return Head(
        seq, found["how"], found["at"], positions, found["keys"], found["parts"], found["digest"], before,
        found["compared"], found["code"],
    )  # fmt: skip


class Digest:
    """The digest of the parts of a snapshot, in their order, of their content and not of how it was compressed."""

    def __init__(self) -> None:
        self._hash = sha256()

    def add(self, content: bytes) -> None:
        """Add a part."""
        self._hash.update(sha256(content).digest())

    def __str__(self) -> str:
        return self._hash.hexdigest()


def kept_by(replay: Replay) -> Iterator[Kept]:
    """Yield what a replay holds, in order."""
    for k in sorted(replay.values):
        ref, value = replay.values[k]
        waits = replay.buffers.get(k, {})
        yield Kept(ref, value, [waits[order] for order in sorted(waits)])


def contents(kept: Iterable[Kept]) -> Iterator[tuple[int, bytes]]:
    """Yield the content of each part, with its number of keys."""
    part: list[object] = []
    for one in kept:
        waits = [[i.time, i.rank, i.source, i.ref, canonical.dumps(i.body).decode()] for i in one.waits]
        value = None if one.value is None else one.value.hex()
        part.append([one.ref.k.hex(), one.ref.kind, one.ref.tenant, one.ref.text, value, waits])
        if len(part) == KEYS:
            yield len(part), canonical.dumps(part)
            part = []
    if part:
        yield len(part), canonical.dumps(part)


def packed(content: bytes) -> bytes:
    """Return a part as it is stored."""
    return zlib.compress(content, 6)


def unpacked(body: bytes) -> bytes:
    """Return the content of a stored part.

    Raises:
        ValueError: it is damaged.
    """
    try:
        return zlib.decompress(body)
    except zlib.error as fault:
        raise ValueError(str(fault)) from fault


def load(replay: Replay, content: bytes) -> None:
    """Put a part into a replay."""
    for k, kind, tenant, text, value, waits in canonical.loads(content):
        ref = StateRef(bytes.fromhex(k), kind, tenant, tuple(canonical.loads(text)), text)
        replay.values[ref.k] = (ref, None if value is None else bytes.fromhex(value))
        if waits:
            items = [Item(time, rank, source, name, canonical.loads(body)) for time, rank, source, name, body in waits]
            replay.buffers[ref.k] = {item.order: item for item in items}


def digest_of(replay: Replay) -> str:
    """Return the digest that a snapshot of a replay would have."""
    digest = Digest()
    for _, content in contents(kept_by(replay)):
        digest.add(content)
    return str(digest)
