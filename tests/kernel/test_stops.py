"""What was stopped when: put together from the lines of both halves, against a history that was lived through."""

import itertools
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from tests.kernel.test_gates import MESSAGE
from tidings.gates import scopes_of
from tidings.stops import Act, Stop, Stops, stops_of

SCOPES = ("all", "channel:email", "channel:sms", "rule:overdue", "tenant:t", "tenant:other", "ground")
LAST = 60


@st.composite
def histories(draw):
    """Acts in their order, and by instant what stood then: each scope is stopped and ended by turns."""
    acts: list[Act] = []
    stood: list[dict[str, int]] = []
    standing: dict[str, int] = {}
    for at in range(LAST):
        for scope in draw(st.lists(st.sampled_from(SCOPES), max_size=2, unique=True)) if draw(st.booleans()) else ():
            begun = standing.pop(scope, None)
            if begun is None:
                standing[scope] = at
                if scope != "ground":  # whose beginning is told by its end
                    acts.append(Act(len(acts), at, scope, "ann", f"because {at}"))
            else:
                since = begun if scope == "ground" else None
                acts.append(Act(len(acts), at, scope, "bob", "", draw(st.sampled_from(["release", "drop"])), since))
        stood.append(dict(standing))
    return acts, stood


def standing_of(stood: list[dict[str, int]]) -> list[Stop]:
    return [Stop(scope, at, None, "ann", f"because {at}") for scope, at in stood[-1].items()]


def known(acts: list[Act], newest: int) -> tuple[list[Act], int | None]:
    """Return what a look at the newest lines of each kind finds, and how far back that is."""
    kinds = [[one for one in acts if not one.ends], [one for one in acts if one.ends == "release" and one.scope != "ground"],
             [one for one in acts if one.ends == "drop" and one.scope != "ground"], [one for one in acts if one.scope == "ground"]]  # fmt: skip
    found = [kind[-newest:] for kind in kinds]
    full = [kind[0].at for kind in found if len(kind) == newest]
    return [one for kind in found for one in kind], max(full, default=None)


@given(histories(), st.integers(1, 40))
def test_at_every_instant_that_is_known_the_stops_are_those_that_stood(history, newest):
    acts, stood = history
    seen, reach = known(acts, newest)
    stops = stops_of(seen, standing_of(stood), reach)
    for at, scopes in enumerate(stood):
        if stops.knows(at):
            assert {one.scope for one in stops.all if one.holds(at)} == set(scopes), at
            mine = {one.scope for one in stops.at(MESSAGE, at)}
            assert mine == set(scopes) & scopes_of(MESSAGE)
    for one in stops.all:
        if not one.earlier and (reach is None or reach < one.at):
            assert stood[one.at][one.scope] == one.at


@given(histories(), st.integers(0, LAST - 1), st.integers(0, LAST - 1))
def test_a_message_was_held_at_just_those_instants_at_which_something_that_reaches_it_stood(history, made, until):
    acts, stood = history
    message = replace(MESSAGE, created_at=made)
    spans = stops_of(acts, standing_of(stood)).held(message, until)
    for at in range(made, until + 1):
        held = any(one.since <= at and (one.until is None or at < one.until) for one in spans)
        assert held == bool(set(stood[at]) & scopes_of(message)), at
    for one, following in itertools.pairwise(spans):
        assert one.until is not None
        assert one.until < following.since


def test_two_stops_of_one_scope_are_two_and_each_has_its_own_author_reason_and_end():
    acts = [
        Act(1, 10, "all", "ann", "wrong prices"), Act(2, 20, "all", "bob", "mended", "release"),
        Act(3, 30, "all", "eve", "worse"), Act(4, 40, "all", "ann", "never", "drop"),
    ]  # fmt: skip
    assert stops_of(acts, []).all == [
        Stop("all", 10, 20, "ann", "wrong prices", "release", "bob", ended_because="mended"),
        Stop("all", 30, 40, "eve", "worse", "drop", "ann", ended_because="never"),
    ]


def test_an_end_whose_beginning_is_further_back_stood_since_then_at_the_latest_and_says_so():
    (found,) = stops_of([Act(9, 50, "all", "bob", "mended", "release")], [], reach=20).all
    assert (found.at, found.until, found.earlier, found.by) == (20, 50, True, "")
    assert stops_of([Act(9, 50, "all", "bob", "mended", "release")], []) == Stops([])
    assert stops_of([Act(9, 50, "all", "bob", "mended", "release")], [], reach=50) == Stops([], 50)
