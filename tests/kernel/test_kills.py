"""What an operator stops: what is held, what goes on, what is cancelled."""

import asyncio
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.processors import deliver, endings, kills
from tests.kernel.house import MORNING, ONE, House, house, profile
from tests.kernel.stories import fired, rules, steps
from tidings import canonical, scopes
from tidings.delivery import Pace
from tidings.event import DAY, HOUR, MINUTE
from tidings.ports import Outcome, Put, Scan

BOTH = rules(then=steps("email", "sms"), expires=6 * HOUR)
QUIET = rules(then=steps("email"), quiet_hours=MORNING, expires=6 * HOUR)


def do(h: House, body):
    return asyncio.run(h.store.run(body))


def drop(h: House, scope: str = "all") -> int | None:
    done = asyncio.run(kills.drop(h.store, scope, "ann", "wrong prices"))
    assert done is None or done.is_over
    return None if done is None else done.done


def release(h: House, scope: str, by: str = "somebody", reason: str = "", **more: Any) -> tuple[int, int] | None:
    done = asyncio.run(kills.release(h.store, scope, by, reason, **more))
    assert done is None or done.is_over
    return None if done is None else (done.done, done.kept)


def begin(h: House, verb: str, scope: str = "all", by: str = "ann") -> endings.Ending:
    """End a kill, and be killed before the first page."""
    found: endings.Ending | None = do(h, endings.end(verb, scope, by, "wrong prices"))
    assert found is not None
    return found


def page(h: House, one: endings.Ending) -> endings.Ending:
    found: endings.Ending | None = do(h, endings.page(one.scope, one.at))
    assert found is not None
    return found


def left(h: House) -> list[dict[str, Any]]:
    return list(h.store.rows("endings"))


def audited(h: House):
    def body():
        return [(row["verb"], row["who"], canonical.loads(row["body"])) for row in (yield Scan("audit"))]

    return asyncio.run(h.store.read(body))


def crowd(h: House, count: int) -> None:
    for number in range(count):
        h.hear_of(profile(number + 2, f"c-{number}"))
        h.say(fired(f"f{number}", seq=number + 1, of=ONE), f"customer:c-{number}")


@pytest.mark.parametrize("page", [1, 2, 1000])
def test_a_release_wakes_everybody_whom_the_kill_held(page, monkeypatch):
    monkeypatch.setattr(endings, "PAGE", page)
    h = house()
    do(h, kills.kill("all", "somebody"))
    crowd(h, 5)
    h.run()
    assert h.messages() == [("held", "killed")] * 5
    assert release(h, "all") == (5, 0)
    h.run()
    assert h.messages() == [("accepted", None)] * 5


@pytest.mark.parametrize("page", [1, 3, 500])
def test_a_drop_cancels_all_that_the_kill_holds_and_ends_it(page, monkeypatch):
    monkeypatch.setattr(endings, "PAGE", page)
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
    assert release(h, "rule:declined") is None
    assert release(h, "channel:sms") == (1, 0)
    h.run()
    assert h.messages() == [("accepted", None)] * 2


def test_what_two_kills_hold_waits_until_both_have_ended():
    h = house()
    do(h, kills.kill("all", "somebody"))
    do(h, kills.kill("channel:email", "somebody"))
    h.say(fired(of=ONE))
    h.run()
    assert release(h, "all") == (0, 1), "what another one keeps is said, and not woken"
    h.run()
    assert h.messages() == [("held", "killed")]
    assert release(h, "channel:email") == (1, 0)
    h.run()
    assert h.messages() == [("accepted", None)]


def test_released_after_its_deadline_a_message_expires_and_is_not_sent():
    h = house()
    do(h, kills.kill("all", "somebody"))
    h.say(fired(of=ONE))
    h.run()
    h.now += 7 * HOUR
    release(h, "all")
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
    release(h, "all", "bob", "mended")
    do(h, kills.kill("rule:declined", "ann", "again"))
    drop(h, "rule:declined")
    release(h, "rule:declined", "bob", "nothing is stopped")
    assert audited(h) == [
        ("kill", "ann", {"scope": "all", "reason": "wrong prices"}),
        ("release begun", "bob", {"scope": "all", "reason": "mended", "waiting": None}),
        ("release", "bob", {"scope": "all", "reason": "mended", "messages": 2, "kept": 0}),
        ("kill", "ann", {"scope": "rule:declined", "reason": "again"}),
        ("drop begun", "ann", {"scope": "rule:declined", "reason": "wrong prices", "waiting": None}),
        ("drop", "ann", {"scope": "rule:declined", "reason": "wrong prices", "cancelled": 2}),
    ]


