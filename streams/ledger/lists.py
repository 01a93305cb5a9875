"""Statements of the lists: by key, never by number of rows to skip, and bounded in what they look at.

A list walks one index, newest first, up to a budget of entries; what no index serves is asked of those. So a page
costs the same over a thousand decisions and over ten million, and says how far it has looked where few fit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from streams.ledger.rows import Filter, Key, Outcome
from tidings.correction import ALL_CLEAR, NOTICE
from tidings.reasons import MessageState
from tidings.tables import TABLES

BUDGET = 1_000
"""Entries of an index that one page looks at, at most."""
BUDGET_MERGED = 400
"""The same of messages in every state."""
COUNTED = 10_000
"""How far is counted, once for everybody."""
COUNTED_STATES = 2_000
"""How far each tab of a list is counted: there are eight, and each list has others."""
COUNTED_FEW = 500
"""How far is counted where each has to be looked at."""

RUN = ", ".join(f'r."{column.name}"' for column in TABLES["runs"].columns)
MESSAGE = ", ".join(f'm."{column.name}"' for column in TABLES["messages"].columns)


@dataclass
class Statement:
    """A statement as it grows, with its values."""

    values: list[Any] = field(default_factory=list)
    text: str = ""

    def put(self, value: Any) -> str:
        """Return the placeholder of a value."""
        self.values.append(value)
        return f"${len(self.values)}"

    def puts(self, values: Iterable[Any]) -> str:
        """Return the placeholders of several, for IN."""
        return f"({', '.join(map(self.put, values))})"


@dataclass(frozen=True)
class Walk:
    """Where a list goes along: an index of runs, or that of the messages by state."""

    tenant: str
    filter: Filter
    start: Key | None
    """Exclusive; None: from the newest, or with `newer` from the oldest."""
    newer: bool
    by_state: bool
    """Along the messages, by state or by reason, and not along the runs."""
    roles: tuple[str, ...] = (NOTICE,)

    @property
    def order(self) -> str:
        """The direction."""
        return "ASC" if self.newer else "DESC"

    @property
    def states(self) -> tuple[str, ...]:
        """States of the messages that are walked."""
        return tuple(map(str, MessageState)) if self.filter.outcome is None else self.filter.outcome.states

    @property
    def budget(self) -> int:
        """How many entries one page looks at: fewer where many indexes' parts are merged, for each is walked so far."""
        merged = self.by_state and self.filter.outcome is None and self.filter.reason is None
        return BUDGET_MERGED if merged else BUDGET

    def inner(self, to: Statement, budget: int) -> str:
        """Return the walk itself: `at`, `run_id`, and along the messages `message_id`; at most `budget` rows."""
        return self._along_messages(to, budget) if self.by_state else self._along_runs(to, budget)

    def _along_runs(self, to: Statement, budget: int) -> str:
        about = self.filter
        where = [] if about.firing is not None else [f"tenant = {to.put(self.tenant)}"]
        if about.firing is not None:
            # Not `tenant = …`: SQLite would walk all decisions of the tenant in their order, to find those of one firing.
            where = [f"firing_id = {to.put(about.firing)}", f"tenant || '' = {to.put(self.tenant)}"]
        elif about.recipient is not None:
            where.append(f"recipient = {to.put(about.recipient)}")
        elif about.rule is not None:
            where.append(f"rule = {to.put(about.rule)}")
        where += self.bounds(to, "decided_at", ("run_id",))
        return (
            f"SELECT decided_at AS at, run_id FROM runs WHERE {' AND '.join(where)} "
            f"ORDER BY decided_at {self.order}, run_id {self.order} LIMIT {budget}"
        )

    def _along_messages(self, to: Statement, budget: int) -> str:
        parts = []
        tenant = to.put(self.tenant)
        bounds = self.bounds(to, "created_at", ("run_id", "message_id"))
        reason = self.filter.reason
        if reason is not None:
            kinds = [[f"reason = {to.put(reason)}"]]
        else:
            kinds = [[f"role = {to.put(role)}", f"state = {to.put(one)}"] for role in self.roles for one in self.states]
        for kind in kinds:
            where = [f"tenant = {tenant}", *kind, *bounds]
            parts.append(
                "SELECT * FROM (SELECT created_at AS at, run_id, message_id FROM messages "
                f"WHERE {' AND '.join(where)} ORDER BY created_at {self.order}, run_id {self.order}, "
                f"message_id {self.order} LIMIT {budget}) AS part"
            )
        if len(parts) == 1:
            return parts[0]
        merged = " UNION ALL ".join(parts)
        return (
            f"SELECT * FROM ({merged}) AS parts ORDER BY at {self.order}, run_id {self.order}, "
            f"message_id {self.order} LIMIT {budget}"
        )

    def bounds(self, to: Statement, at: str, ids: Sequence[str]) -> list[str]:
        """Return the conditions on time and place.

        Of two that bound one side only the narrower is asked: an index walk begins at whichever the store chooses.
        """
        found = []
        since, until, start = self.filter.since, self.filter.until, self.start
        if start is not None and self.newer and since is not None:
            since, start = (None, start) if since <= start.at else (since, None)
        if start is not None and not self.newer and until is not None:
            until, start = (None, start) if start.at < until else (until, None)
        if since is not None:
            found.append(f"{at} >= {to.put(since)}")
        if until is not None:
            found.append(f"{at} < {to.put(until)}")
        if start is not None:
            sign = ">" if self.newer else "<"
            known = list(zip(ids, start.ids, strict=False))
            if len(start.ids) > len(ids):  # along the runs of a list of messages: this run may hold more of them
                sign += "="
            names = ", ".join((at, *(name for name, _ in known)))
            values = ", ".join(to.put(value) for value in (start.at, *(value for _, value in known)))
            found.append(f"({names}) {sign} ({values})")
        return found


