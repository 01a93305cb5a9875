"""What an operator stops: what is held, what goes on, what is cancelled."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.processors import kills
from tests.kernel.house import MORNING, ONE, House, house, profile
from tests.kernel.stories import fired, rules, steps
from tidings import canonical, scopes
from tidings.event import DAY, HOUR, MINUTE
from tidings.ports import Outcome, Scan

BOTH = rules(then=steps("email", "sms"), expires=6 * HOUR)
QUIET = rules(then=steps("email"), quiet_hours=MORNING, expires=6 * HOUR)


def do(h: House, body):
    return asyncio.run(h.store.run(body))


def drop(h: House, scope: str = "all"):
    return asyncio.run(kills.drop(h.store, scope, "ann", "wrong prices"))


def audited(h: House):
    def body():
        return [(row["verb"], row["who"], canonical.loads(row["body"])) for row in (yield Scan("audit"))]

    return asyncio.run(h.store.read(body))


def crowd(h: House, count: int) -> None:
    for number in range(count):
        h.hear_of(profile(number + 2, f"c-{number}"))
        h.say(fired(f"f{number}", seq=number + 1, of=ONE), f"customer:c-{number}")


@pytest.mark.parametrize("page", [1, 2, 1000])
def test_a_release_wakes_everybody_whom_the_kill_held(page):
    h = house()
    do(h, kills.kill("all", "somebody"))
    crowd(h, 5)
    h.run()
    assert h.messages() == [("held", "killed")] * 5
    assert do(h, kills.release("all", "somebody", page=page)) == 5
    h.run()
    assert h.messages() == [("accepted", None)] * 5


@pytest.mark.parametrize("page", [1, 3, 500])
def test_a_drop_cancels_all_that_the_kill_holds_and_ends_it(page, monkeypatch):
    monkeypatch.setattr(kills, "PAGE", page)
    h = house()
    do(h, kills.kill("all", "somebody"))
    crowd(h, 5)
    h.run()
    assert drop(h) == 5
    assert h.messages() == [("cancelled", "killed")] * 5
    h.run(DAY)
    assert (h.provider.taken, h.runs()) == ([], ["done"] * 5)
    h.hear_of(profile(9, "c-9"))
    h.say(fired("later", seq=9, at=h.now, of=ONE), "customer:c-9")
    h.run()
    assert h.messages()[-1] == ("accepted", None)


def test_a_drop_cancels_what_waits_for_another_attempt_as_well():
    h = house()
    h.provider.answers = [Outcome("not_sent", retry_after=10 * MINUTE)]
    h.say(fired(of=ONE))
    h.run()
    assert h.messages() == [("pending", None)]
    do(h, kills.kill("channel:email", "somebody"))
    assert drop(h, "channel:email") == 1
    h.run(HOUR)
    assert h.messages() == [("cancelled", "killed")]


def test_what_was_held_for_quiet_hours_before_the_kill_survives_its_drop():
    h = house(QUIET)
    h.say(fired(of=QUIET))
    h.run()
    assert h.messages() == [("held", "quiet_hours")]
    do(h, kills.kill("all", "somebody"))
    assert drop(h) == 0
    h.run(3 * HOUR)
    assert h.messages() == [("accepted", None)]


def test_a_kill_reaches_its_scope_and_nothing_beside_it():
    h = house(BOTH)
    do(h, kills.kill("channel:sms", "somebody"))
    h.say(fired(of=BOTH))
    h.run()
    assert sorted(h.messages()) == [("accepted", None), ("held", "killed")]
    assert [outgoing.channel for outgoing in h.provider.taken] == ["email"]
    assert drop(h, "channel:email") is None
    assert do(h, kills.release("rule:declined", "somebody")) is None
    assert do(h, kills.release("channel:sms", "somebody")) == 1
    h.run()
    assert h.messages() == [("accepted", None)] * 2


def test_what_two_kills_hold_waits_until_both_have_ended():
    h = house()
    do(h, kills.kill("all", "somebody"))
    do(h, kills.kill("channel:email", "somebody"))
    h.say(fired(of=ONE))
    h.run()
    do(h, kills.release("all", "somebody"))
    h.run()
    assert h.messages() == [("held", "killed")]
    do(h, kills.release("channel:email", "somebody"))
    h.run()
    assert h.messages() == [("accepted", None)]


def test_released_after_its_deadline_a_message_expires_and_is_not_sent():
    h = house()
    do(h, kills.kill("all", "somebody"))
    h.say(fired(of=ONE))
    h.run()
    h.now += 7 * HOUR
    do(h, kills.release("all", "somebody"))
    h.run()
    assert (h.messages(), h.provider.taken) == ([("expired", "expired")], [])


def test_the_second_who_stops_hears_who_was_first_and_changes_nothing():
    h = house()
    assert do(h, kills.kill("all", "ann", "wrong prices")) is None
    h.now += MINUTE
    first = do(h, kills.kill("all", "bob", "me too"))
    assert first is not None
    assert (first.by, first.reason, first.at) == ("ann", "wrong prices", h.now - MINUTE)
    assert asyncio.run(h.store.read(kills.standing)) == [first]


def test_every_act_leaves_a_row_of_who_and_why():
    h = house()
    do(h, kills.kill("all", "ann", "wrong prices"))
    crowd(h, 2)
    h.run()
    do(h, kills.release("all", "bob", "mended"))
    do(h, kills.kill("rule:declined", "ann", "again"))
    drop(h, "rule:declined")
    do(h, kills.release("rule:declined", "bob", "nothing is stopped"))
    assert audited(h) == [
        ("kill", "ann", {"scope": "all", "reason": "wrong prices"}),
        ("release", "bob", {"scope": "all", "reason": "mended", "recipients": 2}),
        ("kill", "ann", {"scope": "rule:declined", "reason": "again"}),
        ("drop begun", "ann", {"scope": "rule:declined", "reason": "wrong prices"}),
        ("drop", "ann", {"scope": "rule:declined", "reason": "wrong prices", "cancelled": 2}),
    ]


class Between:
    """A store that lets somebody else act between two transactions of a drop."""

    def __init__(self, h: House, after: int, *acts) -> None:
        self.h, self.left, self.acts = h, after, acts

    async def run(self, body, *, urgent: bool = False):
        done = await self.h.store.run(body, urgent=urgent)
        self.left -= 1
        if self.left == 0:
            for act in self.acts:
                await self.h.store.run(act)
        return done

    async def read(self, body):
        return await self.h.store.read(body)


AFTER = {"its beginning": (1, 0), "a page": (2, 5), "its last page": (4, 5)}


@pytest.mark.parametrize(("after", "cancelled"), AFTER.values(), ids=AFTER)
def test_a_release_between_two_pages_cuts_a_drop_which_says_how_far_it_came(after, cancelled):
    h = house()
    do(h, kills.kill("all", "ann"))
    crowd(h, 5)
    h.run()
    store = Between(h, after, kills.release("all", "bob", "mended"))
    assert asyncio.run(kills.drop(store, "all", "ann", "wrong prices")) == (cancelled or None)
    said = {"scope": "all", "reason": "wrong prices"}
    assert [(verb, who) for verb, who, _ in audited(h)][1:] == [
        ("drop begun", "ann"), ("release", "bob"), ("drop cut", "ann"),
    ]  # fmt: skip
    assert audited(h)[-1][2] == {**said, "cancelled": cancelled}
    h.run()
    assert sorted(h.messages()) == [("accepted", None)] * (5 - cancelled) + [("cancelled", "killed")] * cancelled


@pytest.mark.parametrize(("after", "cancelled"), AFTER.values(), ids=AFTER)
def test_a_drop_neither_cancels_under_a_later_kill_nor_ends_it(after, cancelled):
    h = house()
    do(h, kills.kill("all", "ann"))
    crowd(h, 5)
    h.run()
    h.now += MINUTE
    store = Between(h, after, kills.release("all", "bob"), kills.kill("all", "bob", "mine"))
    assert asyncio.run(kills.drop(store, "all", "ann", "wrong prices")) == (cancelled or None)
    (one,) = asyncio.run(h.store.read(kills.standing))
    assert (one.by, one.at) == ("bob", h.now)
    assert sorted(h.messages()) == [("cancelled", "killed")] * cancelled + [("held", "killed")] * (5 - cancelled)


@pytest.mark.parametrize("verb", ["release", "drop"])
def test_what_ends_a_kill_ends_no_later_one_of_its_scope(verb):
    h = house()
    do(h, kills.kill("all", "ann"))
    before = h.now
    do(h, kills.release("all", "bob"))
    h.now += MINUTE
    do(h, kills.kill("all", "bob"))
    if verb == "release":
        assert do(h, kills.release("all", "ann", "late", at=before)) is None
    else:
        assert asyncio.run(kills.drop(h.store, "all", "ann", "late", at=before)) is None
    assert [one.by for one in asyncio.run(h.store.read(kills.standing))] == ["bob"]
    assert [verb for verb, _, _ in audited(h)] == ["kill", "release", "kill"]


@given(st.sampled_from(["tenant", "channel", "rule", "provider", ""]), st.text(max_size=220))
def test_a_scope_is_read_as_it_was_written_or_refused(kind, name):
    try:
        scope = scopes.scope_of(kind, name)
    except ValueError:
        return
    assert scopes.read_scope(scope) == scope
    assert scopes.reaches(scope, name, name, name)
    assert not scopes.reaches(scope, f"{name}x", f"{name}x", f"{name}x")


@pytest.mark.parametrize("text", ["", "  ", "x" * 501, "a\x00b", "a\u202eb"])
def test_a_reason_that_nobody_could_read_is_refused(text):
    with pytest.raises(ValueError, match="a reason is needed"):
        scopes.read_reason(text)
