"""Operators by their pure methods: events and timers in order go in, what is said of a key comes out."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.operators.episode import MEMORY
from handlers.operators.event import EventOperator
from handlers.operators.missing import DEDUPE_HORIZON, MissingOperator
from handlers.rules.conditions import Compiled, Scope, compile_value
from tidings import canonical
from tidings.contract import Field, Type
from tidings.event import DAY, MINUTE, SECOND, Event
from tidings.rule import Item, Matcher, Rule, State

FIELDS = {
    name: Field(name, kind)
    for name, kind in {
        "invoice": Type("string"), "due": Type("timestamp", nullable=True), "amount": Type("long", nullable=True),
        "note": Type("string"),
    }.items()
}  # fmt: skip
SCOPE = Scope(FIELDS, {"grace": Type("duration"), "least": Type("long")})
PARAMS = {"grace": 0, "least": 50}


def expression(source: str) -> Compiled:
    found = compile_value(source, SCOPE)
    assert found.ok, [problem.text for problem in found.problems]
    return found


def event(kind: str, at: int, **data: Any) -> Event:
    """Return an event at a second; its ref says what it is."""
    return Event(
        ref=f"{kind}@{at}", tenant="t", source="billing", id=f"{kind}-{at}", type=kind, occurred_at=at * SECOND,
        data={"invoice": "i-1", **data}, topic=f"{kind}.v1", partition=0, offset=0, appended_at=at * SECOND,
    )  # fmt: skip


def matcher(kind: str, condition: str = "") -> Matcher:
    return Matcher(kind, f"{kind}.v1", expression(condition) if condition else None, condition)


# -- event


@pytest.mark.parametrize(("amount", "fires"), [(51, True), (50, True), (49, False), (None, False)])
def test_an_event_fires_where_its_condition_certainly_holds(amount: int | None, *, fires: bool) -> None:
    operator = EventOperator(matcher("paid", "amount >= params.least"))
    happened = event("paid", 3, amount=amount)
    said = operator.fires(happened, PARAMS)
    assert bool(said) is fires
    for emission in said:
        assert (emission.kind, emission.n, emission.logical_at) == ("fired", 0, 3 * SECOND)
        assert (emission.episode.at, emission.episode.source, emission.episode.ref) == (3 * SECOND, "billing", "paid@3")
        assert emission.event is happened


def test_what_cannot_be_known_does_not_fire_with_or_without_a_not() -> None:
    for source in ("amount > 5", "!(amount > 5)", "amount / 0 > 5", "!(amount / 0 > 5)"):
        assert not EventOperator(matcher("paid", source)).fires(event("paid", 0), PARAMS)


def test_an_event_of_another_type_does_not_fire() -> None:
    assert not EventOperator(matcher("paid")).fires(event("voided", 0), PARAMS)


def test_the_same_event_again_is_the_same_episode() -> None:
    operator = EventOperator(matcher("paid"))
    assert operator.fires(event("paid", 3), PARAMS) == operator.fires(event("paid", 3), PARAMS)


CHANGES: dict[str, tuple[dict[str, Any], bool]] = {
    "one of the fields changed": ({"before": {"a": 1, "b": 1}, "after": {"a": 1, "b": 2}}, True),
    "both changed": ({"before": {"a": 1, "b": 1}, "after": {"a": 2, "b": 2}}, True),
    "neither changed": ({"before": {"a": 1, "b": 1, "c": 1}, "after": {"a": 1, "b": 1, "c": 2}}, False),
    "a value came": ({"before": {"a": None, "b": 1}, "after": {"a": 1, "b": 1}}, True),
    "a value went": ({"before": {"a": 1, "b": 1}, "after": {"a": None, "b": 1}}, True),
    "a creation": ({"before": None, "before_coverage": "ABSENT", "after": {"a": 1, "b": 1}}, False),
    "a deletion": ({"before": {"a": 1, "b": 1}, "after": None, "after_coverage": "ABSENT"}, False),
    "nobody knows what was before": ({"after": {"a": 1, "b": 1}}, False),
    "an image that is not known": (
        {"before": {"a": None, "b": None}, "before_coverage": "UNKNOWN", "after": {"a": 1, "b": 1}}, False,
    ),
    "only the key was before": (
        {"before": {"a": 0, "b": 0}, "before_coverage": "KEY_ONLY", "after": {"a": 1, "b": 1}}, False,
    ),
    "a field that was not sent": (
        {"before": {"a": 1, "b": None}, "before_coverage": "CHANGED_FIELDS_ONLY", "changed_fields": ["a"],
         "after": {"a": 1, "b": 2}}, False,
    ),
    "a field that was sent": (
        {"before": {"a": 1, "b": None}, "before_coverage": "CHANGED_FIELDS_ONLY", "changed_fields": ["a"],
         "after": {"a": 3, "b": 2}}, True,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_changed_means_that_any_of_the_fields_certainly_changed(name: str) -> None:
    data, fires = CHANGES[name]
    operator = EventOperator(matcher("account"), changed=("a", "b"))
    assert bool(operator.fires(event("account", 0, **data), PARAMS)) is fires


@pytest.mark.parametrize(
    ("amount", "after", "fires"), [(51, 2, True), (51, 1, False), (49, 2, False), (None, 2, False)]
)
def test_changed_and_the_condition_both_have_to_hold(amount: int | None, after: int, *, fires: bool) -> None:
    operator = EventOperator(matcher("account", "amount > 50"), changed=("a",))
    said = operator.fires(event("account", 0, amount=amount, before={"a": 1}, after={"a": after}), PARAMS)
    assert bool(said) is fires


def test_an_event_rule_keeps_nothing() -> None:
    operator = EventOperator(matcher("paid"))
    happened = event("paid", 0)
    assert not operator.stateful
    assert operator.key(happened) == ()
    assert operator.item(happened, PARAMS) is None
    assert operator.timer(None) is None


# -- missing


def overdue(**options: Any) -> MissingOperator:
    words: dict[str, Any] = {
        "after": matcher("issued"), "expect": (matcher("paid"),), "deadline": expression("due + params.grace"),
        "by": ("invoice",), "cancel_on": (matcher("voided"),), "reschedule_on": (matcher("moved"),),
        "keep": frozenset({"due", "note"}),
    }  # fmt: skip
    return MissingOperator(**{**words, **options})


def rule_of(operator: MissingOperator, **params: Any) -> Rule:
    return Rule("overdue", owner="o", operator=operator, params={**PARAMS, **params})


Happening = tuple[Any, ...]
"""(second, type) or (second, type, due in seconds); a type that begins with `late ` is handed over as late."""


def happened(step: Happening) -> Event:
    at, kind, *due = step
    kind = kind.removeprefix("late ")
    data = {"due": None if due[0] is None else due[0] * SECOND} if due else {}
    return event(kind, at, **data)


def run(rule: Rule, history: Sequence[Happening], until: int | None = None) -> tuple[State | None, list[str]]:
    """Hand a history over in order of time, timers between; return the state and what was said."""
    operator = rule.operator
    state: State | None = None
    told: list[str] = []

    def pass_timers(before: int | None) -> None:
        nonlocal state
        for _ in range(10):
            due = operator.timer(state)
            if due is None or state is None or (before is not None and due >= before):
                return
            state, said = operator.expire(state, rule)
            told.extend(f"{one.kind} {one.logical_at // SECOND} {one.episode.ref}" for one in said)
        pytest.fail("timers without end")

    for step in history:
        happening = happened(step)
        late = step[1].startswith("late ")
        if not late:
            pass_timers(happening.occurred_at)
        item = operator.item(happening, rule.params)
        if item is not None:
            state, said = (operator.late if late else operator.apply)(state, item, rule)
            told += [f"{one.kind} {one.logical_at // SECOND} {one.episode.ref}" for one in said]
        # A state lives between transactions as canonical JSON.
        state = None if state is None else canonical.loads(canonical.dumps(state))
    pass_timers(None if until is None else until * SECOND)
    return state, told


DAYS = DAY // SECOND
ONCE: dict[str, Any] = {"once": True}
RESTART: dict[str, Any] = {"on_repeat": "restart"}
HISTORIES: dict[str, tuple[dict[str, Any], list[Happening], list[str]]] = {
    "what does not follow fires at the deadline": ({}, [(0, "issued", 10)], ["fired 10 issued@0"]),
    "what follows in time silences": ({}, [(0, "issued", 10), (5, "paid")], []),
    "paid exactly at the deadline is paid": ({}, [(0, "issued", 10), (10, "paid")], []),
    "paid a second later is told, and taken back": (
        {}, [(0, "issued", 10), (11, "paid")], ["fired 10 issued@0", "stopped 11 issued@0"]),
    "a cancellation removes": ({}, [(0, "issued", 10), (3, "voided")], []),
    "a cancellation after the firing takes it back": (
        {}, [(0, "issued", 10), (12, "voided")], ["fired 10 issued@0", "stopped 12 issued@0"]),
    "paid before it is issued counts for nothing": ({}, [(0, "paid"), (1, "issued", 10)], ["fired 10 issued@1"]),
    "of one instant, what arms goes before what closes": ({}, [(0, "issued", 10), (0, "paid")], []),
    "a second closer has nothing to take back": (
        {}, [(0, "issued", 10), (11, "paid"), (12, "voided")], ["fired 10 issued@0", "stopped 11 issued@0"]),
    # deadlines
    "a deadline in the past fires with the event that set it": ({}, [(7, "issued", 2)], ["fired 7 issued@7"]),
    "an unknown deadline never fires": ({}, [(0, "issued", None)], []),
    "a deadline that is not sent never fires": ({}, [(0, "issued")], []),
    "grace is added": ({"grace": 5 * SECOND}, [(0, "issued", 10)], ["fired 15 issued@0"]),
    # reschedules
    "a reschedule moves the deadline later": ({}, [(0, "issued", 10), (5, "moved", 20)], ["fired 20 issued@0"]),
    "a reschedule moves the deadline earlier": ({}, [(0, "issued", 10), (5, "moved", 8)], ["fired 8 issued@0"]),
    "a reschedule into the past fires with itself": ({}, [(0, "issued", 10), (5, "moved", 2)], ["fired 5 issued@0"]),
    "the last reschedule counts": (
        {}, [(0, "issued", 10), (5, "moved", 20), (6, "moved", 15)], ["fired 15 issued@0"]),
    "a reschedule exactly at the deadline is in time": (
        {}, [(0, "issued", 10), (10, "moved", 20)], ["fired 20 issued@0"]),
    "a reschedule to nowhere disarms": ({}, [(0, "issued", 10), (5, "moved", None)], []),
    "a reschedule that says nothing of the deadline keeps it": (
        {}, [(0, "issued", 10), (5, "moved")], ["fired 10 issued@0"]),
    "a reschedule after the firing changes nothing": (
        {}, [(0, "issued", 10), (12, "moved", 20)], ["fired 10 issued@0"]),
    "a reschedule before the arming is forgotten": ({}, [(0, "moved", 50), (1, "issued", 10)], ["fired 10 issued@1"]),
    "a moved deadline that is met silences": ({}, [(0, "issued", 10), (5, "moved", 20), (20, "paid")], []),
    # repeats
    "a repeat keeps the episode that waits": ({}, [(0, "issued", 10), (5, "issued", 30)], ["fired 10 issued@0"]),
    "a repeat restarts where the rule says so": (RESTART, [(0, "issued", 10), (5, "issued", 30)], ["fired 30 issued@5"]),
    "a restart without a deadline disarms": (RESTART, [(0, "issued", 10), (5, "issued", None)], []),
    "the same event again changes nothing": (RESTART, [(0, "issued", 10), (0, "issued", 10)], ["fired 10 issued@0"]),
    "a key lives again after it was closed": (
        {}, [(0, "issued", 10), (5, "paid"), (6, "issued", 20)], ["fired 20 issued@6"]),
    "a key lives again after it fired, and a closer takes back the newest": (
        {}, [(0, "issued", 10), (11, "issued", 20), (25, "paid")],
        ["fired 10 issued@0", "fired 20 issued@11", "stopped 25 issued@11"]),
    "a closer takes back what fired and disarms what waits": (
        {}, [(0, "issued", 10), (11, "issued", 20), (15, "paid")], ["fired 10 issued@0", "stopped 15 issued@0"]),
    # once
    "once: paid before it is issued is paid": (ONCE, [(0, "paid"), (1, "issued", 10)], []),
    "once: voided before it is issued is void": (ONCE, [(0, "voided"), (1, "issued", 10)], []),
    "once: a closer counts for seven days": (ONCE, [(0, "paid"), (7 * DAYS, "issued", 8 * DAYS)], []),
    "once: a closer of long ago does not count": (
        ONCE, [(0, "paid"), (7 * DAYS + 1, "issued", 8 * DAYS)], [f"fired {8 * DAYS} issued@{7 * DAYS + 1}"]),
    "once: a closed key does not live again": (ONCE, [(0, "issued", 10), (5, "paid"), (6, "issued", 20)], []),
    "once: a key that fired does not live again": (
        ONCE, [(0, "issued", 10), (11, "issued", 20)], ["fired 10 issued@0"]),
    "once: a firing is taken back all the same": (
        ONCE, [(0, "issued", 10), (11, "paid")], ["fired 10 issued@0", "stopped 11 issued@0"]),
    "once: a reschedule before the arming counts": (ONCE, [(0, "moved", 50), (1, "issued", 10)], ["fired 50 issued@1"]),
    "once: the newest reschedule before the arming counts": (
        ONCE, [(0, "moved", 50), (1, "moved", 40), (2, "issued", 10)], ["fired 40 issued@2"]),
    "once: a reschedule of long ago does not count": (
        ONCE, [(0, "moved", 9 * DAYS), (7 * DAYS + 1, "issued", 8 * DAYS)],
        [f"fired {8 * DAYS} issued@{7 * DAYS + 1}"]),
    "once: what is closed is not rescheduled": (ONCE, [(0, "moved", 50), (1, "paid"), (2, "issued", 10)], []),
    "once: a repeat restarts where the rule says so": (
        {**ONCE, **RESTART}, [(0, "issued", 10), (5, "issued", 30)], ["fired 30 issued@5"]),
    # late closers
    "a late closer disarms what has not fired": ({}, [(0, "issued", 10), (5, "late paid")], []),
    "a late cancellation disarms what has not fired": ({}, [(0, "issued", 10), (5, "late voided")], []),
    "a late closer of before the arming closes nothing": (
        {}, [(5, "issued", 10), (2, "late paid")], ["fired 10 issued@5"]),
    "a late closer of a key that nobody knows is nothing": ({}, [(5, "late paid")], []),
    "once: a late closer of a key that nobody knows ends it": (ONCE, [(0, "late paid"), (1, "issued", 10)], []),
    # memory
    "a closer of ninety days later takes back": (
        {}, [(0, "issued", 10), (90 * DAYS + 10, "paid")],
        ["fired 10 issued@0", f"stopped {90 * DAYS + 10} issued@0"]),
    "a closer of more than ninety days later has nothing to take back": (
        {}, [(0, "issued", 10), (90 * DAYS + 11, "paid")], ["fired 10 issued@0"]),
}  # fmt: skip


@pytest.mark.parametrize("name", HISTORIES)
def test_of_a_history_is_told(name: str) -> None:
    options, history, expected = HISTORIES[name]
    words = {word: value for word, value in options.items() if word != "grace"}
    state, told = run(rule_of(overdue(**words), grace=options.get("grace", 0)), history)
    assert told == expected
    assert state is None, "nothing is kept for ever"


@pytest.mark.parametrize(("paid", "said"), [(5, "stopped"), (10, "stopped"), (-3, None)])
def test_a_late_closer_takes_back_what_has_fired_since_its_episode_began(paid: int, said: str | None) -> None:
    rule = rule_of(overdue())
    state, told = run(rule, [(0, "issued", 10)], until=11)
    assert told == ["fired 10 issued@0"]
    item = rule.operator.item(event("paid", paid), PARAMS)
    assert item is not None
    assert rule.operator.closes(item)
    after, emissions = rule.operator.late(state, item, rule)
    assert [(one.kind, one.logical_at) for one in emissions] == ([(said, paid * SECOND)] if said else [])
    assert (after is None) is (said is not None)


def test_what_waits_has_its_deadline_as_timer_and_what_fired_its_memory() -> None:
    rule = rule_of(overdue())
    state, _ = run(rule, [(0, "issued", 10)], until=10)
    assert rule.operator.timer(state) == 10 * SECOND
    state, _ = run(rule, [(0, "issued", 10)], until=11)
    assert rule.operator.timer(state) == 10 * SECOND + MEMORY
    state, _ = run(rule_of(overdue(once=True)), [(0, "issued", 10)], until=11)
    assert rule.operator.timer(state) == 10 * SECOND + DEDUPE_HORIZON
    assert rule.operator.timer(None) is None


def test_a_heartbeat_that_stops_is_missed_once() -> None:
    """One event both closes and arms: it closes first, and never closes what it arms."""
    beat = overdue(
        after=matcher("ping"), expect=(matcher("ping"),), deadline=expression("event.time + 20s"), cancel_on=(),
        reschedule_on=(),
    )  # fmt: skip
    _, told = run(rule_of(beat), [(0, "ping"), (15, "ping"), (35, "ping"), (100, "ping")])
    assert told == ["fired 55 ping@35", "stopped 100 ping@35", "fired 120 ping@100"]


def test_what_a_firing_says_is_what_the_rule_kept_with_the_newest_date() -> None:
    rule = rule_of(overdue())
    first = rule.operator.item(event("issued", 0, due=10 * SECOND, note="first", amount=7), PARAMS)
    moved = rule.operator.item(event("moved", 5, due=20 * SECOND), PARAMS)
    assert first is not None
    assert moved is not None
    state, _ = rule.operator.apply(None, first, rule)
    state, _ = rule.operator.apply(state, moved, rule)
    assert state is not None
    _, (fired,) = rule.operator.expire(state, rule)
    assert fired.event.data == {"due": 20 * SECOND, "note": "first"}
    assert (fired.event.type, fired.event.id, fired.event.occurred_at) == ("issued", "issued-0", 0)


def test_an_event_is_kept_as_far_as_the_rule_reads_it() -> None:
    operator = overdue()
    item = operator.item(event("issued", 3, due=10 * SECOND, note="n", amount=7, secret="s"), PARAMS)
    closer = operator.item(event("paid", 3, amount=7), PARAMS)
    assert item is not None
    assert closer is not None
    assert item.body["data"] == {"due": 10 * SECOND, "note": "n"}
    assert "data" not in closer.body
    assert item.order < closer.order
    assert operator.closes(closer)
    assert not operator.closes(item)


@pytest.mark.parametrize(("amount", "arms"), [(51, True), (50, False), (None, False)])
def test_what_arms_is_what_certainly_holds(amount: int | None, *, arms: bool) -> None:
    operator = overdue(after=matcher("issued", "amount > params.least"))
    assert (operator.item(event("issued", 0, amount=amount), PARAMS) is not None) is arms


@pytest.mark.parametrize(("amount", "closes"), [(51, True), (50, False), (None, False)])
def test_what_closes_is_what_certainly_holds(amount: int | None, *, closes: bool) -> None:
    operator = overdue(expect=(matcher("paid", "amount > params.least"),))
    assert (operator.item(event("paid", 0, amount=amount), PARAMS) is not None) is closes


def test_of_several_expected_events_any_one_silences() -> None:
    rule = rule_of(overdue(expect=(matcher("paid"), matcher("settled"))))
    for kind in ("paid", "settled"):
        assert run(rule, [(0, "issued", 10), (5, kind)]) == (None, [])


def test_the_key_is_made_of_by_and_null_is_no_key() -> None:
    operator = overdue(by=("invoice", "amount"))
    assert operator.key(event("issued", 0, amount=7)) == ("i-1", 7)
    assert operator.key(event("issued", 0, amount=None)) is None
    assert operator.key(event("issued", 0)) is None


def test_a_stateful_rule_says_nothing_on_one_event_alone() -> None:
    assert overdue().stateful
    assert overdue().fires(event("issued", 0, due=10), PARAMS) == ()


def test_lateness_is_a_minute_unless_the_rule_says_otherwise() -> None:
    assert overdue().allowed_lateness == MINUTE
    assert overdue(allowed_lateness=5).allowed_lateness == 5


def test_a_step_leaves_the_state_that_it_was_given_as_it_was() -> None:
    rule = rule_of(overdue(once=True))
    state, _ = run(rule, [(0, "issued", 10)], until=5)
    before = canonical.dumps(state)
    assert state is not None
    for step in ((6, "paid"), (6, "voided"), (6, "moved", 30), (6, "issued", 40)):
        item = rule.operator.item(happened(step), PARAMS)
        assert isinstance(item, Item)
        rule.operator.apply(state, item, rule)
        rule.operator.late(state, item, rule)
    rule.operator.expire(state, rule)
    assert canonical.dumps(state) == before


histories = st.lists(
    st.tuples(
        st.integers(0, 40), st.sampled_from(["issued", "moved", "paid", "voided"]), st.none() | st.integers(0, 60)
    ),
    max_size=12,
)


@settings(deadline=None, derandomize=True, database=None, max_examples=200)
@given(histories, st.booleans(), st.sampled_from(["keep", "restart"]))
def test_an_episode_fires_once_is_taken_back_once_and_all_is_forgotten(
    history: list[Happening], once: bool, on_repeat: str
) -> None:
    rule = rule_of(overdue(once=once, on_repeat=on_repeat))
    rank = {"issued": 0, "moved": 1, "paid": 2, "voided": 2}
    history = sorted(history, key=lambda step: (step[0], rank[step[1]], step[1]))
    state, told = run(rule, history)
    assert state is None
    assert len(set(told)) == len(told)
    fired = [line.split()[2] for line in told if line.startswith("fired")]
    stopped = [line.split()[2] for line in told if line.startswith("stopped")]
    assert len(set(fired)) == len(fired)
    assert len(set(stopped)) == len(stopped)
    assert set(stopped) <= set(fired)
    assert not once or len(fired) <= 1
