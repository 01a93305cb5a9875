"""The ledger: decisions, messages, dead letters and the audit, as pages ask for them; the same over both stores."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from streams.codec import Codec
from streams.explaining.veil import masked
from streams.ledger import lists, newest
from streams.ledger.about import about_of, ids_of
from streams.ledger.asking import Asking, PostgresAsking, SqliteAsking
from streams.ledger.find import Finder
from streams.ledger.lists import BOTH, BUDGET, COUNTED, COUNTED_FEW, COUNTED_STATES, Statement, Walk
from streams.ledger.rows import (
    ALL,
    AuditLine,
    Count,
    DeadLetter,
    Decision,
    Filter,
    Found,
    Key,
    MessageDetail,
    MessageLine,
    Outcome,
    Page,
    by_outcome,
)
from streams.stores.place import Place
from streams.stores.rows import row_of
from tidings import canonical
from tidings.correction import NOTICE
from tidings.event import Event
from tidings.message import read_message
from tidings.ports import Row
from tidings.reasons import MessageState, Reason
from tidings.rule import RuleSet

LIMIT = 50
"""Rows of a page unless it says so."""

ADDRESSED = ("email", "sms")
"""Channels whose address is a person's."""

Rules = Callable[[], RuleSet | None]

RUN_ROW = row_of("runs")
MESSAGE_ROW = row_of("messages")


