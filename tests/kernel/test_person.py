"""Who people are: the newest word counts, in whatever order it comes."""

from itertools import permutations
from typing import Any

import pytest

from tidings.event import DAY, Event
from tidings.person import Person, as_team, changed_row, read_person, recipient_named, without_address
from tidings.rule import Team


def event(kind: str, at: int, **data: Any) -> Event:
    return Event(
        ref=f"{kind}{at}", tenant="t", source="crm", id=f"{kind}{at}", type=kind, occurred_at=at, data=data, topic=kind,
        partition=0, offset=0, appended_at=at,
    )  # fmt: skip


def profile(at: int, **data: Any) -> Event:
    return event("customer.profile.changed", at, customer_id="c", **data)


def consent(word: str, at: int, kind: str = "marketing") -> Event:
    return event(f"customer.consent.{word}", at, customer_id="c", consent_class=kind)


def after(*events: Event) -> Person:
    row = None
    for one in events:
        row = changed_row("customer:c", row, one) or row
    return read_person("t", "customer:c", row)


@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_the_newest_word_counts_in_any_order(order):
    events = [
        profile(1, email="old@example.org"),
        profile(2, email="new@example.org"),
        consent("given", 3),
        consent("withdrawn", 4),
    ]
    found = after(*(events[number] for number in order))
    assert found.address("email") == "new@example.org"
    assert not found.agrees_to("marketing")


def test_a_profile_that_drops_an_address_drops_it():
    assert after(profile(1, email="a@example.org"), profile(2, name="Ada")).address("email") is None


def test_transactional_is_yes_unless_withdrawn_and_marketing_no_unless_given():
    assert after(profile(1)).agrees_to("transactional")
    assert not after(profile(1)).agrees_to("marketing")
    assert not after(consent("withdrawn", 1, "transactional")).agrees_to("transactional")
    assert after(consent("withdrawn", 1, "transactional")).agrees_to("marketing") is False
    assert after(consent("given", 1)).agrees_to("marketing")
    assert after(consent("withdrawn", 1), consent("given", DAY)).agrees_to("marketing")


def test_consent_alone_makes_nobody_known():
    assert not after(consent("given", 1)).known
    assert after(profile(1)).known


def test_a_foreign_id_is_linked_and_linked_anew():
    row = None
    for at, who in ((1, "c-1"), (3, "c-2"), (2, "c-3")):
        linked = event("customer.identity.linked", at, foreign_id="stripe:cus_1", customer_id=who)
        assert recipient_named(linked) == "customer:stripe:cus_1"
        row = changed_row("customer:stripe:cus_1", row, linked) or row
    assert row is not None
    assert row["linked_to"] == "customer:c-2"


def test_other_events_change_nobody():
    other = event("billing.invoice.paid", 1, customer_id="c")
    assert recipient_named(other) is None
    assert changed_row("customer:c", None, event("customer.something.else", 1, customer_id="c")) is None


def test_the_same_event_twice_is_once():
    first = changed_row("customer:c", None, profile(1, email="a@example.org"))
    assert changed_row("customer:c", first, profile(1, email="a@example.org")) is None


def preference(at: int, allowed: bool, channel: str | None = None, topic: str = "news") -> Event:
    return event("customer.preference.changed", at, customer_id="c", topic=topic, allowed=allowed, channel=channel)


WISHES: dict[str, tuple[list[Event], dict[str, bool]]] = {
    # what they said, and whether they want `news` by each channel
    "nothing": ([], {"email": True, "sms": True}),
    "off": ([preference(1, False)], {"email": False, "sms": False}),
    "off for one channel": ([preference(1, False, "sms")], {"email": True, "sms": False}),
    "off, but for one channel": ([preference(1, False), preference(2, True, "sms")], {"email": False, "sms": True}),
    "everything off, after a channel was allowed": (
        [preference(2, False), preference(1, True, "sms")], {"email": False, "sms": False}),
    "everything on, after a channel was switched off": (
        [preference(2, True), preference(1, False, "sms")], {"email": True, "sms": True}),
    "on again": ([preference(1, False), preference(2, True)], {"email": True, "sms": True}),
    "another topic": ([preference(1, False, topic="offers")], {"email": True, "sms": True}),
    "off by a producer of version 1": (
        [event("customer.preference.changed", 1, customer_id="c", topic="news", allowed=False)],
        {"email": False, "sms": False}),
}  # fmt: skip


@pytest.mark.parametrize("name", WISHES)
def test_the_newest_word_of_a_topic_and_of_a_channel_counts_in_any_order(name):
    said, wants = WISHES[name]
    for order in permutations([profile(1), *said]):
        found = after(*order)
        assert {channel: found.wants("news", channel) for channel in wants} == wants


def test_a_dead_address_is_dead_until_there_is_another():
    row = changed_row("customer:c", None, profile(1, email="old@example.org", phone="+491"))
    assert row is not None
    row = without_address(row, "email", "old@example.org")
    row = without_address(row, "sms", "+491")
    found = read_person("t", "customer:c", row)
    assert found.gone == {"email": "old@example.org", "sms": "+491"}
    assert found.rev == 3
    row = changed_row("customer:c", row, profile(2, email="new@example.org", phone="+491"))
    found = read_person("t", "customer:c", row)
    assert found.address("email") == "new@example.org" != found.gone["email"]
    assert found.address("sms") == found.gone["sms"]


def test_who_is_reached_where():
    ada = after(profile(1, email="a@example.org", phone="+491"))
    assert {name: ada.address(name) for name in ("email", "sms", "push", "slack", "ticket")} == {
        "email": "a@example.org", "sms": "+491", "push": "c", "slack": None, "ticket": None,
    }  # fmt: skip
    assert after(consent("given", 1)).address("push") is None
    desk = read_person("t", "address:desk@example.org", None)
    assert (desk.known, desk.kind, desk.address("email")) == (True, "address", "desk@example.org")
    assert read_person("t", "address:", None).address("email") is None
    team = as_team(
        read_person("t", "team:x", None), Team("x", addresses={"slack": "env:X"}, timezone="Asia/Tokyo", locale="ja_JP")
    )
    assert (team.known, team.address("slack"), team.address("email")) == (True, "env:X", None)
    assert (team.timezone, team.locale, team.profile["name"]) == ("Asia/Tokyo", "ja_JP", "x")
    assert not as_team(team, None).known
