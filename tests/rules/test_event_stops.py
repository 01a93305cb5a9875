"""Event rules that take back what they said: any order and any batches give what the definition says, in bounded memory."""

from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.operators.episode import MEMORY
from handlers.operators.event import OPEN, OPEN_LIMIT, STOP, EventOperator, StopMatcher
from tests.histories.detector import Detector
from tests.simulator.rules import CONTRACTS, DECLINED, PAID, TOPICS, Value
from tidings import canonical, ids
from tidings.event import DAY, SECOND, Event
from tidings.rule import Item, Matcher, Rule, RuleSet, State

DAYS = DAY // SECOND
EDGE = MEMORY // SECOND
CUSTOMER = (("customer_id",),)


def operator(**words: Any) -> EventOperator:
    """A declined payment; ended by one that is paid, or by a declined one that says that it ends."""
    fails, ends = (
        Matcher(DECLINED, TOPICS[DECLINED], Value("fails")),
        Matcher(DECLINED, TOPICS[DECLINED], Value("ends")),
    )
    stops = (StopMatcher(Matcher(PAID, TOPICS[PAID]), CUSTOMER), StopMatcher(ends, CUSTOMER))
    return EventOperator(fails, stops=stops, match_here=CUSTOMER, keep=frozenset({"customer_id"}), **words)


def rules(lateness: int) -> RuleSet:
    rule = Rule(
        "declined", owner="o", operator=operator(allowed_lateness=lateness), customer_paths={DECLINED: ("customer_id",)}
    )
    return RuleSet(f"set-{lateness}", (rule,), CONTRACTS)  # fmt: skip


def event(kind: str, at: int, name: str = "", **data: Any) -> Event:
    return Event(
        ref=name or f"{kind}@{at}", tenant="t", source="s", id=name or f"{kind}@{at}", type=kind, occurred_at=at,
        data={"customer_id": "c", **data}, topic=TOPICS[kind], partition=0, offset=0, appended_at=at,
    )  # fmt: skip


def failed(at: int, name: str = "") -> Event:
    return event(DECLINED, at, name, fails=True)


def paid(at: int, name: str = "") -> Event:
    return event(PAID, at, name)


Draw = tuple[int, str, str]
"""(when, kind, customer); a kind of `both` opens and stops."""
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "opens": (DECLINED, {"fails": True}), "stops": (PAID, {}), "both": (DECLINED, {"fails": True, "ends": True}),
    "ends": (DECLINED, {"ends": True}), "neither": (DECLINED, {}),
}  # fmt: skip


def ref(number: int, draw: Draw) -> str:
    """The platform's reference, which has the last word on the order of one instant."""
    return ids.event_ref("t", "s", f"e{number}", draw[0] * SECOND)


def owed(draws: Sequence[Draw]) -> set[tuple[str, str]]:
    """The slow definition: what opens fires; it is taken back if anything that stops follows it, within ninety days."""
    opens = [(n, draw) for n, draw in enumerate(draws) if draw[1] in ("opens", "both")]
    stops = [(n, draw) for n, draw in enumerate(draws) if draw[1] in ("stops", "both", "ends")]

    def order(number: int, draw: Draw) -> tuple[int, int, str]:
        return (draw[0], OPEN if draw[1] in ("opens", "both") else STOP, ref(number, draw))

    facts = {("fired", ref(*one)) for one in opens}
    for one in opens:
        begun, key = one[1][0], one[1][2]
        mine = [stop for stop in stops if stop[1][2] == key and stop[1][0] <= begun + EDGE]
        if any(order(*stop) > order(*one) for stop in mine):
            facts.add(("stopped", ref(*one)))
    return facts


def told(
    draws: Sequence[Draw], arrivals: Sequence[int], batches: Sequence[int], lateness: int
) -> tuple[set[tuple[str, str]], list[State]]:
    """Append the events in an order, decide after each of `batches`, and return what was said, and every state."""
    d = Detector(rules(lateness * SECOND))
    seen: list[State] = []
    for count, number in enumerate(arrivals):
        at, kind, who = draws[number]
        name, data = KINDS[kind]
        d.append(name, f"e{number}", at, customer_id=who, **data)
        if count in batches:
            d.batch(DECLINED, PAID)
            d.tick()
            seen += [canonical.loads(row["value"])["state"] or {} for row in d.store.rows("state") if row["value"]]
    d.batch(DECLINED, PAID)
    d.idle(10_000 * DAYS)
    d.tick()
    assert d.store.rows("state") == [], "nothing is kept for ever"
    rows = d.store.rows("records")
    return {(row["kind"], canonical.loads(row["body"])["episode"]["event"]) for row in rows}, seen


