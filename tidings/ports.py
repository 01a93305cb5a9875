"""The store port: what a transaction may ask, and what a store must promise.

A transaction body is a *generator function without arguments*: it yields operations, is sent their answers, and
returns its result. It is pure and synchronous, so a store may run it on a thread of its own (SQLite), repeat it from
the start on a conflict (a database server), or stop it between any two operations (the simulator).

Promises that every store keeps, held by `tests/contract/test_store.py`:

- All writes of a body become visible together at its commit, or not at all. A body sees its own writes.
- `Lock` creates, locks and reads in one step and in key order; what is not there yet is locked as well (reads None).
  Locks are held until the end. Locks across tables are taken in the order of `tables.LOCK_ORDER`.
- `Read` and `Find` see what is committed at that moment, plus the body's own writes; they wait for nobody.
- `Insert` of a key that somebody else is inserting waits for that transaction to end.
- `NextSeq` never gives a number twice; numbers may be skipped, and are not given back.
- When `run` has returned, the commit survives the death of the process (durable stores).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

Row = dict[str, Any]
Key = tuple[Any, ...]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Lock:
    """Create, lock and read rows. Answer: `dict[Key, Row | None]`.

    `skip_locked` leaves out what others hold, and may leave out what is not there.
    """

    table: str
    keys: Sequence[Key]
    skip_locked: bool = False


@dataclass(frozen=True, slots=True)
class Read:
    """Read rows without a lock. Answer: `dict[Key, Row]`, only those that exist."""

    table: str
    keys: Sequence[Key]


@dataclass(frozen=True, slots=True)
class Find:
    """Rows of one index: its first columns equal to `equals`, the next one not null, ≤ `upto` and > `above`.

    Without a bound (None) every value does.

    Answer: `list[Row]` in the order of the index's columns, then of the primary key; at most `limit`.
    """

    table: str
    index: str
    equals: tuple[Any, ...] = ()
    upto: int | None = None
    limit: int | None = None
    above: int | None = None
    after: Key | None = None
    """Go on behind a row: the value of that next column, the index's last, and its primary key. Pages of one instant too."""
    backwards: bool = False
    """Begin with the last row of that order; never together with `after`."""


@dataclass(frozen=True, slots=True)
class FindEach:
    """`Find`, once for each of some values, in one question. Answer: `dict` from each of `equals` to its `list[Row]`.

    `limit` is that of each; `upto` holds for all.
    """

    table: str
    index: str
    equals: Sequence[tuple[Any, ...]]
    limit: int | None = None
    upto: int | None = None

    def parts(self) -> dict[tuple[Any, ...], Find]:
        """Return it as single questions, for a store to which they cost nothing."""
        return {one: Find(self.table, self.index, one, self.upto, self.limit) for one in self.equals}


@dataclass(frozen=True, slots=True)
class Scan:
    """All rows in the order of the primary key, after `after` (exclusive). For replay, checks and lists."""

    table: str
    after: Key | None = None
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Put:
    """Insert or replace whole rows."""

    table: str
    rows: Sequence[Row]
    only: tuple[str, ...] = ()
    """The columns that change, of rows that were read, and of which nobody changes others or deletes any."""


