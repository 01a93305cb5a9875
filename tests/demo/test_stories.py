"""The small shop: whatever it draws, at any hour, is events that the contracts take."""

from collections.abc import Iterator
from typing import Any

import pytest

from gateway.cli.folder import example
from gateway.demo.customers import customers, everybody, registered, snapshot
from gateway.demo.shop import Fact, Shop
from gateway.demo.stories import SLOW, STORIES
from schemas import contracts
from streams.codec import Codec
from streams.json_events import from_json
from tidings import canonical
from tidings.event import DAY, HOUR, SECOND
from tidings.ports import Scan

NOON = 1_780_000_000 * SECOND // DAY * DAY + 12 * HOUR


def shop(seed: int = 7, number: int = 1001) -> Shop:
    return Shop(everybody(example()), STORIES, SLOW, seed, number)


def written(shop: Shop, hours: int) -> Iterator[Fact]:
    for hour in range(hours):
        yield from (one.fact for one in shop.story(NOON + hour * HOUR))


def test_every_event_of_every_story_fits_its_contract():
    codec = Codec(contracts())
    count = 0
    for fact in written(shop(), 400):
        codec.encode(fact.type, from_json(contracts().by_type[fact.type], fact.at(NOON)))
        count += 1
    assert count > 400
    for kind, event in (*customers(example(), NOON), *(snapshot(one.facts, NOON) for one in everybody(example()))):
        codec.encode(kind, from_json(contracts().by_type[kind], event))


def test_all_stories_have_their_turn_before_one_comes_again():
    one = shop()
    first = list(one.deck)
    assert set(first) == set(STORIES)
    assert tuple(first[::-1][: len(SLOW)]) == SLOW
    for _ in first:
        one.story(NOON)
    one.story(NOON)
    assert len(one.deck) == len(STORIES) - 1


def test_a_seed_plays_the_same_and_another_seed_another_day():
    def told(seed: int) -> list[object]:
        return [fact.at(NOON) for fact in written(shop(seed), 60)]

    assert told(7) == told(7)
    assert told(7) != told(8)


def test_no_name_is_given_twice_also_by_the_next_run():
    first = shop()
    names = [fact.body["id"] for fact in {id(fact): fact for fact in written(first, 200)}.values()]
    second = shop(number=first.number)
    names += [fact.body["id"] for fact in {id(fact): fact for fact in written(second, 200)}.values()]
    assert len(names) == len(set(names)) > 400


def test_what_a_queue_delivers_twice_is_one_fact():
    copies = [fact for fact in written(shop(), 100) if fact.type == "billing.invoice.issued"]
    twice = next(fact for fact in copies if sum(one is fact for one in copies) == 2)
    assert twice.at(NOON) == twice.at(NOON + DAY)


@pytest.mark.parametrize("hour", range(24))
def test_at_every_hour_somebody_is_up_and_somebody_is_asleep(hour):
    one, now = shop(), NOON + hour * HOUR
    assert not one.awake(now).sleeps(now)
    assert one.asleep(now).sleeps(now)


def test_who_registered_in_a_run_before_keeps_their_name():
    def row(who: str, profile: dict[str, str | None] | None) -> dict[str, Any]:
        body = {} if profile is None else {"profile": {"v": [NOON, "x"], "d": profile}}
        return {"tenant": "default", "recipient": who, "linked_to": None, "profile": canonical.dumps(body), "rev": 1}

    iris = {"name": "Iris Wagner", "locale": "de-DE", "timezone": "Europe/Berlin", "email": None}
    reading = registered({"c-ada"})
    assert next(reading) == Scan("recipients")
    with pytest.raises(StopIteration) as end:
        reading.send([
            row("customer:c-ada", iris), row("customer:c-1024", iris), row("customer:stripe:cus_1", None),
            row("team:care", iris), row("customer:c-9", {**iris, "timezone": None}),
        ])  # fmt: skip
    assert [(one.id, one.name, one.timezone) for one in end.value.value] == [("c-1024", "Iris Wagner", "Europe/Berlin")]
