"""What must be true of every history: watched at each commit, asked as queries at rest, compared with the oracle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from streams.processors.endings import is_stopped
from tests.simulator.oracle import expected
from tests.simulator.rules import ISSUED, PAID, PING
from tidings import canonical
from tidings.correction import ALL_CLEAR, NOTICE, heard
from tidings.event import SECOND, Event
from tidings.gates import quiet_of, scopes_of
from tidings.journal import Span, canonical_records, read_entry
from tidings.message import Message, read_message
from tidings.person import read_person
from tidings.ports import Key, Outgoing, Row
from tidings.reasons import MessageState
from tidings.receipts import RANK, Receipt
from tidings.replay import Replay

if TYPE_CHECKING:
    from tests.simulator.history import History

FORGOTTEN = 90 * SECOND
"""Virtual time in which whoever is killed is started again, and has done all the pages of an end."""


class Watch:
    """Sees every commit and every first byte in the order in which they happen."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.people: dict[tuple[str, str], Row] = {}
        self.killed: set[str] = set()
        self.dropped: set[str] = set()
        self.ended_at: dict[str, int] = {}
        self.stops: dict[str, list[int]] = {}
        self.stopped_at: dict[str, list[int]] = {}
        self.intents: dict[tuple[str, int], Row] = {}
        self.state: dict[str, str] = {}
        self.unknown: set[str] = set()
        self.rows: dict[str, Row] = {}

    def fault(self, text: str) -> None:
        self.history.faults.append(text)

    def committed(self, writes: Mapping[str, Sequence[Row]], deletes: Mapping[str, Sequence[Key]]) -> None:
        """Judge a commit against everything that was committed before it."""
        for row in writes.get("attempts", ()):
            place = (row["message_id"], row["no"])
            if place not in self.intents:
                self.intents[place] = row
                self._intent(row, writes)
        for row in writes.get("messages", ()):
            self._transition(row)
        for row in writes.get("recipients", ()):
            self.people[row["tenant"], row["recipient"]] = row
        self.killed |= {row["scope"] for row in writes.get("kills", ())}
        ended = {key[0] for key in deletes.get("kills", ())}
        self.killed -= ended
        self.ended_at |= dict.fromkeys(ended, self.history.scheduler.clock)
        for row in writes.get("endings", ()):
            if row["verb"] == "drop" and (row["sweep"], row["after_at"], row["done"]) == (0, None, 0):
                self.dropped |= {name for name, one in self.rows.items() if is_stopped(row["scope"], one)}
        for row in writes.get("records", ()):
            if row["kind"] == "stopped" and row["unread"]:
                self.stops.setdefault(row["firing_id"], []).append(row["seq"])
                self.stopped_at.setdefault(row["firing_id"], []).append(self.history.scheduler.clock)

    def _intent(self, row: Row, writes: Mapping[str, Sequence[Row]]) -> None:
        written = next(m for m in writes["messages"] if m["message_id"] == row["message_id"])
        message = read_message(written)
        name = message.message_id[:8]
        person = read_person(message.tenant, message.recipient, self.people.get((message.tenant, message.recipient)))
        if row["intent_at"] >= message.deadline:
            self.fault(f"{name}: intent past its deadline")
        if not person.agrees_to(message.body["consent"]):
            self.fault(f"{name}: intent after a withdrawal was answered")
        if self.killed & scopes_of(message):
            self.fault(f"{name}: intent after a kill was answered")
        if message.message_id in self.dropped:
            self.fault(f"{name}: intent for what waited when it was dropped")
        if not person.wants(message.body["topic"], message.channel):
            self.fault(f"{name}: intent for a topic that was switched off before")
        asked = quiet_of(message, person)
        if asked is not None and asked[0].is_quiet(row["intent_at"], asked[1]):
            self.fault(f"{name}: intent in quiet hours of {asked[1]}")
        if message.role == ALL_CLEAR:
            original = self.rows.get(message.body["original"])
            if original is None or heard(read_message(original)) != "told":
                self.fault(f"{name}: an all-clear for what was not told")
            return
        if any(seq <= row["seen"] for seq in self.stops.get(message.firing_id, ())):
            self.fault(f"{name}: intent with a stop numbered up to what it had seen")
        if any(at < row["intent_at"] for at in self.stopped_at.get(message.firing_id, ())):
            self.fault(f"{name}: intent after the firing was taken back")

    def _transition(self, row: Row) -> None:
        before, after = self.state.get(row["message_id"]), row["state"]
        if after == "expired" and self.rows.get(row["message_id"], {}).get("reason") == "killed":
            self._waited(row)
        self.rows[row["message_id"]] = row
        self.state[row["message_id"]] = after
        if after == "claimed":
            self.history.claimed(row["recipient"])
        if after == "unknown":
            self.unknown.add(row["message_id"])
        if before is None or before == after:
            return
        if MessageState(before) not in OPEN_STATES:
            self.fault(f"{row['message_id'][:8]}: {before} is terminal, and became {after}")
        if before == "sending" and after == "claimed":
            self.fault(f"{row['message_id'][:8]}: sending became claimed")

    def _waited(self, row: Row) -> None:
        """What expires held by a kill was held by one to the end, or to shortly before it."""
        scopes = scopes_of(read_message(row))
        last = max((self.ended_at[scope] for scope in scopes if scope in self.ended_at), default=0)
        if not self.killed & scopes and self.history.scheduler.clock - last > FORGOTTEN:
            self.fault(f"{row['message_id'][:8]}: expired while it waited for a kill that had ended")

    def first_byte(self, outgoing: Outgoing, at: int) -> None:
        """Judge the first byte of an attempt."""
        name = outgoing.message_id[:8]
        if (outgoing.message_id, outgoing.attempt) not in self.intents:
            self.fault(f"{name}: a first byte before its intent was committed")
        elif at >= self.intents[outgoing.message_id, outgoing.attempt]["start_by"]:
            self.fault(f"{name}: a first byte after start_by")


