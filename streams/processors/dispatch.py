"""D: unread firings and signals of one recipient become runs and messages, in one transaction under their lock."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from streams.processors import told
from streams.processors.detect import EPOCH, READER, Outdated
from streams.processors.people import READER as PEOPLE
from tidings import canonical, watermark
from tidings.correction import ALL_CLEAR, newer_runs
from tidings.dispatch import Dispatched, Heard, Outside, Pinned, dispatch, read_heard
from tidings.message import Message, Run, message_row, read_message, read_run, run_row
from tidings.person import Person, as_team, read_person
from tidings.ports import Body, Find, FindEach, Insert, Lock, Now, Put, Read, Row, Scan, Share, Transaction
from tidings.record import TAKES_BACK
from tidings.rule import NEVER, Rule, RuleSet

CONTROLS = "controls"
"""Named lock that dispatch and the intent share, and that a kill or a switch of the rule set takes alone."""

DROPPING = "dropping"
"""Epoch row: what is being dropped (`streams.processors.endings`)."""

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


Pass = Passed | Stranger | None
"""None: come again, for somebody else is at it, nothing is left to do, or a link appeared meanwhile."""


def dispatch_one(rules: RuleSet, who: Who, pinned: Pinned) -> Body[Pass | Outdated]:
    """Return the body of one pass."""
    together = dispatch_all(rules, [who], pinned)

    def body() -> Transaction[Pass | Outdated]:
        passed = yield from together()
        return passed if isinstance(passed, Outdated) else passed[who]

    return body


def dispatch_all(rules: RuleSet, whom: Sequence[Who], pinned: Pinned) -> Body[dict[Who, Pass] | Outdated]:
    """Return the body of a pass over several recipients, as one transaction: each hears what they would hear alone.

    Who is missing in the answer has not been looked at, and wants another transaction: they share a row with somebody
    before them, or their row has to be made while those of others are there. At least one is looked at.
    """

    def body() -> Transaction[dict[Who, Pass] | Outdated]:
        yield Share(CONTROLS)
        now_standing = yield from standing()
        if now_standing.active != rules.hash:
            return Outdated(now_standing.active)
        passed: dict[Who, Pass] = {}
        places_of, known = yield from _together(whom)
        all_places = sorted(place for places in places_of.values() for place in places)
        # A store may pass over what is not there yet; whoever makes that row is done in a moment.
        held = yield Lock("recipients", all_places, skip_locked=all(place in known for place in all_places))
        free = [who for who, places in places_of.items() if _is_held(places, held, known)]
        unread = yield from unread_of(free)
        now = yield Now()
        heard: dict[Who, list[Heard]] = {}
        for who in free:
            if not unread[who] and not _is_due([held[place] for place in places_of[who]], now):
                continue
            words = [read_heard(row) for row in unread[who]]
            person = resolve(rules, who, held)
            if person.kind == "customer" and not person.known and (yield from _people_behind(words)):
                passed[who] = Stranger(who)
            else:
                heard[who] = words
        concerned = yield from _open(heard, places_of)
        kills = yield from active_kills()
        since = yield from connected(_begun_by([one for words in heard.values() for one in words], pinned))
        now = yield Now()
        for who, words in heard.items():
            runs, messages = concerned[who]
            outside = Outside(kills=kills, connected=since, dropping=now_standing.dropping)
            result = dispatch(rules, pinned, resolve(rules, who, held), words, runs, messages, outside, now)
            if now_standing.restored:
                yield from _as_told(result, now)
            passed[who] = Passed(who, words, result)
        yield from _write(
            [one.result for one in passed.values() if isinstance(one, Passed)],
            [row for who in heard for row in unread[who]],
        )
        rows = [
            row
            for who, one in passed.items()
            if isinstance(one, Passed)
            for row in _recipient_rows({place: held[place] for place in places_of[who]}, one.result)
        ]
        if rows:
            yield Put("recipients", rows)
        return dict.fromkeys(places_of) | passed

    return body


def _together(whom: Sequence[Who]) -> Transaction[tuple[dict[Who, list[Who]], dict[tuple[str, ...], Row]]]:
    """Choose who is passed over in one transaction: the rows of each, of which nobody else has any; and what is known.

    Rows that are there are locked where nobody has them, those to be made are waited for: never both in one
    transaction, for whoever waits while he holds others can be waited for.
    """
    known = yield Read("recipients", sorted(set(whom)))
    linked = {(who[0], row["linked_to"]) for who, row in known.items() if row["linked_to"] is not None}
    known |= yield Read("recipients", sorted(linked))
    rows = {who: [who] for who in dict.fromkeys(whom)}
    for who, places in rows.items():
        if (row := known.get(who)) is not None and row["linked_to"] is not None:
            places.append((who[0], row["linked_to"]))
    there = {who: places for who, places in rows.items() if all(place in known for place in places)}
    taken: set[Who] = set()
    chosen: dict[Who, list[Who]] = {}
    for who, places in (there or rows).items():
        if taken.isdisjoint(places):
            taken |= set(places)
            chosen[who] = sorted(set(places))
    return chosen, known


def _is_held(
    places: Sequence[Who], held: Mapping[tuple[str, ...], Row | None], known: Mapping[tuple[str, ...], Row]
) -> bool:
    """Return whether the rows of a recipient are ours, and linked as they were when we chose them."""
    return all(
        place in held and (held[place] or {}).get("linked_to") == known.get(place, {}).get("linked_to")
        for place in places
    )


def _is_due(rows: Sequence[Row | None], now: int) -> bool:
    """Return whether a recipient wants a pass although nothing new was said: nobody else has made it meanwhile."""
    return any(row is not None and row["next_at"] is not None and row["next_at"] <= now for row in rows)


def _open(
    heard: Mapping[Who, Sequence[Heard]], places_of: Mapping[Who, Sequence[Who]]
) -> Transaction[dict[Who, tuple[list[Run], list[Message]]]]:
    """Lock what is open of several recipients, and read what each pass has to know beside it."""
    places = [(*place, 1) for who in heard for place in places_of[who]]
    runs_of = yield FindEach("runs", "by_recipient", places)
    found = yield FindEach("messages", "by_recipient", places)
    locked = yield Lock("messages", sorted((row["message_id"],) for rows in found.values() for row in rows))
    now_of: dict[Who, dict[str, Message]] = {}
    for row in locked.values():
        if row is not None:
            now_of.setdefault((row["tenant"], row["recipient"]), {})[row["message_id"]] = read_message(row)
    open_of = {}
    for who in heard:
        runs: dict[str, Run] = {}
        messages: dict[str, Message] = {}
        for place in places_of[who]:
            runs |= _by_id(runs_of[*place, 1])
            messages |= now_of.get(place, {})
        more_runs, more_messages = yield from _concerned(places_of[who], heard[who], runs, messages)
        open_of[who] = [*{**more_runs, **runs}.values()], [*{**more_messages, **messages}.values()]
    return open_of


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


def _write(results: Sequence[Dispatched], unread: Sequence[Row]) -> Transaction[None]:
    runs = [(run_row(run), run.run_id in result.new) for result in results for run in result.runs.values()]
    messages = [
        (message_row(message), message.message_id in result.new)
        for result in results
        for message in result.messages.values()
    ]
    for table, rows in (("runs", runs), ("messages", messages)):
        if begun := [row for row, is_new in rows if is_new]:
            yield Insert(table, begun, blind=True)
        if changed := [row for row, is_new in rows if not is_new]:
            yield Put(table, changed)
    yield from mark_read(unread)


def unread_of(whom: Sequence[Who]) -> Transaction[dict[Who, list[Row]]]:
    """Read the records about recipients that nobody has read yet."""
    found = yield FindEach("records", "by_recipient", [(*who, 1) for who in whom])
    return {(tenant, recipient): rows for (tenant, recipient, _), rows in found.items()}


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


@dataclass(frozen=True, slots=True)
class Standing:
    """What every transaction of dispatch and delivery asks of the installation, under `CONTROLS`."""

    active: str | None
    """Hash of the active rule set."""
    restored: bool
    """Whether this database was restored, and the topics know what it does not."""
    dropping: tuple[tuple[str, int], ...]
    """What is being dropped: a scope, and the number of the drop; what was decided before it does not leave."""


def standing() -> Transaction[Standing]:
    """Read it."""
    rows = yield Read("epochs", [(EPOCH,), (told.TOLD,), (DROPPING,)])
    active = row["value"] if (row := rows.get((EPOCH,))) is not None else None
    return Standing(active, (told.TOLD,) in rows, _drops_of(rows.get((DROPPING,))).scopes)


@dataclass(frozen=True, slots=True)
class Drops:
    """The drops that are not through with what they found, and how many there ever were."""

    last: int = 0
    """Number of the newest that was asked. They are numbered under `CONTROLS`, which every pass shares."""
    of: Mapping[tuple[str, int], int] = field(default_factory=dict)
    """By kill, its scope and instant: the number of its drop."""

    @property
    def scopes(self) -> tuple[tuple[str, int], ...]:
        """What is being dropped, with the numbers."""
        return tuple((scope, number) for (scope, _), number in self.of.items())


def read_drops() -> Transaction[Drops]:
    """Read what is being dropped."""
    return _drops_of((yield Read("epochs", [(DROPPING,)])).get((DROPPING,)))


def write_drops(drops: Drops) -> Transaction[None]:
    """Write it, under `CONTROLS` alone."""
    of = [[scope, at, number] for (scope, at), number in sorted(drops.of.items())]
    value = canonical.dumps({"last": drops.last, "of": of}).decode()
    yield Put("epochs", [{"name": DROPPING, "value": value}])


def _drops_of(row: Row | None) -> Drops:
    if row is None:
        return Drops()
    value = canonical.loads(row["value"].encode())
    return Drops(value["last"], {(scope, at): number for scope, at, number in value["of"]})


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
