"""Dispatch and delivery as transactions, over the in-memory store: what is read of the rows, and whom a change wakes."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from streams.processors import deliver
from streams.processors.receipts import record_receipt
from streams.processors.results import record_result
from tests.kernel.house import ONE, House, house, profile, quiet_set
from tests.kernel.stories import NOW, fired, rules, steps, stopped
from tests.kernel.test_person import event
from tidings.delivery import Pace
from tidings.event import HOUR, MINUTE, SECOND
from tidings.message import Message
from tidings.ports import Outcome, Outgoing, Put
from tidings.receipts import Receipt
from tidings.rule import RuleSet, Team


def test_told_and_taken_back_is_told_so_and_the_run_is_closed():
    h = house()
    h.say(fired(of=ONE))
    h.run()
    assert (h.messages(), h.runs()) == ([("accepted", None)], ["done"])
    h.say(stopped(of=ONE))
    h.run(MINUTE)
    h.run(MINUTE)
    assert (h.messages(), h.messages("all_clear")) == ([("accepted", None)], [("accepted", None)])
    assert [one.content["subject"] for one in h.provider.taken] == ["t-0", "t-0"]
    assert h.runs() == ["closed"]
    assert [row["open"] for row in h.store.rows("runs")] == [None], "nobody reads it again"


def test_a_stop_of_long_after_still_finds_whom_it_concerns():
    """The run is done, and nothing of it is open: it lingers for the stop."""
    h = house()
    h.say(fired(of=ONE))
    h.run()
    h.run(80 * 24 * HOUR)
    h.say(stopped(of=ONE))
    h.run()
    assert h.messages("all_clear") == [("accepted", None)]


@pytest.mark.parametrize(("answer", "clear"), [
    (Outcome("accepted"), ("accepted", None)),
    (Outcome("permanent"), ("cancelled", "nothing_to_correct")),
    (Outcome("not_sent"), ("cancelled", "nothing_to_correct")),
], ids=lambda one: getattr(one, "stage", ""))  # fmt: skip
def test_a_stop_while_the_notice_is_in_flight_waits_for_its_outcome(answer, clear):
    h = house()
    h.say(fired(of=ONE))
    seen: list[Outgoing] = []

    async def send(outgoing: Outgoing) -> Outcome:
        if not seen:
            seen.append(outgoing)
            raise KeyboardInterrupt
        return Outcome("accepted")

    h.provider.send = send  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        h.run()
    h.say(stopped(of=ONE))
    h.run(deliver=False)
    assert (h.messages(), h.messages("all_clear")) == ([("sending", None)], [("held", "awaiting_outcome")])
    asyncio.run(h.store.run(record_result(seen[0], ("t", "customer:c"), answer, Pace())))
    h.run()
    assert h.messages("all_clear") == [clear]
    assert h.runs() == ["closed"]


def test_a_receipt_that_says_it_bounced_ends_the_all_clear_that_waits():
    h = house()
    h.say(fired(of=ONE))
    h.run()
    h.write(Put("kills", [{"scope": "all", "state": "killed", "at": NOW, "by": "op", "reason": ""}]))
    h.say(stopped(of=ONE))
    h.run()
    assert h.messages("all_clear") == [("held", "killed")]
    body = record_receipt(h.message()["message_id"], "r", Receipt.BOUNCED, h.now)
    asyncio.run(h.store.run(body))
    h.run()
    assert h.messages("all_clear") == [("cancelled", "nothing_to_correct")]


def test_the_intent_asks_for_a_newer_episode_that_dispatch_heard_in_the_same_pass():
    h = house()
    h.say(fired(of=ONE))
    h.run()
    h.say(stopped(seq=5, of=ONE))
    h.say(fired("g", seq=6, at=NOW + SECOND, of=ONE))
    h.provider.answers = [Outcome("not_sent", retry_after=MINUTE)]
    h.run()
    assert h.messages("all_clear") == [("held", "newer_episode")]
    h.run(MINUTE)
    h.run()
    assert h.messages() == [("accepted", None), ("accepted", None)]
    assert h.messages("all_clear") == [("cancelled", "superseded")]


# -- who moves, who says no, whose address is gone


def test_a_move_wakes_what_is_held_and_it_goes_at_the_new_opening():
    known = quiet_set()
    h = house(known)
    h.say(fired(of=known))
    h.run()
    assert (h.messages(), h.message()["due_at"]) == ([("held", "quiet_hours")], NOW + 2 * HOUR)
    h.hear_of(profile(2, timezone="Europe/Berlin"))
    h.run(MINUTE)
    assert h.message()["due_at"] == NOW + HOUR
    h.run(58 * MINUTE)
    assert h.provider.taken == []
    h.run(MINUTE)
    assert h.messages() == [("accepted", None)]


def test_a_topic_that_is_switched_off_for_a_channel_ends_what_waits_over_it():
    known = quiet_set(steps=steps("email", "sms"))
    h = house(known)
    h.say(fired(of=known))
    h.run()
    h.hear_of(event("customer.preference.changed", NOW, customer_id="c", topic="news", allowed=False, channel="sms"))
    h.run()
    assert h.messages() == [("held", "quiet_hours"), ("suppressed", "topic_off")]
    h.run(2 * HOUR)
    assert h.messages() == [("accepted", None), ("suppressed", "topic_off")]


def test_a_claimed_message_asks_again_when_it_is_about_to_leave():
    """Between the claim and the intent they withdraw; nobody has to wake anything for that."""
    h = house()
    h.say(fired(of=ONE))
    h.run(deliver=False)
    (message,) = asyncio.run(h.store.run(deliver.claim("d", 5, Pace())))
    h.hear_of(event("customer.consent.withdrawn", NOW, customer_id="c", consent_class="transactional"))
    claimed = deliver.Claimed(message, {"subject": "", "text": ""}, provider="x")
    intended = asyncio.run(h.store.run(deliver.intend(ONE, [claimed], "d", Pace())))
    assert isinstance(intended, deliver.Intended)
    assert intended.outgoing == []
    assert h.messages() == [("suppressed", "no_consent")]
    assert h.store.rows("attempts") == []


def test_a_dead_address_is_written_down_and_suppresses_until_there_is_another():
    h = house()
    h.provider.answers = [Outcome("permanent", address_gone=True)]
    h.say(fired(of=ONE))
    h.run()
    h.say(fired("g", seq=2, of=ONE))
    h.run(MINUTE)
    assert h.messages() == [("failed", "refused"), ("suppressed", "address_gone")]
    h.hear_of(profile(3, email="new@example.org"))
    h.say(fired("h", seq=3, of=ONE))
    h.run(MINUTE)
    assert h.messages()[-1] == ("accepted", None)
    assert [one.address for one in h.provider.taken] == ["c@example.org", "new@example.org"]


def test_a_team_is_known_by_the_directory_of_now():
    teams = {"ops": Team("ops", addresses={"email": "ops@example.org"})}
    known = replace(rules(then=steps("email"), name="teams", consent="marketing"), teams=teams)
    h = House(known)
    h.say(fired(of=known), "team:ops")
    h.say(fired("g", seq=2, of=known), "team:nobody")
    h.run()
    assert sorted(h.messages()) == [("accepted", None), ("suppressed", "unknown_team")]
    assert [one.address for one in h.provider.taken] == ["ops@example.org"]


# -- rule sets that change between detection, dispatch and delivery


def test_the_set_may_change_at_every_step_and_what_was_decided_keeps_its_text():
    new = rules(then=steps("sms"), on_stop=steps("email", "sms"), name="new")
    h = house(ONE)
    texts: list[tuple[str, str]] = []

    def render(known: RuleSet, message: Message, _: Any) -> dict[str, str]:
        texts.append((known.hash, message.body["template"]))
        return {"subject": "", "text": ""}

    h.deliverer.render = render
    h.say(fired(of=ONE))
    h.use(new)
    h.run()
    h.say(stopped(of=new))
    h.run(MINUTE)
    assert (h.messages(), h.messages("all_clear")) == ([("accepted", None)], [("accepted", None)])
    assert [one.channel for one in h.provider.taken] == ["email", "email"]
    assert texts == [(ONE.hash, "t-0"), ("new", "t-0")]


def test_a_set_that_does_not_load_any_more_fails_its_message_and_no_other():
    new = rules(then=steps("email"), name="new")
    h = house(ONE)
    h.say(fired(of=ONE))
    h.run(deliver=False)
    h.use(new)
    h.run(deliver=False)
    h.say(fired("g", seq=2, of=new))
    h.run(deliver=False)
    del h.sets[ONE.hash]
    h.run()
    assert sorted(h.messages()) == [("accepted", None), ("failed", "render")]


def test_a_stop_whose_set_does_not_load_any_more_still_cancels_what_is_unsent():
    known = quiet_set()
    h = house(known)
    h.say(fired(of=known))
    h.run()
    h.use(rules(then=steps("email"), name="new"))
    h.run()
    del h.sets[known.hash]
    h.say(stopped(of=known))
    h.run(MINUTE)
    assert (h.messages(), h.messages("all_clear")) == ([("cancelled", "stopped")], [])
