"""Bugs that the simulator must see: each takes one safeguard away, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from handlers.operators.event import EventOperator
from streams.processors import detect, dispatch, endings, results, worker
from streams.processors.deliverer import Deliverer
from streams.processors.results import Result, Results
from tests.simulator.history import History
from tidings import delivery, detection, gates, watermark
from tidings import dispatch as passes
from tidings.event import SECOND
from tidings.gates import Go, Stage
from tidings.message import Message
from tidings.ports import Lock, Outgoing, Transaction
from tidings.reasons import MessageState
from tidings.rule import NEVER
from tidings.state import KeyState

Patch = Callable[[pytest.MonkeyPatch], None]


def offset_unchecked(patch: pytest.MonkeyPatch) -> None:
    """The offset's compare-and-set is dropped."""
    patch.setattr(detect, "positions_match", lambda row, _span: row is not None)


def floor_dropped(patch: pytest.MonkeyPatch) -> None:
    """A switch that lowers W(rule) stores no floor."""
    patch.setattr(detect, "raised_floors", lambda *_: {})


def dedupe_dropped(patch: pytest.MonkeyPatch) -> None:
    """The buffer takes an event twice."""
    patch.setattr(detection, "dedupe", lambda arrived, _present: list(arrived))


def timer_first(patch: pytest.MonkeyPatch) -> None:
    """At one instant the timer goes before the event."""
    patch.setattr(detection, "event_first", lambda event_at, timer_at: event_at < timer_at)


def late_closer_ignored(patch: pytest.MonkeyPatch) -> None:
    """A late closer is dropped."""
    patch.setattr(detection._Key, "_late", lambda _self, _item: None)


def early_watermark(patch: pytest.MonkeyPatch) -> None:
    """W is read before the keys are locked."""
    right = detect._look

    def lock_and_look(refs: Any, concerned: Any) -> Transaction[Any]:
        world = yield from right(concerned)
        rows = yield Lock("state", [(k,) for k in sorted(refs)])
        values = {k: None if (row := rows[k,]) is None else row["value"] for k in refs}
        return {k: KeyState(refs[k], values[k]) for k in sorted(refs)}, world

    patch.setattr(detect, "_lock_and_look", lock_and_look)


def idle_on_return(patch: pytest.MonkeyPatch) -> None:
    """`caught_up_at` is when the empty fetch came back, not when it was sent."""
    patch.setattr(worker, "idle_since", lambda _fetched: History.running.scheduler.clock)


def stalled_topic_forgotten(patch: pytest.MonkeyPatch) -> None:
    """A topic that hangs behind is left out of the minimum."""

    def of_rule(rule: Any, topics: Mapping[str, int], floors: Mapping[str, int]) -> int:
        all_of_them = [topics.get(topic, NEVER) for topic in rule.topics]
        newest: int = max(all_of_them)
        w = min(w for w in all_of_them if w >= newest - 20 * SECOND)
        allowed: int = rule.operator.allowed_lateness
        return max(w - allowed, floors.get(rule.id, NEVER))

    patch.setattr(watermark, "of_rule", of_rule)


def early_byte(patch: pytest.MonkeyPatch) -> None:
    """The first byte leaves before the intent is committed."""
    right = Deliverer.intend

    async def intend(self: Deliverer, group: Sequence[Any], owner: str) -> Sequence[Outgoing]:
        for claimed in group:
            message: Message = claimed.message
            far = message.deadline + 1000 * SECOND
            early = Outgoing(message.message_id, message.attempt + 1, "email", "a@b", {}, far, far)
            await self.provider_of(message.channel).send(early)
        await right(self, group, owner)
        return []

    patch.setattr(Deliverer, "intend", intend)


def crashed_sending_again(patch: pytest.MonkeyPatch) -> None:
    """A begun sending whose lease is over goes back to pending."""
    right = delivery.lease_over

    def lease_over(message: Message, now: int, pace: Any) -> Message:
        if message.state is MessageState.SENDING and message.due_at is not None and message.due_at <= now:
            return message.pending(now)
        return right(message, now, pace)

    patch.setattr(delivery, "lease_over", lease_over)


def deadline_unchecked(patch: pytest.MonkeyPatch) -> None:
    """T3 does not ask for the deadline."""
    right = gates.deadline
    patch.setattr(gates, "deadline", lambda *asked: Go() if asked[4] is Stage.INTENT else right(*asked))


def withdrawal_unread(patch: pytest.MonkeyPatch) -> None:
    """T3 does not ask for consent again."""
    right = gates.consent
    patch.setattr(gates, "consent", lambda *asked: Go() if asked[4] is Stage.INTENT else right(*asked))


def quiet_unread(patch: pytest.MonkeyPatch) -> None:
    """T3 does not ask for quiet hours again."""
    right = gates.quiet_hours
    patch.setattr(gates, "quiet_hours", lambda *asked: Go() if asked[4] is Stage.INTENT else right(*asked))


def original_unread(patch: pytest.MonkeyPatch) -> None:
    """An all-clear does not ask whether anybody was told."""
    patch.setattr(gates, "original", lambda *_: Go())


def stop_forgotten(patch: pytest.MonkeyPatch) -> None:
    """A stop is not remembered for what fires behind it."""
    patch.setattr(EventOperator, "apply", EventOperator.late)


