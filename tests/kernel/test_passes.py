"""Dispatch and delivery as transactions, over the in-memory store: what is read of the rows, and whom a change wakes."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from streams.processors import deliver, people
from streams.processors.deliverer import Deliverer
from streams.processors.detect import EPOCH, Batch
from streams.processors.receipts import record_receipt
from streams.processors.results import record_result
from streams.processors.setbacks import InternalError
from tests.kernel.stories import NOW, fired, rules, steps, stopped
from tests.kernel.test_person import event
from tidings import canonical
from tidings.delivery import Pace
from tidings.dispatch import Heard
from tidings.event import DAY, HOUR, MINUTE, SECOND, Event
from tidings.journal import Span
from tidings.message import Message
from tidings.person import read_person
from tidings.ports import CommitUnknown, Insert, Outcome, Outgoing, Put
from tidings.quiet_hours import QuietHours, Window
from tidings.receipts import Receipt
from tidings.rule import RuleSet, Team
from tidings.tables import TABLES
from tidings.testing.memory import MemoryStore

ONE = rules(then=steps("email"), on_stop=steps("email"), expires=6 * HOUR)
MORNING = QuietHours((Window(7 * 60, 10 * 60),), "customer", "UTC")
"""`NOW` is eight o'clock UTC: it opens two hours later, in Berlin an hour later."""


@dataclass
class Scripted:
    """A provider whose answers are written down."""

    answers: list[Outcome] = field(default_factory=list)
    taken: list[Outgoing] = field(default_factory=list)
    name: str = "scripted"
    lease: int = 30 * SECOND
    can_look_up: bool = False

    async def send(self, outgoing: Outgoing) -> Outcome:
        self.taken.append(outgoing)
        return self.answers.pop(0) if self.answers else Outcome("accepted")

    async def look_up(self, message_id: str) -> str | None:
        return None


@dataclass
class Still:
    """A world in which time passes only when a test says so."""

    now_: int

    def now(self) -> int:
        return self.now_

    async def gather(self, jobs: Sequence[Any]) -> list[Any]:
        return [await job for job in jobs]

    async def sleep(self, micros: int) -> None:
        raise AssertionError("nobody sleeps here")


class House:
    """A store, a deliverer and a clock."""

    def __init__(self, known: RuleSet = ONE, *older: RuleSet) -> None:
        self.now = NOW
        self.store = MemoryStore(clock=lambda: self.now)
        self.provider = Scripted()
        self.sets = {one.hash: one for one in (known, *older)}
        self.deliverer = Deliverer(
            "d", self.store, Still(NOW), lambda _: self.provider, known, self.sets.__getitem__,
            lambda _rules, message, _person: {"subject": message.body["template"], "text": "t"}, Pace(), concurrency=4,
        )  # fmt: skip
        self.offset = 0
        self.use(known)
        self.write(Insert("sources", [self.source(0)]))

    def source(self, at: int) -> dict[str, Any]:
        return {"reader": people.READER, "topic": "people", "partition": 0, "next_offset": at, "max_time": None,
                "caught_up_at": None, "connected_at": 0, "history": "live", "base": 0, "log_id": None, "fingerprint": None}  # fmt: skip

    def write(self, op: Any) -> None:
        def body() -> Any:
            yield op

        asyncio.run(self.store.run(body))

    def use(self, known: RuleSet) -> None:
        self.sets[known.hash] = known
        self.write(Put("epochs", [{"name": EPOCH, "value": known.hash}]))

    def say(self, record: Heard, recipient: str = "customer:c") -> None:
        body = {"rule_set": record.rule_set, "severity": record.severity, "key": record.key, "data": record.data}
        row = {
            "episode_at": NOW, "firing_id": record.firing_id, "kind": record.kind, "n": record.n, "tenant": "t",
            "rule": record.rule, "recipient": recipient, "seq": record.seq, "logical_at": record.logical_at,
            "body": canonical.dumps(body), "unread": 1,
        }  # fmt: skip
        self.write(Insert("records", [row]))

    def hear_of(self, *events: Event) -> None:
        """Project `customer.*` events."""
        span = Span("people", 0, self.offset, self.offset + len(events))
        self.offset = span.end
        asyncio.run(self.store.run(people.project(Batch((span,), events))))

    def run(self, later: int = 0, *, deliver: bool = True) -> None:
        """Let the time pass, then run until nothing is left to do now."""
        self.now += later
        if isinstance(self.deliverer.runtime, Still):
            self.deliverer.runtime.now_ = self.now

        async def rounds() -> None:
            for _ in range(20):
                busy = await self.deliverer.dispatch()
                if deliver:
                    busy = await self.deliverer.step() or busy
                if not busy:
                    return
            raise AssertionError("there is always something to do")

        asyncio.run(rounds())

    def messages(self, role: str = "notice") -> list[tuple[str, str | None]]:
        rows = [row for row in self.store.rows("messages") if row["role"] == role]
        return [(row["state"], row["reason"]) for row in sorted(rows, key=lambda row: (row["created_at"], row["step"]))]

    def message(self, role: str = "notice") -> dict[str, Any]:
        (row,) = [row for row in self.store.rows("messages") if row["role"] == role]
        return dict(row)

    def runs(self) -> list[str]:
        return [row["state"] for row in self.store.rows("runs")]


