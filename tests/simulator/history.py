"""One seed, one history: how it runs, and what must be true of it afterwards; `drawn` says what happens in it.

`python -m tests.simulator SEED` repeats a history and says what went wrong.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, ClassVar, TypeVar

from streams.processors import detect, endings, kills, people
from streams.processors.deliverer import Deliverer
from streams.processors.receipts import record_receipt
from streams.processors.worker import PeopleReader, Worker
from tests.simulator import invariants
from tests.simulator.drawn import ACTIVE, GRACE, REST, STALLS, START, Drawn, Plan, plan
from tests.simulator.rules import ISSUED, PEOPLE, TOPICS, Shop, rule_set
from tests.simulator.scheduler import Scheduler, Task
from tests.simulator.world import SimLog, SimProvider, SimRuntime, outages
from tidings.delivery import Pace
from tidings.event import DAY, MINUTE, SECOND, Event
from tidings.log import Partition
from tidings.ports import Body, Now, Transaction
from tidings.receipts import Receipt
from tidings.rule import RuleSet
from tidings.testing.memory import MemoryStore

T = TypeVar("T")


@dataclass
class History:
    """A running history."""

    plan: Plan
    running: ClassVar[History]
    random: Random = field(init=False)
    faults: list[str] = field(default_factory=list)
    crashes: int = 0

    def __post_init__(self) -> None:
        self.random = Random(self.plan.seed * 7919 + 1)
        self.drawn = Drawn(self.plan, self.random)
        self.scheduler = Scheduler(self.random, START)
        self.scheduler.fate = self._fate
        self.store = MemoryStore(self._pause, lambda: self.scheduler.clock)
        self.log = SimLog(self.scheduler)
        self.watch = invariants.Watch(self)
        self.store.on_commit = self.watch.committed
        self.provider = SimProvider(self.scheduler, self.plan.chaos, self.plan.can_look_up, self.watch.first_byte)
        self.provider.on_accepted = self._report
        if self.plan.theme in ("storm", "mixed", "recall"):
            self.provider.outages = outages(Random(self.plan.seed * 31 + 7), START, ACTIVE)
        self.receipts = Random(self.plan.seed)
        self.shops: dict[str, Shop] = {}
        self.rule_sets: dict[str, RuleSet] = {}
        self.active = self.make_rules(self.plan.shop)
        self.pace = Pace(retry_most=20 * SECOND)
        self.crash_chance = 0.018 if self.plan.theme == "storm" else 0.004 if self.plan.chaos else 0.0
        self.log.slow = {"slow": 0.5, "twins": 0.0}.get(self.plan.theme, 0.1)
        self.alive: dict[str, int] = {}
        self.assigned: dict[str, list[Partition]] = {}
        self.quiet = False

    # -- what is drawn

    def make_rules(self, shop: Shop) -> RuleSet:
        rules = rule_set(shop)
        self.shops[rules.hash] = shop
        self.rule_sets[rules.hash] = rules
        return rules

    def places(self) -> list[Partition]:
        return sorted(self.log.partitions_)

    async def _pause(self, label: str) -> None:
        if label.startswith("blocked"):
            await self.scheduler.sleep(20_000)
        elif self.quiet:
            return
        elif self.random.random() < 0.3 or label in ("commit", "committed", *STALLS):
            await self.scheduler.pause(label)

    def _fate(self, task: Task, label: str) -> int | None:
        if self.quiet or not task.process.startswith(("worker", "deliverer", "people")):
            return 0
        chance = self.random.random()
        if chance < self.crash_chance:
            self.crashes += 1
            self._restart(task.process)
            return None
        if self.plan.theme == "twins" and label == "lock:state":
            return int((14 + 10 * chance) * SECOND) if task.process == "worker1" and chance > 0.2 else 0
        if self.plan.theme == "doubt" and label == "lock:recipients" and task.process.startswith("deliverer"):
            return int(chance * 8 * SECOND) if chance > 0.3 else 0
        if chance > (0.75 if label == self.plan.sluggish else 0.995):
            return int(self.random.random() ** 2 * 40 * SECOND)  # a process that is paused, and comes back
        return 0

    def _restart(self, process: str) -> None:
        self.alive[process] += 1
        self.scheduler.spawn(self._reborn(process), f"supervisor:{process}", f"supervisor:{process}")

    async def _reborn(self, process: str) -> None:
        await self.scheduler.sleep(int(self.random.random() * 10 * SECOND))
        self.start(process)

    # -- processes

    def start(self, process: str) -> None:
        runtime = SimRuntime(self.scheduler, int((self.random.random() - 0.5) * GRACE / 2))
        kind = process.rstrip("0123456789")
        body = {"worker": self._worker, "deliverer": self._deliverer, "people": self._people}[kind]
        self.scheduler.spawn(body(process, runtime), process, process)

    async def _worker(self, process: str, runtime: SimRuntime) -> None:
        worker = Worker(
            self.store, self.log, runtime, self.log.decode, self.active, self.rule_sets.__getitem__, GRACE,
            batch_limit=self.random.choice((2, 5, 50)) if self.plan.theme != "twins" else 50,
        )  # fmt: skip
        await worker.assign(self._share(process))
        while True:
            if self.random.random() < 0.2:
                await worker.assign(self._share(process))
            await worker.step()
            await self.scheduler.sleep(
                int((0.5 + self.random.random() * (8 if self.plan.theme != "twins" else 2)) * SECOND)
            )

    def _share(self, process: str) -> list[Partition]:
        """Return some partitions; two workers may hold the same one, as after a pause beyond the session."""
        places = [p for p in self.places() if p[0] in TOPICS.values()]
        if self.quiet:
            return places
        if self.plan.theme == "twins":
            return [place for place in places if (place[1] == 1) == (process == "worker1")]
        return [place for place in places if self.random.random() < 0.7]

    async def _people(self, process: str, runtime: SimRuntime) -> None:
        reader = PeopleReader(self.store, self.log, self.log.decode, marks_idle=True)
        while True:
            await reader.assign([p for p in self.places() if p[0] in PEOPLE.values()])
            await reader.step()
            patience = 0.5 if self.plan.theme == "doubt" else 4
            await self.scheduler.sleep(int((0.2 + self.random.random() * patience) * SECOND))

    async def _deliverer(self, process: str, runtime: SimRuntime) -> None:
        deliverer = Deliverer(
            process + str(self.alive[process]), self.store, runtime, lambda _channel: self.provider, self.active,
            self.rule_sets.__getitem__, lambda _rules, _message, _person: {"subject": "s", "text": "t"}, self.pace,
            concurrency=self.random.choice((1, 4)),
        )  # fmt: skip
        while True:
            await deliverer.step()
            await endings.go_on(self.store, patience=0, size=1)
            await self.scheduler.sleep(int((0.5 + self.random.random() * 8) * SECOND))

    # -- what happens

    async def _lag(self) -> None:
        """Hold the first partition of `issued` back, again and again, for as long as the twins need."""
        while self.plan.theme == "twins" and self.scheduler.clock < START + ACTIVE:
            self.log.stalled.add((TOPICS[ISSUED], 0))
            await self.scheduler.sleep(22 * SECOND)
            self.log.stalled.discard((TOPICS[ISSUED], 0))
            await self.scheduler.sleep(12 * SECOND)

    async def _producer(self) -> None:
        for at, (topic, number), event in self.drawn.timeline():
            if at > self.scheduler.clock:
                await self.scheduler.sleep(at - self.scheduler.clock)
            places = [place for place in self.places() if place[0] == topic and number in (None, place[1])]
            self.log.append(*self.random.choice(places), event)

    async def _minds(self) -> None:
        """Profiles at the start, then consent given and withdrawn."""
        for customer in ("c1", "c2"):
            profile: dict[str, Any] = {"customer_id": customer, "email": f"{customer}@example.org"}
            profile["timezone"] = self.random.choice(("UTC", "Europe/London", "Asia/Tokyo", "Mars/Base", None))
            if self.random.random() < 0.95:
                self._tell("customer.profile.changed", profile)
            if self.random.random() < 0.9:
                self._tell("customer.consent.given", {"customer_id": customer, "consent_class": "marketing"})
        for _ in range(self.random.randrange(9 if self.plan.theme != "recall" else 3)):
            await self.scheduler.sleep(int(self.random.random() * 30 * SECOND))
            kind = self.random.choice(("customer.consent.withdrawn", "customer.consent.given"))
            customer = self.random.choice(("c1", "c2"))
            if self.plan.theme in ("mixed", "recall") and self.random.random() < 0.4:
                preference = {"customer_id": customer, "topic": "news", "allowed": self.random.random() < 0.5}
                self._tell("customer.preference.changed", preference)
            if self.plan.shop.quiet and self.random.random() < 0.4:  # somebody moves while messages wait
                zone = self.random.choice(("UTC", "Asia/Tokyo"))
                profile = {"customer_id": customer, "email": f"{customer}@example.org", "timezone": zone}
                self._tell("customer.profile.changed", profile)
            self._tell(kind, {"customer_id": customer, "consent_class": self.plan.shop.consent})

    async def _hesitate(self, customer: str) -> None:
        """Withdraw a consent now, and give it again a little later."""
        consent = {"customer_id": customer, "consent_class": self.plan.shop.consent}
        self._tell("customer.consent.withdrawn", consent)
        await self.scheduler.sleep(8 * SECOND)
        self._tell("customer.consent.given", consent)

    def claimed(self, recipient: str) -> None:
        """Hear that a message about somebody is about to leave."""
        if self.plan.theme == "doubt" and not self.quiet and self.random.random() < 0.7:
            self.scheduler.spawn(self._hesitate(recipient.removeprefix("customer:")), "doubt", "world")

    def _report(self, message_id: str) -> None:
        """Let the provider say more about some messages: later, out of order, and some of it twice."""
        chance = self.receipts
        if chance.random() < 0.3:
            said = chance.sample(list(Receipt), chance.randint(1, 3))
            for number, receipt in enumerate([*said, *said[:1]]):
                name, wait = f"r{number % len(said)}", int(chance.random() * 90 * SECOND)
                self.scheduler.spawn(self._receipt(message_id, name, receipt, wait), "receipt", "world")

    async def _receipt(self, message_id: str, name: str, receipt: Receipt, wait: int) -> None:
        await self.scheduler.sleep(wait)
        await self.store.run(record_receipt(message_id, name, receipt, self.scheduler.clock))

    def _tell(self, kind: str, data: dict[str, Any]) -> None:
        self.log.append(PEOPLE[kind], 0, self.drawn.event(kind, self.scheduler.clock, data))

    async def _operator(self) -> None:
        """Kills and releases, switches of the rule set, a stalled and a new partition."""
        for _ in range(self.random.randrange(5)):
            await self.scheduler.sleep(int(self.random.random() * 50 * SECOND))
            what = self.random.random()
            if what < 0.25:
                scope = self.random.choice(("all", "rule:overdue", "channel:email"))
                await self.store.run(kills.kill(scope, "sim"))
                await self.scheduler.sleep(int(self.random.random() * 60 * SECOND))
                verb = endings.RELEASE if self.random.random() < 0.5 else endings.DROP
                ahead = (-MINUTE, 0, MINUTE)[self.scheduler.clock % 3]
                ending = await self.store.run(_ahead(ahead, endings.end(verb, scope, "sim", "a trial")))
                # Whoever asked may be killed before the first page, or after one: then the deliverers do the rest.
                if ending is not None and self.random.random() < 0.5:
                    await self.store.run(_ahead(ahead, endings.page(scope, ending.at, size=1)))
            elif what < 0.5:
                place = self.random.choice([p for p in self.places() if p[0] in TOPICS.values()])
                self.log.stalled.add(place)
                await self.scheduler.sleep(int(self.random.random() * 60 * SECOND))
                self.log.stalled.discard(place)
            elif self.plan.new_partition:
                topic = self.random.choice(sorted(TOPICS.values()))
                number = sum(1 for place in self.places() if place[0] == topic)
                await self.store.run(
                    detect.connect([(topic, number)], self.scheduler.clock, grace=GRACE, history="live")
                )
                self.log.partitions_[topic, number] = []

    async def _publisher(self) -> None:
        """Switch between rule sets that differ in the lateness they allow."""
        while self.plan.switches and self.scheduler.clock < START + ACTIVE + 60 * SECOND:
            for pause, more in ((22 + 3 * self.random.random(), 60), (9, self.random.choice((0, 0, 5)))):
                await self.scheduler.sleep(int(pause * SECOND))
                await self._switch(replace(self.plan.shop, lateness=self.plan.lateness + more * SECOND))

    async def _switch(self, shop: Shop) -> None:
        new = self.make_rules(shop)
        old = self.active
        if new.hash != old.hash:
            await self.store.run(detect.switch(old, new, b"{}", grace=GRACE))
            self.active = new

    async def _prepare(self) -> None:
        for topic in sorted(TOPICS.values()):
            for number in range(self.plan.partitions):
                self.log.partitions_[topic, number] = []
        for topic in sorted(PEOPLE.values()):
            self.log.partitions_[topic, 0] = []
        main = [p for p in self.places() if p[0] in TOPICS.values()]
        other = [p for p in self.places() if p[0] in PEOPLE.values()]
        await self.store.run(detect.connect(main, START, grace=GRACE, history="live"))
        await self.store.run(detect.connect(other, START, grace=GRACE, history="live", reader=people.READER))
        await self.store.run(detect.switch(None, self.active, b"{}", grace=GRACE))

    def run(self) -> History:
        """Run the history to its rest."""
        History.running = self
        scheduler = self.scheduler
        scheduler.spawn(self._prepare(), "prepare", "prepare")
        scheduler.run(START + 1)
        for process in ("worker1", "worker2", "deliverer1", "deliverer2", "people1"):
            self.alive[process] = 0
            self.start(process)
        for body in (self._producer(), self._minds(), self._operator(), self._publisher(), self._lag()):
            scheduler.spawn(body, "world", "world")
        scheduler.run(START + ACTIVE + 130 * SECOND)
        self.quiet = True
        self.log.stalled.clear()
        self.log.slow = self.log.ahead = 0.0
        self.provider.chaos = 0.0
        while scheduler.clock < START + REST and not self._settled():
            scheduler.run(scheduler.clock + 20 * SECOND)
        for task in (*scheduler.ready, *(entry[2] for entry in scheduler.asleep)):
            task.coroutine.close()
        return self

    def _settled(self) -> bool:
        """Whether nothing is left to happen but the end of memories."""
        store = self.store
        position = {(row["topic"], row["partition"]): row["next_offset"] for row in store.rows("sources")}
        return (
            all(position.get(place) == len(records) for place, records in self.log.partitions_.items())
            and not any(row["open"] for row in store.rows("messages"))
            and not any(row["open"] and row["state"] != "done" for row in store.rows("runs"))
            and not any(row["unread"] for row in store.rows("records"))
            and all(row["due"] is None or row["due"] > self.scheduler.clock + DAY for row in store.rows("state"))
        )

    def events(self) -> list[Event]:
        """Return every business event of the log."""
        return [event for event in self.log.events.values() if event.type in TOPICS]


def check(seed: int, theme: str | None = None) -> list[str]:
    """Run a seed and return what is wrong with its history."""
    history = History(plan(seed, theme)).run()
    return history.faults + invariants.at_rest(history)


def command(seed: int) -> str:
    """Return the command that repeats a seed."""
    return f"python -m tests.simulator {seed}"


def _ahead(by: int, body: Body[T]) -> Body[T]:
    """Return a body as whoever has another clock runs it."""

    def run() -> Transaction[T]:
        inner = body()
        answer: Any = None
        while True:
            try:
                op = inner.send(answer)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            answer = yield op
            if isinstance(op, Now):
                answer += by

    return run