def told_overlooked(patch: pytest.MonkeyPatch) -> None:
    """What is in flight when a stop comes gets no all-clear."""
    patch.setattr(passes, "may_be_told", lambda message: message.state is MessageState.ACCEPTED)


def marked_apart(patch: pytest.MonkeyPatch) -> None:
    """Records are marked as read in a transaction of their own, before the pass that acts on them."""
    right = dispatch.dispatch_one
    marked: dict[Any, list[Any]] = {}
    unread_of, mark_read = dispatch.unread_of, dispatch.mark_read

    def dispatch_one(rules: Any, who: Any, pinned: Any) -> Any:
        return right(rules, who, pinned)

    async def of_deliverer(self: Deliverer) -> bool:
        whom = await self.store.read(dispatch.find_work())
        for who in whom:

            def mark(who: Any = who) -> Transaction[list[Any]]:
                rows = (yield from unread_of([who]))[who]
                yield from mark_read(rows)
                return list(rows)

            marked[who] = await self.store.run(mark)
            passed = await self.store.run(dispatch_one(self.rules, who, self.load_rules))
            if isinstance(passed, detect.Outdated):
                await self._switch(passed)
                return True
        return bool(whom)

    def remembered(whom: Any) -> Transaction[dict[Any, list[Any]]]:
        yield from ()
        return {who: marked.get(who, []) for who in whom}

    def unmarked(_rows: Any) -> Transaction[None]:
        yield from ()

    patch.setattr(dispatch, "unread_of", remembered)
    patch.setattr(dispatch, "mark_read", unmarked)
    patch.setattr(Deliverer, "dispatch", of_deliverer)


def answers_dropped(patch: pytest.MonkeyPatch) -> None:
    """What was answered while results were being written is forgotten with them."""
    right = Results._write

    async def write(self: Results, group: Sequence[Result]) -> list[Exception]:
        faults = await right(self, group)
        self.waiting.clear()
        return faults

    patch.setattr(Results, "_write", write)


def answers_crossed(patch: pytest.MonkeyPatch) -> None:
    """Of results that are written together each message gets the outcome of another."""
    right = results.record_results

    def record_results(group: Sequence[Result], pace: Any) -> Any:
        outcomes = [one.outcome for one in group]
        turned = zip(group, [*outcomes[1:], *outcomes[:1]], strict=True)
        return right([Result(one.outgoing, one.who, outcome) for one, outcome in turned], pace)

    patch.setattr(results, "record_results", record_results)


def waiting_overlooked(patch: pytest.MonkeyPatch) -> None:
    """T4 closes a run and calls nobody, though something of the recipient's was held because of it."""
    right = results._close_runs

    def close_runs(changed: Sequence[Message]) -> Transaction[set[str]]:
        yield from right(changed)
        return {message.message_id for message in changed}

    patch.setattr(results, "_close_runs", close_runs)


def read_for_all(patch: pytest.MonkeyPatch) -> None:
    """A pass over several marks as read what it has not passed on, for some of them belonged to somebody else."""
    right = dispatch._is_held
    seen: list[Any] = []

    def is_held(places: Any, held: Any, known: Any) -> bool:
        if not right(places, held, known):
            seen.extend(places)
        return right(places, held, known)

    def mark_read(unread: Any) -> Transaction[None]:
        whom, seen[:] = list(seen), []
        rows = yield from dispatch.unread_of(whom)
        yield from marked([*unread, *(row for found in rows.values() for row in found)])

    marked = dispatch.mark_read
    patch.setattr(dispatch, "_is_held", is_held)
    patch.setattr(dispatch, "mark_read", mark_read)


def drop_forgotten(patch: pytest.MonkeyPatch) -> None:
    """What is being dropped leaves where nobody has cancelled it yet."""
    patch.setattr(passes.Outside, "kills_of", lambda outside, _message: outside.kills)


def end_not_gone_on_with(patch: pytest.MonkeyPatch) -> None:
    """Whoever ends a kill and is killed leaves the rest to nobody."""

    async def go_on(_store: Any) -> bool:
        return False

    patch.setattr(endings, "go_on", go_on)


BUGS: tuple[Patch, ...] = (
    offset_unchecked, floor_dropped, dedupe_dropped, timer_first, late_closer_ignored, early_watermark, idle_on_return,
    stalled_topic_forgotten, early_byte, crashed_sending_again, deadline_unchecked, withdrawal_unread, quiet_unread,
    original_unread, stop_forgotten, told_overlooked, marked_apart, answers_dropped, answers_crossed, waiting_overlooked, read_for_all,
    drop_forgotten, end_not_gone_on_with,
)  # fmt: skip

THEME: dict[Patch, str] = {
    floor_dropped: "editors", early_watermark: "twins", idle_on_return: "slow", crashed_sending_again: "storm",
    withdrawal_unread: "doubt", late_closer_ignored: "mixed", quiet_unread: "recall", original_unread: "recall",
    stop_forgotten: "recall", told_overlooked: "recall",
    answers_crossed: "recall", waiting_overlooked: "recall",
}  # fmt: skip
"""The trouble that a safeguard is there for; what is not named shows in any."""