def profile(at: int = 1, who: str = "c", **data: Any) -> Event:
    words = {"email": f"{who}@example.org", "phone": "+491701", "timezone": "UTC", **data}
    return event("customer.profile.changed", NOW - HOUR + at, customer_id=who, **words)


def house(known: RuleSet = ONE, *older: RuleSet) -> House:
    found = House(known, *older)
    found.hear_of(profile())
    return found


def test_told_and_taken_back_is_told_so_and_the_run_is_closed():
    h = house()
    h.say(fired(of=ONE))
    h.run()
    assert (h.messages(), h.runs()) == ([("accepted", None)], ["done"])
    h.say(stopped(of=ONE))
    h.run(MINUTE)
    h.run(MINUTE)
    assert (h.messages(), h.messages("all_clear")) == ([("accepted", None)], [("accepted", None)])
    assert [one.content["subject"] for one in h.provider.taken] == ["t-0", "t-0"]
    assert h.runs() == ["closed"]
    assert [row["open"] for row in h.store.rows("runs")] == [None], "nobody reads it again"


def test_a_stop_of_long_after_still_finds_whom_it_concerns():
    """The run is done, and nothing of it is open: it lingers for the stop."""
    h = house()
    h.say(fired(of=ONE))
    h.run()
    h.run(80 * 24 * HOUR)
    h.say(stopped(of=ONE))
    h.run()
    assert h.messages("all_clear") == [("accepted", None)]


@pytest.mark.parametrize(("answer", "clear"), [
    (Outcome("accepted"), ("accepted", None)),
    (Outcome("permanent"), ("cancelled", "nothing_to_correct")),
    (Outcome("not_sent"), ("cancelled", "nothing_to_correct")),
], ids=lambda one: getattr(one, "stage", ""))  # fmt: skip
def test_a_stop_while_the_notice_is_in_flight_waits_for_its_outcome(answer, clear):
    h = house()
    h.say(fired(of=ONE))
    seen: list[Outgoing] = []

    async def send(outgoing: Outgoing) -> Outcome:
        if not seen:
            seen.append(outgoing)
            raise KeyboardInterrupt
        return Outcome("accepted")

    h.provider.send = send  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        h.run()
    h.say(stopped(of=ONE))
    h.run(deliver=False)
    assert (h.messages(), h.messages("all_clear")) == ([("sending", None)], [("held", "awaiting_outcome")])
    asyncio.run(h.store.run(record_result(seen[0], ("t", "customer:c"), answer, Pace())))
    h.run()
    assert h.messages("all_clear") == [clear]
    assert h.runs() == ["closed"]


def test_a_receipt_that_says_it_bounced_ends_the_all_clear_that_waits():
    h = house()
    h.say(fired(of=ONE))
    h.run()
    h.write(Put("kills", [{"scope": "all", "state": "killed", "at": NOW, "by": "op", "reason": ""}]))
    h.say(stopped(of=ONE))
    h.run()
    assert h.messages("all_clear") == [("held", "killed")]
    body = record_receipt(h.message()["message_id"], "r", Receipt.BOUNCED, h.now)
    asyncio.run(h.store.run(body))
    h.run()
    assert h.messages("all_clear") == [("cancelled", "nothing_to_correct")]


