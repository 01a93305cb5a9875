"""Dispatch with time and rule sets that move: what was decided is told with its own steps, and waits as long as is right."""

from dataclasses import replace
from typing import Any

import pytest

from tests.kernel.stories import ADA, CHANNELS, NOW, Life, fired, only_rule, rules, steps
from tests.simulator.rules import Value
from tidings.dispatch import Outside
from tidings.event import DAY, HOUR, MINUTE
from tidings.quiet_hours import QuietHours, Window
from tidings.reasons import MessageState, Reason
from tidings.rule import Retry, RuleSet, Step, Topic

S = MessageState
OLD = rules(name="old")


def heard_after(new: RuleSet, **words: Any) -> Life:
    """A firing that the old set has decided, and that is heard when another is active."""
    life = Life(new, older=[OLD])
    life.hear(fired(of=OLD, **words))
    return life


SETS = {
    "a step added": rules(then=steps(*CHANNELS, "email")),
    "a step removed": rules(then=steps("email")),
    "another order": rules(then=steps(*reversed(CHANNELS))),
    "no step at all": rules(then=()),
    "shadow": rules(status="shadow"),
}


@pytest.mark.parametrize("name", SETS)
def test_a_firing_is_told_with_the_steps_that_it_was_decided_with(name):
    life = heard_after(SETS[name])
    assert [
        (one.channel, one.body["template"], one.body["data"], one.body["rule_set"]) for one in life.of("notice")
    ] == [(channel, f"t-{number}", {"n": number}, "old") for number, channel in enumerate(CHANNELS)]
    assert {one.state for one in life.of("notice")} == {S.PENDING}
    assert [run.steps_due for run in life.runs.values()] == [3]


@pytest.mark.parametrize("new", [RuleSet("empty", (), {}), rules(status="draft")], ids=["gone", "draft"])
def test_a_rule_that_is_off_when_it_is_heard_tells_nobody_and_owes_nothing(new):
    life = heard_after(new)
    assert life.messages == {}
    assert [(run.state, run.steps_due, run.reason) for run in life.runs.values()] == [("done", 0, "rule_off")]


@pytest.mark.parametrize("new", [RuleSet("empty", (), {}), rules(status="draft")], ids=["gone", "draft"])
def test_a_rule_that_is_switched_off_later_cancels_what_waits(new):
    life = Life(OLD, older=[new])
    life.hear(fired(of=OLD))
    life.make(channel="email", state=S.SENDING)
    life.rules = new
    life.hear()
    assert [(one.channel, one.state) for one in life.of("notice")] == [
        ("email", S.SENDING), ("sms", S.CANCELLED), ("push", S.CANCELLED),
    ]  # fmt: skip


def test_a_step_whose_condition_did_not_hold_is_never_due():
    life = heard_after(OLD, data=({"n": 0}, None, {"n": 2}))
    assert [(one.channel, one.step) for one in life.of("notice")] == [("email", 0), ("push", 2)]
    (run,) = life.runs.values()
    assert run.steps_due == 2
    nothing = heard_after(OLD, data=(None, None, None))
    assert [(run.state, run.steps_due) for run in nothing.runs.values()] == [("done", 0)]


def test_a_message_carries_what_its_step_and_rule_say():
    quiet = QuietHours((Window(22 * 60, 8 * 60),), "Europe/Berlin", "UTC")
    step = Step("webhook", "", {"n": Value("n")}, target="crm", retry=Retry(3, MINUTE, HOUR), alert=True)
    known = rules(then=(step, *steps("email")), quiet_hours=quiet, topic="news", consent="marketing")
    life = Life(known)
    life.hear(fired(of=known, severity="high"))
    hook, mail = life.of("notice")
    assert (hook.body["target"], hook.body["retry"]) == ("crm", {"attempts": 3, "first": MINUTE, "most": HOUR})
    assert (hook.body["alert"], hook.body["severity"], hook.body["consent"]) == (True, "high", "marketing")
    assert (mail.body["topic"], mail.body["quiet"]) == ("news", quiet.to_json())
    assert not {"target", "retry", "alert"} & set(mail.body)


