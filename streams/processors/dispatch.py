"""D: unread firings and signals of one recipient become runs and messages, in one transaction under their lock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from streams.processors.detect import EPOCH, READER, Outdated
from tidings.dispatch import Dispatched, Heard, Outside, dispatch, read_heard
from tidings.message import message_row, read_message, read_run, run_row
from tidings.person import Person, read_person
from tidings.ports import Body, Find, Insert, Lock, Now, Put, Read, Row, Scan, Share, Transaction
from tidings.rule import RuleSet

CONTROLS = "controls"
"""Named lock that dispatch and the intent share, and that a kill or a switch of the rule set takes alone."""

Who = tuple[str, str]
"""(tenant, recipient)"""


@dataclass(frozen=True, slots=True)
class Passed:
    """One pass over one recipient."""

    who: Who
    heard: Sequence[Heard]
    result: Dispatched


def find_work(*, limit: int = 200) -> Body[list[Who]]:
    """Return the body that names recipients with unread records, or with something that is due now."""

    def body() -> Transaction[list[Who]]:
        now = yield Now()
        unread = yield Find("records", "by_unread", (1,), limit=limit)
        due = yield Find("recipients", "by_next", (), upto=now, limit=limit)
        found = [(row["tenant"], row["recipient"]) for row in (*unread, *due)]
        return list(dict.fromkeys(found))

    return body


def dispatch_one(rules: RuleSet, who: Who) -> Body[Passed | Outdated | None]:
    """Return the body of one pass; None: somebody else is at it, or a link appeared meanwhile. Come again."""

    def body() -> Transaction[Passed | Outdated | None]:
        yield Share(CONTROLS)
        active = yield from active_rules()
        if active != rules.hash:
            return Outdated(active)
        before = (yield Read("recipients", [who])).get(who)
        places = sorted({who} | ({(who[0], before["linked_to"])} if before and before["linked_to"] else set()))
        held = yield Lock("recipients", places, skip_locked=True)
        if len(held) < len(places) or (row := held[who] or {}).get("linked_to") != (before or {}).get("linked_to"):
            return None
        person = resolve(who, held)
        unread = yield from unread_of(who)
        runs, message_rows = [], []
        for place in places:
            runs += yield Find("runs", "by_recipient", (*place, 1))
            message_rows += yield Find("messages", "by_recipient", (*place, 1))
        locked = yield Lock("messages", sorted((row["message_id"],) for row in message_rows))
        messages = [read_message(row) for row in locked.values() if row is not None]
        now = yield Now()
        outside = Outside(kills=(yield from active_kills()), connected=(yield from connected()))
        heard = [read_heard(row) for row in unread]
        open_messages = [message for message in messages if message.is_open]
        result = dispatch(rules, person, heard, [read_run(row) for row in runs], open_messages, outside, now)
        yield from _write(result, unread)
        yield Put("recipients", _recipient_rows(who, person, row, held, result))
        return Passed(who, heard, result)

    return body


def resolve(who: Who, held: dict[tuple[str, ...], Row | None]) -> Person:
    """Return the person behind a reference: the linked customer where a foreign id was linked to one."""
    person = read_person(*who, held[who])
    if person.linked_to is None:
        return person
    return read_person(who[0], person.linked_to, held.get((who[0], person.linked_to)))


def _write(result: Dispatched, unread: Sequence[Row]) -> Transaction[None]:
    runs = [(run_row(run), run.run_id in result.new) for run in result.runs.values()]
    messages = [(message_row(message), message.message_id in result.new) for message in result.messages.values()]
    for table, rows in (("runs", runs), ("messages", messages)):
        if begun := [row for row, is_new in rows if is_new]:
            yield Insert(table, begun)
        if changed := [row for row, is_new in rows if not is_new]:
            yield Put(table, changed)
    yield from mark_read(unread)


def unread_of(who: Who) -> Transaction[list[Row]]:
    """Read the records about a recipient that nobody has read yet."""
    return (yield Find("records", "by_recipient", (*who, 1)))  # type: ignore[no-any-return]


def mark_read(unread: Sequence[Row]) -> Transaction[None]:
    """Mark records as read: in the transaction that acts on them, or they are lost, or acted on twice."""
    if unread:
        yield Put("records", [{**row, "unread": None} for row in unread])


def _recipient_rows(
    who: Who, person: Person, row: Row, held: dict[tuple[str, ...], Row | None], result: Dispatched
) -> list[Row]:
    rows = []
    for place in sorted(held):
        known = held[place] or {
            "tenant": place[0], "recipient": place[1], "linked_to": None, "profile": b"{}", "next_at": None, "rev": 0,
        }  # fmt: skip
        mine = place == (person.tenant, person.recipient)
        rows.append({**known, "next_at": result.next_at if mine else None})
    return rows


def active_rules() -> Transaction[str | None]:
    """Read which rule set is active."""
    row = (yield Read("epochs", [(EPOCH,)])).get((EPOCH,))
    return None if row is None else row["value"]


def active_kills() -> Transaction[frozenset[str]]:
    """Read what operators have stopped."""
    rows = yield Scan("kills")
    return frozenset(row["scope"] for row in rows if row["state"] == "killed")


def connected() -> Transaction[dict[str, int]]:
    """Read since when each topic is connected; those whose history is live are left out."""
    found: dict[str, int] = {}
    for row in (yield Scan("sources")):
        if row["reader"] == READER and row["history"] != "live":
            found[row["topic"]] = max(found.get(row["topic"], 0), row["connected_at"])
    return found