def test_the_intent_asks_for_a_newer_episode_that_dispatch_heard_in_the_same_pass():
    h = house()
    h.say(fired(of=ONE))
    h.run()
    h.say(stopped(seq=5, of=ONE))
    h.say(fired("g", seq=6, at=NOW + SECOND, of=ONE))
    h.provider.answers = [Outcome("not_sent", retry_after=MINUTE)]
    h.run()
    assert h.messages("all_clear") == [("held", "newer_episode")]
    h.run(MINUTE)
    h.run()
    assert h.messages() == [("accepted", None), ("accepted", None)]
    assert h.messages("all_clear") == [("cancelled", "superseded")]


# -- who moves, who says no, whose address is gone


def quiet_set(**words: Any) -> RuleSet:
    return rules(
        then=steps("email"), on_stop=steps("email"), quiet_hours=MORNING, topic="news", **{"expires": 6 * HOUR, **words}
    )


def test_a_move_wakes_what_is_held_and_it_goes_at_the_new_opening():
    known = quiet_set()
    h = house(known)
    h.say(fired(of=known))
    h.run()
    assert (h.messages(), h.message()["due_at"]) == ([("held", "quiet_hours")], NOW + 2 * HOUR)
    h.hear_of(profile(2, timezone="Europe/Berlin"))
    h.run(MINUTE)
    assert h.message()["due_at"] == NOW + HOUR
    h.run(58 * MINUTE)
    assert h.provider.taken == []
    h.run(MINUTE)
    assert h.messages() == [("accepted", None)]


def test_a_topic_that_is_switched_off_for_a_channel_ends_what_waits_over_it():
    known = quiet_set(steps=steps("email", "sms"))
    h = house(known)
    h.say(fired(of=known))
    h.run()
    h.hear_of(event("customer.preference.changed", NOW, customer_id="c", topic="news", allowed=False, channel="sms"))
    h.run()
    assert h.messages() == [("held", "quiet_hours"), ("suppressed", "topic_off")]
    h.run(2 * HOUR)
    assert h.messages() == [("accepted", None), ("suppressed", "topic_off")]


def test_a_claimed_message_asks_again_when_it_is_about_to_leave():
    """Between the claim and the intent they withdraw; nobody has to wake anything for that."""
    h = house()
    h.say(fired(of=ONE))
    h.run(deliver=False)
    (message,) = asyncio.run(h.store.run(deliver.claim("d", 5, Pace())))
    h.hear_of(event("customer.consent.withdrawn", NOW, customer_id="c", consent_class="transactional"))
    claimed = deliver.Claimed(message, {"subject": "", "text": ""}, provider="x")
    intended = asyncio.run(h.store.run(deliver.intend(ONE, [claimed], "d", Pace())))
    assert isinstance(intended, deliver.Intended)
    assert intended.outgoing == []
    assert h.messages() == [("suppressed", "no_consent")]
    assert h.store.rows("attempts") == []


def test_a_dead_address_is_written_down_and_suppresses_until_there_is_another():
    h = house()
    h.provider.answers = [Outcome("permanent", address_gone=True)]
    h.say(fired(of=ONE))
    h.run()
    h.say(fired("g", seq=2, of=ONE))
    h.run(MINUTE)
    assert h.messages() == [("failed", "refused"), ("suppressed", "address_gone")]
    h.hear_of(profile(3, email="new@example.org"))
    h.say(fired("h", seq=3, of=ONE))
    h.run(MINUTE)
    assert h.messages()[-1] == ("accepted", None)
    assert [one.address for one in h.provider.taken] == ["c@example.org", "new@example.org"]


def linked(at: int = 5) -> Event:
    return event("customer.identity.linked", NOW - HOUR + at, foreign_id="stripe:1", customer_id="c")


