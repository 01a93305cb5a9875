"""A provider that is away is asked by one message and not by all; and whoever waits loses nothing by it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.processors.breaking import Turned
from tests.kernel.house import ONE, House, house, profile
from tests.kernel.stories import fired
from tidings import breaker
from tidings.breaker import ENOUGH, Breaker
from tidings.delivery import MENDED_LATEST, MENDED_SOONEST, Pace
from tidings.event import HOUR, MINUTE, SECOND, Micros
from tidings.ports import Outcome, Outgoing

PACE = Pace()
AWAY = Outcome("not_sent", detail="connect: nobody listens there", away=True)
REFUSES_US = Outcome("not_sent", detail="configuration: 535", retry_after=MINUTE, away=True)
LATER = Outcome("not_sent", detail="429", retry_after=20 * SECOND, first_byte_at=1, away=True)
LOST = Outcome("ambiguous", first_byte_at=1, away=True)
HUNG_UP = Outcome("not_sent", detail="before the final dot: lost", first_byte_at=1, away=True)
ITS_FAULT = (AWAY, REFUSES_US, LATER, LOST, HUNG_UP)
TAKEN = Outcome("accepted", first_byte_at=1)
REFUSED = Outcome("permanent", first_byte_at=1)
GREYLISTED = Outcome("not_sent", detail="451 4.7.1", first_byte_at=1)
ANSWERS = (TAKEN, REFUSED, GREYLISTED, Outcome("not_sent", retry_after=HOUR, first_byte_at=1), Outcome("accepted"))
NO_WORD = (Outcome("not_sent", detail="start_by is over"), Outcome("permanent", detail="unfit"))


def opened(outcome: Outcome = AWAY, now: Micros = 0) -> Breaker:
    found = Breaker("smtp")
    for number in range(ENOUGH):
        if not found.is_open:
            found = found.heard((f"m{number}", 1), outcome, now, PACE)
    assert found.is_open
    return found


Step = tuple[int, int, int, Outcome]
STEPS = st.lists(
    st.tuples(st.integers(-MINUTE, 2 * MINUTE), st.integers(0, 6), st.integers(0, 50), st.sampled_from((*ITS_FAULT, *ANSWERS, *NO_WORD))),
    max_size=60,
)  # fmt: skip


@given(STEPS)
@settings(derandomize=True, database=None, max_examples=300)
def test_whatever_happens_it_never_asks_twice_at_once_and_always_asks_again(steps: Sequence[Step]):
    """The clock may be set back, and what was begun before it opened may be answered at any time."""
    now, held, number = HOUR, Breaker("smtp"), 0
    asked: list[breaker.Attempt] = []
    since_opened: set[breaker.Attempt] = set()
    for later, take, which, outcome in steps:
        now = max(0, now + later)
        room = held.room(now)
        assert (room is None) == (not held.is_open)
        for _ in range(take if room is None else min(take, room)):
            number += 1
            asked.append((f"m{number}", 1))
            if held.is_open:
                since_opened.add(asked[-1])
            held = held.asking(asked[-1])
        assert len(since_opened) <= 1
        if asked:
            attempt = asked.pop(which % len(asked))
            before, held = held, held.heard(attempt, outcome, now, PACE)
            since_opened.discard(attempt)
            if not held.is_open:
                since_opened.clear()
            if before.is_open and attempt == before.probe:
                assert held.is_open == (outcome not in ANSWERS)
            elif before.is_open:
                assert held == before
            if outcome in ITS_FAULT and held.is_open and held != before:
                assert held.until == now + held.pause
        if held.is_open:
            assert 0 < held.pause <= MENDED_LATEST
            assert held.probe is not None or held.room(held.until) == held.room(held.until - held.pause - 1) == 1


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from((*ANSWERS, *NO_WORD))), max_size=40))
@settings(derandomize=True, database=None)
def test_refusals_of_recipients_never_open_it(story: Sequence[tuple[int, Outcome]]):
    held = Breaker("smtp")
    for number, (message, outcome) in enumerate(story):
        held = held.heard((f"m{message}", number), outcome, number, PACE)
        assert held.room(number) is None


def test_one_message_that_fails_alone_holds_up_nobody_and_an_answer_begins_the_count_anew():
    held = Breaker("smtp")
    for attempt in range(10 * ENOUGH):
        held = held.heard(("m", attempt), HUNG_UP, attempt * MINUTE, PACE)
    for number in range(1, ENOUGH - 1):
        held = held.heard((f"m{number}", 1), LOST, 0, PACE)
    assert not held.is_open
    assert held.heard(("n", 1), LOST, 0, PACE).is_open
    held = held.heard(("n", 1), GREYLISTED, 0, PACE)
    assert not held.heard(("o", 1), AWAY, 0, PACE).is_open


@pytest.mark.parametrize(("outcome", "bounds"), [
    (AWAY, [2 * SECOND, 4 * SECOND, 8 * SECOND, 15 * SECOND, 15 * SECOND]),
    (REFUSES_US, [MENDED_SOONEST, 2 * MINUTE, 4 * MINUTE, 8 * MINUTE, MENDED_LATEST, MENDED_LATEST]),
    (LATER, [20 * SECOND] * 4), (Outcome("not_sent", retry_after=24 * HOUR, away=True), [MENDED_LATEST] * 2),
], ids=["away", "refuses us", "asks to wait", "asks to wait for a day"])  # fmt: skip
@pytest.mark.parametrize("speed", [1, 100])
def test_pauses_grow_to_their_bound_and_what_the_provider_asks_is_kept(outcome: Outcome, bounds: list[int], speed: int):
    held, now, pace = Breaker("smtp"), 0, PACE.at_speed(speed)
    for bound in bounds:
        for number in range(ENOUGH):
            if held.room(now) != 0:
                held = held.asking((f"m{number}", 1)).heard((f"m{number}", 1), outcome, now, pace)
        assert held.is_open
        least = bound // 2 if outcome is AWAY else bound
        assert least * speed <= held.pause <= bound * speed
        assert held.until == now + held.pause
        now = held.until


@dataclass
class Sometimes:
    """A provider that is away for a while, by the clock of its house."""

    h: House
    back: Micros
    how: Outcome = AWAY
    asked: list[tuple[Micros, Outgoing]] = field(default_factory=list)
    taken: list[str] = field(default_factory=list)
    name: str = "sometimes"
    lease: int = 30 * SECOND
    can_look_up: bool = False

    async def send(self, outgoing: Outgoing) -> Outcome:
        self.asked.append((self.h.now, outgoing))
        if self.h.now < self.back:
            return self.how
        self.taken.append(outgoing.message_id)
        return TAKEN

    async def look_up(self, message_id: str) -> str | None:
        return None


def crowd(many: int, away: Micros, how: Outcome = AWAY) -> tuple[House, Sometimes, list[Turned]]:
    h = house()
    out = Sometimes(h, h.now + away, how)
    h.provider = out  # type: ignore[assignment]
    turned: list[Turned] = []
    h.deliverer.observe = lambda seen: turned.append(seen) if isinstance(seen, Turned) else None
    for number in range(many):
        h.hear_of(profile(2 + number, f"c{number}"))
        h.say(fired(f"f{number}", seq=1 + number, of=ONE), f"customer:c{number}")
    return h, out, turned


def test_what_waits_for_a_provider_that_is_away_leaves_once_it_is_back_with_its_attempts_untouched(
    monkeypatch: pytest.MonkeyPatch,
):
    figures = []
    for enough in (ENOUGH, 10**9):
        monkeypatch.setattr(breaker, "ENOUGH", enough)
        h, out, turned = crowd(30, 40 * SECOND)
        for _ in range(400):
            h.run(SECOND)
        assert h.messages() == [("accepted", None)] * 30
        assert len(out.taken) == len(set(out.taken)) == 30
        attempts = [row["attempt"] for row in h.store.rows("messages")]
        figures.append((len(out.asked), attempts.count(1), [one.breaker.is_open for one in turned], set(out.taken)))
    (asked, first, turns, taken), (asked_before, _, none, taken_before) = figures
    assert taken == taken_before
    assert (turns, none) == ([True, False], [])
    assert first >= 30 - 2 * h.deliverer.concurrency - 6  # what was begun when it opened, and the probes
    assert asked < 30 + 20
    assert asked_before > 30 * 3


def test_it_is_asked_by_one_message_at_a_time_after_longer_and_longer_pauses():
    h, out, _ = crowd(30, HOUR)
    for _ in range(300):
        h.run(SECOND)
    opened_at = out.asked[ENOUGH][0]
    probes = [at for at, _ in out.asked if at > opened_at]
    waits = [after - before for before, after in pairwise(probes)]
    assert len(set(probes)) == len(probes) <= 45
    assert max(waits) <= 16 * SECOND
    assert all(later >= wait // 2 for wait, later in pairwise(waits))


@pytest.mark.parametrize("how", [REFUSES_US, LATER], ids=["refuses us", "asks to wait"])
def test_one_word_about_us_is_enough(how: Outcome):
    h, out, turned = crowd(30, 10 * SECOND, how)
    h.run()
    assert len(out.asked) == h.deliverer.concurrency  # what was begun already
    assert [one.breaker.misconfigured for one in turned] == [how is REFUSES_US]
    for _ in range(90):
        h.run(SECOND)
    assert h.messages() == [("accepted", None)] * 30


def test_what_is_held_back_expires_at_its_deadline_and_nothing_of_it_is_asked(monkeypatch: pytest.MonkeyPatch):
    """Nobody claims it, so nobody meets its deadline: it is looked for, a page at a time."""
    monkeypatch.setattr("streams.processors.breaking.LOOKED_AT", 7)
    h, out, _ = crowd(30, 24 * HOUR, REFUSES_US)
    h.run()
    h.run(6 * HOUR - 2 * SECOND)
    asked = len(out.asked)
    assert ("pending", None) in h.messages()
    for _ in range(8):
        h.run(SECOND)
    assert h.messages() == [("expired", "expired")] * 30
    assert len(out.asked) == asked
    assert set(h.runs()) == {"done"}
