"""T2, T3 and T5 as transactions: claim, intent, recovery of leases, reconciliation.

T4 has a module of its own, `results`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from streams.processors import told
from streams.processors.detect import Outdated
from streams.processors.dispatch import CONTROLS, Who, about_correction, active_kills, read_drops, resolve, standing
from tidings import canonical, delivery, outcomes
from tidings.correction import NOTICE, correcting
from tidings.delivery import Pace
from tidings.dispatch import Heard, Outside, is_before, read_heard, world_of
from tidings.event import Micros
from tidings.gates import quiet_of
from tidings.message import WAITED, Message, message_row, read_message
from tidings.person import Person
from tidings.ports import (
    Body,
    Find,
    FindEach,
    Insert,
    Key,
    Lock,
    Now,
    Outgoing,
    Put,
    Read,
    Row,
    Share,
    Transaction,
)
from tidings.reasons import MessageState, Reason
from tidings.record import TAKES_BACK
from tidings.rule import RuleSet
from tidings.scopes import reaches_row


@dataclass(frozen=True, slots=True)
class Claimed:
    """A claimed message with its text, or the reason why it has none."""

    message: Message
    content: Mapping[str, Any] | None
    fault: str = ""
    """Why it has none; names values, and never holds one."""
    provider: str = ""
    """Name under which its attempts are recorded."""


LOOKED_THROUGH = 4
"""How many times as many messages T2 looks at as it takes."""


def claim(owner: str, limit: int, pace: Pace, channels: Collection[str] | None = None) -> Body[list[Message]]:
    """T2: take up to `limit` pending messages whose time has come, of some channels, leaving out what others hold."""

    def body() -> Transaction[list[Message]]:
        now = yield Now()
        # Others claim from the same end: what they hold is passed over, and what stands behind it is tried.
        taken: list[Message] = []
        tried: set[str] = set()
        for looked in (limit, limit * LOOKED_THROUGH):
            found = yield from waiting("pending", now, looked, channels)
            due = [row["message_id"] for row in found if row["message_id"] not in tried]
            while due and len(taken) < limit:
                wanted = limit - len(taken)
                some, due = due[:wanted], due[wanted:]
                tried.update(some)
                taken += yield from _claimed(some, owner, now, pace)
            if len(taken) == limit or len(found) < looked:
                break
        if taken:
            yield Put("messages", [message_row(message) for message in taken])
        return taken

    return body


def claim_overdue(names: Collection[str], owner: str, pace: Pace) -> Body[list[Message]]:
    """T2 of what T3 will end: those of some messages that are pending past their deadline."""

    def body() -> Transaction[list[Message]]:
        now = yield Now()
        found = yield from _claimed(names, owner, now, pace)
        taken = [message for message in found if message.deadline <= now]
        if taken:
            yield Put("messages", [message_row(message) for message in taken])
        return taken

    return body


def _claimed(names: Collection[str], owner: str, now: Micros, pace: Pace) -> Transaction[list[Message]]:
    """Lock some messages, leaving out what others hold, and return those that may be claimed, as claimed."""
    held = yield Lock("messages", sorted((name,) for name in names), skip_locked=True)
    # Read behind the locks: whoever drops waits for them, or is seen.
    dropping = (yield from read_drops()).scopes
    taken = []
    for row in held.values():
        if row is None:
            continue
        message = read_message(row)
        if any(reaches_row(scope, row) and is_before(message, number) for scope, number in dropping):
            continue
        claimed = delivery.claim(message, owner, now, pace)
        if claimed is not None:
            taken.append(claimed)
    return taken


@dataclass(frozen=True, slots=True)
class Intended:
    """A committed intent."""

    outgoing: Sequence[Outgoing]
    """What is to be sent now."""
    kept: Sequence[Message]
    """What a gate held or ended at the last moment, or what has no text."""


def intend(rules: RuleSet, group: Sequence[Claimed], owner: str, pace: Pace) -> Body[Intended | Outdated]:
    """T3: commit the intent to send a group of claimed messages, each asked by every gate once more."""

    def body() -> Transaction[Intended | Outdated]:
        yield Share(CONTROLS)
        now_standing = yield from standing()
        if now_standing.active != rules.hash:
            return Outdated(now_standing.active)
        held = yield from lock_people([(c.message.tenant, c.message.recipient) for c in group])
        rows = yield Lock("messages", sorted((c.message.message_id,) for c in group))
        now = yield Now()
        outside = Outside(kills=(yield from active_kills()), dropping=now_standing.dropping)
        known = (yield from told.of([c.message for c in group])) if now_standing.restored else {}
        firings = sorted({(row["firing_id"],) for row in rows.values() if row is not None})
        said = yield FindEach("records", "by_firing", firings)
        outgoing: list[Outgoing] = []
        changed: list[Message] = []
        attempts: list[Row] = []
        for claimed in group:
            row = rows[claimed.message.message_id,]
            message = None if row is None else read_message(row)
            if message is None or not delivery.is_mine(message, owner, claimed.message.rev, now):
                continue
            person = resolve(rules, (message.tenant, message.recipient), held)
            signals = _heard(said[message.firing_id,])
            world = world_of(rules, message, outside)
            if message.role != NOTICE:
                about = yield from about_correction(message)
                world = replace(world, correcting=correcting(message, *about))
            before = message
            if (end := known.get(message.message_id)) is not None:
                message = outcomes.as_told(message, end, now)
            if message is before:
                message = delivery.intend(message, person, signals, world, now, pace)
            if message.state is MessageState.SENDING and claimed.content is None:
                # A gate that ends it has the first word; a blank is the last.
                message = message.ended(MessageState.FAILED, Reason.RENDER)
                message = replace(message, body={**message.body, "fault": claimed.fault})
            changed.append(message)
            if message.state is MessageState.SENDING and claimed.content is not None:
                outgoing.append(_outgoing(message, claimed.content))
                attempts.append(_attempt(message, person, outside, owner, claimed.provider, now))
        if changed:
            yield Put("messages", [message_row(message) for message in changed])
            yield from wake(changed, held)
        if attempts:
            yield Insert("attempts", attempts, blind=True)
        return Intended(outgoing, [message for message in changed if message.state is not MessageState.SENDING])

    return body


@dataclass(frozen=True, slots=True)
class Begun:
    """What an intent has left whose commit was not answered; nothing of it has been sent."""

    outgoing: list[Outgoing]
    """What may still be sent."""
    late: list[Outgoing]
    """What must not begin any more, and surely was not sent."""


def find_begun(group: Sequence[Claimed], owner: str) -> Body[Begun]:
    """Find what T3 has committed under this owner; the locks wait for a commit that is still under way."""

    def body() -> Transaction[Begun]:
        rows = yield Lock("messages", sorted((c.message.message_id,) for c in group))
        now = yield Now()
        there = {row["message_id"]: read_message(row) for row in rows.values() if row is not None}
        places = sorted((name, message.attempt) for name, message in there.items())
        attempts = yield Read("attempts", places)
        begun = Begun([], [])
        for claimed in group:
            message = there.get(claimed.message.message_id)
            if message is None or claimed.content is None:
                continue
            attempt = attempts.get((message.message_id, message.attempt))
            if attempt is None or attempt["owner"] != owner or attempt["outcome"] is not None:
                continue
            outgoing = _outgoing(message, claimed.content)
            if message.state is MessageState.SENDING and now < outgoing.start_by:
                begun.outgoing.append(outgoing)
            elif message.state in (MessageState.SENDING, MessageState.UNKNOWN):
                begun.late.append(outgoing)
        return begun

    return body


def waiting(state: str, now: Micros, limit: int, channels: Collection[str] | None) -> Transaction[list[Row]]:
    """Find up to `limit` messages of a state that are due, of some channels: what waits for others costs nothing."""
    found = [row for rows in (yield from _due((state,), channels, now, limit)).values() for row in rows]
    return sorted(found, key=lambda row: (row["due_at"], row["message_id"]))[:limit]


def _due(
    states: Sequence[str], channels: Collection[str] | None, now: Micros, limit: int
) -> Transaction[dict[tuple[str, ...], list[Row]]]:
    if channels is None:
        found = yield FindEach("messages", "by_work", [(state,) for state in states], limit, now)
    else:
        pairs = [(state, channel) for state in states for channel in sorted(channels)]
        found = yield FindEach("messages", "by_channel", pairs, limit, now)
    return found  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class Overdue:
    """A page of what is pending, looked through for deadlines."""

    names: Sequence[str] = ()
    """Whose deadline is over."""
    first: Micros | None = None
    """The first deadline that is not over, of this page and those before it."""
    part: int = 0
    """Of the index: where the next page begins."""
    after: Key | None = None
    """And behind which entry of it; None: all parts were looked through."""


def find_overdue(channels: Collection[str] | None, seen: Overdue, limit: int) -> Body[Overdue]:
    """Name what is pending past its deadline among the next `limit` due messages, of all channels together.

    No index knows deadlines: who claims meets them anyhow. While nobody does, one page after another is looked at.
    """

    def body() -> Transaction[Overdue]:
        now = yield Now()
        state = str(MessageState.PENDING)
        index = "by_work" if channels is None else "by_channel"
        parts = [(state,)] if channels is None else [(state, channel) for channel in sorted(channels)]
        names: list[str] = []
        first, after, left = seen.first, seen.after, limit
        for number in range(seen.part, len(parts)):
            rows = yield Find("messages", index, parts[number], upto=now, limit=left, after=after)
            names += [row["message_id"] for row in rows if row["deadline"] <= now]
            known = () if first is None else (first,)
            first = min((*known, *(row["deadline"] for row in rows if row["deadline"] > now)), default=None)
            if len(rows) == left:
                return Overdue(names, first, number, (rows[-1]["due_at"], rows[-1]["message_id"]))
            left, after = left - len(rows), None
        return Overdue(names, first)

    return body


def find_due(states: Sequence[str], channels: Collection[str] | None) -> Body[bool]:
    """Say whether a message of one of these states is due: asked before a transaction that would write nothing."""

    def body() -> Transaction[bool]:
        now = yield Now()
        return any((yield from _due(states, channels, now, 1)).values())

    return body


def recover(pace: Pace, *, limit: int = 100) -> Body[list[Message]]:
    """Take back what a dead or sleeping deliverer held: claimed is pending again, sending is unknown."""

    def body() -> Transaction[list[Message]]:
        now = yield Now()
        states = (str(MessageState.CLAIMED), str(MessageState.SENDING))
        over = [row for rows in (yield from _due(states, None, now, limit)).values() for row in rows]
        held = yield Lock("messages", sorted((row["message_id"],) for row in over), skip_locked=True)
        pairs = ((row, delivery.lease_over(read_message(row), now, pace)) for row in held.values() if row is not None)
        changed = [after for row, after in pairs if after.state != row["state"]]
        if changed:
            yield Put("messages", [message_row(message) for message in changed])
        return changed

    return body


def find_unknown(channels: Collection[str] | None = None, *, limit: int = 50) -> Body[list[Message]]:
    """Name unknown messages whose settle time is over."""

    def body() -> Transaction[list[Message]]:
        now = yield Now()
        rows = yield from waiting(str(MessageState.UNKNOWN), now, limit, channels)
        return [read_message(row) for row in rows]

    return body


def reconcile(message: Message, found: str | None, *, can_look_up: bool, pace: Pace) -> Body[Message]:
    """T5: settle an unknown message by what the provider's books say."""

    def body() -> Transaction[Message]:
        held = yield from lock_people([(message.tenant, message.recipient)])
        current, signals = yield from _lock_message(message.message_id)
        now = yield Now()
        if current.attempt != message.attempt:
            return current
        known = yield from told.corrected([current])
        changed = known.get(current.message_id) or delivery.reconcile(
            current, found, can_look_up=can_look_up, stopped=_is_stopped(signals), now=now, pace=pace
        )
        if changed != current:
            yield Put("messages", [message_row(changed)])
            yield from wake([changed], held)
        return changed

    return body