def test_a_dead_address_of_a_linked_customer_is_theirs():
    h = house()
    h.hear_of(linked())
    h.provider.answers = [Outcome("permanent", address_gone=True)]
    h.say(fired(of=ONE), "customer:stripe:1")
    h.run()
    h.say(fired("g", seq=2, of=ONE))
    h.run(MINUTE)
    assert h.messages() == [("failed", "refused"), ("suppressed", "address_gone")]


@pytest.mark.parametrize("order", ["before", "after"])
def test_what_was_withdrawn_under_a_foreign_id_is_withdrawn_by_the_customer(order):
    h = house()
    withdrawn = event(
        "customer.consent.withdrawn", NOW - HOUR, customer_id="stripe:1", consent_class="transactional",
    )  # fmt: skip
    off = event("customer.preference.changed", NOW - HOUR, customer_id="stripe:1", topic="news", allowed=False)
    said = [withdrawn, off, linked()] if order == "before" else [linked(), withdrawn, off]
    for one in said:
        h.hear_of(one)
    (row,) = [row for row in h.store.rows("recipients") if row["recipient"] == "customer:c"]
    person = read_person("t", "customer:c", row)
    assert not person.agrees_to("transactional")
    assert not person.wants("news", "email")
    # The newest word counts, under whichever name it was said.
    h.hear_of(event("customer.consent.given", NOW, customer_id="c", consent_class="transactional"))
    (row,) = [row for row in h.store.rows("recipients") if row["recipient"] == "customer:c"]
    assert read_person("t", "customer:c", row).agrees_to("transactional")


@pytest.mark.parametrize("own", ["c", "stripe:1"])
@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 0, 1), (2, 1, 0)])
def test_a_no_to_a_whole_topic_is_newer_than_a_yes_for_one_channel_under_the_other_id(own, order):
    h = house()
    other = "c" if own == "stripe:1" else "stripe:1"
    words = [
        event("customer.preference.changed", NOW - HOUR, customer_id=own, topic="news", allowed=True, channel="email"),
        event("customer.preference.changed", NOW - MINUTE, customer_id=other, topic="news", allowed=False),
        linked(),
    ]
    for number in order:
        h.hear_of(words[number])
    (row,) = [row for row in h.store.rows("recipients") if row["recipient"] == "customer:c"]
    assert not read_person("t", "customer:c", row).wants("news", "email")


def test_what_was_held_under_a_foreign_id_goes_at_its_time_after_it_was_linked():
    known = quiet_set()
    h = house(known)
    h.hear_of(profile(2, "stripe:1"))
    h.say(fired(of=known), "customer:stripe:1")
    h.run()
    assert h.messages() == [("held", "quiet_hours")]
    h.hear_of(linked())
    h.run(MINUTE)
    h.hear_of(profile(6))  # a pass of the customer alone, in between
    h.run(MINUTE)
    assert h.messages() == [("held", "quiet_hours")]
    h.run(2 * HOUR)
    assert h.messages() == [("accepted", None)]
    assert [one.address for one in h.provider.taken] == ["c@example.org"]


def test_what_was_told_under_a_foreign_id_is_taken_back_after_it_was_linked():
    h = house()
    h.hear_of(profile(2, "stripe:1"))
    h.say(fired(of=ONE), "customer:stripe:1")
    h.run()
    h.hear_of(linked())
    h.say(stopped(of=ONE), "customer:stripe:1")
    h.run(MINUTE)
    assert h.messages("all_clear") == [("accepted", None)]
    assert [one.address for one in h.provider.taken] == ["stripe:1@example.org", "c@example.org"], "the current address"


def test_a_team_is_known_by_the_directory_of_now():
    teams = {"ops": Team("ops", addresses={"email": "ops@example.org"})}
    known = replace(rules(then=steps("email"), name="teams", consent="marketing"), teams=teams)
    h = House(known)
    h.say(fired(of=known), "team:ops")
    h.say(fired("g", seq=2, of=known), "team:nobody")
    h.run()
    assert sorted(h.messages()) == [("accepted", None), ("suppressed", "unknown_team")]
    assert [one.address for one in h.provider.taken] == ["ops@example.org"]


# -- rule sets that change between detection, dispatch and delivery


