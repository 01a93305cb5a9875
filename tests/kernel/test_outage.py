"""An outage where few messages ask, and what a deliverer leaves alone while a provider is away."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest

from streams.processors import deliver
from streams.processors.breaking import ROUND, Holding, Turned
from streams.processors.deliver import Claimed, Overdue
from tests.kernel.house import ONE, House, house
from tests.kernel.stories import fired, rules, steps
from tests.kernel.test_breaker import AWAY, HUNG_UP, PACE, Sometimes, crowd, opened
from tidings.breaker import ENOUGH, SILENT, Breaker
from tidings.event import HOUR, MINUTE, SECOND
from tidings.message import read_message
from tidings.ports import Body, Outcome, Outgoing, Put
from tidings.rule import Retry

THRICE = rules(then=[replace(steps("email")[0], retry=Retry(3, SECOND, HOUR), alert=True)], expires=6 * HOUR)


@pytest.mark.parametrize("speed", [1, 60])
def test_a_single_message_opens_it_where_nobody_is_reached(speed: int):
    """By number, where it asks often; by time, where its step has it wait for long."""
    pace = PACE.at_speed(speed)
    often = seldom = Breaker("smtp")
    for attempt in range(1, ENOUGH + 1):
        assert not often.is_open
        often = often.heard(("m", attempt), AWAY, 7, pace)
    assert often.is_open
    for attempt, now in ((1, 7), (2, 7 + SILENT * speed - 1), (3, 7 + SILENT * speed)):
        assert not seldom.is_open
        seldom = seldom.heard(("m", attempt), AWAY, now, pace)
    assert (seldom.is_open, seldom.since) == (True, 7)


def lone(known: Any, away: int, how: Outcome) -> tuple[House, Sometimes, list[Turned]]:
    h = house(known)
    out = Sometimes(h, h.now + away, how)
    h.provider = out  # type: ignore[assignment]
    turned: list[Turned] = []
    h.deliverer.observe = lambda seen: turned.append(seen) if isinstance(seen, Turned) else None
    h.say(fired("f", of=known))
    return h, out, turned


def test_in_a_small_shop_an_outage_is_told_uses_up_no_attempt_and_is_over_soon_after_it_is():
    h, out, turned = lone(THRICE, 30 * MINUTE, AWAY)
    h.run()
    for _ in range(MINUTE // SECOND):
        h.run(SECOND)
    assert [one.breaker.is_open for one in turned] == [True]
    while h.now < out.back:
        h.run(10 * SECOND)
    assert h.messages() == [("pending", None)]
    assert len(out.asked) > THRICE.rules[0].steps[0].retry.attempts  # type: ignore[union-attr, operator]
    for _ in range((PACE.ask_most + PACE.retry_least) // SECOND):
        h.run(SECOND)
    assert h.messages() == [("accepted", None)]
    assert [one.breaker.is_open for one in turned] == [True, False]


def test_a_message_that_makes_the_server_hang_up_is_given_up_as_its_step_says_and_holds_up_nobody():
    h, out, turned = lone(THRICE, 6 * HOUR, HUNG_UP)
    for _ in range(10 * MINUTE // SECOND):
        h.run(SECOND)
    assert (h.messages(), turned) == ([("failed", "given_up")], [])
    assert read_message(h.message()).body["alert"] is True
    assert len(out.asked) == 3


def test_what_all_messages_meet_counts_for_none_once_it_is_known():
    h, _, turned = crowd(12, 10 * MINUTE, HUNG_UP)
    for _ in range(12 * MINUTE // SECOND):
        h.run(SECOND)
    assert h.messages() == [("accepted", None)] * 12
    assert [one.breaker.is_open for one in turned] == [True, False]
    counted = [one.attempt - 1 - one.body.get("uncounted", 0) for one in map(read_message, h.store.rows("messages"))]
    assert sum(counted) == ENOUGH - 1  # those that found it out


def test_what_was_claimed_before_it_opened_is_no_probe():
    h, _, _ = crowd(4, HOUR)
    intend = h.deliverer.intend

    async def story() -> tuple[Any, Breaker]:
        while await h.deliverer.dispatch():
            pass

        async def late(group: Sequence[Claimed], owner: str) -> Sequence[Outgoing]:
            h.deliverer.holding.breaker = opened(now=h.now)
            return await intend(group, owner)

        h.deliverer.intend = late  # type: ignore[method-assign]
        return await h.deliverer.take(4), h.deliverer.holding.breaker

    begun, held = asyncio.run(story())
    assert (len(begun), held.is_open, held.probe) == (4, True, None)
    one = begun[0][0]
    assert held.heard((one.message_id, one.attempt), AWAY, h.now, PACE) == held


class Counted:
    """A store that counts what was read of it."""

    def __init__(self, h: House) -> None:
        self.h = h
        self.pages: list[Overdue] = []

    async def read(self, body: Body[Overdue]) -> Overdue:
        self.pages.append(await self.h.store.read(body))
        return self.pages[-1]


def test_deadlines_are_looked_for_in_pages_of_all_channels_together_and_rest_until_one_can_be_over(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr("streams.processors.breaking.LOOKED_AT", 7)
    h, _, _ = crowd(20, HOUR)
    h.run(deliver=False)
    rows = h.store.rows("messages")
    soon, late = h.now + 3 * SECOND, h.now + HOUR
    for number, row in enumerate(rows):
        row.update(channel="email" if number % 2 else "sms", deadline=soon if number == 11 else late)
    h.write(Put("messages", rows))
    holding, store = Holding("d", frozenset({"email", "sms", "push"}), PACE), Counted(h)
    found: dict[int, Sequence[str]] = {}
    for _ in range(40):
        if names := asyncio.run(holding.overdue(store, h.now)):  # type: ignore[arg-type]
            found[h.now] = names
        h.now += SECOND // 2
    assert [page.after is None for page in store.pages[:3]] == [False, False, True]
    assert next(iter(found.items())) == (soon, [rows[11]["message_id"]])
    assert len(store.pages) <= 3 * (2 + 40 * (SECOND // 2) // ROUND)
    assert holding.look - holding.looked in (SECOND // 2, ROUND)
    assert asyncio.run(h.store.read(deliver.find_overdue(None, Overdue(), 100))).after is None


@dataclass
class Books(Sometimes):
    can_look_up: bool = True
    looked: int = 0

    async def look_up(self, message_id: str) -> str | None:
        self.looked += 1
        return "accepted"


def test_books_of_a_provider_that_is_away_are_asked_only_by_whoever_has_no_time_left():
    h = house()
    out = Books(h, 0)
    h.provider = out  # type: ignore[assignment]
    h.say(fired("f", of=ONE))
    out.back, out.how = h.now + 1, Outcome("ambiguous", first_byte_at=1, away=True)
    h.run()
    assert h.messages() == [("unknown", None)]
    h.deliverer.holding.breaker = replace(opened(), until=h.now + 7 * HOUR, pause=7 * HOUR)
    deadline = h.message()["deadline"]
    while h.now < deadline - 2 * PACE.look_up_again - SECOND:
        h.run(30 * SECOND)
        if h.now < deadline - 2 * PACE.look_up_again:
            assert (h.messages(), out.looked) == ([("unknown", None)], 0)
    h.run(30 * SECOND)
    assert (h.messages(), out.looked) == ([("accepted", None)], 1)


def test_how_long_it_was_away_is_told_by_our_clock():
    holding = Holding("d", None, PACE.at_speed(60))
    asked = Outgoing("m", 1, "email", "ada@example.org", {}, 0, 0)
    holding.heard(asked, replace(AWAY, retry_after=SECOND), "smtp", HOUR)
    holding.began([asked])
    turned = holding.heard(asked, Outcome("accepted"), "smtp", 2 * HOUR)
    assert turned is not None
    assert turned.lasted == MINUTE
