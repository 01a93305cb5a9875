"""T4: results become rows, those of a moment in one transaction; and the run of a message that ended, closed with it.

Whoever brings a result while nobody writes, writes for all who bring one meanwhile: alone, a result costs a transaction
of its own; under load they share one, and the commit of many costs what the commit of one does.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from streams.processors.deliver import lock_people, stops_of, wake
from streams.processors.dispatch import Who
from streams.processors.worker import Observe
from tidings import delivery
from tidings.delivery import Pace
from tidings.event import SECOND
from tidings.message import Message, message_row, read_message, read_run, run_row
from tidings.person import without_address
from tidings.ports import (
    Body,
    FindEach,
    Key,
    Lock,
    Now,
    Outcome,
    Outgoing,
    Put,
    Read,
    Row,
    Runtime,
    Store,
    StoreReplaced,
    StoreUnavailable,
    Transaction,
)
from tidings.reasons import MessageState

logger = logging.getLogger("tidings.deliverer")

WRITE_AGAIN = SECOND // 2
"""Rest before results are written again that the store did not take."""
TOGETHER = 64
"""Results in one transaction, at most."""
LOOKED_AT = 20
"""Open messages of a recipient that T4 reads, at most, where a run may be taken back; who has more gets a pass."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a provider has answered."""

    outgoing: Outgoing
    who: Who
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Sent:
    """One attempt and the message after it."""

    outgoing: Outgoing
    outcome: Outcome
    message: Message


async def _at_once() -> None:
    pass


class Writer(Protocol):
    """Whose results they are."""

    store: Store
    runtime: Runtime
    pace: Pace

    @property
    def observe(self) -> Observe:
        """Told of each attempt."""
        ...


@dataclass
class Results:
    """Results on their way to the store.

    What a provider has answered is written when the store takes it, however long it is away: an acknowledgement that is
    forgotten is a message that is sent twice, or shown as unknown.
    """

    by: Writer
    written: Callable[[Result], None] = lambda _: None
    """Told of each that is written, or that our own code fails on."""
    before: Callable[[], Awaitable[None]] = _at_once
    """Awaited before each writing: what comes in that moment comes along."""
    waiting: list[Result] = field(default_factory=list)
    writing: bool = False

    async def bring(self, result: Result) -> None:
        """Write a result, or leave it to whoever is writing: they end when nothing waits any more.

        Raises:
            Exception: what our own code did with one of them; the others were written.
        """
        self.waiting.append(result)
        if self.writing:
            return
        self.writing = True
        faults: list[Exception] = []
        try:
            while self.waiting:
                await self.before()
                group = self.waiting[:TOGETHER]
                del self.waiting[: len(group)]
                faults += await self._write(group)
        finally:
            self.writing = False
        if faults:
            raise faults[0]

    async def _write(self, group: Sequence[Result]) -> list[Exception]:
        """Write some in one transaction, or each alone where one of them cannot be written; return what hindered."""
        try:
            messages = await self._taken(group)
        except (StoreReplaced, StoreUnavailable):
            raise  # another database: its messages are others, and waiting brings ours never back
        except Exception as fault:  # noqa: BLE001 - one that our own code fails on must not take the others with it
            if len(group) > 1:
                return [fault for one in group for fault in await self._write([one])]
            self.written(group[0])
            return [fault]
        for one, message in zip(group, messages, strict=True):
            self.written(one)
            self.by.observe(Sent(one.outgoing, one.outcome, message))
        return []

    async def _taken(self, group: Sequence[Result]) -> list[Message]:
        """Write results, again and again until the store has taken them."""
        said = False
        while True:
            try:
                return await self.by.store.run(record_results(group, self.by.pace), urgent=True)
            except StoreReplaced:
                raise
            except StoreUnavailable:
                if not said:
                    said = True
                    names = ", ".join(one.outgoing.message_id for one in group)
                    logger.error("the store did not take the result of message %s; tried again until it does", names)  # noqa: TRY400
                await self.by.runtime.sleep(WRITE_AGAIN)


def record_result(outgoing: Outgoing, who: Who, outcome: Outcome, pace: Pace) -> Body[Message]:
    """T4 of one attempt alone."""
    together = record_results([Result(outgoing, who, outcome)], pace)

    def body() -> Transaction[Message]:
        (message,) = yield from together()
        return message

    return body