def test_the_set_may_change_at_every_step_and_what_was_decided_keeps_its_text():
    new = rules(then=steps("sms"), on_stop=steps("email", "sms"), name="new")
    h = house(ONE)
    texts: list[tuple[str, str]] = []

    def render(known: RuleSet, message: Message, _: Any) -> dict[str, str]:
        texts.append((known.hash, message.body["template"]))
        return {"subject": "", "text": ""}

    h.deliverer.render = render
    h.say(fired(of=ONE))
    h.use(new)
    h.run()
    h.say(stopped(of=new))
    h.run(MINUTE)
    assert (h.messages(), h.messages("all_clear")) == ([("accepted", None)], [("accepted", None)])
    assert [one.channel for one in h.provider.taken] == ["email", "email"]
    assert texts == [(ONE.hash, "t-0"), ("new", "t-0")]


def test_a_set_that_does_not_load_any_more_fails_its_message_and_no_other():
    new = rules(then=steps("email"), name="new")
    h = house(ONE)
    h.say(fired(of=ONE))
    h.run(deliver=False)
    h.use(new)
    h.run(deliver=False)
    h.say(fired("g", seq=2, of=new))
    h.run(deliver=False)
    del h.sets[ONE.hash]
    h.run()
    assert sorted(h.messages()) == [("accepted", None), ("failed", "render")]


def test_a_stop_whose_set_does_not_load_any_more_still_cancels_what_is_unsent():
    known = quiet_set()
    h = house(known)
    h.say(fired(of=known))
    h.run()
    h.use(rules(then=steps("email"), name="new"))
    h.run()
    del h.sets[known.hash]
    h.say(stopped(of=known))
    h.run(MINUTE)
    assert (h.messages(), h.messages("all_clear")) == ([("cancelled", "stopped")], [])


def test_what_is_held_under_a_foreign_id_follows_its_customer_after_it_was_linked():
    known = rules(then=steps("email"), quiet_hours=MORNING, expires=DAY)
    h = house(known)
    h.hear_of(profile(2, "stripe:1"))
    h.say(fired(of=known), "customer:stripe:1")
    h.run()
    assert h.message()["due_at"] == NOW + 2 * HOUR
    h.hear_of(linked())
    h.run(MINUTE)
    h.hear_of(profile(20, timezone="Europe/Berlin"))
    h.run(MINUTE)
    assert (h.message()["recipient"], h.message()["due_at"]) == ("customer:c", NOW + HOUR)
    h.hear_of(event("customer.consent.withdrawn", NOW - MINUTE, customer_id="c", consent_class="transactional"))
    h.run()
    assert h.messages() == [("suppressed", "no_consent")]


def test_a_newer_episode_is_seen_under_every_id():
    """Told as a stranger, told again as a customer, the first one taken back: what they heard last stands."""
    h = house()
    h.hear_of(profile(2, "stripe:1"))
    h.say(fired(of=ONE), "customer:stripe:1")
    h.run()
    h.hear_of(linked())
    h.run()
    h.say(fired("g", seq=2, at=NOW + 1, of=ONE))
    h.run(MINUTE)
    h.say(stopped(seq=3, of=ONE), "customer:stripe:1")
    h.run(MINUTE)
    assert h.messages() == [("accepted", None), ("accepted", None)]
    assert h.messages("all_clear") == [("cancelled", "superseded")]


@pytest.mark.parametrize("answer", [
    Outcome("accepted", reference="ref"), Outcome("permanent"), Outcome("not_sent", retry_after=SECOND),
    Outcome("not_sent", detail="configuration: no password"), Outcome("ambiguous"),
    Outcome("permanent", address_gone=True),
], ids=lambda one: f"{one.stage}{' configuration' if one.misconfigured else ''}{' gone' if one.address_gone else ''}")  # fmt: skip
def test_a_result_whose_commit_was_not_answered_is_written_again_and_changes_nothing(answer):
    """All of it was written, or nothing (`ports.CommitUnknown`): whoever does not know runs the same body once more."""
    h = house()
    h.say(fired(of=ONE))
    seen: list[Outgoing] = []

    async def send(outgoing: Outgoing) -> Outcome:
        seen.append(outgoing)
        raise KeyboardInterrupt

    h.provider.send = send  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        h.run()
    told = []
    for _ in range(3):
        asyncio.run(h.store.run(record_result(seen[0], ("t", "customer:c"), answer, Pace())))
        told.append({table: h.store.rows(table) for table in TABLES})
        h.now += MINUTE
    assert told[1:] == told[:1] * 2


