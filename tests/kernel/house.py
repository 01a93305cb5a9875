"""A store in memory, a deliverer over it, a provider whose answers are written down, and a clock."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from streams.processors import people
from streams.processors.deliverer import Deliverer
from streams.processors.detect import EPOCH, Batch
from tests.kernel.stories import NOW, rules, steps
from tests.kernel.test_person import event
from tidings import canonical
from tidings.delivery import Pace
from tidings.dispatch import Heard
from tidings.event import HOUR, SECOND, Event
from tidings.journal import Span
from tidings.ports import Insert, Outcome, Outgoing, Put
from tidings.quiet_hours import QuietHours, Window
from tidings.rule import RuleSet
from tidings.testing.memory import MemoryStore

ONE = rules(then=steps("email"), on_stop=steps("email"), expires=6 * HOUR)
MORNING = QuietHours((Window(7 * 60, 10 * 60),), "customer", "UTC")
"""`NOW` is eight o'clock UTC: it opens two hours later, in Berlin an hour later."""


@dataclass
class Scripted:
    """A provider whose answers are written down."""

    answers: list[Outcome] = field(default_factory=list)
    taken: list[Outgoing] = field(default_factory=list)
    name: str = "scripted"
    lease: int = 30 * SECOND
    can_look_up: bool = False

    async def send(self, outgoing: Outgoing) -> Outcome:
        self.taken.append(outgoing)
        return self.answers.pop(0) if self.answers else Outcome("accepted")

    async def look_up(self, message_id: str) -> str | None:
        return None


@dataclass
class Still:
    """A world in which time passes only when a test says so."""

    now_: int

    def now(self) -> int:
        return self.now_

    async def gather(self, jobs: Sequence[Any]) -> list[Any]:
        return [await job for job in jobs]

    async def sleep(self, micros: int) -> None:
        raise AssertionError("nobody sleeps here")


class House:
    """A store, a deliverer and a clock."""

    def __init__(self, known: RuleSet = ONE, *older: RuleSet) -> None:
        self.now = NOW
        self.store = MemoryStore(clock=lambda: self.now)
        self.provider = Scripted()
        self.sets = {one.hash: one for one in (known, *older)}
        self.deliverer = Deliverer(
            "d", self.store, Still(NOW), lambda _: self.provider, known, self.sets.__getitem__,
            lambda _rules, message, _person: {"subject": message.body["template"], "text": "t"}, Pace(), concurrency=4,
        )  # fmt: skip
        self.offset = 0
        self.use(known)
        self.write(Insert("sources", [self.source(0)]))

    def source(self, at: int) -> dict[str, Any]:
        return {"reader": people.READER, "topic": "people", "partition": 0, "next_offset": at, "max_time": None,
                "caught_up_at": None, "connected_at": 0, "history": "live", "base": 0, "log_id": None, "fingerprint": None}  # fmt: skip

    def write(self, op: Any) -> None:
        def body() -> Any:
            yield op

        asyncio.run(self.store.run(body))

    def use(self, known: RuleSet) -> None:
        self.sets[known.hash] = known
        self.write(Put("epochs", [{"name": EPOCH, "value": known.hash}]))

    def say(self, record: Heard, recipient: str = "customer:c") -> None:
        body = {"rule_set": record.rule_set, "severity": record.severity, "key": record.key, "data": record.data}
        row = {
            "episode_at": NOW, "firing_id": record.firing_id, "kind": record.kind, "n": record.n, "tenant": "t",
            "rule": record.rule, "recipient": recipient, "seq": record.seq, "logical_at": record.logical_at,
            "body": canonical.dumps(body), "unread": 1,
        }  # fmt: skip
        self.write(Insert("records", [row]))

    def hear_of(self, *events: Event) -> None:
        """Project `customer.*` events."""
        span = Span("people", 0, self.offset, self.offset + len(events))
        self.offset = span.end
        asyncio.run(self.store.run(people.project(Batch((span,), events))))

    def run(self, later: int = 0, *, deliver: bool = True) -> None:
        """Let the time pass, then run until nothing is left to do now."""
        self.now += later
        if isinstance(self.deliverer.runtime, Still):
            self.deliverer.runtime.now_ = self.now

        async def rounds() -> None:
            for _ in range(20):
                busy = await self.deliverer.dispatch()
                if deliver:
                    busy = await self.deliverer.step() or busy
                if not busy:
                    return
            raise AssertionError("there is always something to do")

        asyncio.run(rounds())

    def messages(self, role: str = "notice") -> list[tuple[str, str | None]]:
        rows = [row for row in self.store.rows("messages") if row["role"] == role]
        return [(row["state"], row["reason"]) for row in sorted(rows, key=lambda row: (row["created_at"], row["step"]))]

    def message(self, role: str = "notice") -> dict[str, Any]:
        (row,) = [row for row in self.store.rows("messages") if row["role"] == role]
        return dict(row)

    def runs(self) -> list[str]:
        return [row["state"] for row in self.store.rows("runs")]


def profile(at: int = 1, who: str = "c", **data: Any) -> Event:
    words = {"email": f"{who}@example.org", "phone": "+491701", "timezone": "UTC", **data}
    return event("customer.profile.changed", NOW - HOUR + at, customer_id=who, **words)


def house(known: RuleSet = ONE, *older: RuleSet) -> House:
    found = House(known, *older)
    found.hear_of(profile())
    return found


def linked(at: int = 5) -> Event:
    return event("customer.identity.linked", NOW - HOUR + at, foreign_id="stripe:1", customer_id="c")


def quiet_set(**words: Any) -> RuleSet:
    return rules(
        then=steps("email"), on_stop=steps("email"), quiet_hours=MORNING, topic="news", **{"expires": 6 * HOUR, **words}
    )