@dataclass(frozen=True, slots=True)
class Insert:
    """Insert rows whose key is not there yet. Answer: `list[bool]`, whether each was inserted."""

    table: str
    rows: Sequence[Row]
    blind: bool = False
    """Nobody asks which were inserted: the answer may be empty, and a store may be quicker."""


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete rows; a missing one is no error."""

    table: str
    keys: Sequence[Key]


@dataclass(frozen=True, slots=True)
class NextSeq:
    """The next number of a named sequence, from 1. Answer: `int`."""

    name: str


@dataclass(frozen=True, slots=True)
class Share:
    """Take a named lock shared with others that share it, until the end of the transaction."""

    name: str


@dataclass(frozen=True, slots=True)
class Exclude:
    """Take a named lock alone, until the end of the transaction."""

    name: str


@dataclass(frozen=True, slots=True)
class Now:
    """The clock of the world at this moment of the transaction, in microseconds: after its locks, not before them."""


READS: tuple[type, ...] = (Read, Find, FindEach, Scan, Now)
"""What a reader may ask."""
Op = Now | Lock | Read | Find | FindEach | Scan | Put | Insert | Delete | NextSeq | Share | Exclude
Transaction = Generator[Op, Any, T]
Body = Callable[[], Transaction[T]]


class StoreUnavailable(Exception):
    """The store cannot commit now (disk full, server away). Nothing of the body was written; try again later."""


class CommitUnknown(StoreUnavailable):
    """The server went away while it was asked to commit: all of the body was written, or nothing of it.

    Whoever tries again reads first. Positions are advanced by comparing them, ids are derived and not drawn, and an
    attempt is named by its number, so that the same body does no harm when it runs once more.
    """


class StoreReplaced(StoreUnavailable):
    """What answers now is not the store that the process began with. Trying again does not help: end, and start anew."""


class Reader(Protocol):
    """What can be looked at."""

    async def read(self, body: Body[T]) -> T:
        """Run a body that only reads, on a snapshot, beside the writers."""
        ...


class Store(Reader, Protocol):
    """Where every promise is kept."""

    async def run(self, body: Body[T], *, urgent: bool = False) -> T:
        """Run `body` as one transaction and return its result. `urgent` goes first (deliveries before decisions)."""
        ...


class Runtime(Protocol):
    """What a processor needs of the world: its clock, its sleep, and things going on side by side."""

    def now(self) -> int:
        """Return the wall clock in microseconds."""
        ...

    async def sleep(self, micros: int) -> None:
        """Wait."""
        ...

    async def gather(self, jobs: Sequence[Awaitable[T]]) -> list[T]:
        """Run `jobs` concurrently and return their results in order."""
        ...


@dataclass(frozen=True, slots=True)
class Outgoing:
    """What a provider is asked to hand over."""

    message_id: str
    """Idempotency key, the same on every attempt."""
    attempt: int
    channel: str
    address: str
    content: Mapping[str, Any]
    start_by: int
    """No first byte after this instant (microseconds)."""
    deadline: int
    recipient: str = ""
    """Whom it is for: `customer:…`, `team:…`; the address is where."""
    created_at: int | None = None
    """When the message was made; the same on every attempt."""


CONFIGURATION = "configuration: "
"""With this begins the detail of an outcome whose cause is our own settings: credentials, a secret, a URL."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How far an attempt came. No exception leaves a provider."""

    stage: str
    """`accepted`, `not_sent` (surely), `ambiguous`, or `permanent` (refused for good)."""
    reference: str | None = None
    detail: str = ""
    retry_after: int | None = None
    """Microseconds that the provider asks to wait."""
    first_byte_at: int | None = None
    address_gone: bool = False
    """The address does not exist any more, or its owner has forbidden it: nothing goes there again."""
    away: bool = False
    """`not_sent` or `ambiguous` because of the provider itself: it is away, refuses *us*, or wants to be asked less. Whoever
    asks next will hear the same, for whichever recipient. Never said of one of many servers behind a way out."""

    @property
    def unheard(self) -> bool:
        """Whether the provider has heard nothing of the message: nobody was reached, or not for this."""
        return self.first_byte_at is None

    @property
    def misconfigured(self) -> bool:
        """Whether a person has to set something right first: it is no fault of the message, and counts for none."""
        return self.stage == "not_sent" and self.detail.startswith(CONFIGURATION)


class Provider(Protocol):
    """One way out."""

    @property
    def name(self) -> str:
        """What attempts are recorded under."""
        ...

    @property
    def lease(self) -> int:
        """Microseconds that one attempt may take, all its time-outs together; afterwards its outcome is unknown."""
        ...

    @property
    def can_look_up(self) -> bool:
        """Whether it keeps books that can be asked."""
        ...

    async def send(self, outgoing: Outgoing) -> Outcome:
        """Hand the message over; compares `start_by` with the clock right before the first byte."""
        ...

    async def look_up(self, message_id: str) -> str | None:
        """Return `accepted` or `absent`, or None where the provider does not know or does not answer."""
        ...