OPEN_STATES = frozenset(state for state in MessageState if state.is_open)


def messages_of(store: Any) -> list[Message]:
    """Return every message."""
    return [read_message(row) for row in store.rows("messages")]


def at_rest(history: History) -> list[str]:
    """Return every fault of a history that has come to rest."""
    return [
        *detection(history),
        *tiled(history),
        *replayed(history),
        *buffers(history),
        *conservation(history),
        *handed_over(history),
        *answered(history),
        *receipts(history),
        *last_word(history),
    ]


def last_word(history: History) -> list[str]:
    """Whoever was told something that was taken back has one all-clear, sent or with the reason why not."""
    messages = messages_of(history.store)
    stopped = {row["firing_id"] for row in history.store.rows("records") if row["kind"] == "stopped"}
    clears: dict[str, list[Message]] = {}
    for message in messages:
        if message.role == ALL_CLEAR:
            clears.setdefault(message.body["original"], []).append(message)
    faults = []
    for message in messages:
        mine = clears.get(message.message_id, [])
        if message.role != NOTICE:
            continue
        if message.firing_id in stopped and heard(message) == "told" and message.rule in RECALLED and len(mine) != 1:
            faults.append(f"{message.message_id[:8]} was told and taken back, and has {len(mine)} all-clears")
        if mine and message.firing_id not in stopped:
            faults.append(f"{message.message_id[:8]} has an all-clear, and stands")
    return faults


RECALLED = ("overdue", "declined")
"""Rules of the simulated shop that have an `on_stop`."""


def detection(history: History) -> list[str]:
    """Compare the detection records with the slow oracle, or, with closers beyond the lateness, with what is left."""
    shop = history.plan.shop
    rows = history.store.rows("records")
    facts = {(r["rule"], r["kind"], r["firing_id"], r["logical_at"], r["recipient"]) for r in rows}
    events = history.events()
    if history.plan.late_closers:
        return _taken_back(history, events)
    owed = expected(events, shop.names, once=shop.once, on_repeat=shop.on_repeat)
    faults = [f"owed, but not recorded: {fact}" for fact in sorted(owed - facts)]
    return faults + [f"recorded, but not owed: {fact}" for fact in sorted(facts - owed)]


def _taken_back(history: History, events: Sequence[Event]) -> list[str]:
    """With late closers: no firing stands whose closer is in the log."""
    by_ref = {event.ref: event for event in events}
    rows = history.store.rows("records")
    stopped = {row["firing_id"] for row in rows if row["kind"] == "stopped"}
    fired: dict[tuple[str, str], list[tuple[Row, Event]]] = {}
    for row in rows:
        if row["kind"] == "fired" and row["rule"] == "overdue":
            body = canonical.loads(row["body"])
            fired.setdefault((row["rule"], body["key"][0]), []).append((row, by_ref[body["episode"]["event"]]))
    faults = []
    for (_, key), firings in fired.items():
        row, episode = max(firings, key=lambda pair: pair[0]["logical_at"])
        rank = {ISSUED: 0, PAID: 2, PING: 0}
        order = (episode.occurred_at, rank[episode.type], episode.source, episode.ref)
        closers = [e for e in events if e.type == PAID and e.data["invoice_id"] == key]
        later = [e for e in closers if (e.occurred_at, 2, e.source, e.ref) > order]
        if later and row["firing_id"] not in stopped:
            faults.append(f"{row['firing_id'][:8]} of {key} stands, though {later[0].id} closes it")
    return faults


def tiled(history: History) -> list[str]:
    """Every record of the log was taken by exactly one transaction: the spans of the journal tile the log."""
    taken: dict[tuple[str, int], list[tuple[int, int]]] = {}
    for row in history.store.rows("journal"):
        for span in read_entry(row).spans:
            taken.setdefault((span.topic, span.partition), []).append((span.start, span.end))
    faults = []
    for place, spans in taken.items():
        ends = [0, *(end for _, end in sorted(spans))]
        starts = [*(start for start, _ in sorted(spans)), len(history.log.partitions_[place])]
        if starts != ends:
            faults.append(f"{place}: the journal's spans {sorted(spans)} do not tile the log")
    return faults