def record_results(results: Sequence[Result], pace: Pace) -> Body[list[Message]]:
    """T4: write what became of attempts; a run that was stopped meanwhile cancels what was surely not sent.

    Run again, because nobody knows whether its commit was written, it changes nothing: an attempt has one outcome.
    """

    def body() -> Transaction[list[Message]]:
        held = yield from lock_people([one.who for one in results])
        rows = yield Lock("messages", sorted({(one.outgoing.message_id,) for one in results}))
        before = {name: read_message(row) for (name,), row in rows.items()}
        stopped = yield from stops_of(before.values())
        attempts = yield Read("attempts", sorted({(one.outgoing.message_id, one.outgoing.attempt) for one in results}))
        now = yield Now()
        after, told, lost = dict(before), [], dict[Key, Row]()
        for one in results:
            outgoing, outcome = one.outgoing, one.outcome
            message = after[outgoing.message_id] = delivery.settle_result(
                after[outgoing.message_id], outgoing.attempt, outcome,
                stopped=before[outgoing.message_id].firing_id in stopped, now=now, pace=pace,
            )  # fmt: skip
            told.append(message)
            attempt = attempts[outgoing.message_id, outgoing.attempt]
            if attempt["outcome"] is None:
                attempts[outgoing.message_id, outgoing.attempt] = _answered(attempt, outcome, now)
                if outcome.address_gone:
                    lost |= _without(one, {**held, **lost})
        changed = [message for name, message in after.items() if message != before[name]]
        held = {**held, **lost}
        if lost:
            yield Put("recipients", [lost[place] for place in sorted(lost)])
        yield Put("attempts", list(attempts.values()))
        if changed:
            closed = yield from _close_runs(changed)
            yield Put("messages", [message_row(message) for message in changed])
            yield from wake([message for message in changed if message.message_id not in closed], held)
        return told

    return body


def _answered(attempt: Row, outcome: Outcome, now: int) -> Row:
    return {
        **attempt, "outcome": outcome.stage, "ended_at": now, "first_byte_at": outcome.first_byte_at,
        "detail": outcome.detail[:500],
    }  # fmt: skip


def _without(one: Result, held: Mapping[Key, Row | None]) -> dict[Key, Row]:
    """Return the row of whoever has lost an address: of the linked customer, where there is one, for it is theirs."""
    row = held.get(one.who)
    if row is None or not one.who[1].startswith("customer:"):
        return {}
    owner: Who = one.who if row["linked_to"] is None else (one.who[0], row["linked_to"])
    theirs = held.get(owner)
    return {} if theirs is None else {owner: without_address(theirs, one.outgoing.channel, one.outgoing.address)}


def _close_runs(changed: Sequence[Message]) -> Transaction[set[str]]:
    """Close the runs that end with these messages; return the ids of those of which dispatch need not hear.

    Under the recipients' locks a run is dispatch's and ours. Dispatch hears where a message of the run is held, perhaps
    for what has just ended; where the run was taken back; and where it can be, and something of the recipient's is
    held, perhaps until this newer episode has been told.
    """
    ended = {message.message_id: message for message in changed if not message.is_open}
    if not ended:
        return set()
    names = sorted({(message.run_id,) for message in ended.values()})
    runs = {name: read_run(row) for (name,), row in (yield Read("runs", names)).items()}
    of_run = yield FindEach("messages", "by_run", names)
    recalled = [message for message in ended.values() if "recall" in runs[message.run_id].body]
    places = sorted({(message.tenant, message.recipient, 1) for message in recalled})
    of_person = (yield FindEach("messages", "by_recipient", places, limit=LOOKED_AT)) if places else {}
    closed, quiet = {}, set()
    for name, message in ended.items():
        run = runs[message.run_id]
        around = of_person.get((message.tenant, message.recipient, 1), [])
        others = [row for row in of_run[run.run_id,] if row["open"] and row["message_id"] not in ended]
        held = any(row["state"] == MessageState.HELD for row in (*others, *around))
        if held or len(around) == LOOKED_AT or not run.is_open:
            continue
        quiet.add(name)
        if not others:
            closed[run.run_id] = run_row(replace(run, state="done"))
    if closed:
        yield Put("runs", [closed[name] for name in sorted(closed)], only=("state", "open"))
    return quiet
