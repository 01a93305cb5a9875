"""The all-clear: whoever was told something that was taken back hears so, once, by the way they were told; nobody else."""

from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from tests.kernel.stories import NOW, Life, fired, rules, steps, stopped
from tests.kernel.test_gates import ADA, MESSAGE
from tests.kernel.test_gates import NOW as ASKED
from tidings import ids
from tidings.correction import correcting, may_be_told, newer_runs
from tidings.dispatch import Outside
from tidings.event import DAY, HOUR, MINUTE, SECOND
from tidings.gates import End, Go, Hold, Stage, World, gates
from tidings.message import Message
from tidings.reasons import UNSENT, MessageState, Reason
from tidings.receipts import Receipt
from tidings.rule import RuleSet

S = MessageState
CLEAR = replace(MESSAGE, message_id="a", role="all_clear", body={**MESSAGE.body, "original": "m"})
NOTHING = End(S.CANCELLED, Reason.NOTHING_TO_CORRECT)
SUPERSEDED = End(S.CANCELLED, Reason.SUPERSEDED)
AWAITING = Hold(Reason.AWAITING_OUTCOME, CLEAR.deadline)
NEWER = Hold(Reason.NEWER_EPISODE, CLEAR.deadline)
TOLD_IN = (S.ACCEPTED, S.UNRESOLVED)
UNDER_WAY = (S.HELD, S.DIGESTING, S.PENDING, S.CLAIMED, S.SENDING, S.UNKNOWN)

NEWER_ONES: dict[str, tuple[list[dict[str, Any]], str]] = {
    # messages of newer episodes, and what their recipient has heard of them
    "none": ([], "none"),
    "told": ([{"state": S.ACCEPTED}], "told"),
    "never answered": ([{"state": S.UNRESOLVED}], "told"),
    "under way": ([{"state": S.SENDING}], "open"),
    "held": ([{"state": S.HELD}], "open"),
    "ended untold": ([{"state": S.SUPPRESSED}, {"state": S.EXPIRED}, {"state": S.CANCELLED}, {"state": S.FAILED}], "none"),
    "bounced": ([{"state": S.ACCEPTED, "receipt": "bounced"}], "none"),
    "told by another channel": ([{"state": S.ACCEPTED, "channel": "sms"}], "none"),
    "one under way and one told": ([{"state": S.PENDING}, {"state": S.ACCEPTED}], "told"),
    "only an all-clear": ([{"state": S.ACCEPTED, "role": "all_clear"}], "none"),
}  # fmt: skip


def owed(state: MessageState, receipt: Receipt | None, newer: str) -> Go | Hold | End:
    """The table of `dispatch.md`, "Resolve, rewrite, correct", read aloud."""
    told = state in TOLD_IN and receipt not in (Receipt.UNDELIVERED, Receipt.BOUNCED)
    if not told and state not in UNDER_WAY:
        return NOTHING
    if newer == "told":
        return SUPERSEDED
    if not told:
        return AWAITING
    return NEWER if newer == "open" else Go()


@pytest.mark.parametrize("newer", NEWER_ONES)
@pytest.mark.parametrize("stage", Stage)
def test_what_becomes_of_an_all_clear(stage, newer):
    rows, word = NEWER_ONES[newer]
    others = [replace(MESSAGE, message_id=f"n{number}", **row) for number, row in enumerate(rows)]
    for state, receipt in product(S, (None, *Receipt)):
        shown = None if receipt is None else str(receipt)
        about = correcting(CLEAR, replace(MESSAGE, state=state, receipt=shown), others)
        assert about.newer == word
        found = gates(CLEAR, ADA, World(stopped=True, correcting=about), ASKED, stage)
        assert found == owed(state, receipt, word), (state, receipt)


def test_an_all_clear_for_what_nobody_knows_is_cancelled():
    about = correcting(CLEAR, None, [])
    assert gates(CLEAR, ADA, World(correcting=about), ASKED, Stage.WAKE) == NOTHING


def test_an_all_clear_asks_consent_quiet_hours_and_kills_like_any_message():
    about = correcting(CLEAR, replace(MESSAGE, state=S.ACCEPTED), [])
    no = replace(ADA, consent={"transactional": False})
    assert gates(CLEAR, no, World(correcting=about), ASKED, Stage.INTENT) == End(S.SUPPRESSED, Reason.NO_CONSENT)
    killed = World(correcting=about, kills=frozenset({"channel:email"}))
    assert gates(CLEAR, ADA, killed, ASKED, Stage.INTENT) == Hold(Reason.KILLED, CLEAR.deadline)


WITH = rules(on_stop=steps("email", "push"))
WITHOUT = rules()


def told_life(known: RuleSet = WITH, **changes: Any) -> Life:
    life = Life(known)
    life.hear(fired(of=known))
    life.make(**{"state": S.ACCEPTED, "due_at": None, "attempt": 1, **changes})
    life.hear(later=SECOND)
    return life