NEAR = st.sampled_from([0, 1, 1, 2, 3, 5, 8, 8, 20, 59])
FAR = st.sampled_from([0, 1, EDGE - 1, EDGE, EDGE + 1, EDGE + 2, 2 * EDGE, 2 * EDGE + 2])


ALL = ("opens", "opens", "opens", "stops", "stops", "both", "ends", "neither")


def draws(
    times: st.SearchStrategy[int], kinds: Sequence[str] = ALL, who: Sequence[str] = ("c", "c", "d")
) -> st.SearchStrategy[list[Draw]]:
    one = st.tuples(times, st.sampled_from(kinds), st.sampled_from(who))
    return st.lists(one, min_size=1, max_size=12)


@settings(deadline=None, derandomize=True, database=None, max_examples=300)
@given(
    draws(NEAR) | draws(FAR) | draws(FAR, ("opens", "stops"), ("c",)),
    st.randoms(use_true_random=False),
    st.integers(0, 3),
)
def test_every_order_and_every_split_gives_what_the_definition_says(found: list[Draw], random: Random, repeats: int):
    """Nothing is late here: a topic hangs behind for years, and W with it."""
    arrivals = [*range(len(found)), *random.choices(range(len(found)), k=repeats)]
    random.shuffle(arrivals)
    batches = [count for count in range(len(arrivals)) if random.random() < 0.5]
    said, states = told(found, arrivals, batches, 400 * DAYS)
    assert said == owed(found)
    for state in states:
        assert len(state.get("stops", ())) <= 6


@settings(deadline=None, derandomize=True, database=None, max_examples=150)
@given(draws(NEAR), st.randoms(use_true_random=False), st.integers(1, 30))
def test_as_long_as_nothing_is_late_it_does_not_matter_how_far_w_has_come(
    found: list[Draw], random: Random, lateness: int
):
    """Events come out of order by less than the lateness, and W passes stops and memories between them."""
    found = [(at * 10, kind, who) for at, kind, who in found]
    delay = {number: random.randrange(lateness) for number in range(len(found))}
    arrivals = sorted(range(len(found)), key=lambda number: found[number][0] + delay[number])
    said, _ = told(found, arrivals, [n for n in range(len(found)) if random.random() < 0.7], lateness)
    assert said == owed(found)


# -- the pure operator, step by step

RULE = rules(0).rules[0]


def item(happened: Event) -> Item:
    found = RULE.operator.item(happened, {})
    assert found is not None
    return found


def apply(*events: Event, state: State | None = None) -> tuple[State | None, list[str]]:
    said: list[str] = []
    for one in events:
        state, emitted = RULE.operator.apply(state, item(one), RULE)
        said += [f"{emission.kind} {emission.episode.ref}" for emission in emitted]
        state = None if state is None else canonical.loads(canonical.dumps(state))
    return state, said


@pytest.mark.parametrize(("later", "stopped"), [(0, True), (1, True), (MEMORY, True), (MEMORY + 1, False), (-1, False)])
@pytest.mark.parametrize("stop_first", [False, True])
def test_a_stop_reaches_back_ninety_days_and_not_a_moment_more_whichever_comes_first(later, stopped, stop_first):
    at = 1000 * DAY
    pair = (failed(at, "f"), paid(at + later, "p"))
    _, said = apply(*(reversed(pair) if stop_first else pair))
    assert said == (["stopped f"] if stopped else [])


def test_an_older_stop_still_counts_behind_a_newer_one_that_comes_too_late():
    """The newest stop alone would forget that the payment was settled the day after."""
    stops = (paid(1 * DAY, "soon"), paid(91 * DAY, "late"))
    for order in (stops, stops[::-1]):
        _, said = apply(*order, failed(0, "f"))
        assert said == ["stopped f"]


