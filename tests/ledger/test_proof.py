"""The sum that must hold is counted from both sides, in the background, and can fail; on both stores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from streams.embedded_log import log_row
from streams.ledger.counted import Overview, Window, rank
from streams.ledger.ledger import Ledger
from streams.ledger.proof import Proof
from streams.ledger.rows import Outcome, outcome_of
from tests.ledger.laboratory import NOW, Stand, stands
from tidings.correction import NOTICE
from tidings.event import DAY, HOUR, MINUTE
from tidings.log import LogRecord
from tidings.ports import Delete, Insert, Put

pytestmark = pytest.mark.live


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def stand(request: Any, tmp_path_factory: Any) -> Iterator[Stand]:
    yield from stands(request.param, tmp_path_factory.mktemp("proof"))


class Watched:
    """What is asked, passed on and kept."""

    def __init__(self, asking: Any) -> None:
        self.asking = asking
        self.asked: list[tuple[str, tuple[Any, ...]]] = []

    async def ask(self, statement: str, *values: Any, within: float = 5) -> Any:
        self.asked.append((statement, values))
        return await self.asking.ask(statement, *values, within=within)

    async def close(self) -> None:
        """Stays open: it is not ours."""

    def parts(self) -> list[tuple[Any, ...]]:
        found = [values[1:3] for statement, values in self.asked if statement.startswith("SELECT 0 AS side")]
        self.asked.clear()
        return found


async def rests(_: float) -> None:
    """Rest not at all."""


def proof_of(stand: Stand, now: int = NOW) -> tuple[Proof, Watched]:
    watched = Watched(stand.ledger.asking)
    return Proof(Ledger(watched), lambda: now, rests), watched


def seen(proof: Proof, window: Window = Window.DAY) -> Overview:
    found = proof.overview(window)
    assert found is not None
    return found


def test_every_window_says_what_the_rows_say_and_both_sides_agree(stand):
    proof, _ = proof_of(stand)
    assert proof.overview(Window.DAY) is None
    stand(proof.step())
    for window in Window:
        found = seen(proof, window)
        since = window.edges(NOW)[0]
        runs = [run for run in stand.rows.runs if run["decided_at"] >= since]
        notices = [m for m in stand.rows.messages if m["created_at"] >= since and m["role"] == NOTICE]
        assert found.complete
        assert found.adds_up
        assert found.decisions == len(runs)
        assert found.steps_due == sum(run["steps_due"] for run in runs) == len(notices)
        assert found.outcomes == Counter(outcome_of(m["state"]) for m in notices)
        assert found.suppressed == Counter(m["reason"] for m in notices if m["state"] == "suppressed")
        assert found.channels == Counter(m["channel"] for m in notices)
        assert sum(found.corrections.values()) == sum(
            m["created_at"] >= since and m["role"] != NOTICE for m in stand.rows.messages
        )
        assert sum(found.decision_line) == found.decisions
        assert sum(found.delivery_line) == found.steps_due
        assert len(found.decision_line) == len(window.edges(NOW)) - 1
        for rule, counts in found.rules.items():
            assert counts.fired == sum(run["rule"] == rule for run in runs)
            assert counts.told == sum(m["rule"] == rule and m["state"] == "accepted" for m in notices)
        assert sum(count.number for count in found.in_flight.values()) == sum(
            m["open"] == 1 and m["role"] == NOTICE for m in stand.rows.messages
        )
    ways = {way.provider: way for way in found.ways}
    assert set(ways) == {"email-1", "sms-1", "push-1"}
    assert ways["email-1"].outcomes["accepted"] > ways["email-1"].outcomes["permanent"] > 0
    assert ways["email-1"].error == "550 no"
    assert found.latency is not None
    assert 1_000_000 <= found.latency.half <= found.latency.most <= 4_000_000
    assert found.latency.measured == min(
        2_000, sum(m["state"] == "accepted" and m["role"] == NOTICE for m in stand.rows.messages)
    )


def test_a_message_that_is_gone_is_missed_and_one_without_a_step_is_too_many(stand):
    newest = max((m for m in stand.rows.messages if m["role"] == NOTICE), key=lambda m: m["created_at"])

    def lose():
        yield Delete("messages", [(newest["message_id"],)])

    def invent():
        yield Insert("messages", [newest, {**newest, "message_id": "another", "step": 9}])

    for break_it, difference in ((lose, 1), (invent, -1)):
        stand(stand.store.run(break_it))
        proof, _ = proof_of(stand)
        stand(proof.step())
        found = seen(proof)
        assert not found.adds_up
        assert found.difference == difference

    def mend():
        yield Delete("messages", [("another",)])

    stand(stand.store.run(mend))


def test_what_has_ended_is_never_counted_again_and_what_ends_later_is_counted_until_then(stand):
    proof, watched = proof_of(stand)
    stand(proof.step())
    first = watched.parts()
    assert len(first) == len(set(first)) > 700
    stand(proof.step())
    again = watched.parts()
    waiting = [m["created_at"] for m in stand.rows.messages if m["open"]]
    for low, high in again:
        fresh = high + 2 * MINUTE >= NOW
        assert fresh or any(low <= at < high for at in waiting)
    assert len(again) < len(first)

    def end():
        yield Put(
            "messages",
            [
                {**m, "state": "expired", "reason": "expired", "open": None, "due_at": None}
                for m in stand.rows.messages
                if m["open"]
            ],
        )

    stand(stand.store.run(end))
    stand(proof.step())
    watched.parts()
    stand(proof.step())
    assert all(high + 2 * MINUTE >= NOW for _, high in watched.parts())
    assert seen(proof).outcomes.get(Outcome.IN_FLIGHT, 0) == 0

    def mend():
        yield Put("messages", [m for m in stand.rows.messages if m["open"]])

    stand(stand.store.run(mend))


def test_of_a_part_that_has_passed_only_what_was_open_is_looked_up_and_what_vanishes_is_missed(stand):
    proof, watched = proof_of(stand)
    stand(proof.step())
    watched.parts()
    stand(proof.step())
    again = watched.parts()
    assert all(high + 2 * MINUTE >= NOW for _, high in again), "nothing that has passed is counted anew"
    before = seen(proof, Window.MONTH)
    waiting = [m for m in stand.rows.messages if m["open"] and m["created_at"] < NOW - DAY and m["role"] == NOTICE]
    assert len(waiting) > 2

    def change():
        yield Put("messages", [{**waiting[0], "state": "accepted", "reason": None, "open": None, "due_at": None}])
        yield Delete("messages", [(waiting[1]["message_id"],)])

    stand(stand.store.run(change))
    proof._summed.clear()
    stand(proof.step())
    after = seen(proof, Window.MONTH)
    assert after.difference == 1
    assert after.outcomes[Outcome.SENT] == before.outcomes[Outcome.SENT] + 1
    assert after.outcomes[Outcome.IN_FLIGHT] == before.outcomes[Outcome.IN_FLIGHT] - 2

    def mend():
        yield Put("messages", [waiting[0]])
        yield Insert("messages", [waiting[1]])

    stand(stand.store.run(mend))


def test_hours_go_on_from_the_small_parts_that_they_consist_of(stand):
    watched = Watched(stand.ledger.asking)
    clock = [NOW]
    proof = Proof(Ledger(watched), lambda: clock[0], rests)
    stand(proof.step())
    before = seen(proof, Window.MONTH)
    clock[0] += 5 * HOUR
    proof._summed.clear()
    stand(proof.step())
    after = seen(proof, Window.MONTH)
    assert after.decisions == before.decisions
    assert after.outcomes == before.outcomes
    asked = watched.parts()
    clock[0] += DAY
    proof._summed.clear()
    stand(proof.step())
    assert seen(proof, Window.MONTH).steps_due == before.steps_due
    assert len(watched.parts()) < len(asked)


def test_events_are_counted_by_where_an_instant_lies_in_the_log(stand):
    topic = "billing.payment.failed.v1"
    times = sorted(NOW - (n * 7919 % 1_500) * MINUTE for n in range(800))
    log = [LogRecord(topic, 0, 5 + n, at, b"k", b"v") for n, at in enumerate(times)]

    def fill():
        yield Insert("log", [log_row(record) for record in log], blind=True)
        yield Put("log_heads", [{"topic": topic, "partition": 0, "next_offset": 5 + len(log)}])
        yield Put("log_heads", [{"topic": "empty.v1", "partition": 0, "next_offset": 0}])

    stand(stand.store.run(fill))
    proof, watched = proof_of(stand)
    stand(proof.step())
    for window in Window:
        edges = window.edges(NOW)
        found = seen(proof, window)
        assert found.events == {topic: sum(at >= edges[0] for at in times)}
        assert list(found.event_line) == [sum(low <= at < high for at in times) for low, high in pairwise(edges)]
    watched.asked.clear()
    stand(proof.step())
    assert sum("FROM log WHERE" in statement for statement, _ in watched.asked) < 60


def test_while_it_counts_it_rests_twenty_times_as_long(stand):
    rested: list[float] = []

    async def keep(seconds: float) -> None:
        rested.append(seconds)

    proof = Proof(stand.ledger, lambda: NOW, keep)
    stand(proof.step())
    assert sum(rested) + proof._owed == pytest.approx(20 * proof._used)


@pytest.mark.parametrize(("percent", "value"), [(50, 5), (95, 10), (100, 10), (1, 1), (10, 1), (11, 2)])
def test_a_percentile_is_one_of_the_values(percent, value):
    assert rank(range(1, 11), percent) == value