def stopped_crowd(monkeypatch: pytest.MonkeyPatch, count: int = 5) -> House:
    monkeypatch.setattr(endings, "PAGE", 2)
    h = house()
    do(h, kills.kill("all", "ann"))
    crowd(h, count)
    h.run()
    return h


@pytest.mark.parametrize("pages", range(4))
def test_an_end_that_was_cut_off_anywhere_is_gone_on_with_by_whoever_runs(pages, monkeypatch):
    for verb, state in ((endings.RELEASE, ("accepted", None)), (endings.DROP, ("cancelled", "killed"))):
        h = stopped_crowd(monkeypatch)
        one = begin(h, verb)
        for _ in range(pages):
            page(h, one)
        h.run()  # beside it
        if pages > 0:
            assert not asyncio.run(endings.go_on(h.store)), "somebody may be at it"
        h.now += endings.TAKEN
        while asyncio.run(endings.go_on(h.store)):
            h.run()
        h.run()
        assert (verb, h.messages()) == (verb, [state] * 5)
        assert sum(body.get("cancelled", body.get("messages", 0)) for _, _, body in audited(h)) == 5
        h.now += endings.SHOWN
        asyncio.run(endings.go_on(h.store))
        assert left(h) == []


def test_who_asks_again_while_it_goes_on_finds_the_same_end(monkeypatch):
    h = stopped_crowd(monkeypatch)
    one = begin(h, endings.DROP)
    page(h, one)
    assert do(h, endings.end(endings.RELEASE, "all", "bob", "no, wait")) is None, "what is dropped is not released"
    again = do(h, endings.end(endings.DROP, "all", "bob", "me too"))
    assert again is not None
    assert (again.at, again.by) == (one.at, "ann")
    assert asyncio.run(endings.finish(h.store, again)).done == 5


def test_a_kill_that_is_put_while_another_of_its_scope_is_released_stands(monkeypatch):
    h = stopped_crowd(monkeypatch)
    one = begin(h, endings.RELEASE)
    page(h, one)
    assert do(h, kills.kill("all", "bob", "not yet")) is None, "nobody had stopped it"
    assert asyncio.run(h.store.read(kills.standing))[0].at > one.at
    asyncio.run(endings.finish(h.store, one))
    h.run()
    assert h.messages() == [("held", "killed")] * 5
    assert release(h, "all") == (5, 0)
    h.run()
    assert h.messages() == [("accepted", None)] * 5


def test_while_it_is_released_nothing_leaves_that_another_kill_covers(monkeypatch):
    h = stopped_crowd(monkeypatch)
    do(h, kills.kill("rule:declined", "bob"))
    one = begin(h, endings.RELEASE)
    for _ in range(4):
        one = page(h, one)
        h.run()
    assert (one.is_over, one.done, one.kept, h.provider.taken) == (True, 0, 5, [])


def test_what_is_decided_after_a_drop_was_asked_leaves_and_what_waited_does_not(monkeypatch):
    h = stopped_crowd(monkeypatch)
    one = begin(h, endings.DROP)
    h.now += MINUTE
    h.hear_of(profile(9, "c-9"))
    h.say(fired("later", seq=9, at=h.now, of=ONE), "customer:c-9")
    for who in range(5):  # whoever is looked at before their page is held all the same
        h.hear_of(profile(20 + who, f"c-{who}", phone="+492"))
    h.run()
    assert h.messages() == [("held", "killed")] * 5 + [("accepted", None)]
    assert asyncio.run(endings.finish(h.store, one)).done == 5
    h.run()
    assert h.messages() == [("cancelled", "killed")] * 5 + [("accepted", None)]


@pytest.mark.parametrize("ahead", [-MINUTE, -1, 1, MINUTE])
def test_no_clock_says_what_was_there_when_a_drop_was_asked(ahead, monkeypatch):
    h = stopped_crowd(monkeypatch)
    h.now += ahead  # the clock of whoever asks
    one = begin(h, endings.DROP)
    page(h, one)
    h.now -= ahead
    h.hear_of(profile(9, "c-9"))
    h.say(fired("later", seq=9, at=h.now, of=ONE), "customer:c-9")
    h.run()
    assert Counter(h.messages()) == {("held", "killed"): 5, ("accepted", None): 1}
    assert asyncio.run(endings.finish(h.store, one)).done == 5
    h.run()
    assert Counter(h.messages()) == {("cancelled", "killed"): 5, ("accepted", None): 1}