@dataclass(frozen=True)
class Ledger:
    """What pages ask of one tenant. Every answer is bounded, walks an index, and is read on a snapshot of its own."""

    asking: Asking
    rules: Rules = lambda: None
    """The rule set in use, for titles and for types of events."""
    tenant: str = "default"
    codec: Codec | None = None
    """Reads events of the log; None: events are not found."""

    @classmethod
    def of_file(
        cls, path: Path, rules: Rules = lambda: None, tenant: str = "default", codec: Codec | None = None
    ) -> Self:
        """Return the ledger of an embedded file, beside the process that owns it."""
        return cls(SqliteAsking(path), rules, tenant, codec)

    @classmethod
    def of_database(
        cls, place: Place, rules: Rules = lambda: None, tenant: str = "default", codec: Codec | None = None
    ) -> Self:  # fmt: skip
        """Return the ledger of a cluster's database; the role `tidings_reader` is enough."""
        return cls(PostgresAsking(place), rules, tenant, codec)

    async def close(self) -> None:
        """Let go of the store."""
        await self.asking.close()

    # -- decisions

    async def decisions(
        self, about: Filter = ALL, *, before: Key | None = None, after: Key | None = None, limit: int = LIMIT
    ) -> Page[Decision]:  # fmt: skip
        """Return decisions, newest first: older than `before`, or the next ones newer than `after`."""
        walk = await self._walk(about, before, after, (NOTICE,))
        return await self._page(walk, lists.decisions, limit, after, self._decisions)

    async def decision(self, run_id: str) -> Decision | None:
        """Return one decision."""
        rows = await self.asking.ask(
            f"SELECT r.decided_at, {lists.RUN} FROM runs r WHERE r.run_id = $1 AND r.tenant = $2", run_id, self.tenant
        )
        return next(iter(await self._decisions(rows)), None)

    async def decision_counts(self, about: Filter = ALL) -> Mapping[Outcome | None, Count]:
        """Return how many decisions have a message of each outcome, and under None how many there are at all."""
        return await self._counts(about, runs=True, roles=(NOTICE,))

    # -- messages

    async def messages(
        self, about: Filter = ALL, *, before: Key | None = None, after: Key | None = None, limit: int = LIMIT
    ) -> Page[MessageLine]:  # fmt: skip
        """Return messages, corrections among them, newest first."""
        if about.outcome is Outcome.NOTHING:
            return Page([])  # it is said of decisions that have none
        walk = await self._walk(about, before, after, BOTH)
        if not (about.recipient or about.rule or about.firing):
            walk = replace(walk, by_state=True)
        return await self._page(walk, lists.messages, limit, after, _lines)

    async def message_counts(self, about: Filter = ALL) -> Mapping[Outcome | None, Count]:
        """Return how many messages there are by outcome, and under None how many at all."""
        return await self._counts(about, runs=False, roles=BOTH)

    async def message(self, message_id: str) -> MessageDetail | None:
        """Return one message with its decision, its attempts and what was said of it later."""
        rows = await self.asking.ask(
            f"SELECT m.created_at, {lists.MESSAGE} FROM messages m WHERE m.message_id = $1 AND m.tenant = $2",
            message_id, self.tenant,
        )  # fmt: skip
        if not rows:
            return None
        row = MESSAGE_ROW(tuple(rows[0])[1:])
        attempts = await self.asking.ask(newest.ATTEMPTS, message_id)
        receipts = await self.asking.ask(newest.RECEIPTS, message_id)
        return MessageDetail(
            line(row), read_message(row), await self.decision(row["run_id"]),
            [newest.attempt(one) for one in attempts], [newest.receipt(one) for one in receipts], row["reference"],
        )  # fmt: skip

    # -- what operators look at

    async def dead_letters(
        self, *, reader: str | None = None, reason: str | None = None, waiting: bool = False,
        before: Key | None = None, limit: int = LIMIT,
    ) -> Page[DeadLetter]:  # fmt: skip
        """Return records that could not be read, newest first, each once; `waiting`: those that nobody has redriven."""
        found = await self.asking.ask(*newest.dead_letters(reader, reason, before, limit + 1, waiting=waiting))
        rows = [newest.dead_letter(one) for one in found]
        return Page(rows[:limit], rows[limit - 1].place if len(rows) > limit else None)

    async def dead_letter_counts(self) -> Mapping[str, Count]:
        """Return how many records that could not be read wait for a person, by reason, each record once."""
        rows = await self.asking.ask(newest.COUNT_LETTERS)
        more = sum(int(row[1]) for row in rows) > COUNTED
        return {str(row[0]): Count(int(row[1]), more) for row in rows}

    async def audit(
        self, *, who: str | None = None, verb: str | None = None, before: Key | None = None, after: Key | None = None,
        limit: int = LIMIT, but: Sequence[str] = (),
    ) -> Page[AuditLine]:  # fmt: skip
        """Return what people did, newest first: older than `before`, or the next ones newer than `after`."""
        found = await self.asking.ask(*newest.audit(who, verb, before, after, limit + 1, but))
        rows = [newest.audit_line(one) for one in found[:limit]]
        more = len(found) > limit
        if after is not None:
            rows.reverse()
            return Page(rows, Key(rows[-1].seq) if rows else after, Key(rows[0].seq) if more else None)
        return Page(rows, Key(rows[-1].seq) if more else None, Key(rows[0].seq) if before and rows else None)

    # -- what a text names

    async def find(self, text: str) -> list[Found]:
        """Return what a text names: a customer, a decision, a message, an event, the events of an order or an invoice."""
        return await Finder(self.asking, self.tenant, self.codec).find(text)

    async def events(self, word: str, limit: int = LIMIT) -> list[Event]:
        """Return the newest events with an id, a key, or a customer, newest first, as the log has them."""
        return await Finder(self.asking, self.tenant, self.codec).events(word, limit)

    # -- how lists walk

    async def _walk(self, about: Filter, before: Key | None, after: Key | None, roles: tuple[str, ...]) -> Walk:
        """Choose what to walk along: what is narrow, and where nothing surely is, the messages in few states."""
        start, newer = (after, True) if after is not None else (before, False)
        walk = Walk(self.tenant, about, start, newer, by_state=False, roles=roles)
        asked = about.outcome is not None or about.reason is not None
        # What no message says is found along the runs only.
        silent = about.outcome is Outcome.NOTHING or (about.outcome is None and about.reason == Reason.RULE_OFF)
        if not asked or silent or about.firing is not None:
            return walk
        by_state = replace(walk, by_state=True)
        if about.rule is None and about.recipient is None:
            return by_state
        ((_, some),) = await self._ask(
            lists.count_states(self.tenant, about, by_state.states, runs=False, roles=roles, upto=BUDGET)
        )
        return by_state if some <= BUDGET else walk

    async def _page(self, walk: Walk, statement: Any, limit: int, after: Key | None, made: Any) -> Page[Any]:
        rows: Sequence[Any] = ()
        to = None
        for budget in (4 * limit, walk.budget):
            rows = await self._ask(statement(walk, budget, limit + 1))
            if len(rows) > limit:
                break
            passed = await self._ask(lists.looked(walk, budget))
            to = Key(int(passed[-1][0]), tuple(passed[-1][1:])) if len(passed) == budget else None
            if to is None:
                break
        full = len(rows) > limit
        found = await made(rows[:limit])
        if walk.newer:
            found = found[::-1]
            newer = found[0].place if full and found else to
            return Page(found, found[-1].place if found else after, newer, to.at if to and not full else None)
        older = found[-1].place if full else to
        return Page(found, older, found[0].place if found and walk.start else None, to.at if to and not full else None)

    async def _counts(self, about: Filter, *, runs: bool, roles: Sequence[str]) -> Mapping[Outcome | None, Count]:
        about = replace(about, outcome=None)
        narrow = (about.rule, about.recipient, about.firing, about.reason, about.channel)
        walk = Walk(self.tenant, about, None, newer=False, by_state=False)
        found: dict[Outcome | None, Count] = {}
        if any(one is not None for one in narrow):
            rows = await self._ask(lists.count_walked(walk, roles=roles))
            ((passed,),) = await self._ask(lists.count_runs(walk, COUNTED_FEW))
            more = passed > COUNTED_FEW
            numbers = by_outcome((str(row[0]), int(row[1 if runs else 2])) for row in rows)
            found = {word: Count(number, more) for word, number in numbers.items()}
            every = min(passed, COUNTED_FEW) if runs else sum(numbers.values())
            found[None] = Count(every, more)
            return found
        words = [word for word in Outcome if word is not Outcome.NOTHING]
        # Side by side: a store searches for several at once.
        counted = await asyncio.gather(
            *(
                self._ask(
                    lists.count_states(self.tenant, about, word.states, runs=runs, roles=roles, upto=COUNTED_STATES)
                )
                for word in words
            )
        )
        every = 0
        for word, ((number, some),) in zip(words, counted, strict=True):
            if number:
                found[word] = Count(min(number, COUNTED_STATES), some > COUNTED_STATES)
            every += some
        if runs:
            ((every,),) = await self._ask(lists.count_runs(walk, COUNTED_STATES))
        found[None] = Count(min(every, COUNTED_STATES), every > COUNTED_STATES)
        return found

    async def _ask(self, statement: Statement) -> list[Sequence[Any]]:
        return await self.asking.ask(statement.text, *statement.values)

    async def _decisions(self, rows: Sequence[Sequence[Any]]) -> list[Decision]:
        if not rows:
            return []
        runs = [(int(row[0]), RUN_ROW(tuple(row)[1:])) for row in rows]
        told: dict[str, list[Row]] = {}
        for row in await self._ask(lists.messages_of([run["run_id"] for _, run in runs])):
            one = MESSAGE_ROW(tuple(row))
            told.setdefault(one["run_id"], []).append(one)
        rules = self.rules()
        named = {run["rule"] for _, run in runs}
        ids = {} if rules is None else {name: ids_of(rules.by_id[name], rules) for name in named if name in rules.by_id}
        return [_decision(at, run, told.get(run["run_id"], []), rules, ids.get(run["rule"], {})) for at, run in runs]