def replay_of(history: History) -> bytes:
    """Replay the journal on an empty state and return its records as canonical bytes."""
    entries = [read_entry(row) for row in history.store.rows("journal")]
    events = history.log.events

    def events_of(span: Span) -> list[Event]:
        offsets = (at for at in range(span.start, span.end) if at not in span.left_out)
        return [events[span.topic, span.partition, at] for at in offsets]

    again = Replay(history.rule_sets.__getitem__).run(entries, events_of)
    return canonical_records([(*key, record.body) for key, record in again.items()])


def replayed(history: History) -> list[str]:
    """Compare the replay of the journal with what was recorded: the same bytes."""
    rows = history.store.rows("records")
    recorded = canonical_records([(r["firing_id"], r["kind"], r["n"], r["body"]) for r in rows])
    return [] if recorded == replay_of(history) else ["the replay of the journal differs"]


def buffers(history: History) -> list[str]:
    """Count what waits: every key says as many as its buffer holds, and nothing that has been reached stays there."""
    waiting: dict[bytes, int] = {}
    for row in history.store.rows("buffer"):
        waiting[row["k"]] = waiting.get(row["k"], 0) + 1
    faults = []
    for row in history.store.rows("state"):
        said = canonical.loads(row["value"])["waits"] if row["value"] is not None else 0
        if said != waiting.pop(row["k"], 0):
            faults.append(f"key {row['key']} says that {said} events wait, and its buffer holds others")
    return faults + [f"{count} events wait for a key without a state" for count in waiting.values()]


def conservation(history: History) -> list[str]:
    """Ask the sum: every firing has its run, every step due its message, and at rest nothing is open."""
    faults = []
    runs = {row["firing_id"]: row for row in history.store.rows("runs")}
    by_run: dict[str, int] = {}
    for message in messages_of(history.store):
        by_run[message.run_id] = by_run.get(message.run_id, 0) + (message.role == "notice")
        if message.is_open:
            faults.append(f"{message.message_id[:8]} is {message.state} at rest, due {message.due_at}")
    for row in history.store.rows("records"):
        if row["unread"]:
            faults.append(f"record {row['firing_id'][:8]} {row['kind']} was never read")
        elif row["kind"] == "fired" and row["firing_id"] not in runs:
            faults.append(f"firing {row['firing_id'][:8]} has no run")
    for run in runs.values():
        if run["steps_due"] != by_run.get(run["run_id"], 0):
            faults.append(
                f"run {run['run_id'][:8]}: {run['steps_due']} steps due, {by_run.get(run['run_id'], 0)} messages"
            )
        if run["open"] and run["state"] != "done":  # what may still be taken back stays at hand
            faults.append(f"run {run['run_id'][:8]} is open at rest")
    return faults


def handed_over(history: History) -> list[str]:
    """Compare what the ledger says with what the provider has."""
    faults = []
    has = history.provider.accepted
    ledger = {message.message_id: message for message in messages_of(history.store)}
    for message_id, message in ledger.items():
        times = len(has.get(message_id, ()))
        name = f"{message_id[:8]} ({message.state})"
        if message.state is MessageState.ACCEPTED and times == 0:
            faults.append(f"{name}: said accepted, but the provider never had it: lost")
        if times > 1 and not _resent(history, message):
            faults.append(f"{name}: handed over {times} times")
        if message.state in NEVER_TOLD and times and not _resent(history, message):
            faults.append(f"{name}: the provider has it all the same")
    faults += [
        f"{message_id[:8]}: handed over, and not in the ledger" for message_id in has if message_id not in ledger
    ]
    return faults


LONG_AGO = 150 * SECOND
"""No provider of the simulator keeps a message as long, nor does a deliverer stand still as long: two minutes together."""


def answered(history: History) -> list[str]:
    """What a provider has answered is written: an attempt without an outcome belongs to a deliverer that was killed."""
    alive = {f"{process}{life}" for process, life in history.alive.items()}
    over = history.scheduler.clock - LONG_AGO
    return [
        f"{row['message_id'][:8]}: attempt {row['no']} was answered, and nobody wrote what"
        for row in history.store.rows("attempts")
        if row["outcome"] is None and row["intent_at"] < over and row["owner"].partition("#")[0] in alive
    ]


def receipts(history: History) -> list[str]:
    """Compare each message with the highest of its receipts; a receipt leaves nothing unknown behind."""
    faults = []
    said: dict[str, int] = {}
    for row in history.store.rows("receipts"):
        said[row["message_id"]] = max(said.get(row["message_id"], -1), RANK[Receipt(row["receipt"])])
    for message in messages_of(history.store):
        rank = said.get(message.message_id)
        shown = None if message.receipt is None else RANK[Receipt(message.receipt)]
        if message.state is MessageState.ACCEPTED and rank != shown:
            faults.append(f"{message.message_id[:8]} shows {message.receipt}, and its receipts say otherwise")
    return faults


NEVER_TOLD = frozenset({MessageState.SUPPRESSED, MessageState.CANCELLED, MessageState.EXPIRED, MessageState.FAILED})


def _resent(history: History, message: Message) -> bool:
    """Whether a repeat was declared: nothing can be looked up, and the rule says *resend*."""
    return message.on_unknown == "resend" and message.message_id in history.watch.unknown
