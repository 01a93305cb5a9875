"""Commits whose answers are lost, and our own code that fails: nothing is sent twice, nobody else is held up."""

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from streams.processors import deliver
from streams.processors.results import record_result
from streams.processors.setbacks import InternalError
from tests.kernel.house import ONE, house, profile
from tests.kernel.stories import NOW, fired
from tidings.delivery import Pace
from tidings.event import HOUR, MINUTE, SECOND
from tidings.ports import CommitUnknown, Outcome, Outgoing, Put
from tidings.tables import TABLES
from tidings.testing.memory import MemoryStore


@pytest.mark.parametrize("answer", [
    Outcome("accepted", reference="ref"), Outcome("permanent"), Outcome("not_sent", retry_after=SECOND),
    Outcome("not_sent", detail="configuration: no password"), Outcome("ambiguous"),
    Outcome("permanent", address_gone=True),
], ids=lambda one: f"{one.stage}{' configuration' if one.misconfigured else ''}{' gone' if one.address_gone else ''}")  # fmt: skip
def test_a_result_whose_commit_was_not_answered_is_written_again_and_changes_nothing(answer):
    """All of it was written, or nothing (`ports.CommitUnknown`): whoever does not know runs the same body once more."""
    h = house()
    h.say(fired(of=ONE))
    seen: list[Outgoing] = []

    async def send(outgoing: Outgoing) -> Outcome:
        seen.append(outgoing)
        raise KeyboardInterrupt

    h.provider.send = send  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        h.run()
    told = []
    for _ in range(3):
        asyncio.run(h.store.run(record_result(seen[0], ("t", "customer:c"), answer, Pace())))
        told.append({table: h.store.rows(table) for table in TABLES})
        h.now += MINUTE
    assert told[1:] == told[:1] * 2


def test_a_recipient_whom_our_own_code_fails_on_rests_and_holds_up_nobody(caplog):
    h = house()
    h.hear_of(profile(2, "c-2"))
    seen: list[object] = []
    h.deliverer.observe = seen.append
    rows = [row for row in h.store.rows("recipients") if row["recipient"] == "customer:c"]
    h.write(Put("recipients", [{**rows[0], "next_at": NOW}]))
    h.say(fired("f1", seq=1, of=ONE))
    (sound,) = h.store.rows("records")
    h.write(Put("records", [{**sound, "body": b"a secret"}]))
    h.say(fired("f2", seq=2, of=ONE), "customer:c-2")
    h.run()
    assert h.messages() == [("accepted", None)]
    assert seen.count(InternalError("dispatch")) == 1
    h.run(59 * SECOND)
    assert seen.count(InternalError("dispatch")) == 1
    h.run(SECOND)
    assert seen.count(InternalError("dispatch")) == 2
    assert "secret" not in caplog.text
    h.write(Put("records", [sound]))
    h.run(MINUTE)
    assert h.messages() == [("accepted", None)]
    h.run(MINUTE)
    assert h.messages() == [("accepted", None)] * 2


def test_a_message_that_cannot_be_reconciled_rests_and_holds_up_nobody():
    h = house()
    h.hear_of(profile(2, "c-2"))
    h.provider.answers = [Outcome("ambiguous"), Outcome("ambiguous")]
    h.provider.can_look_up = True
    h.say(fired("f1", seq=1, of=ONE))
    h.say(fired("f2", seq=2, of=ONE), "customer:c-2")
    h.run()
    bad, _ = (one.message_id for one in h.provider.taken)

    async def look_up(message_id: str) -> str:
        if message_id == bad:
            raise RuntimeError
        return "accepted"

    h.provider.look_up = look_up  # type: ignore[method-assign]
    h.deliverer.concurrency = 1
    h.run(HOUR)
    assert sorted(h.messages()) == [("accepted", None), ("unknown", None)]


@dataclass
class Silent:
    """A store that does not answer to the commit of the first intent, which was done, or not."""

    store: MemoryStore
    done: bool
    away: Any
    asked: int = 0

    async def read(self, body: Any) -> Any:
        return await self.store.read(body)

    async def run(self, body: Any, *, urgent: bool = False) -> Any:
        if "intend" not in body.__qualname__ or self.asked:
            return await self.store.run(body, urgent=urgent)
        self.asked += 1
        if self.done:
            await self.store.run(body, urgent=urgent)
        await self.away()
        raise CommitUnknown


@pytest.mark.parametrize("done", [True, False])
def test_an_intent_whose_commit_was_not_answered_is_found_and_sent_once(done):
    h = house()
    h.deliverer.store = Silent(h.store, done, lambda: asyncio.sleep(0))
    h.say(fired(of=ONE))
    h.run()
    assert h.messages() == [("accepted", None)]
    assert [one.attempt for one in h.provider.taken] == [1]


@pytest.mark.parametrize("lease_over", [False, True])
def test_an_intent_that_is_found_too_late_was_not_sent_and_is_not_unknown(lease_over):
    h = house()

    async def away() -> None:
        h.now += HOUR
        if lease_over:
            await h.store.run(deliver.recover(Pace()))

    h.deliverer.store = Silent(h.store, True, away)
    h.say(fired(of=ONE))
    h.run()
    assert {row["no"]: row["outcome"] for row in h.store.rows("attempts")}[1] == "not_sent"
    assert all(one.attempt > 1 for one in h.provider.taken)
    h.run(HOUR)
    assert h.messages() == [("accepted", None)]
    assert [one.attempt for one in h.provider.taken] == [2]
