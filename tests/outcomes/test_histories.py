"""Histories of the simulator that tell: relays that crash and sleep anywhere, upon a broker that fences as Kafka does."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest

from streams.processors import outcomes
from streams.processors.outcomes import telling
from tests.simulator.drawn import REST, START, plan
from tests.simulator.history import History
from tests.simulator.scheduler import Task
from tests.simulator.world import SimRuntime
from tidings import canonical, ids
from tidings.event import SECOND
from tidings.log import Partition
from tidings.outcomes import TOPICS, has_ended, message_event, pseudonym
from tidings.ports import Body, Exclude, Row
from tidings.testing.memory import MemoryStore

LEASE = 8 * SECOND
PARTITIONS = 2


class Fenced(Exception):
    """A newer producer of the same name is there."""


class Broker:
    """What a transactional producer sees of Kafka: one epoch, and commits that are whole or nothing."""

    def __init__(self) -> None:
        self.epoch = 0
        self.topics: dict[Partition, list[Row]] = defaultdict(list)

    def begin(self) -> int:
        self.epoch += 1
        return self.epoch

    def commit(self, epoch: int, rows: Any) -> None:
        if epoch != self.epoch:
            raise Fenced
        for row in rows:
            self.topics[row["topic"], row["partition"]].append(row)

    def last(self) -> dict[Partition, int]:
        places = [(topic, p) for topic in TOPICS for p in range(PARTITIONS)]
        return {place: rows[-1]["number"] if (rows := self.topics[place]) else 0 for place in places}


class TellingStore(MemoryStore):
    async def run(self, body: Body[Any], *, urgent: bool = False) -> Any:
        return await super().run(telling(body), urgent=urgent)


def partition_of(topic: str, key: str) -> int:
    return sum(key.encode()) % PARTITIONS


class Told(History):
    """A history whose outcomes two relays publish."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.broker = Broker()
        self.take_overs = self.fenced = 0
        self.ends: list[str] = []
        """Messages in the order in which the transactions that ended them were committed."""
        self.store = TellingStore(self._pause, lambda: self.scheduler.clock)
        self.store.on_commit = self._committed

    def _committed(self, writes: Any, deletes: Any) -> None:
        self.watch.committed(writes, deletes)
        self.ends += [row["message_id"] for row in writes.get("messages", ()) if has_ended(row)]

    async def _producer(self) -> None:
        for process in ("worker-relay1", "worker-relay2"):
            self.alive[process] = 0
            self.start(process)
        await super()._producer()

    def start(self, process: str) -> None:
        if process.startswith("worker-relay"):
            runtime = SimRuntime(self.scheduler, 0)
            self.scheduler.spawn(self._relay(f"{process}.{self.alive[process]}", runtime), process, process)
        else:
            super().start(process)

    def _fate(self, task: Task, label: str) -> int | None:
        if task.process.startswith("worker-relay") and not self.quiet and label == "kafka":
            chance = self.random.random()
            if chance < 0.05:
                self._restart(task.process)
                return None
            if chance < 0.2:
                return int(LEASE * (0.5 + self.random.random()))
        return super()._fate(task, label)

    async def _relay(self, name: str, runtime: SimRuntime) -> None:
        """The steps of `streams.kafka.relay.Relay`, with the same transactions."""
        epoch = None
        while True:
            await runtime.sleep(int(self.random.random() * SECOND))
            if epoch is None:
                if not await self.store.run(outcomes.lead(name, LEASE)):
                    continue
                epoch = self.broker.begin()
                await self.scheduler.pause("kafka")
                settled = await self.store.run(outcomes.settle(name, self.broker.last()))
                if settled is None:
                    epoch = None
                    continue
                assert not settled.behind
                assert not settled.lost
                self.take_overs += 1
            rows = await self.store.run(outcomes.number(name, LEASE, partition_of, self.random.choice((1, 3, 50))))
            if not rows:
                epoch = None if rows is None else epoch
                continue
            await self.scheduler.pause("kafka")
            try:
                self.broker.commit(epoch, rows)
            except Fenced:
                self.fenced += 1
                epoch = None
                continue
            await self.scheduler.pause("kafka")
            await self.store.run(outcomes.published(rows))

    def _settled(self) -> bool:
        return super()._settled() and not self.store.rows("outbox")


