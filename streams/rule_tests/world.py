"""The engine of a test: detection, dispatch and delivery as they run live, on a store in memory and a clock of its own.

Nothing waits: a coroutine of the engine is driven to its end in one go, since the store never stands still and the
provider answers at once. Between two entries of a test the clock stops at every instant at which something is due, in
order. All sources are caught up with the clock, without grace, so W(rule) is the clock less the rule's lateness; only
at an instant at which a timer is due does W reach the instant itself, so that an event of the same time still wins.
"""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from handlers import templates
from handlers.channels.content import Contents, step_of
from streams.embedded_log import create
from streams.processors import detect, people, receipts
from streams.processors.deliverer import Deliverer
from streams.processors.detect import Batch, Done, Idle
from streams.processors.dispatch import resolve
from streams.rule_tests.arrival import Gaps, concerns, look, notes, seen_by
from streams.rule_tests.model import FAILED, Arrived, Given, Test
from streams.rule_tests.outcome import Seen
from tidings import canonical
from tidings.event import SECOND, Event, Micros
from tidings.gates import quiet_of
from tidings.journal import Span
from tidings.message import Message, read_message
from tidings.person import Person, changed_row, recipient_named
from tidings.ports import Body, Key, Outcome, Outgoing, Put, Row, Transaction
from tidings.reasons import MessageState, Reason
from tidings.rule import MACHINES, RuleSet
from tidings.testing.memory import MemoryStore

T = TypeVar("T")

MAX_STOPS = 20_000
"""Instants that one test may visit."""
MAX_ROUNDS = 1_000


class TooLong(Exception):
    """The test has more to do than a test may."""


