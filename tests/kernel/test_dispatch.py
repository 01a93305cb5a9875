"""Dispatch: what one pass over a person makes of what detection has said; and that the sum holds."""

from dataclasses import replace
from typing import Any

import pytest

from tests.simulator.rules import Shop, rule_set
from tidings import ids
from tidings.dispatch import Dispatched, Heard, Outside, dispatch
from tidings.event import HOUR, SECOND
from tidings.message import Message, Run
from tidings.person import Person
from tidings.reasons import MessageState, Reason
from tidings.rule import RuleSet

NOW = 10 * HOUR
SHOP = rule_set(Shop(patience=HOUR, consent="transactional"))
ADA = Person("t", "customer:c", known=True, profile={"email": "ada@example.org"})


def fired(firing: str = "f", seq: int = 1, at: int = NOW - SECOND, rule: str = "overdue", **words) -> Heard:
    return Heard(seq, "fired", firing, 0, rule, SHOP.hash, at, "medium", (), ({"due": 1},), **words)


def stopped(firing: str = "f", seq: int = 2) -> Heard:
    return Heard(seq, "stopped", firing, 0, "overdue", SHOP.hash, NOW, "medium", (), ({"customer": "c"},))


def pass_over(
    *heard: Heard, person: Person = ADA, runs: list[Run] | None = None, messages: list[Message] | None = None,
    outside: Outside | None = None, rules: RuleSet = SHOP, now: int = NOW,
) -> Dispatched:  # fmt: skip
    return dispatch(rules, lambda _: rules, person, heard, runs or [], messages or [], outside or Outside(), now)


def only(found: Dispatched) -> Message:
    (message,) = found.messages.values()
    return message


def test_a_firing_becomes_a_run_and_a_message_that_waits_for_a_deliverer():
    found = pass_over(fired())
    message = only(found)
    (run,) = found.runs.values()
    assert run.run_id == ids.run_id("f", 0, "customer:c")
    assert message.message_id == ids.message_id(run.run_id, "notice", 0)
    assert (run.state, run.steps_due, run.rule_set) == ("running", 1, SHOP.hash)
    assert (message.state, message.due_at, message.deadline) == (MessageState.PENDING, NOW, NOW - SECOND + HOUR)
    assert found.new == {run.run_id, message.message_id}


def test_the_same_pass_twice_writes_the_same_rows():
    first, second = pass_over(fired()), pass_over(fired(), now=NOW + SECOND)
    assert set(first.runs) == set(second.runs)
    assert set(first.messages) == set(second.messages)


def test_a_firing_that_is_known_begins_nothing():
    first = pass_over(fired())
    again = pass_over(fired(), runs=list(first.runs.values()), messages=list(first.messages.values()))
    assert again.new == set()


def test_a_firing_and_its_stop_in_one_pass_send_nothing():
    found = pass_over(stopped(), fired())
    assert (only(found).state, only(found).reason) == (MessageState.CANCELLED, Reason.STOPPED)
    (run,) = found.runs.values()
    assert (run.state, run.reason, run.steps_due) == ("closed", "stopped", 1), "nothing is left to say"


@pytest.mark.parametrize("state", MessageState)
def test_a_stop_cancels_what_is_surely_unsent_and_nothing_else(state):
    first = pass_over(fired())
    message = replace(only(first), state=state)
    found = pass_over(stopped(), runs=list(first.runs.values()), messages=[message] if message.is_open else [])
    after = found.messages.get(message.message_id, message)
    unsent = state in (MessageState.HELD, MessageState.PENDING, MessageState.CLAIMED, MessageState.DIGESTING)
    assert after.state is (MessageState.CANCELLED if unsent else state)


ENDS: dict[str, tuple[dict[str, Any], Reason]] = {
    "shadow": ({"rules": RuleSet("h", tuple(replace(rule, status="shadow") for rule in SHOP.rules), SHOP.contracts)}, Reason.SHADOW),
    "unknown_customer": ({"person": Person("t", "customer:c")}, Reason.UNKNOWN_CUSTOMER),
    "stale": ({"now": NOW + 2 * HOUR}, Reason.STALE),
    "history": ({"outside": Outside(connected=dict.fromkeys(SHOP.by_id["overdue"].topics, NOW))}, Reason.STALE),
}  # fmt: skip


@pytest.mark.parametrize("name", ENDS)
def test_what_may_not_be_told_is_suppressed_with_its_reason_and_counted(name):
    words, reason = ENDS[name]
    found = pass_over(fired(), **words)
    assert (only(found).state, only(found).reason) == (MessageState.SUPPRESSED, reason)
    (run,) = found.runs.values()
    assert (run.state, run.steps_due, run.reason) == ("done", 1, str(reason))


def test_a_key_that_overflowed_tells_nobody():
    assert only(pass_over(fired(overflow=True))).reason is Reason.OVERFLOW


def test_a_rule_that_is_gone_makes_a_run_without_steps():
    found = pass_over(fired(rule="gone"))
    assert found.messages == {}
    (run,) = found.runs.values()
    assert (run.state, run.steps_due, run.reason) == ("done", 0, "rule_off")


def test_what_is_killed_is_held_and_wakes_when_it_is_released():
    held = pass_over(fired(), outside=Outside(kills=frozenset({"all"})))
    message = only(held)
    assert (message.state, message.reason) == (MessageState.HELD, Reason.KILLED)
    assert held.next_at == {"customer:c": message.deadline}
    runs = list(held.runs.values())
    free = pass_over(runs=runs, messages=[message], now=NOW + SECOND)
    assert (only(free).state, only(free).due_at) == (MessageState.PENDING, NOW + SECOND)
    late = pass_over(runs=runs, messages=[message], outside=Outside(kills=frozenset({"all"})), now=message.deadline)
    assert (only(late).state, only(late).reason) == (MessageState.EXPIRED, Reason.EXPIRED)
    assert [run.state for run in late.runs.values()] == ["done"]


def test_a_rule_that_was_switched_off_cancels_what_waits():
    first = pass_over(fired())
    off = rule_set(Shop(off=("overdue",)))
    found = pass_over(runs=list(first.runs.values()), messages=list(first.messages.values()), rules=off)
    assert (only(found).state, only(found).reason) == (MessageState.CANCELLED, Reason.RULE_OFF)


def test_consent_that_is_withdrawn_reaches_what_waits_and_a_later_yes_revives_nothing():
    first = pass_over(fired())
    runs = list(first.runs.values())
    no = replace(ADA, consent={"transactional": False})
    found = pass_over(runs=runs, messages=list(first.messages.values()), person=no)
    assert (only(found).state, only(found).reason) == (MessageState.SUPPRESSED, Reason.NO_CONSENT)
    # What has ended is not among the open ones any more, so a yes finds nothing.
    assert pass_over(runs=list(found.runs.values()), messages=[]).messages == {}


@pytest.mark.parametrize("state", [MessageState.CLAIMED, MessageState.SENDING, MessageState.UNKNOWN])
def test_what_a_deliverer_holds_is_left_to_it(state):
    first = pass_over(fired())
    message = replace(only(first), state=state)
    found = pass_over(runs=list(first.runs.values()), messages=[message], person=Person("t", "customer:c"))
    assert found.messages == {}
    assert found.next_at == {}


def test_several_firings_are_heard_in_the_order_of_detection():
    found = pass_over(fired("b", 3), stopped("a", 2), fired("a", 1))
    assert {m.firing_id: m.state for m in found.messages.values()} == {
        "a": MessageState.CANCELLED,
        "b": MessageState.PENDING,
    }