@pytest.mark.parametrize(("topics", "state"), [
    ({}, S.SUPPRESSED), ({"news": Topic("news", "News")}, S.SUPPRESSED), ({"news": Topic("news", "News", locked=True)}, S.PENDING),
], ids=["unlisted", "open", "locked"])  # fmt: skip
def test_a_locked_topic_cannot_be_switched_off(topics, state):
    known = replace(rules(then=steps("email"), topic="news"), notice_topics=topics)
    life = Life(known, replace(ADA, preferences={"news": False}))
    life.hear(fired(of=known))
    assert [one.state for one in life.of("notice")] == [state]


# -- waiting for an opening. NOW is a Friday, 08:00 UTC.

NIGHT = QuietHours((Window(7 * 60, 10 * 60),), "customer", "UTC")
WEEKEND = QuietHours((Window(0, 1440, frozenset({4, 5, 6})),), "customer", "UTC")


def test_friday_at_eight_is_what_these_tests_think_it_is():
    assert NIGHT.opening(NOW, "UTC") == NOW + 2 * HOUR
    assert WEEKEND.opening(NOW, "UTC") == NOW + 64 * HOUR


def waiting(quiet: QuietHours, *, person: Any = ADA, age: int = 1, **words: Any) -> Life:
    known = rules(then=steps("email"), quiet_hours=quiet, **{"expires": DAY, **words})
    life = Life(known, person)
    life.hear(fired(of=known, at=NOW - age))
    return life


def state_of(life: Life) -> tuple[Any, ...]:
    (one,) = life.of("notice")
    return (one.state, one.reason, one.due_at)


def test_what_is_quiet_is_held_to_its_opening_and_goes_there():
    life = waiting(NIGHT)
    assert state_of(life) == (S.HELD, Reason.QUIET_HOURS, NOW + 2 * HOUR)
    assert life.hear(later=HOUR).next_at == {"customer:c": NOW + 2 * HOUR}
    life.hear(later=HOUR)
    assert state_of(life) == (S.PENDING, None, NOW + 2 * HOUR)


@pytest.mark.parametrize(("zone", "state"), [
    ("Europe/Berlin", (S.HELD, Reason.QUIET_HOURS, NOW + HOUR)),  # nine there, and quiet until ten
    ("America/New_York", (S.PENDING, None, NOW)),  # three in the morning, and not quiet
    ("nowhere at all", (S.HELD, Reason.QUIET_HOURS, NOW + 2 * HOUR)),
    (None, (S.HELD, Reason.QUIET_HOURS, NOW + 2 * HOUR)),
])  # fmt: skip
def test_who_moves_to_another_zone_takes_what_is_held_along(zone, state):
    life = waiting(NIGHT)
    life.person = replace(ADA, profile={**ADA.profile, "timezone": zone})
    life.hear()
    assert state_of(life) == state


def test_who_moves_into_the_quiet_is_held_again():
    life = waiting(NIGHT, person=replace(ADA, profile={**ADA.profile, "timezone": "America/New_York"}))
    assert state_of(life)[0] is S.PENDING
    life.person = ADA
    life.hear()
    assert state_of(life) == (S.HELD, Reason.QUIET_HOURS, NOW + 2 * HOUR)


def test_a_move_after_which_it_opens_too_late_ends_it_at_once():
    life = waiting(
        NIGHT, expires=90 * MINUTE, person=replace(ADA, profile={**ADA.profile, "timezone": "Europe/Berlin"})
    )
    assert state_of(life)[0] is S.HELD
    life.person = ADA
    life.hear()
    assert state_of(life) == (S.EXPIRED, Reason.QUIET_HOURS, None)
    assert [run.state for run in life.runs.values()] == ["done"]


