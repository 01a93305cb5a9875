"""A customer under two ids: what was decided under the foreign one is theirs once it is linked."""

import pytest

from tests.kernel.house import MORNING, ONE, house, linked, profile, quiet_set
from tests.kernel.stories import NOW, fired, rules, steps, stopped
from tests.kernel.test_person import event
from tidings.event import DAY, HOUR, MINUTE
from tidings.person import read_person
from tidings.ports import Outcome


def test_a_dead_address_of_a_linked_customer_is_theirs():
    h = house()
    h.hear_of(linked())
    h.provider.answers = [Outcome("permanent", address_gone=True)]
    h.say(fired(of=ONE), "customer:stripe:1")
    h.run()
    h.say(fired("g", seq=2, of=ONE))
    h.run(MINUTE)
    assert h.messages() == [("failed", "refused"), ("suppressed", "address_gone")]


@pytest.mark.parametrize("order", ["before", "after"])
def test_what_was_withdrawn_under_a_foreign_id_is_withdrawn_by_the_customer(order):
    h = house()
    withdrawn = event(
        "customer.consent.withdrawn", NOW - HOUR, customer_id="stripe:1", consent_class="transactional",
    )  # fmt: skip
    off = event("customer.preference.changed", NOW - HOUR, customer_id="stripe:1", topic="news", allowed=False)
    said = [withdrawn, off, linked()] if order == "before" else [linked(), withdrawn, off]
    for one in said:
        h.hear_of(one)
    (row,) = [row for row in h.store.rows("recipients") if row["recipient"] == "customer:c"]
    person = read_person("t", "customer:c", row)
    assert not person.agrees_to("transactional")
    assert not person.wants("news", "email")
    # The newest word counts, under whichever name it was said.
    h.hear_of(event("customer.consent.given", NOW, customer_id="c", consent_class="transactional"))
    (row,) = [row for row in h.store.rows("recipients") if row["recipient"] == "customer:c"]
    assert read_person("t", "customer:c", row).agrees_to("transactional")


@pytest.mark.parametrize("own", ["c", "stripe:1"])
@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 0, 1), (2, 1, 0)])
def test_a_no_to_a_whole_topic_is_newer_than_a_yes_for_one_channel_under_the_other_id(own, order):
    h = house()
    other = "c" if own == "stripe:1" else "stripe:1"
    words = [
        event("customer.preference.changed", NOW - HOUR, customer_id=own, topic="news", allowed=True, channel="email"),
        event("customer.preference.changed", NOW - MINUTE, customer_id=other, topic="news", allowed=False),
        linked(),
    ]
    for number in order:
        h.hear_of(words[number])
    (row,) = [row for row in h.store.rows("recipients") if row["recipient"] == "customer:c"]
    assert not read_person("t", "customer:c", row).wants("news", "email")


def test_what_was_held_under_a_foreign_id_goes_at_its_time_after_it_was_linked():
    known = quiet_set()
    h = house(known)
    h.hear_of(profile(2, "stripe:1"))
    h.say(fired(of=known), "customer:stripe:1")
    h.run()
    assert h.messages() == [("held", "quiet_hours")]
    h.hear_of(linked())
    h.run(MINUTE)
    h.hear_of(profile(6))  # a pass of the customer alone, in between
    h.run(MINUTE)
    assert h.messages() == [("held", "quiet_hours")]
    h.run(2 * HOUR)
    assert h.messages() == [("accepted", None)]
    assert [one.address for one in h.provider.taken] == ["c@example.org"]


def test_what_was_told_under_a_foreign_id_is_taken_back_after_it_was_linked():
    h = house()
    h.hear_of(profile(2, "stripe:1"))
    h.say(fired(of=ONE), "customer:stripe:1")
    h.run()
    h.hear_of(linked())
    h.say(stopped(of=ONE), "customer:stripe:1")
    h.run(MINUTE)
    assert h.messages("all_clear") == [("accepted", None)]
    assert [one.address for one in h.provider.taken] == ["stripe:1@example.org", "c@example.org"], "the current address"


def test_what_is_held_under_a_foreign_id_follows_its_customer_after_it_was_linked():
    known = rules(then=steps("email"), quiet_hours=MORNING, expires=DAY)
    h = house(known)
    h.hear_of(profile(2, "stripe:1"))
    h.say(fired(of=known), "customer:stripe:1")
    h.run()
    assert h.message()["due_at"] == NOW + 2 * HOUR
    h.hear_of(linked())
    h.run(MINUTE)
    h.hear_of(profile(20, timezone="Europe/Berlin"))
    h.run(MINUTE)
    assert (h.message()["recipient"], h.message()["due_at"]) == ("customer:c", NOW + HOUR)
    h.hear_of(event("customer.consent.withdrawn", NOW - MINUTE, customer_id="c", consent_class="transactional"))
    h.run()
    assert h.messages() == [("suppressed", "no_consent")]


def test_a_newer_episode_is_seen_under_every_id():
    """Told as a stranger, told again as a customer, the first one taken back: what they heard last stands."""
    h = house()
    h.hear_of(profile(2, "stripe:1"))
    h.say(fired(of=ONE), "customer:stripe:1")
    h.run()
    h.hear_of(linked())
    h.run()
    h.say(fired("g", seq=2, at=NOW + 1, of=ONE))
    h.run(MINUTE)
    h.say(stopped(seq=3, of=ONE), "customer:stripe:1")
    h.run(MINUTE)
    assert h.messages() == [("accepted", None), ("accepted", None)]
    assert h.messages("all_clear") == [("cancelled", "superseded")]