def decisions(walk: Walk, budget: int, limit: int) -> Statement:
    """Return the statement for decisions: `at`, then the columns of the run."""
    to = Statement()
    inner = walk.inner(to, budget)
    where = _of_run(to, walk.filter)
    about = walk.filter
    if walk.by_state:
        # A decision with several such messages stands where the newest of them does, once.
        if about.reason is not None:
            such = f"o.role = {to.put(NOTICE)} AND o.state IN {to.puts(walk.states)}"
            where.append(f"EXISTS (SELECT 1 FROM messages o WHERE o.message_id = w.message_id AND {such})")
        newer = f"o.state IN {to.puts(walk.states)} AND (o.created_at, o.message_id) > (w.at, w.message_id)"
        where.append(f"NOT {_notice_of_run(to, about.reason)} AND {newer})")
    elif about.outcome is Outcome.NOTHING:
        where.append("r.steps_due = 0")
        if about.reason is not None:
            where.append(f"r.reason = {to.put(about.reason)}")
    elif about.outcome is not None:
        where.append(f"{_notice_of_run(to, about.reason)} AND o.state IN {to.puts(about.outcome.states)})")
    elif about.reason is not None:
        where.append(f"(r.steps_due = 0 AND r.reason = {to.put(about.reason)} OR {_notice_of_run(to, about.reason)}))")
    to.text = (
        f"SELECT w.at, {RUN} FROM ({inner}) AS w JOIN runs r ON r.run_id = w.run_id{_where(where)} "
        f"ORDER BY w.at {walk.order}, w.run_id {walk.order} LIMIT {limit}"
    )
    return to


def messages(walk: Walk, budget: int, limit: int) -> Statement:
    """Return the statement for messages: `at`, then the columns of the message."""
    to = Statement()
    inner = walk.inner(to, budget)
    about = walk.filter
    where = []
    if walk.by_state:
        on = "m.message_id = w.message_id"
        if about.rule is not None:
            where.append(f"m.rule = {to.put(about.rule)}")
        if about.recipient is not None:
            where.append(f"m.recipient = {to.put(about.recipient)}")
        if about.reason is not None and about.outcome is not None:
            where.append(f"m.state IN {to.puts(walk.states)}")
    else:
        on = "m.run_id = w.run_id"
        if about.rule is not None and about.recipient is not None:
            where.append(f"m.rule = {to.put(about.rule)}")
        if about.outcome is not None:
            where.append(f"m.state IN {to.puts(about.outcome.states)}")
        if walk.start is not None and len(walk.start.ids) > 1:
            sign = ">" if walk.newer else "<"
            values = ", ".join(map(to.put, (walk.start.at, *walk.start.ids)))
            where.append(f"(w.at, w.run_id, m.message_id) {sign} ({values})")
        if about.reason is not None:
            where.append(f"m.reason = {to.put(about.reason)}")
    if about.channel is not None:
        where.append(f"m.channel = {to.put(about.channel)}")
    to.text = (
        f"SELECT w.at, {MESSAGE} FROM ({inner}) AS w JOIN messages m ON {on}{_where(where)} "
        f"ORDER BY w.at {walk.order}, w.run_id {walk.order}, m.message_id {walk.order} LIMIT {limit}"
    )
    return to


