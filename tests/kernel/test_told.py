"""A database that was restored, and what the topics told it: nobody hears again what they have heard."""

import asyncio
from typing import Any

import pytest

from streams.processors import rebuild, told
from streams.processors.outcomes import Telling
from tests.kernel.house import ONE, House, house
from tests.kernel.stories import NOW, fired, rules, steps, stopped
from tests.kernel.test_person import event
from tidings import canonical, ids
from tidings.event import HOUR, MINUTE
from tidings.outcomes import SUSPECT, TERMINAL, message_event, pseudonym, told_row
from tidings.ports import Put
from tidings.reasons import MessageState

MESSAGE = ids.message_id(ids.run_id("f", 0, "customer:c"), "notice", 0)


def row(name: str = MESSAGE, state: str = "accepted", reason: str | None = None) -> dict[str, Any]:
    return {"id": name, "state": state, "reason": reason, "reference": "ref-1", "at": NOW}


def restored(h: House, *rows: dict[str, Any]) -> House:
    h.write(Put("told", list(rows)))
    h.write(Put("epochs", [{"name": told.TOLD, "value": "0"}]))
    return h


def test_a_message_that_is_made_again_ends_as_it_ended_and_its_all_clear_still_goes():
    h = restored(house(), row())
    h.say(fired(of=ONE))
    h.run()
    assert h.messages() == [("accepted", None)]
    assert canonical.loads(h.message()["body"])["reference"] == "ref-1"
    assert not h.provider.taken
    assert h.runs() == ["done"]
    h.say(stopped(of=ONE))
    h.run(MINUTE)
    assert (h.messages("all_clear"), len(h.provider.taken)) == ([("accepted", None)], 1)


def test_whatever_is_decided_anew_it_ends_as_it_ended():
    h = restored(house(), row())
    h.hear_of(event("customer.consent.withdrawn", NOW - MINUTE, customer_id="c", consent_class="transactional"))
    h.say(fired(of=ONE, at=NOW - 300 * HOUR))
    h.run()
    assert (h.messages(), h.provider.taken) == ([("accepted", None)], [])


def test_what_waited_when_the_copy_was_made_is_stopped_at_the_intent():
    h = house()
    h.say(fired(of=ONE))
    h.run(deliver=False)
    assert h.messages() == [("pending", None)]
    restored(h, row(state="failed", reason="refused")).run()
    assert (h.messages(), h.provider.taken, h.runs()) == ([("failed", "refused")], [], ["done"])


@pytest.mark.parametrize(
    ("policy", "books", "ends", "sent"),
    [("resend", None, ("accepted", None), 1), ("unresolved", None, ("unresolved", "no_answer"), 0),
     ("resend", "accepted", ("accepted", None), 0), ("unresolved", "absent", ("accepted", None), 1)],
)  # fmt: skip
@pytest.mark.parametrize("name", [MESSAGE, "f"], ids=["message", "firing"])
def test_what_may_have_been_sent_is_looked_up_once_and_then_is_as_any_other(name, policy, books, ends, sent):
    known = rules(then=steps("email"), on_unknown=policy)
    h = restored(house(known), row(name, SUSPECT))

    async def look_up(_: str) -> Any:
        return books

    h.provider.can_look_up, h.provider.look_up = books is not None, look_up  # type: ignore[method-assign,assignment]
    h.say(fired(of=known))
    h.run()
    h.run(MINUTE)
    assert (h.messages(), len(h.provider.taken)) == ([ends], sent)
    assert h.message()["attempt"] == 1 + sent


def test_what_is_in_the_database_already_is_corrected_at_once_and_twice_is_once():
    h = house()
    h.say(fired(of=ONE, at=NOW - 300 * HOUR))
    h.run()
    assert h.messages() == [("suppressed", "stale")]
    h.say(fired("g", 2, of=ONE))
    h.run(deliver=False)
    (waiting,) = [one["message_id"] for one in h.store.rows("messages") if one["state"] == "pending"]
    page = [row(), row(waiting, "unresolved", "no_answer"), row("an event", "fired"), row("g", SUSPECT)]
    assert asyncio.run(h.store.run(rebuild.learn(page))) == 2
    assert asyncio.run(h.store.run(rebuild.learn(page))) == 0
    assert sorted(h.messages()) == [("accepted", None), ("unresolved", "no_answer")]
    h.run()
    assert (h.provider.taken, h.runs()) == ([], ["done", "done"])


def test_an_end_is_told_once_even_when_the_same_row_is_written_again():
    h = house()
    h.deliverer.store = Telling(h.store)
    h.say(fired(of=ONE))
    h.run()
    (one,) = h.store.rows("outbox")
    again = h.message()

    def body():
        yield Put("messages", [again])

    asyncio.run(h.deliverer.store.run(body))
    assert h.store.rows("outbox") == [one]
    assert one["id"] == ids.outbox_id(again["message_id"], "accepted", again["rev"])


def test_no_address_leaves_the_house_and_one_person_has_one_name():
    names = {pseudonym("t", who) for who in ("address:ada@example.org", "address:bob@example.org")}
    assert len(names) == 2
    assert all(name.startswith("address:~") and "example" not in name for name in names)
    assert pseudonym("t", "address:ada@example.org") != pseudonym("u", "address:ada@example.org")
    assert (pseudonym("t", "customer:c"), pseudonym("t", "team:billing")) == ("customer:c", "team:billing")
    assert len(pseudonym("t", "customer:" + "é" * 300).encode()) <= 64


def test_states_and_reasons_of_a_newer_version_say_that_nobody_knows():
    h = house()
    h.say(fired(of=ONE))
    h.run()
    payload = canonical.loads(message_event(h.message(), 1, 0, NOW)["body"])
    assert told_row(payload, "e", NOW)["state"] == "accepted"
    strange = told_row({**payload, "state": "teleported", "reason": "magic"}, "e", NOW)
    assert (strange["state"], strange["reason"]) == (SUSPECT, None)
    assert {str(one) for one in MessageState} > TERMINAL