def drive(job: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never has to wait."""
    try:
        job.send(None)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
    job.close()
    text = "the engine waits for something, and nobody is there who could give it"
    raise RuntimeError(text)


class World:
    """One test's world. `happened` grows; entries of a test call `arrive`, `receive` and `rest`."""

    def __init__(self, test: Test) -> None:
        self.test = test
        self.rules = test.rules
        self.rule = test.rules.rules[0]
        self.clock = test.now
        self.happened: list[Seen] = []
        self.read_gaps: list[str] = []
        """Fields that the rule has read of the newest event although the test leaves them out."""
        self.gaps = Gaps()
        self.contents = Contents()
        self.stops = 0
        self.events: list[Event] = []
        self.known: set[str] = set()
        self.told: dict[str, tuple[Any, ...]] = {}
        self.causes: dict[str, str] = {}
        self.faults: dict[str, str] = {}
        self.written: dict[str, tuple[str | None, dict[str, str]]] = {}
        """By message: the variant of its template, and what it says."""
        self.store = MemoryStore(clock=lambda: self.clock)
        self.store.on_commit = self._committed
        self.topics = sorted({*self.rule.topics, *(self._topic(kind) for kind in test.types)})
        self.positions = dict.fromkeys(self.topics, 0)
        self.people_positions = dict.fromkeys((one for one in self.topics if one.startswith("customer.")), 0)
        self.deliverer = Deliverer(
            "test", self.store, _Runtime(self), lambda _: _Recorder(self), self.rules, lambda _: self.rules, self._render
        )  # fmt: skip
        self._begin()

    def _topic(self, kind: str) -> str:
        return self.rules.contracts[kind].topic

    def run(self, body: Body[T]) -> T:
        """Run a transaction."""
        return drive(self.store.run(body))

    def _begin(self) -> None:
        places = [(topic, 0) for topic in self.topics]
        # Connected before the test begins, and what its events say is news.
        self.run(detect.connect(places, self.clock - 1, grace=0, history="live"))
        persons = [(topic, 0) for topic in self.people_positions]
        self.run(detect.connect(persons, self.clock - 1, grace=0, history="live", reader=people.READER))
        # A test's log has an end: what is not said of people there is said nowhere.
        self.run(create(persons))
        self.run(detect.switch(None, self.rules, b"{}", grace=0))
        rows: dict[str, Row] = {}
        for event in self.test.people:
            who = recipient_named(event)
            if who is not None and (row := changed_row(who, rows.get(who), event)) is not None:
                rows[who] = row

        def body() -> Transaction[None]:
            yield Put("recipients", list(rows.values()))

        self.run(body)

    # -- time

    def rest(self, at: Micros) -> None:
        """Let the clock go to `at`, and let everything happen that is due until then, `at` included."""
        self._advance(at)
        while (due := self._due()) is not None and due <= at:
            self._stop(due)

    def _advance(self, at: Micros) -> None:
        """Let the clock go to `at`, and let everything happen that is due before."""
        while (due := self._due()) is not None and due < at:
            self._stop(due)
        self.clock = max(self.clock, at)

    def _stop(self, at: Micros) -> None:
        self.stops += 1
        if self.stops > MAX_STOPS:
            text = f"more than {MAX_STOPS} things happen in it"
            raise TooLong(text)
        self.clock = max(self.clock, at)
        timer = self._due_state()
        self._settle(self.clock if timer is not None and timer <= self.clock else self.clock - 1)

    def _due_state(self) -> Micros | None:
        """Return when W reaches the next timer, or the next event that waits in a buffer."""
        lateness = self.rule.operator.allowed_lateness
        rows = self.store.rows("state")
        return min(
            (row["due"] + lateness for row in rows if row["due"] is not None and row["class"] == self.rule.state_class),
            default=None,
        )

    def _due(self) -> Micros | None:
        """Return the next instant at which the engine has something to do; it may lie behind the clock."""
        found = [self._due_state()]
        found += [row["next_at"] for row in self.store.rows("recipients")]
        work = (MessageState.PENDING, MessageState.CLAIMED, MessageState.SENDING, MessageState.UNKNOWN)
        found += [row["due_at"] for row in self.store.rows("messages") if row["state"] in work]
        return min((at for at in found if at is not None), default=None)

    def _settle(self, w: Micros) -> None:
        """Let the sources be caught up with `w`, and the engine do all that it can do now."""
        idle = [Idle((topic, 0), self.positions[topic], w) for topic in self.topics]
        self.run(detect.mark_idle(idle))
        for _ in range(MAX_ROUNDS):
            busy = False
            if self.rule.operator.stateful:
                busy = isinstance(self.run(detect.tick(self.rules, self.rule, grace=0)), Done)
            if not drive(self.deliverer.step()) and not busy:
                return
        text = "the engine does not come to rest"
        raise TooLong(text)

    # -- what happens

    def arrive(self, given: Given) -> None:
        """Let an event arrive, and everything follow from it that does so at once."""
        event = given.event
        self._advance(event.appended_at)
        self._settle(self.clock - 1)
        around = drive(self.store.read(look(self.rules, event)))
        seen = seen_by(self.rules, self.rule, event, around)
        self.read_gaps = self.gaps.read(self.rules, self.rule, given, seen)
        concerned = event.type in self.rule.types and concerns(self.rule, seen)
        if concerned:
            self.events.append(event)
        if event.ref in self.known:
            if concerned:
                self.happened.append(Seen(self.clock, "duplicate"))
        elif concerned:
            self.happened += notes(self.rules, self.rule, event, around, self.clock)
        self.known.add(event.ref)
        start = self.positions[event.topic]
        self.positions[event.topic] = start + 1
        self.run(detect.detect(self.rules, _batch(event, start), grace=0))
        if event.topic in self.people_positions:
            at = self.people_positions[event.topic]
            self.people_positions[event.topic] = at + 1
            self.run(people.project(_batch(event, at)))
        self._settle(self.clock - 1)

    def receive(self, arrived: Arrived) -> bool:
        """Let a receipt come for the newest message that was handed over to a recipient; False: there is none."""
        rows = [
            row
            for row in self.store.rows("messages")
            if row["state"] == MessageState.ACCEPTED
            and arrived.to in (row["recipient"], self._person(read_message(row)).recipient)
            and arrived.channel in (None, row["channel"])
        ]
        if not rows:
            return False
        newest = max(rows, key=lambda row: (row["created_at"], row["step"]))
        name = f"{self.clock}-{arrived.receipt}"
        self.run(receipts.record_receipt(newest["message_id"], name, arrived.receipt, self.clock))
        self.rest(self.clock)
        return True

    # -- what is seen

    def _committed(self, written: Mapping[str, Sequence[Row]], _: Mapping[str, Sequence[Key]]) -> None:
        """Note what a transaction has written: new records, and messages in another state."""
        for row in written.get("records", ()):
            if row["unread"] is not None:
                self._record(row)
        for row in written.get("messages", ()):
            self._message(read_message(row))

    def _record(self, row: Row) -> None:
        body = canonical.loads(row["body"])
        to, severity = (row["recipient"],), body["severity"]
        if row["kind"] == "fired":
            self.happened.append(Seen(self.clock, "fired", severity, to=to))
            return
        cause = self._cause(body["key"], row["episode_at"], row["logical_at"])
        if cause is not None:
            self.causes[row["firing_id"]] = cause
        self.happened.append(Seen(self.clock, row["kind"], severity, to=to, reasons=() if cause is None else (cause,)))

    def _cause(self, key: Sequence[Any], episode_at: Micros, logical_at: Micros) -> str | None:
        """Return which event took a firing back: the one that the record dates, else the first after the episode."""
        operator = self.rule.operator
        kinds = {matcher.type for matcher in operator.matchers[1:]}
        found = [
            event
            for event in self.events
            if event.type in kinds and event.occurred_at >= episode_at and list(operator.key(event) or ()) == list(key)
        ]
        found.sort(key=lambda event: (event.occurred_at != logical_at, event.occurred_at))
        # One event may both fire and stop: what fired the episode did not stop it.
        others = [event for event in found if event.type != operator.matchers[0].type] or found
        return f"{others[0].type} arrived" if others else None

    def _message(self, message: Message) -> None:
        state = str(message.state)
        now = (state, message.reason, message.due_at if message.state is MessageState.HELD else None)
        before = self.told.get(message.message_id)
        self.told[message.message_id] = (now, message.receipt)
        if message.is_open and message.state is not MessageState.HELD:
            return
        if before is None or before[0] != now:
            self.happened.append(self._seen(message, state, self._reasons(message)))
        if message.receipt is not None and (before is None or before[1] != message.receipt):
            self.happened.append(self._seen(message, "receipt", (message.receipt,)))

    def _seen(self, message: Message, outcome: str, reasons: tuple[str, ...]) -> Seen:
        if message.state is MessageState.ACCEPTED and outcome == str(MessageState.ACCEPTED):
            outcome = message.channel if message.channel in MACHINES else "sent"
        person = self._person(message)
        variant, says = self.written.get(message.message_id, (None, {}))
        return Seen(
            self.clock, FAILED if message.state is MessageState.UNRESOLVED else outcome, message.body["severity"],
            message.channel, tuple(dict.fromkeys((message.recipient, person.recipient))),
            message.body["template"] or None, message.body["data"], step_of(self.rules, message).types,
            message.due_at if message.state is MessageState.HELD else None, reasons, message.body.get("target"),
            variant, says,
        )  # fmt: skip

    def _person(self, message: Message) -> Person:
        who = (message.tenant, message.recipient)
        rows: dict[Key, Row | None] = {who: None}
        rows |= {(row["tenant"], row["recipient"]): row for row in self.store.rows("recipients")}
        return resolve(self.rules, who, rows)

    def _reasons(self, message: Message) -> tuple[str, ...]:
        """Return a message's reason in words that name what it is about, as the closed word, and as its sentence."""
        if message.reason is None:
            return ()
        reason = Reason(message.reason)
        words = (str(reason), str(reason).replace("_", " "), reason.sentence)
        if reason is Reason.QUIET_HOURS and (quiet := quiet_of(message, self._person(message))) is not None:
            return (f"quiet hours in {quiet[1]}", *words)
        if reason is Reason.STOPPED and (cause := self.causes.get(message.firing_id)) is not None:
            return (cause, *words)
        if reason is Reason.RENDER and (fault := self.faults.get(message.message_id)) is not None:
            return (f"the text cannot be written: {fault}", *words)
        return (reason.sentence, *words)

    def _render(self, rules: RuleSet, message: Message, person: Person) -> Mapping[str, Any]:
        try:
            content = self.contents(rules, message, person)
        except ValueError as fault:
            self.faults[message.message_id] = str(fault)
            raise
        template = step_of(rules, message).template
        variant = templates.choose(rules.templates, template, person.locale) if template else None
        says = {
            "text": content.get("text") or content.get("body"),
            **{name: content.get(name) for name in ("subject", "title")},
        }
        self.written[message.message_id] = variant, {name: text for name, text in says.items() if text}
        return content


def _batch(event: Event, offset: int) -> Batch:
    return Batch((Span(event.topic, 0, offset, offset + 1),), (event,))


class _Runtime:
    """The clock of the test; jobs are done one after the other."""

    def __init__(self, world: World) -> None:
        self.world = world

    def now(self) -> int:
        return self.world.clock

    async def sleep(self, micros: int) -> None:
        raise AssertionError(micros)

    async def gather(self, jobs: Sequence[Awaitable[T]]) -> list[T]:
        return [await job for job in jobs]


class _Recorder:
    """A provider that takes everything at once."""

    name = "test"
    lease = 30 * SECOND
    can_look_up = False

    def __init__(self, world: World) -> None:
        self.world = world

    async def send(self, outgoing: Outgoing) -> Outcome:
        return Outcome("accepted", reference=outgoing.message_id, first_byte_at=self.world.clock)

    async def look_up(self, message_id: str) -> str | None:
        return None