def lock_people(whom: Sequence[Who]) -> Transaction[dict[tuple[str, ...], Row | None]]:
    """Lock recipients, and the customers that foreign ids are linked to, in order."""
    places = set(whom)
    for row in (yield Read("recipients", sorted(places))).values():
        if row["linked_to"] is not None:
            places.add((row["tenant"], row["linked_to"]))
    return (yield Lock("recipients", sorted(places)))  # type: ignore[no-any-return]


def stops_of(messages: Iterable[Message]) -> Transaction[set[str]]:
    """Return the firings of some messages that were taken back."""
    said = yield FindEach("records", "by_firing", sorted({(message.firing_id,) for message in messages}))
    return {firing for (firing,), rows in said.items() if _is_stopped(_heard(rows))}


def signals_of(firing_id: str) -> Transaction[list[Heard]]:
    """Read what detection has said of a firing since."""
    return _heard((yield Find("records", "by_firing", (firing_id,))))


def _heard(rows: Sequence[Row]) -> list[Heard]:
    return [read_heard(row) for row in rows if row["kind"] != "fired"]


def wake(changed: Sequence[Message], held: Mapping[tuple[str, ...], Row | None]) -> Transaction[None]:
    """Let dispatch look again at recipients whose message was held or has ended, to close its run."""
    rows: dict[tuple[str, str], Row] = {}
    for message in changed:
        place = (message.tenant, message.recipient)
        row = rows.get(place, held.get(place))
        if row is None or message.state in (MessageState.SENDING, MessageState.PENDING, MessageState.UNKNOWN):
            continue
        due = message.due_at if message.due_at is not None else message.created_at
        if row["next_at"] is None or due < row["next_at"]:
            rows[place] = {**row, "next_at": due}
    if rows:
        yield Put("recipients", [rows[place] for place in sorted(rows)])