def test_an_all_clear_goes_over_the_channels_over_which_they_were_told_and_only_where_it_is_written():
    life = told_life()
    life.hear(stopped(of=WITH), later=SECOND)
    assert [(one.channel, one.state, one.step) for one in life.clears()] == [
        ("email", S.PENDING, 0),
        ("push", S.PENDING, 1),
    ]
    for one in life.clears():
        original = life.messages[one.body["original"]]
        assert (original.channel, original.run_id, original.recipient) == (one.channel, one.run_id, one.recipient)
        assert one.message_id == ids.correction_id(original.message_id, "all_clear", 0)
        assert (one.body["template"], one.body["data"]) == (f"t-{one.step}", {"n": one.step})


@pytest.mark.parametrize("state", S)
def test_a_stop_cancels_what_is_unsent_and_corrects_what_may_be_told(state):
    life = told_life(state=state)
    life.hear(stopped(of=WITH), later=SECOND)
    after = {one.state for one in life.of("notice")}
    assert after == {S.CANCELLED if state in UNSENT else state}
    assert {one.reason for one in life.of("notice") if state in UNSENT} <= {Reason.STOPPED}
    expected = {S.SENDING: S.HELD, S.UNKNOWN: S.HELD, S.ACCEPTED: S.PENDING, S.UNRESOLVED: S.PENDING}.get(state)
    assert {one.state for one in life.clears()} == ({expected} if expected else set())


@pytest.mark.parametrize("kind", ["stopped", "resolved"])
def test_it_is_said_once_however_often_it_is_taken_back(kind):
    life = told_life()
    first = life.hear(stopped(of=WITH), later=SECOND)
    life.make("all_clear", state=S.ACCEPTED, due_at=None)
    again = life.hear(stopped(seq=9, of=WITH, kind=kind), later=SECOND)
    assert len(first.new) == 2
    assert again.new == set()
    assert len(life.clears()) == 2


def test_the_same_pass_twice_makes_the_same_all_clears():
    one, other = told_life(), told_life()
    assert one.hear(stopped(of=WITH)).new == other.hear(stopped(of=WITH), later=MINUTE).new


def test_a_rule_without_an_all_clear_says_nothing_more():
    life = told_life(WITHOUT)
    life.hear(stopped(of=WITHOUT), later=SECOND)
    assert life.clears() == []
    assert [run.state for run in life.runs.values()] == ["stopped"]


def test_an_all_clear_whose_condition_does_not_hold_is_none():
    life = told_life()
    record = stopped(of=WITH)
    life.hear(replace(record, data=(None, record.data[1])), later=SECOND)
    assert [one.channel for one in life.clears()] == ["push"]


OUTCOMES: dict[str, tuple[dict[str, Any], MessageState, Reason | None]] = {
    "accepted": ({"state": S.ACCEPTED}, S.PENDING, None),
    "unresolved": ({"state": S.UNRESOLVED}, S.PENDING, None),
    "failed": ({"state": S.FAILED}, S.CANCELLED, Reason.NOTHING_TO_CORRECT),
    "not sent after all": ({"state": S.CANCELLED}, S.CANCELLED, Reason.NOTHING_TO_CORRECT),
    "bounced": ({"state": S.ACCEPTED, "receipt": "bounced"}, S.CANCELLED, Reason.NOTHING_TO_CORRECT),
    "still unknown": ({"state": S.UNKNOWN}, S.HELD, Reason.AWAITING_OUTCOME),
}


@pytest.mark.parametrize("name", OUTCOMES)
def test_while_the_original_is_in_flight_the_all_clear_waits_for_its_outcome(name):
    change, state, reason = OUTCOMES[name]
    life = told_life(rules(then=steps("email"), on_stop=steps("email")), state=S.SENDING)
    life.hear(stopped(of=life.rules), later=SECOND)
    (clear,) = life.clears()
    assert (clear.state, clear.reason, clear.due_at) == (S.HELD, Reason.AWAITING_OUTCOME, clear.deadline)
    life.make(**{"due_at": None, **change})
    life.hear(later=SECOND)
    (clear,) = life.clears()
    assert (clear.state, clear.reason) == (state, reason)


def test_an_all_clear_that_waits_in_vain_expires_and_says_so():
    life = told_life(rules(then=steps("email"), on_stop=steps("email")), state=S.UNKNOWN)
    life.hear(stopped(of=life.rules), later=SECOND)
    life.hear(later=HOUR)
    assert [(one.state, one.reason) for one in life.clears()] == [(S.EXPIRED, Reason.EXPIRED)]


def test_a_run_lingers_until_its_all_clears_have_ended_and_ninety_days_at_most():
    life = told_life()
    (run,) = life.runs.values()
    assert (run.state, run.is_open, run.lingers) == ("done", False, True)
    life.hear(stopped(of=WITH), later=SECOND)
    assert [run.state for run in life.runs.values()] == ["stopped"]
    life.make("all_clear", state=S.ACCEPTED, due_at=None)
    life.hear(later=SECOND)
    assert [(run.state, run.lingers) for run in life.runs.values()] == [("closed", False)]

    never = told_life()
    (run,) = never.runs.values()
    never.hear(later=run.logical_at + 90 * DAY - never.now - 1)
    assert [run.state for run in never.runs.values()] == ["done"]
    never.hear(later=1)
    assert [run.state for run in never.runs.values()] == ["closed"]


