"""What happens in the small shop: stories of a few events each, drawn by chance, fitted to the hour.

Every delay here is time of the shop, where a day is a day.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from gateway.demo.customers import NIGHT, Customer
from streams.json_events import rfc3339
from tidings.event import HOUR, MINUTE, Micros

FIRST_NUMBER = 1001
"""Where invoices, orders and all else of a new shop begin to be counted."""
SPECIAL = ("c-cleo", "c-finn", "c-hana")
"""Without an e-mail address; has switched orders off; moved away without a word. They have stories of their own."""
ARTICLES = (("mug-blue", "Mug, blue", 1490), ("tea-assam", "Assam tea, 250 g", 1250), ("lamp-oak", "Lamp, oak", 8900))


@dataclass(frozen=True)
class In:
    """A time that counts from the moment at which the event happens."""

    after: Micros


@dataclass
class Fact:
    """An event that will happen; from then on it is what it was."""

    type: str
    body: dict[str, Any]
    happened: bool = False

    def at(self, now: Micros) -> dict[str, Any]:
        """Return the event, as of the first moment at which it was asked for."""
        if not self.happened:
            data = {name: _timed(value, now) for name, value in self.body["data"].items()}
            self.body = {**self.body, "time": rfc3339(now), "data": data}
            self.happened = True
        return self.body


@dataclass(frozen=True)
class Happening:
    """When an event of a story reaches the log. What a queue delivers twice is one fact, twice."""

    delay: Micros
    """From the beginning of the story."""
    fact: Fact


def _timed(value: Any, now: Micros) -> Any:
    if isinstance(value, In):
        return rfc3339(now + value.after)
    return {name: _timed(part, now) for name, part in value.items()} if isinstance(value, dict) else value


def euro(minor: int) -> dict[str, Any]:
    """Return an amount in EUR."""
    return {"amount_minor": minor, "currency": "EUR"}


Story = Callable[["Shop", Micros], Sequence[Happening]]
"""What begins at an hour of the shop."""


@dataclass
class Shop:
    """Draws stories; `number` is the next that nothing bears yet, so that no two runs on one file share an id."""

    people: list[Customer]
    stories: Sequence[Story]
    first: Sequence[Story]
    """What takes longest begins first, so that a short look sees how it ends."""
    seed: int
    number: int = FIRST_NUMBER
    random: Random = field(init=False)
    deck: list[Story] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.random = Random(f"{self.seed}:{self.number}")  # noqa: S311 - a shop for show
        self.by_id = {one.id: one for one in self.people}
        self.deck = [*(story for story in self._shuffled() if story not in self.first), *self.first[::-1]]
        self.stock = {sku: self.random.randint(24, 40) for sku, _, _ in ARTICLES}

    def story(self, now: Micros) -> Sequence[Happening]:
        """Return the next story; all have their turn before one comes again."""
        if not self.deck:
            self.deck = self._shuffled()
        return self.deck.pop()(self, now)

    def _shuffled(self) -> list[Story]:
        return self.random.sample(self.stories, len(self.stories))

    def take(self, kind: str) -> str:
        """Return a name that nothing had before."""
        self.number += 1
        return f"{kind}-{self.number - 1}"

    def happens(self, delay: Micros, kind: str, source: str, **data: Any) -> Happening:
        """Return an event of a story."""
        return Happening(delay, Fact(kind, {"id": self.take("evt"), "source": source, "data": data}))

    def price(self, least: int, most: int) -> int:
        """Return an amount in cents as prices are: 12.90, 80.00."""
        return self.random.randint(least // 100, most // 100) * 100 + self.random.choice((0, 50, 90))

    def hours(self, least: float, most: float) -> Micros:
        """Return a time between two numbers of hours."""
        return self.random.randint(int(least * 60), int(most * 60)) * MINUTE

    def awake(self, now: Micros) -> Customer:
        """Return somebody who can be written to and is up."""
        return self._one([one for one in self.people if one.id not in SPECIAL and not one.sleeps(now)])

    def asleep(self, now: Micros) -> Customer:
        """Return somebody who can be written to and has hours to sleep yet, if anybody has."""
        sleeping = [one for one in self.people if one.id not in SPECIAL and sleep_left(one, now) > 3 * HOUR]
        return self._one(sleeping or [one for one in self.people if one.sleeps(now)])

    def _one(self, found: Sequence[Customer]) -> Customer:
        return self.random.choice(found or self.people)


def sleep_left(who: Customer, now: Micros) -> Micros:
    """Return how long it is quiet yet where a customer lives."""
    opening = NIGHT.opening(now, who.timezone)
    return 0 if opening is None else opening - now