def _lock_message(message_id: str) -> Transaction[tuple[Message, list[Heard]]]:
    row = (yield Lock("messages", [(message_id,)]))[message_id,]
    message = read_message(row)
    signals = yield from signals_of(message.firing_id)
    return message, signals


def _is_stopped(signals: Sequence[Heard]) -> bool:
    return any(signal.kind in TAKES_BACK for signal in signals)


def _outgoing(message: Message, content: Mapping[str, Any]) -> Outgoing:
    assert message.start_by is not None
    return Outgoing(
        message.message_id, message.attempt, message.channel, message.body["address"], content, message.start_by,
        message.deadline, message.recipient, message.created_at,
    )  # fmt: skip


def _attempt(message: Message, person: Person, outside: Outside, owner: str, provider: str, now: Micros) -> Row:
    asked: dict[str, Any] = {
        "consent": person.agrees_to(message.body["consent"]), "kills": sorted(outside.kills_of(message)), "rev": person.rev,
    }  # fmt: skip
    if (quiet := quiet_of(message, person)) is not None:
        asked["quiet"] = {"zone": quiet[1], "at": now}
    if message.body.get(WAITED):
        asked[WAITED] = True
    return {
        "message_id": message.message_id, "no": message.attempt, "provider": provider, "owner": owner,
        "intent_at": now, "start_by": message.start_by, "seen": message.seen, "asked": canonical.dumps(asked),
        "outcome": None, "ended_at": None, "first_byte_at": None, "detail": "",
    }  # fmt: skip