def again(life: Life, **changes: Any) -> None:
    """The same thing happens again, and that much becomes of its messages."""
    life.hear(fired("g", seq=5, at=NOW + MINUTE, of=life.rules), later=SECOND)
    if changes:
        life.make(firing="g", **{"due_at": None, **changes})
    life.hear(later=SECOND)


def held_clear(life: Life) -> Message:
    life.outside = Outside(kills=frozenset({"rule:declined"}))
    life.hear(stopped(of=life.rules), later=MINUTE)
    life.outside = Outside()
    (clear,) = life.clears()
    assert clear.state is S.HELD
    return clear


ONE = rules(then=steps("email"), on_stop=steps("email"))
EPISODES: dict[str, tuple[dict[str, Any], MessageState, Reason | None]] = {
    "told of the newer episode": ({"state": S.ACCEPTED}, S.CANCELLED, Reason.SUPERSEDED),
    "perhaps told": ({"state": S.SENDING}, S.HELD, Reason.NEWER_EPISODE),
    "not told yet": ({}, S.HELD, Reason.NEWER_EPISODE),
    "never told": ({"state": S.SUPPRESSED}, S.PENDING, None),
    "it bounced": ({"state": S.ACCEPTED, "receipt": "bounced"}, S.PENDING, None),
}


@pytest.mark.parametrize("name", EPISODES)
def test_when_it_happens_again_the_unsent_all_clear_asks_what_became_of_that(name):
    change, state, reason = EPISODES[name]
    life = told_life(ONE)
    held_clear(life)
    again(life, **change)
    (clear,) = life.clears("f")
    assert (clear.state, clear.reason) == (state, reason)


def test_an_all_clear_that_waited_for_a_newer_episode_goes_when_that_ends_untold():
    life = told_life(ONE)
    held_clear(life)
    again(life)
    life.hear(stopped("g", seq=8, of=ONE), later=SECOND)
    life.hear(later=SECOND)
    assert [(one.firing_id, one.state) for one in life.clears()] == [("f", S.PENDING)]
    assert [one.state for one in life.of("notice", "g")] == [S.CANCELLED]


def test_a_firing_of_another_key_or_of_before_is_no_newer_episode():
    others: list[dict[str, Any]] = [{"key": ("other",)}, {"at": NOW - HOUR // 2}]
    for words in others:
        life = told_life(ONE)
        held_clear(life)
        life.hear(fired("g", seq=5, of=ONE, **{"at": NOW + MINUTE, **words}), later=SECOND)
        life.make(firing="g", state=S.ACCEPTED, due_at=None)
        life.hear(later=SECOND)
        assert [one.state for one in life.clears("f")] == [S.PENDING], words


def test_a_newer_run_is_of_the_same_rule_recipient_and_key_and_later():
    life = told_life(ONE)
    again(life)
    first, second = sorted(life.runs.values(), key=lambda run: run.logical_at)
    assert newer_runs(first, life.runs.values()) == [second]
    assert newer_runs(second, life.runs.values()) == []
    for change in (
        {"rule": "x"},
        {"recipient": "customer:d"},
        {"body": {"key": ["x"]}},
        {"logical_at": first.logical_at},
    ):
        assert newer_runs(first, [replace(second, **change)]) == [], change


def test_a_rule_that_got_its_all_clear_after_they_were_told_says_it_and_lingers_for_it():
    old = rules(then=steps("email"), name="old")
    life = told_life(old)
    assert [run.lingers for run in life.runs.values()] == [False]
    life.rules = life.sets["set"] = ONE
    held_clear(life)
    assert [(run.state, run.lingers) for run in life.runs.values()] == [("stopped", True)]
    again(life, state=S.ACCEPTED)
    assert [(one.state, one.reason) for one in life.clears("f")] == [(S.CANCELLED, Reason.SUPERSEDED)]


def test_a_rule_that_is_gone_or_off_says_no_all_clear_and_a_record_says_why():
    for after in (
        RuleSet("empty", (), {}),
        rules(then=steps("email"), on_stop=steps("email"), name="d", status="draft"),
    ):
        life = told_life(ONE)
        life.rules = life.sets[after.hash] = after
        life.hear(stopped(of=ONE), later=SECOND)
        life.hear(later=SECOND)
        assert [(one.state, one.reason) for one in life.clears()] == [(S.CANCELLED, Reason.RULE_OFF)]


def test_what_is_surely_unsent_is_not_among_what_may_be_told():
    assert {state for state in S if may_be_told(replace(MESSAGE, state=state))} == {
        S.SENDING, S.UNKNOWN, S.ACCEPTED, S.UNRESOLVED,
    }  # fmt: skip
