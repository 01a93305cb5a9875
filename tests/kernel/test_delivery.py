"""Delivery as a state machine: every outcome has its place, and nothing unknown is taken for unsent."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kernel.test_gates import ADA, MESSAGE, NOW, QUIET, quiet
from tidings import delivery
from tidings.correction import Correcting
from tidings.delivery import Pace
from tidings.dispatch import Heard
from tidings.event import DAY, HOUR, MINUTE, SECOND
from tidings.gates import World
from tidings.message import Message
from tidings.ports import Outcome
from tidings.quiet_hours import QuietHours, Window
from tidings.reasons import MessageState, Reason

PACE = Pace()
S = MessageState
CLAIMED = replace(MESSAGE, state=S.CLAIMED, owner="d", due_at=NOW + PACE.lease)
SENDING = replace(MESSAGE, state=S.SENDING, owner="d", due_at=NOW + PACE.lease, attempt=1)
UNKNOWN = replace(MESSAGE, state=S.UNKNOWN, due_at=NOW, attempt=1)


def test_only_what_is_pending_and_due_is_claimed():
    assert delivery.claim(MESSAGE, "d", NOW, PACE) == CLAIMED
    assert delivery.claim(replace(MESSAGE, due_at=NOW + 1), "d", NOW, PACE) is None
    for state in set(S) - {S.PENDING}:
        assert delivery.claim(replace(MESSAGE, state=state), "d", NOW, PACE) is None


@pytest.mark.parametrize("change", [
    {"owner": "other"}, {"rev": 1}, {"due_at": NOW}, {"state": S.PENDING}, {"state": S.SENDING},
], ids=str)  # fmt: skip
def test_an_intent_needs_the_claim_the_lease_and_the_revision(change):
    assert delivery.is_mine(CLAIMED, "d", 0, NOW)
    assert not delivery.is_mine(replace(CLAIMED, **change), "d", 0, NOW)
    assert not delivery.is_mine(None, "d", 0, NOW)


def heard(seq: int, kind: str) -> Heard:
    return Heard(seq, kind, "f", 0, "overdue", "set", NOW, "medium", (), ())


def test_an_intent_says_until_when_the_first_byte_may_leave_and_what_it_has_seen():
    found = delivery.intend(CLAIMED, ADA, [heard(7, "updated")], World(), NOW, PACE)
    assert (found.state, found.attempt, found.start_by, found.seen) == (S.SENDING, 1, NOW + PACE.first_byte, 7)
    assert found.body["address"] == "ada@example.org"
    soon = delivery.intend(replace(CLAIMED, deadline=NOW + SECOND), ADA, [], World(), NOW, PACE)
    assert soon.start_by == NOW + SECOND


@pytest.mark.parametrize("kind", ["stopped", "resolved"])
def test_an_intent_after_a_stop_is_none(kind):
    found = delivery.intend(CLAIMED, ADA, [heard(7, kind)], World(), NOW, PACE)
    assert (found.state, found.reason) == (S.CANCELLED, Reason.STOPPED)


OUTCOMES: dict[str, tuple[Outcome, dict[str, Any]]] = {
    "accepted": (Outcome("accepted", reference="x"), {"state": S.ACCEPTED, "reason": None}),
    "refused for good": (Outcome("permanent"), {"state": S.FAILED, "reason": Reason.REFUSED}),
    "surely not sent": (Outcome("not_sent"), {"state": S.PENDING, "attempt": 1}),
    "not sent, come again in a minute": (Outcome("not_sent", retry_after=60 * SECOND), {"state": S.PENDING, "due_at": NOW + 60 * SECOND}),
    "nobody knows": (Outcome("ambiguous"), {"state": S.UNKNOWN, "due_at": NOW + PACE.settle, "owner": None}),
}  # fmt: skip


@pytest.mark.parametrize("name", OUTCOMES)
def test_an_outcome_has_its_state(name):
    outcome, expected = OUTCOMES[name]
    found = delivery.settle_result(SENDING, 1, outcome, stopped=False, now=NOW, pace=PACE)
    assert {word: getattr(found, word) for word in expected} == expected


def test_what_was_stopped_meanwhile_and_surely_not_sent_is_cancelled():
    found = delivery.settle_result(SENDING, 1, Outcome("not_sent"), stopped=True, now=NOW, pace=PACE)
    assert (found.state, found.reason) == (S.CANCELLED, Reason.STOPPED)


def test_after_many_attempts_it_is_given_up():
    tired = replace(SENDING, attempt=PACE.attempts)
    found = delivery.settle_result(tired, PACE.attempts, Outcome("not_sent"), stopped=False, now=NOW, pace=PACE)
    assert (found.state, found.reason) == (S.FAILED, Reason.GIVEN_UP)


@pytest.mark.parametrize(("away", "state"), [(True, S.PENDING), (False, S.FAILED)])
def test_a_provider_that_is_away_uses_up_no_attempt_of_a_step(away, state):
    message = replace(SENDING, body={**SENDING.body, "retry": {"attempts": 3, "first": SECOND, "most": MINUTE}})
    for attempt in (1, 2, 3):
        sent, outcome = replace(message, state=S.SENDING, attempt=attempt), Outcome("not_sent", away=away)
        message = delivery.settle_result(sent, attempt, outcome, stopped=False, now=NOW, pace=PACE)
    assert message.state is state


def test_what_a_person_has_to_mend_is_no_attempt_and_waits_longer_and_longer_until_the_deadline():
    """A wrong password for a day: the message is there when it is mended, whatever its step says of retries."""
    step = {"attempts": 3, "first": SECOND, "most": MINUTE}
    message = replace(SENDING, deadline=NOW + DAY, body={**SENDING.body, "retry": step})
    now, waits = NOW, []
    for attempt in range(1, 40):
        sent = replace(message, state=S.SENDING, attempt=attempt)
        refused = Outcome("not_sent", detail="configuration: credentials refused", retry_after=MINUTE)
        message = delivery.settle_result(sent, attempt, refused, stopped=False, now=now, pace=PACE)
        assert message.state is S.PENDING
        assert message.due_at is not None
        waits.append(message.due_at - now)
        now = message.due_at
    assert waits == sorted(waits)
    assert (waits[0], waits[-1]) == (MINUTE, 10 * MINUTE)
    # What is its own fault counts from there.
    for attempt in (40, 41, 42):
        sent = replace(message, state=S.SENDING, attempt=attempt)
        message = delivery.settle_result(sent, attempt, Outcome("not_sent"), stopped=False, now=now, pace=PACE)
    assert (message.state, message.reason) == (S.FAILED, Reason.GIVEN_UP)


def test_a_server_that_is_away_for_a_day_ends_no_message_before_its_deadline():
    message, now, attempt = replace(SENDING, deadline=NOW + DAY), NOW, 0
    while now < message.deadline:
        attempt += 1
        sent = replace(message, state=S.SENDING, attempt=attempt)
        message = delivery.settle_result(sent, attempt, Outcome("not_sent"), stopped=False, now=now, pace=PACE)
        assert message.state is S.PENDING, attempt
        assert message.due_at is not None
        now = max(now + 1, message.due_at)


@pytest.mark.parametrize("state", [state for state in S if state not in (S.SENDING, S.UNKNOWN)])
def test_an_answer_that_comes_too_late_changes_nothing(state):
    ended = replace(SENDING, state=state)
    assert delivery.settle_result(ended, 1, Outcome("accepted"), stopped=False, now=NOW, pace=PACE) == ended


def test_an_answer_to_an_older_attempt_changes_nothing():
    again = replace(SENDING, attempt=2)
    assert delivery.settle_result(again, 1, Outcome("accepted"), stopped=False, now=NOW, pace=PACE) == again


def test_an_answer_settles_what_is_unknown_meanwhile():
    found = delivery.settle_result(UNKNOWN, 1, Outcome("accepted"), stopped=False, now=NOW, pace=PACE)
    assert found.state is S.ACCEPTED
    assert delivery.settle_result(UNKNOWN, 1, Outcome("ambiguous"), stopped=False, now=NOW + 1, pace=PACE) == UNKNOWN


def test_a_deliverer_that_is_gone_leaves_a_claim_behind_or_a_question():
    late = NOW + PACE.lease
    assert delivery.lease_over(CLAIMED, late, PACE).state is S.PENDING
    assert delivery.lease_over(SENDING, late, PACE).state is S.UNKNOWN
    assert delivery.lease_over(SENDING, late - 1, PACE) == SENDING


SETTLED: list[tuple[str | None, bool, str, bool, MessageState]] = [
    # look-up, can look up, on_unknown, stopped → state
    ("accepted", True, "unresolved", False, S.ACCEPTED), ("accepted", True, "resend", True, S.ACCEPTED),
    ("absent", True, "unresolved", False, S.PENDING), ("absent", True, "resend", True, S.CANCELLED),
    (None, True, "resend", False, S.UNKNOWN), (None, False, "resend", False, S.PENDING),
    (None, False, "resend", True, S.CANCELLED), (None, False, "unresolved", False, S.UNRESOLVED),
]  # fmt: skip


@pytest.mark.parametrize(("found", "books", "on_unknown", "stopped", "state"), SETTLED)
def test_what_is_unknown_is_settled_by_the_books_or_by_the_rule(found, books, on_unknown, stopped, state):
    message = replace(UNKNOWN, on_unknown=on_unknown)
    after = delivery.reconcile(message, found, can_look_up=books, stopped=stopped, now=NOW, pace=PACE)
    assert after.state is state


def test_what_is_unknown_rests_before_it_is_asked_about():
    early = replace(UNKNOWN, due_at=NOW + 1)
    assert delivery.reconcile(early, "absent", can_look_up=True, stopped=False, now=NOW, pace=PACE) == early


@given(st.text(max_size=8), st.integers(1, 1000))
@settings(derandomize=True, database=None)
def test_the_wait_before_another_attempt_is_bounded_and_the_same_in_every_run(name, attempt):
    wait = delivery.backoff(name, attempt, PACE)
    assert 1 <= wait <= min(PACE.retry_most, PACE.retry_least * 2 ** (attempt - 1))
    assert wait == delivery.backoff(name, attempt, PACE)


@given(st.integers(0, 10**12))
@settings(derandomize=True, database=None)
def test_no_retry_is_planned_after_the_deadline(wait):
    found = delivery.settle_result(SENDING, 1, Outcome("not_sent", retry_after=wait), stopped=False, now=NOW, pace=PACE)
    assert found.due_at is not None
    assert found.due_at <= SENDING.deadline


# -- quiet hours, corrections, steps with a patience of their own

SOON = QuietHours((Window(10 * 60, 10 * 60 + 1),))
"""Quiet from `NOW` on, for a minute."""


def claimed(policy: QuietHours = QUIET, **words: Any) -> Message:
    return replace(quiet(policy, **words), state=S.CLAIMED, owner="d", due_at=NOW + PACE.lease)


@pytest.mark.parametrize(("early", "start_by"), [
    (3 * SECOND, NOW), (SECOND, NOW), (1, NOW), (6 * SECOND, NOW - SECOND),
])  # fmt: skip
def test_the_first_byte_leaves_before_the_next_quiet_instant(early, start_by):
    found = delivery.intend(claimed(SOON), ADA, [], World(), NOW - early, PACE)
    assert (found.state, found.start_by) == (S.SENDING, start_by)


def test_critical_and_machines_have_no_quiet_instant_to_be_before():
    for message in (claimed(SOON, severity="critical"), replace(claimed(SOON, target="desk"), channel="ticket")):
        assert delivery.intend(message, ADA, [], World(), NOW - 1, PACE).start_by == NOW - 1 + PACE.first_byte


def test_an_intent_in_quiet_hours_is_held_to_the_opening_and_one_that_opens_too_late_ends_at_once():
    held = delivery.intend(claimed(), ADA, [], World(), NOW, PACE)
    assert (held.state, held.reason, held.due_at) == (S.HELD, Reason.QUIET_HOURS, NOW + 30 * MINUTE)
    assert (held.attempt, held.owner, held.start_by) == (0, None, None)
    over = delivery.intend(replace(claimed(), deadline=NOW + MINUTE), ADA, [], World(), NOW, PACE)
    assert (over.state, over.reason) == (S.EXPIRED, Reason.QUIET_HOURS)


def test_an_all_clear_leaves_after_the_stop_that_it_speaks_of():
    clear = replace(CLAIMED, role="all_clear")
    told, untold = World(correcting=Correcting("told")), World(correcting=Correcting("untold"))
    assert delivery.intend(clear, ADA, [heard(7, "stopped")], told, NOW, PACE).state is S.SENDING
    assert delivery.intend(clear, ADA, [heard(7, "stopped")], untold, NOW, PACE).reason is Reason.NOTHING_TO_CORRECT
    sending = replace(SENDING, role="all_clear")
    assert delivery.settle_result(sending, 1, Outcome("not_sent"), stopped=True, now=NOW, pace=PACE).state is S.PENDING


def stepped(**retry: Any) -> Message:
    words = {"attempts": None, "first": None, "most": None, **retry}
    return replace(SENDING, body={**SENDING.body, "retry": words}, deadline=NOW + 1000 * HOUR)


def test_a_step_that_says_nothing_of_its_patience_has_that_of_delivery():
    assert delivery.patience_of(SENDING, PACE) == delivery.patience_of(stepped(), PACE) == PACE


def test_a_step_that_says_how_often_is_given_up_after_so_many():
    for attempt, state in ((1, S.PENDING), (2, S.PENDING), (3, S.FAILED), (4, S.FAILED)):
        message = replace(stepped(attempts=3), attempt=attempt)
        found = delivery.settle_result(message, attempt, Outcome("not_sent"), stopped=False, now=NOW, pace=PACE)
        assert (found.state, found.reason) == (state, Reason.GIVEN_UP if state is S.FAILED else None)


@pytest.mark.parametrize(("retry", "first", "tenth"), [
    ({"first": MINUTE}, MINUTE, PACE.retry_most), ({"first": MINUTE, "most": 3 * MINUTE}, MINUTE, 3 * MINUTE),
    ({"most": SECOND}, SECOND, SECOND), ({"first": 2 * HOUR}, 2 * HOUR, 2 * HOUR),
])  # fmt: skip
@pytest.mark.parametrize("speed", [1, 60])
def test_the_waits_of_a_step_double_from_its_first_to_its_longest_in_real_time(retry, first, tenth, speed):
    pace = PACE.at_speed(speed)
    longest = {1: 0, 10: 0}
    for number in range(400):
        for attempt in (1, 10):
            message = replace(stepped(**retry), message_id=f"m{number}", attempt=attempt)
            found = delivery.settle_result(message, attempt, Outcome("not_sent"), stopped=False, now=NOW, pace=pace)
            assert found.due_at is not None
            longest[attempt] = max(longest[attempt], found.due_at - NOW)
    for attempt, bound in ((1, first), (10, tenth)):
        assert 0.9 * bound * speed < longest[attempt] <= bound * speed


def test_what_a_provider_asks_to_wait_is_real_time_too():
    asked = Outcome("not_sent", retry_after=7 * SECOND)
    found = delivery.settle_result(stepped(), 1, asked, stopped=False, now=NOW, pace=PACE.at_speed(60))
    assert found.due_at == NOW + 420 * SECOND


def test_a_faster_clock_has_every_time_longer_and_every_number_the_same():
    pace = replace(PACE, leases={"sms": 9 * SECOND}).at_speed(10)
    assert (pace.speed, pace.attempts) == (10, PACE.attempts)
    assert (pace.lease_of("sms"), pace.lease_of("email")) == (90 * SECOND, 10 * PACE.lease)
    for name in ("first_byte", "settle", "retry_least", "retry_most", "look_up_again"):
        assert getattr(pace, name) == 10 * getattr(PACE, name)
    assert pace.at_speed(6) == replace(PACE, leases={"sms": 9 * SECOND}).at_speed(60)
    assert PACE.at_speed(1) == PACE
