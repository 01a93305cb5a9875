"""One decision as it is stored: a firing for one recipient, its messages with attempts and receipts, what came since."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from streams.explaining.stops import read_stops
from streams.processors.dispatch import active_kills, standing
from tidings import canonical, ids
from tidings.dispatch import is_before
from tidings.event import Micros
from tidings.message import Message, Run, read_message, read_run
from tidings.ports import Body, Find, Read, Row, Scan, Transaction
from tidings.stops import Stops

ATTEMPTS = 20
"""Attempts of one message that are shown, the newest."""
RECEIPTS = 50
MESSAGES = 100
"""Messages of one decision that are shown."""


@dataclass(frozen=True)
class Sent:
    """A message with everything that was tried and heard."""

    message: Message
    attempts: Sequence[Row] = ()
    receipts: Sequence[Row] = ()
    ended_at: Micros | None = None
    """When it ended, where that is known: an outcome event carries the time."""


@dataclass(frozen=True)
class Stored:
    """What the store has of one decision."""

    firing_id: str
    records: Sequence[Row]
    """Of the firing, in the order of detection."""
    run: Run | None
    """None: the firing waits for its recipient's pass."""
    sent: Sequence[Sent]
    who: Mapping[tuple[str, ...], Row | None]
    """Rows of the recipient, and of the customer that they are linked to."""
    kills: frozenset[str] = frozenset()
    """What holds messages now: what is stopped, and what is being dropped."""
    stops: Stops = field(default_factory=Stops)
    """What is stopped, and what was."""
    active: str | None = None
    """The rule set in force."""
    others: int = 0
    """Other decisions about the same firing: for other recipients, and of repetitions."""

    @property
    def fired(self) -> Row:
        """The record that began it."""
        return next((row for row in self.records if row["kind"] == "fired"), self.records[0])

    @property
    def body(self) -> dict[str, Any]:
        """What the record says."""
        found: dict[str, Any] = canonical.loads(self.fired["body"])
        return found

    @property
    def notices(self) -> list[Sent]:
        """Messages that the steps of the rule made, in their order."""
        return sorted((one for one in self.sent if one.message.role == "notice"), key=lambda one: one.message.step)

    @property
    def corrections(self) -> list[Sent]:
        """All-clears."""
        return [one for one in self.sent if one.message.role != "notice"]


def read_decision(name: str, tenant: str) -> Body[Stored | None]:
    """Return the body that reads the decision of an id: of a run, of a firing, or of one of its messages."""

    def body() -> Transaction[Stored | None]:
        run = yield from _run_of(name)
        firing = name if run is None else run["firing_id"]
        records = yield Find("records", "by_firing", (firing,), limit=MESSAGES)
        if run is None or not records:
            run = next(iter((yield Find("runs", "by_firing", (firing,), limit=1))), None)
        if not records or records[0]["tenant"] != tenant:
            return None
        runs = yield Find("runs", "by_firing", (firing,), limit=MESSAGES)
        sent: list[Sent] = []
        who = (tenant, records[0]["recipient"])
        if run is not None:
            who = (tenant, run["recipient"])
            for row in (yield Find("messages", "by_run", (run["run_id"],), limit=MESSAGES)):
                sent.append((yield from with_attempts(read_message(row))))  # noqa: PERF401 - a comprehension cannot yield
        now = yield from standing()
        kills = (yield from active_kills()).union(
            scope for scope, number in now.dropping if any(is_before(one.message, number) for one in sent)
        )
        return Stored(
            firing, records, None if run is None else read_run(run), sent, (yield from people_of(who)),
            kills, (yield from read_stops()), now.active, max(0, len(runs) - 1),
        )  # fmt: skip

    return body


def _run_of(name: str) -> Transaction[Row | None]:
    runs = yield Read("runs", [(name,)])
    if not runs and (messages := (yield Read("messages", [(name,)]))):
        runs = yield Read("runs", [(messages[name,]["run_id"],)])
    return next(iter(runs.values()), None)


def with_attempts(message: Message) -> Transaction[Sent]:
    """Read what was tried with a message, what its provider said since, and when it ended."""
    first = max(1, message.attempt - ATTEMPTS + 1)
    numbers = [(message.message_id, no) for no in range(first, message.attempt + 1)]
    attempts = (yield Read("attempts", numbers)) if numbers else {}
    receipts: list[Row] = []
    if message.attempt:
        found = yield Scan("receipts", (message.message_id, ""), RECEIPTS)
        receipts = [row for row in found if row["message_id"] == message.message_id]
    ended_at = None
    if not message.is_open:
        name = ids.outbox_id(message.message_id, str(message.state), message.rev)
        ended_at = next((row["at"] for row in (yield Read("outbox", [(name,)])).values()), None)
    rows = [attempts[place] for place in numbers if place in attempts]
    return Sent(message, rows, sorted(receipts, key=lambda row: (row["received_at"], row["at"])), ended_at)


def people_of(who: tuple[str, str]) -> Transaction[dict[tuple[str, ...], Row | None]]:
    """Read the rows of a recipient, and of the customer that they are linked to."""
    rows: dict[tuple[str, ...], Row | None] = {who: None, **(yield Read("recipients", [who]))}
    row = rows[who]
    if row is not None and row["linked_to"] is not None:
        rows.update((yield Read("recipients", [(who[0], row["linked_to"])])))
    return rows