def _decision(
    at: int, run: Row, told: Sequence[Row], rules: RuleSet | None, ids: Mapping[int, str]
) -> Decision:  # fmt: skip
    rule = None if rules is None else rules.by_id.get(run["rule"])
    return Decision(
        run["run_id"], run["firing_id"], run["n"], run["rule"], run["rule"] if rule is None else rule.title or rule.id,
        run["recipient"], () if rule is None else tuple(sorted(rule.types)), run["state"], run["reason"],
        run["steps_due"], run["decided_at"], run["logical_at"], run["rule_set"], [line(row) for row in told],
        about_of(run, told, ids), Key(at, (run["run_id"],)),
    )  # fmt: skip


async def _lines(rows: Sequence[Sequence[Any]]) -> list[MessageLine]:
    return [line(MESSAGE_ROW(tuple(row)[1:]), int(row[0])) for row in rows]


def line(row: Row, at: int | None = None) -> MessageLine:
    """Return the line of a row of `messages`, found at an instant of its list."""
    body = canonical.loads(row["body"])
    return MessageLine(
        row["message_id"], row["run_id"], row["firing_id"], row["rule"], row["recipient"], row["role"], row["step"],
        row["channel"], MessageState(row["state"]), row["reason"], row["receipt"], row["attempt"], row["created_at"],
        row["due_at"], row["deadline"], body["template"], body["severity"], body["logical_at"],
        masked(str(body.get("address", ""))) if row["channel"] in ADDRESSED else str(body.get("target", "")),
        Key(row["created_at"] if at is None else at, (row["run_id"], row["message_id"])),
    )  # fmt: skip