def wrong(history: Told) -> list[str]:
    """Return what the topics hold that they should not, or do not hold."""
    faults = [f"not at rest after {REST}"] if history.scheduler.clock >= START + REST else []
    store, topics = history.store, history.broker.topics
    for place, rows in topics.items():
        if [row["number"] for row in rows] != list(range(1, len(rows) + 1)):
            faults.append(f"{place}: gap or repeat")
        if any(partition_of(row["topic"], row["key"]) != place[1] for row in rows):
            faults.append(f"{place}: not where its key belongs")
    said = [row["id"] for rows in topics.values() for row in rows]
    records = sorted(store.rows("records"), key=lambda row: row["seq"])
    over = [row for row in store.rows("messages") if has_ended(row)]
    due = [ids.outbox_id(row["firing_id"], row["kind"], row["n"]) for row in records]
    due += [ids.outbox_id(row["message_id"], row["state"], row["rev"]) for row in over]
    if sorted(said) != sorted(due):
        faults.append(f"{len(set(said) - set(due))} too many, {len(set(due) - set(said))} too few, {len(said)} in all")
    for firing in {row["firing_id"] for row in records}:
        mine = [row["id"] for rows in topics.values() for row in rows if canonical.loads(row["body"]).get("kind") and canonical.loads(row["body"])["firing_id"] == firing]  # fmt: skip
        if mine != [ids.outbox_id(firing, row["kind"], row["n"]) for row in records if row["firing_id"] == firing]:
            faults.append(f"{firing[:8]}: its records are out of order")
    people = {row["message_id"]: pseudonym(row["tenant"], row["recipient"]) for row in over}
    first = list(dict.fromkeys(history.ends))
    for who in set(people.values()):
        mine = [
            row["about"] for rows in topics.values() for row in rows if row["key"] == who and row["about"] in people
        ]
        if mine != [name for name in first if people[name] == who]:
            faults.append(f"{who}: its ends are out of order")
    return faults


@pytest.mark.parametrize("first", [0, 20, 40])
def test_twenty_histories_are_told_without_gap_or_repeat_in_order_and_exactly(first: int) -> None:
    take_overs = fenced = told = 0
    for seed in range(first, first + 20):
        history = Told(plan(seed))
        history.run()
        faults = history.faults + wrong(history)
        assert not faults, f"seed {seed}: " + "\n".join(faults[:10])
        take_overs, fenced = take_overs + history.take_overs, fenced + history.fenced
        told += sum(map(len, history.broker.topics.values()))
    assert take_overs > 60
    assert fenced > 5
    assert told > 100


def _forget_to_compare(patch: pytest.MonkeyPatch) -> None:
    def nothing():
        yield Exclude(outcomes.RELAY)
        return outcomes.Settled({})

    patch.setattr(outcomes, "settle", lambda owner, last: nothing)


def _do_not_fence(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Broker, "begin", lambda self: self.epoch)


def _number_beside_what_has_numbers(patch: pytest.MonkeyPatch) -> None:
    def nothing():
        yield from ()
        return []

    patch.setattr(outcomes, "numbered", nothing)


def _tell_every_write(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(outcomes._Made, "_seen", lambda self, rows: None)
    patch.setattr(outcomes._Made, "look", _all_open)


def _all_open(self, rows):
    yield from ()
    self.open |= {row["message_id"]: True for row in rows}


def _draw_in_another_order(patch: pytest.MonkeyPatch) -> None:
    real = message_event
    patch.setattr(outcomes, "message_event", lambda row, seq, no, at: real(row, -seq, no, at))


BUGS = (_forget_to_compare, _do_not_fence, _number_beside_what_has_numbers, _tell_every_write, _draw_in_another_order)


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_a_missing_safeguard_is_seen_within_thirty_histories(bug: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bug(monkeypatch)
    for seed in range(30):
        history = Told(plan(seed))
        try:
            history.run()
        except Exception:  # noqa: BLE001 - a crash is a finding as well
            return
        if wrong(history):
            return
    pytest.fail(f"{bug.__name__}: not seen in 30 histories")