def test_a_recipient_whom_our_own_code_fails_on_rests_and_holds_up_nobody(caplog):
    h = house()
    h.hear_of(profile(2, "c-2"))
    seen: list[object] = []
    h.deliverer.observe = seen.append
    rows = [row for row in h.store.rows("recipients") if row["recipient"] == "customer:c"]
    h.write(Put("recipients", [{**rows[0], "next_at": NOW}]))
    h.say(fired("f1", seq=1, of=ONE))
    (sound,) = h.store.rows("records")
    h.write(Put("records", [{**sound, "body": b"a secret"}]))
    h.say(fired("f2", seq=2, of=ONE), "customer:c-2")
    h.run()
    assert h.messages() == [("accepted", None)]
    assert seen.count(InternalError("dispatch")) == 1
    h.run(59 * SECOND)
    assert seen.count(InternalError("dispatch")) == 1
    h.run(SECOND)
    assert seen.count(InternalError("dispatch")) == 2
    assert "secret" not in caplog.text
    h.write(Put("records", [sound]))
    h.run(MINUTE)
    assert h.messages() == [("accepted", None)]
    h.run(MINUTE)
    assert h.messages() == [("accepted", None)] * 2


def test_a_message_that_cannot_be_reconciled_rests_and_holds_up_nobody():
    h = house()
    h.hear_of(profile(2, "c-2"))
    h.provider.answers = [Outcome("ambiguous"), Outcome("ambiguous")]
    h.provider.can_look_up = True
    h.say(fired("f1", seq=1, of=ONE))
    h.say(fired("f2", seq=2, of=ONE), "customer:c-2")
    h.run()
    bad, _ = (one.message_id for one in h.provider.taken)

    async def look_up(message_id: str) -> str:
        if message_id == bad:
            raise RuntimeError
        return "accepted"

    h.provider.look_up = look_up  # type: ignore[method-assign]
    h.deliverer.concurrency = 1
    h.run(HOUR)
    assert sorted(h.messages()) == [("accepted", None), ("unknown", None)]


@dataclass
class Silent:
    """A store that does not answer to the commit of the first intent, which was done, or not."""

    store: MemoryStore
    done: bool
    away: Any
    asked: int = 0

    async def read(self, body: Any) -> Any:
        return await self.store.read(body)

    async def run(self, body: Any, *, urgent: bool = False) -> Any:
        if "intend" not in body.__qualname__ or self.asked:
            return await self.store.run(body, urgent=urgent)
        self.asked += 1
        if self.done:
            await self.store.run(body, urgent=urgent)
        await self.away()
        raise CommitUnknown


@pytest.mark.parametrize("done", [True, False])
def test_an_intent_whose_commit_was_not_answered_is_found_and_sent_once(done):
    h = house()
    h.deliverer.store = Silent(h.store, done, lambda: asyncio.sleep(0))
    h.say(fired(of=ONE))
    h.run()
    assert h.messages() == [("accepted", None)]
    assert [one.attempt for one in h.provider.taken] == [1]


@pytest.mark.parametrize("lease_over", [False, True])
def test_an_intent_that_is_found_too_late_was_not_sent_and_is_not_unknown(lease_over):
    h = house()

    async def away() -> None:
        h.now += HOUR
        if lease_over:
            await h.store.run(deliver.recover(Pace()))

    h.deliverer.store = Silent(h.store, True, away)
    h.say(fired(of=ONE))
    h.run()
    assert {row["no"]: row["outcome"] for row in h.store.rows("attempts")}[1] == "not_sent"
    assert all(one.attempt > 1 for one in h.provider.taken)
    h.run(HOUR)
    assert h.messages() == [("accepted", None)]
    assert [one.attempt for one in h.provider.taken] == [2]