def looked(walk: Walk, budget: int) -> Statement:
    """Return the statement for the places that a walk has passed."""
    to = Statement()
    to.text = walk.inner(to, budget)
    return to


def messages_of(runs: Sequence[str]) -> Statement:
    """Return the statement for the messages of some runs."""
    to = Statement()
    # Few shapes, so that few plans are kept: the last one is asked for again.
    size = next((size for size in (1, 10, 50, 200) if size >= len(runs)), len(runs))
    padded = [*runs, *[runs[-1]] * (size - len(runs))]
    to.text = (
        f"SELECT {MESSAGE} FROM messages m WHERE m.run_id IN {to.puts(padded)} ORDER BY m.run_id, m.step, m.role DESC"
    )
    return to


def count_states(
    tenant: str, about: Filter, states: Sequence[str], *, runs: bool, roles: Sequence[str], upto: int
) -> Statement:  # fmt: skip
    """Return the statement that counts messages, or the decisions that have such, along their index; and the messages."""
    to = Statement()
    walk = Walk(tenant, about, None, newer=False, by_state=True, roles=tuple(roles))
    parts = []
    for role in roles:
        for state in states:
            where = [f"tenant = {to.put(tenant)}", f"role = {to.put(role)}", f"state = {to.put(state)}"]
            where += walk.bounds(to, "created_at", ())
            parts.append(
                f"SELECT * FROM (SELECT run_id FROM messages WHERE {' AND '.join(where)} "
                f"ORDER BY created_at DESC LIMIT {upto + 1}) AS part"
            )
    what = "count(DISTINCT run_id)" if runs else "count(*)"
    to.text = (
        f"SELECT {what}, count(*) FROM (SELECT * FROM ({' UNION ALL '.join(parts)}) AS parts LIMIT {upto + 1}) AS few"
    )
    return to


def count_walked(walk: Walk, *, roles: Sequence[str]) -> Statement:
    """Return the statement that counts, by state and reason, over what a walk along runs looks at."""
    to = Statement()
    inner = walk.inner(to, COUNTED_FEW)
    where = [f"m.role IN {to.puts(roles)}"]
    if walk.filter.reason is not None:
        where.append(f"m.reason = {to.put(walk.filter.reason)}")
    if walk.filter.channel is not None:
        where.append(f"m.channel = {to.put(walk.filter.channel)}")
    if walk.filter.rule is not None:
        where.append(f"m.rule = {to.put(walk.filter.rule)}")
    to.text = (
        f"SELECT m.state, count(DISTINCT m.run_id), count(*) FROM ({inner}) AS w "
        f"JOIN messages m ON m.run_id = w.run_id{_where(where)} GROUP BY m.state"
    )
    return to


def count_runs(walk: Walk, upto: int) -> Statement:
    """Return the statement that counts decisions along an index of runs."""
    to = Statement()
    to.text = f"SELECT count(*) FROM ({walk.inner(to, upto + 1)}) AS w"
    return to


BOTH = (NOTICE, ALL_CLEAR)
"""Roles of messages: those of the steps, and corrections."""


def _notice_of_run(to: Statement, reason: str | None) -> str:
    """Return the beginning of an EXISTS over the notices of the run, with a reason where one is asked for."""
    also = "" if reason is None else f" AND o.reason = {to.put(reason)}"
    return f"EXISTS (SELECT 1 FROM messages o WHERE o.run_id = w.run_id AND o.role = {to.put(NOTICE)}{also}"


def _of_run(to: Statement, about: Filter) -> list[str]:
    found = []
    if about.rule is not None:
        found.append(f"r.rule = {to.put(about.rule)}")
    if about.recipient is not None:
        found.append(f"r.recipient = {to.put(about.recipient)}")
    return found


def _where(parts: Sequence[str]) -> str:
    return f" WHERE {' AND '.join(parts)}" if parts else ""