def test_what_opens_after_its_deadline_ends_at_once():
    life = waiting(NIGHT, expires=2 * HOUR)
    assert state_of(life) == (S.EXPIRED, Reason.QUIET_HOURS, None)


def test_without_expires_a_message_waits_as_long_as_its_policy_may_hold_it():
    life = waiting(WEEKEND, expires=None, age=23 * HOUR)
    assert state_of(life) == (S.HELD, Reason.QUIET_HOURS, NOW + 64 * HOUR)
    life.hear(later=64 * HOUR)
    assert state_of(life)[0] is S.PENDING


def test_without_expires_what_is_a_day_old_when_it_is_first_seen_is_stale_all_the_same():
    assert state_of(waiting(WEEKEND, expires=None, age=DAY))[:2] == (S.SUPPRESSED, Reason.STALE)
    assert state_of(waiting(WEEKEND, expires=None, age=DAY - 1))[0] is S.HELD


def test_expires_counts_for_the_whole_run_holds_and_all():
    assert state_of(waiting(WEEKEND, expires=60 * HOUR)) == (S.EXPIRED, Reason.QUIET_HOURS, None)
    assert only_rule(rules(quiet_hours=WEEKEND, expires=HOUR)).longest_hold == 0
    assert only_rule(rules(quiet_hours=None, expires=None)).longest_hold == 0


LONGEST = {
    "never quiet": ((), 0), "always quiet": ((Window(0, 1440),), 0), "a night": ((Window(22 * 60, 8 * 60),), 10 * HOUR),
    "a weekend": ((Window(0, 1440, frozenset({5, 6})),), 48 * HOUR),
    "over the turn of the week": ((Window(20 * 60, 6 * 60, frozenset({6})), Window(6 * 60, 9 * 60, frozenset({0}))), 13 * HOUR),
    "a night and a weekend": ((Window(18 * 60, 8 * 60), Window(0, 1440, frozenset({5, 6}))), 62 * HOUR),
}  # fmt: skip


@pytest.mark.parametrize("name", LONGEST)
def test_the_longest_hold_is_never_shorter_than_any_wait(name):
    windows, longest = LONGEST[name]
    quiet = QuietHours(windows, "customer", "UTC")
    assert longest <= quiet.longest <= longest + 3 * HOUR
    for zone in ("UTC", "Europe/Berlin", "Australia/Lord_Howe", "Antarctica/Casey"):
        for hour in range(0, 24 * 400, 7):
            at = NOW - 200 * DAY + hour * HOUR
            opening = quiet.opening(at, zone)
            assert opening is None or opening - at <= quiet.longest


# -- addresses


def test_a_dead_address_suppresses_and_another_one_is_used_again():
    gone = replace(ADA, gone={"email": "ada@example.org"})
    life = Life(OLD, gone)
    life.hear(fired("f", of=OLD))
    assert [(one.channel, one.state, one.reason) for one in life.of("notice", "f")] == [
        ("email", S.SUPPRESSED, Reason.ADDRESS_GONE), ("sms", S.PENDING, None), ("push", S.PENDING, None),
    ]  # fmt: skip
    life.person = replace(gone, profile={**ADA.profile, "email": "new@example.org"})
    life.hear(fired("g", seq=2, of=OLD), later=MINUTE)
    assert [one.state for one in life.of("notice", "g")] == [S.PENDING] * 3
    assert life.of("notice", "f")[0].state is S.SUPPRESSED, "a later address revives nothing"


def test_a_kill_holds_over_a_quiet_opening_and_a_release_leaves_the_quiet():
    life = waiting(NIGHT)
    life.outside = Outside(kills=frozenset({"all"}))
    life.hear()
    (one,) = life.of("notice")
    assert (one.state, one.reason, one.due_at) == (S.HELD, Reason.KILLED, one.deadline)
    life.outside = Outside()
    life.hear()
    assert state_of(life) == (S.HELD, Reason.QUIET_HOURS, NOW + 2 * HOUR)
