"""D: unread firings and signals of one recipient become runs and messages, in one transaction under their lock."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from streams.processors import told
from streams.processors.detect import EPOCH, READER, Outdated
from streams.processors.people import READER as PEOPLE
from tidings import watermark
from tidings.correction import ALL_CLEAR, newer_runs
from tidings.dispatch import Dispatched, Heard, Outside, Pinned, dispatch, read_heard
from tidings.message import Message, Run, message_row, read_message, read_run, run_row
from tidings.person import Person, as_team, read_person
from tidings.ports import Body, Find, FindEach, Insert, Lock, Now, Put, Read, Row, Scan, Share, Transaction
from tidings.record import TAKES_BACK
from tidings.rule import NEVER, Rule, RuleSet

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


@dataclass(frozen=True, slots=True)
class Stranger:
    """Nobody knows them, and words about people are still to be read: come again.

    Who was made known before the event is no stranger, and a suppression would be for good.
    """

    who: Who


FAR = 5_000
"""How many records that wait for words about people are looked behind."""


def find_work(waiting: Container[Who] = (), resting: Collection[Who] = (), *, limit: int = 200) -> Body[list[Who]]:
    """Return the body that names recipients with unread records, or with something that is due now.

    Those who are `waiting` are passed over until they have something due: many strangers at the head of the queue hold
    up nobody. Those who are `resting` are passed over whatever they have.
    """

    def body() -> Transaction[list[Who]]:
        now = yield Now()
        size = limit
        while True:
            unread = yield Find("records", "by_unread", (1,), limit=size)
            found = [
                who
                for row in unread
                if (who := (row["tenant"], row["recipient"])) not in waiting and who not in resting
            ]
            if len(unread) < size or len(found) >= limit or size >= FAR:
                break
            size *= 4
        due = yield Find("recipients", "by_next", (), upto=now, limit=limit + len(resting))
        found += [who for row in due if (who := (row["tenant"], row["recipient"])) not in resting]
        return list(dict.fromkeys(found))

    return body


def dispatch_one(rules: RuleSet, who: Who, pinned: Pinned) -> Body[Passed | Outdated | Stranger | None]:
    """Return the body of one pass; None: come again, for somebody else is at it, or a link appeared meanwhile."""

    def body() -> Transaction[Passed | Outdated | Stranger | None]:
        yield Share(CONTROLS)
        active, restored = yield from standing()
        if active != rules.hash:
            return Outdated(active)
        known = yield Read("recipients", [who])
        before = known.get(who)
        if before is not None and before["linked_to"] is not None:
            known |= yield Read("recipients", [(who[0], before["linked_to"])])
        places = sorted({who} | ({(who[0], before["linked_to"])} if before and before["linked_to"] else set()))
        # A store may pass over what is not there yet; whoever makes that row is done in a moment.
        held = yield Lock("recipients", places, skip_locked=len(known) == len(places))
        if len(held) < len(places) or (held[who] or {}).get("linked_to") != (before or {}).get("linked_to"):
            return None
        person = resolve(rules, who, held)
        unread = yield from unread_of(who)
        heard = [read_heard(row) for row in unread]
        if person.kind == "customer" and not person.known and (yield from _people_behind(heard)):
            return Stranger(who)
        runs: dict[str, Run] = {}
        names = []
        for place in places:
            runs |= _by_id((yield Find("runs", "by_recipient", (*place, 1))))
            names += [row["message_id"] for row in (yield Find("messages", "by_recipient", (*place, 1)))]
        locked = yield Lock("messages", sorted((name,) for name in names))
        messages = {row["message_id"]: read_message(row) for row in locked.values() if row is not None}
        more_runs, more_messages = yield from _concerned(places, heard, runs, messages)
        runs, messages = {**more_runs, **runs}, {**more_messages, **messages}
        now = yield Now()
        outside = Outside(kills=(yield from active_kills()), connected=(yield from connected(_begun_by(heard, pinned))))
        result = dispatch(
            rules, pinned, person, heard, list(runs.values()), list(messages.values()), outside, now
        )  # fmt: skip
        if restored:
            yield from _as_told(result, now)
        yield from _write(result, unread)
        yield Put("recipients", _recipient_rows(held, result))
        return Passed(who, heard, result)

    return body


def _people_behind(heard: Sequence[Heard]) -> Transaction[bool]:
    """Return whether something about people may exist that came before these records and has not been projected.

    Where the log is a table its heads say so exactly. Kafka's heads are nobody's rows: there the reader of people must
    have come, in each of its partitions, to the time of the newest record.
    """
    sources = yield Find("sources", "by_topic", (PEOPLE,))
    if not sources:
        return False  # there is no topic about people
    read = {(row["topic"], row["partition"]): row["next_offset"] for row in sources}
    heads = yield Read("log_heads", sorted(read))
    if heads:
        return any(row["next_offset"] > read[place] for place, row in heads.items())
    newest = max((record.logical_at for record in heard), default=NEVER)
    return watermark.of_topic(sources, watermark.GRACE) < newest


def _by_id(rows: Sequence[Row]) -> dict[str, Run]:
    return {row["run_id"]: read_run(row) for row in rows}


def _concerned(
    places: Sequence[Who], heard: Sequence[Heard], runs: Mapping[str, Run], messages: Mapping[str, Message]
) -> Transaction[tuple[dict[str, Run], dict[str, Message]]]:
    """Read what a stop or a waiting all-clear has to know, beside what is open.

    No lock of their own: what they are asked for changes under the recipient's lock only, which is held.
    """
    more: dict[str, Run] = {}
    wanted: set[str] = set()
    for record in heard:
        if record.kind in TAKES_BACK:
            found = _by_id((yield Find("runs", "by_firing", (record.firing_id,))))
            mine = {name: run for name, run in found.items() if (run.tenant, run.recipient) in places}
            more |= mine
            wanted |= set(mine)
    rules = {run.rule for run in more.values()} | {m.rule for m in messages.values() if m.role == ALL_CLEAR}
    if not rules:
        return {}, {}
    # The all-clear's own run, and the newer ones of its key.
    gone = sorted({m.run_id for m in messages.values() if m.role == ALL_CLEAR} - set(runs) - set(more))
    more |= _by_id(list((yield Read("runs", [(name,) for name in gone])).values()))
    wanted |= {m.run_id for m in messages.values() if m.role == ALL_CLEAR}
    wanted |= {run.run_id for run in runs.values() if run.rule in rules}
    found_messages: dict[str, Message] = {}
    for name in sorted(wanted):
        for row in (yield Find("messages", "by_run", (name,))):
            found_messages[row["message_id"]] = read_message(row)
    return more, found_messages


def about_correction(message: Message) -> Transaction[tuple[Message | None, list[Message]]]:
    """Read, under the recipient's lock, the message that a correction is about, and the notices of newer episodes."""
    rows = yield Read("messages", [(message.body["original"],)])
    original = next((read_message(row) for row in rows.values()), None)
    run = next(iter(_by_id(list((yield Read("runs", [(message.run_id,)])).values())).values()), None)
    newer: list[Message] = []
    if run is not None:
        others = _by_id((yield Find("runs", "by_recipient", (run.tenant, run.recipient, 1))))
        for one in newer_runs(run, others.values()):
            newer += [read_message(row) for row in (yield Find("messages", "by_run", (one.run_id,)))]
    return original, newer


