"""What is done for many in one transaction is what would have been done for each alone."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.processors import results
from streams.processors.dispatch import Who, dispatch_all, dispatch_one
from streams.processors.results import Result, record_results
from tests.kernel.house import ONE, House, house, linked, profile
from tests.kernel.stories import fired, stopped
from tidings.delivery import Pace
from tidings.event import MINUTE
from tidings.ports import Outcome, Outgoing
from tidings.tables import TABLES

PEOPLE = ("customer:c", "customer:c-2", "customer:c-3", "customer:nobody", "stripe:1", "team:none")
SAID = st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.sampled_from(PEOPLE)), max_size=12)


def told(said: Sequence[tuple[int, bool, str]], *, link: bool) -> House:
    """A house with records that nobody has read."""
    h = house()
    h.hear_of(profile(2, "c-2"), profile(3, "c-3"))
    if link:
        h.hear_of(linked())
    for seq, (firing, back, who) in enumerate(said, 1):
        name = f"{who}/{firing}"
        h.say(stopped(name, seq, of=ONE) if back else fired(name, seq, of=ONE), who)
    return h


def rows_of(h: House) -> dict[str, Any]:
    return {table: h.store.rows(table) for table in TABLES}


@settings(max_examples=60, deadline=None)
@given(SAID, st.booleans(), st.permutations(PEOPLE))
def test_a_pass_over_many_writes_what_the_passes_over_each_alone_write(said, link, order):
    together, alone = told(said, link=link), told(said, link=link)
    whom: list[Who] = [("t", one) for one in order]
    for who in whom:
        asyncio.run(alone.store.run(dispatch_one(ONE, who, alone.sets.__getitem__)))
    turns = 0
    while whom:
        passed = asyncio.run(together.store.run(dispatch_all(ONE, whom, together.sets.__getitem__)))
        assert isinstance(passed, dict)
        assert passed, "somebody is looked at each time"
        whom = [who for who in whom if who not in passed]
        turns += 1
    assert rows_of(together) == rows_of(alone)
    assert turns <= 3, "those who are known, those who share a row with them, and those who are not"


def in_flight(count: int) -> tuple[House, list[Outgoing]]:
    """A house whose provider has taken messages and has not answered."""
    h = house()
    for number in range(count):
        h.say(fired(f"f{number}", number + 1, of=ONE))
    asyncio.run(h.deliverer.dispatch())
    taken = asyncio.run(h.deliverer.take(count))
    assert taken is not None
    return h, [outgoing for outgoing, _ in taken]


ANSWERS = (Outcome("accepted", reference="r"), Outcome("permanent"), Outcome("not_sent"), Outcome("ambiguous"))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(ANSWERS), min_size=4, max_size=4), st.permutations(range(4)))
def test_results_that_are_written_together_are_what_each_would_be_alone(answers, order):
    found = []
    for size in (4, 1):
        h, outgoing = in_flight(4)
        named = sorted(outgoing, key=lambda one: one.message_id)
        brought = [Result(named[at], ("t", "customer:c"), answers[at]) for at in order]
        for at in range(0, 4, size):
            asyncio.run(h.store.run(record_results(brought[at : at + size], Pace())))
        h.run(10 * MINUTE, deliver=False)
        found.append({table: h.store.rows(table) for table in ("messages", "runs", "recipients")})
    assert found[0] == found[1]


def test_results_that_come_while_others_are_written_share_a_transaction():
    h, outgoing = in_flight(4)
    written: list[int] = []
    inner = h.store.run

    async def run(body: Any, *, urgent: bool = False) -> Any:
        await asyncio.sleep(0)
        answer = await inner(body, urgent=urgent)
        written.append(len(answer))
        return answer

    h.store.run = run  # type: ignore[method-assign]

    async def land() -> None:
        results = h.deliverer.results
        await asyncio.gather(
            *(results.bring(Result(one, ("t", "customer:c"), Outcome("accepted"))) for one in outgoing)
        )

    asyncio.run(land())
    assert written == [1, 3]
    assert h.messages() == [("accepted", None)] * 4


def test_a_result_that_our_own_code_fails_on_takes_no_other_with_it(monkeypatch):
    h, outgoing = in_flight(3)
    done: list[str] = []
    monkeypatch.setattr(results, "record_results", failing_on(outgoing[1].message_id))

    async def land() -> None:
        brought = h.deliverer.results
        brought.written = lambda one: done.append(one.outgoing.message_id)
        brought.waiting = [Result(one, ("t", "customer:c"), Outcome("accepted")) for one in outgoing[:2]]
        await brought.bring(Result(outgoing[2], ("t", "customer:c"), Outcome("accepted")))

    with pytest.raises(ZeroDivisionError):
        asyncio.run(land())
    assert sorted(state for state, _ in h.messages()) == ["accepted", "accepted", "sending"]
    assert sorted(done) == sorted(one.message_id for one in outgoing), "no slot stays taken"


def failing_on(name: str) -> Any:
    right = record_results

    def failing(group: Sequence[Result], pace: Pace) -> Any:
        if any(one.outgoing.message_id == name for one in group):
            raise ZeroDivisionError
        return right(group, pace)

    return failing


def test_the_result_of_a_run_s_last_message_closes_it_without_another_pass():
    h, (outgoing,) = in_flight(1)
    asyncio.run(h.deliverer.results.bring(Result(outgoing, ("t", "customer:c"), Outcome("accepted"))))
    assert h.runs() == ["done"]
    assert [row["next_at"] for row in h.store.rows("recipients")] == [None]


def test_where_something_is_held_the_result_calls_dispatch():
    h, (outgoing,) = in_flight(1)
    h.say(stopped("f0", 2, of=ONE))
    asyncio.run(h.deliverer.dispatch())
    assert h.messages("all_clear") == [("held", "awaiting_outcome")]
    asyncio.run(h.deliverer.results.bring(Result(outgoing, ("t", "customer:c"), Outcome("accepted"))))
    asyncio.run(h.deliverer.dispatch())
    assert h.messages("all_clear") == [("pending", None)]