def test_what_is_decided_beside_a_drop_belongs_to_the_next(monkeypatch):
    h = stopped_crowd(monkeypatch, 1)
    first = begin(h, endings.DROP)
    do(h, kills.kill("channel:email", "bob"))
    h.hear_of(profile(9, "c-9"))
    h.say(fired("later", seq=9, at=h.now, of=ONE), "customer:c-9")
    h.run()
    assert asyncio.run(endings.finish(h.store, first)).done == 1
    assert drop(h, "channel:email") == 1
    h.run()
    assert (h.messages(), h.provider.taken) == ([("cancelled", "killed")] * 2, [])


def test_an_end_is_not_left_to_whoever_had_a_clock_far_ahead(monkeypatch):
    h = stopped_crowd(monkeypatch)
    h.now += 10 * MINUTE
    page(h, begin(h, endings.DROP))
    h.now -= 10 * MINUTE
    assert asyncio.run(endings.go_on(h.store))
    assert h.messages() == [("cancelled", "killed")] * 5


def test_a_release_says_kept_of_what_is_being_dropped(monkeypatch):
    h = stopped_crowd(monkeypatch)
    do(h, kills.kill("channel:email", "bob"))
    released, dropped = begin(h, endings.RELEASE, "channel:email", "bob"), begin(h, endings.DROP)
    done = asyncio.run(endings.finish(h.store, released))
    assert (done.done, done.kept) == (0, 5)
    assert asyncio.run(endings.finish(h.store, dropped)).done == 5


def test_a_drop_cancels_nothing_of_a_later_kill_and_does_not_end_it(monkeypatch):
    h = stopped_crowd(monkeypatch)
    one = begin(h, endings.DROP)
    h.now += MINUTE
    do(h, kills.kill("all", "bob", "mine"))
    h.hear_of(profile(9, "c-9"))
    h.say(fired("later", seq=9, at=h.now, of=ONE), "customer:c-9")
    h.run()
    assert asyncio.run(endings.finish(h.store, one)).done == 5
    h.run()
    assert h.messages() == [("cancelled", "killed")] * 5 + [("held", "killed")]
    assert [kill.by for kill in asyncio.run(h.store.read(kills.standing))] == ["bob"]


def test_what_is_dropped_is_claimed_no_more_and_who_had_claimed_it_does_not_send_it():
    h = house()
    h.say(fired(of=ONE))
    h.run(deliver=False)
    assert h.messages() == [("pending", None)]
    do(h, kills.kill("all", "ann"))
    one = begin(h, endings.DROP)
    assert do(h, deliver.claim("d", 9, Pace())) == []
    (row,) = h.store.rows("messages")
    h.write(Put("messages", [{**row, "state": "sending"}]))  # a state that the drop does not look for
    while page(h, one).done or h.store.rows("endings")[0]["sweep"] < 2:
        pass
    h.write(Put("messages", [row]))  # given back: its deliverer was killed
    assert page(h, one).done == 1
    assert asyncio.run(endings.finish(h.store, one)).done == 1
    assert (h.messages(), h.provider.taken) == ([("cancelled", "killed")], [])


def test_what_comes_to_be_held_behind_the_drop_does_not_wait_for_ever():
    h = house()
    do(h, kills.kill("all", "ann"))
    h.say(fired(of=ONE))
    h.run()
    (row,) = h.store.rows("messages")
    one = begin(h, endings.DROP)
    h.write(Put("messages", [{**row, "state": "digesting"}]))
    for _ in range(4):
        page(h, one)
    h.write(Put("messages", [row]))
    assert page(h, one).is_over
    h.run()
    assert h.messages() == [("accepted", None)]


def test_pages_of_one_instant_are_pages_too(monkeypatch):
    """All of a fan-out have one deadline: a page may not be as long as what has it."""
    h = stopped_crowd(monkeypatch)
    assert len({row["due_at"] for row in h.store.rows("messages")}) == 1
    for verb in (endings.RELEASE, endings.DROP):
        one = begin(h, verb)
        done = [page(h, one).done for _ in range(7)]
        assert max(after - before for before, after in zip([0, *done], done, strict=False)) == 2
        do(h, kills.kill("all", "ann"))


@pytest.mark.parametrize("verb", ["release", "drop"])
def test_what_ends_a_kill_ends_no_later_one_of_its_scope(verb):
    h = house()
    do(h, kills.kill("all", "ann"))
    before = h.now
    release(h, "all", "bob")
    h.now += MINUTE
    do(h, kills.kill("all", "bob"))
    end = {"release": kills.release, "drop": kills.drop}[verb]
    assert asyncio.run(end(h.store, "all", "ann", "late", at=before)) is None
    assert [one.by for one in asyncio.run(h.store.read(kills.standing))] == ["bob"]
    assert [verb for verb, _, _ in audited(h)] == ["kill", "release begun", "release", "kill"]


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