def resolve(rules: RuleSet, who: Who, held: Mapping[tuple[str, ...], Row | None]) -> Person:
    """Return the person behind a reference: a team from the directory, or the customer to whom a foreign id is linked."""
    person = read_person(*who, held[who])
    if person.kind == "team":
        return as_team(person, rules.teams.get(who[1].partition(":")[2]))
    if person.linked_to is None:
        return person
    return read_person(who[0], person.linked_to, held.get((who[0], person.linked_to)))


def _as_told(result: Dispatched, now: int) -> Transaction[None]:
    """Give the messages of a pass the ends that the topics know, and come again for their runs."""
    known = yield from told.corrected(list(result.messages.values()))
    result.messages |= known
    if known:
        result.next_at = {**result.next_at, **dict.fromkeys((one.recipient for one in known.values()), now)}


def _write(result: Dispatched, unread: Sequence[Row]) -> Transaction[None]:
    runs = [(run_row(run), run.run_id in result.new) for run in result.runs.values()]
    messages = [(message_row(message), message.message_id in result.new) for message in result.messages.values()]
    for table, rows in (("runs", runs), ("messages", messages)):
        if begun := [row for row, is_new in rows if is_new]:
            yield Insert(table, begun, blind=True)
        if changed := [row for row, is_new in rows if not is_new]:
            yield Put(table, changed)
    yield from mark_read(unread)


def unread_of(who: Who) -> Transaction[list[Row]]:
    """Read the records about a recipient that nobody has read yet."""
    return (yield Find("records", "by_recipient", (*who, 1)))  # type: ignore[no-any-return]


def mark_read(unread: Sequence[Row]) -> Transaction[None]:
    """Mark records as read: in the transaction that acts on them, or they are lost, or acted on twice."""
    if unread:
        yield Put("records", [{**row, "unread": None} for row in unread], only=("unread",))


def _recipient_rows(held: Mapping[tuple[str, ...], Row | None], result: Dispatched) -> list[Row]:
    rows = []
    for place in sorted(held):
        known = held[place] or {
            "tenant": place[0], "recipient": place[1], "linked_to": None, "profile": b"{}", "next_at": None, "rev": 0,
        }  # fmt: skip
        rows.append({**known, "next_at": result.next_at.get(place[1])})
    return rows


def active_rules() -> Transaction[str | None]:
    """Read which rule set is active."""
    row = (yield Read("epochs", [(EPOCH,)])).get((EPOCH,))
    return None if row is None else row["value"]


def standing() -> Transaction[tuple[str | None, bool]]:
    """Read which rule set is active, and whether this database was restored and the topics know what it does not."""
    rows = yield Read("epochs", [(EPOCH,), (told.TOLD,)])
    return (row["value"] if (row := rows.get((EPOCH,))) is not None else None), (told.TOLD,) in rows


def active_kills() -> Transaction[frozenset[str]]:
    """Read what operators have stopped."""
    rows = yield Scan("kills")
    return frozenset(row["scope"] for row in rows if row["state"] == "killed")


def connected(rules: Iterable[Rule]) -> Transaction[dict[str, int]]:
    """Read since when each topic of some rules is connected; those whose history is live are left out."""
    found: dict[str, int] = {}
    topics = sorted({topic for rule in rules for topic in rule.topics})
    for (_, topic), rows in (yield FindEach("sources", "by_topic", [(READER, topic) for topic in topics])).items():
        for row in rows:
            if row["history"] != "live":
                found[topic] = max(found.get(topic, 0), row["connected_at"])
    return found


def _begun_by(heard: Sequence[Heard], pinned: Pinned) -> Iterator[Rule]:
    """Yield the rules whose firings are among the records, as they were decided with."""
    for record in heard:
        if record.kind == "fired":
            with contextlib.suppress(KeyError, ValueError):  # gone, or not to be read any more: it begins nothing
                yield pinned(record.rule_set).by_id[record.rule]