def test_stops_in_a_row_are_two_in_memory():
    state, _ = apply(*(paid(number * SECOND, f"p{number}") for number in range(500)))
    assert state is not None
    assert [order[0] for order in state["stops"]] == [0, 499 * SECOND]
    for at in (0, 1, 250, 498):
        assert apply(failed(at * SECOND - 1, "f"), state=state)[1] == ["stopped f"]
    assert apply(failed(499 * SECOND, "f"), state=state)[1] == ["stopped f"], "of one instant, what stops goes last"
    assert apply(failed(499 * SECOND + 1, "f"), state=state)[1] == []


def test_what_can_be_taken_back_is_bounded_and_the_rest_stays_told():
    state, _ = apply(*(failed(number, f"f{number:04}") for number in range(OPEN_LIMIT + 3)))
    assert state is not None
    assert len(state["open"]) == OPEN_LIMIT
    state, said = apply(paid(OPEN_LIMIT + 10), state=state)
    assert said == [f"stopped f{number:04}" for number in range(OPEN_LIMIT)]
    assert "open" not in (state or {})


def test_an_event_that_opens_and_stops_ends_the_others_and_never_itself():
    both = event(DECLINED, 5, "both", fails=True, ends=True)
    state, said = apply(failed(1, "first"), both)
    assert said == ["stopped first"]
    assert apply(event(DECLINED, 6, "next", fails=True, ends=True), state=state)[1] == ["stopped both"]
    assert RULE.operator.fires(both, {})


def test_a_repeat_takes_no_place_of_its_own():
    state, said = apply(failed(1, "f"), failed(1, "f"))
    assert state is not None
    assert (len(state["open"]), said) == (1, [])


def test_a_late_stop_takes_back_and_a_late_event_is_taken_back_by_what_is_remembered():
    state, _ = apply(failed(1, "f"))
    state, said = RULE.operator.late(state, item(paid(2)), RULE)
    assert (state, [one.kind for one in said]) == (None, ["stopped"])
    state, _ = apply(paid(9))
    after, said = RULE.operator.late(state, item(failed(3, "f")), RULE)
    assert (after, [one.episode.ref for one in said]) == (state, ["f"])
    assert RULE.operator.closes(item(failed(3)))


def test_timers_are_the_end_of_a_memory_and_the_oldest_stop():
    at = 200 * DAY
    state, _ = apply(failed(at, "f"), failed(at + 5, "g"))
    assert state is not None
    assert RULE.operator.timer(state) == at + MEMORY
    state, said = RULE.operator.expire(state, RULE)
    assert (RULE.operator.timer(state), said) == (at + 5 + MEMORY, ())
    assert state is not None
    assert RULE.operator.expire(state, RULE) == (None, ())
    state, _ = apply(paid(7), paid(7 + 2 * MEMORY))
    assert state is not None
    assert RULE.operator.timer(state) == 7
    state, _ = RULE.operator.expire(state, RULE)
    assert RULE.operator.timer(state) == 7 + 2 * MEMORY


def test_a_stop_says_when_the_episode_was_whichever_stop_came_first():
    for stops in ((paid(5, "a"), paid(9, "b")), (paid(9, "b"), paid(5, "a"))):
        state, _ = apply(failed(2, "f"))
        _, emitted = RULE.operator.apply(state, item(stops[0]), RULE)
        (said,) = emitted
        assert (said.logical_at, said.event.data, said.event.occurred_at) == (2, {"customer_id": "c"}, 2)


def test_without_a_key_it_fires_and_nothing_takes_it_back():
    d = Detector(rules(0))
    d.append(DECLINED, "f", 1, customer_id=None, fails=True)
    d.append(PAID, "p", 2, customer_id=None)
    done = d.batch()
    assert [record.kind for record in done.records] == ["fired"]
    assert {note.outcome for note in done.notes} == {"null_key"}


def test_steps_leave_the_state_that_they_were_given_as_it_was():
    state, _ = apply(failed(1, "f"), failed(3, "g"), paid(2, "p"))
    before = canonical.dumps(state)
    assert state is not None
    for one in (failed(0, "x"), paid(9, "y"), event(DECLINED, 9, "z", fails=True, ends=True)):
        RULE.operator.apply(state, item(one), RULE)
        RULE.operator.late(state, item(one), RULE)
    RULE.operator.expire(state, RULE)
    assert canonical.dumps(state) == before
