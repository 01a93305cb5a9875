"""A real mail server that goes away and comes back, through the engine."""

import asyncio

import pytest

from streams.processors.breaking import Turned
from streams.processors.results import Sent
from tests.live import engines
from tests.live.engines import customer, failed, rest, rows
from tests.live.test_smtp import provider
from tests.providers.stand_ins import Mailbox, smtp_served
from tidings.delivery import Pace
from tidings.event import SECOND

pytestmark = pytest.mark.live


def test_a_server_that_goes_away_is_asked_by_single_messages_and_gets_each_once_when_it_is_back(tmp_path):
    async def story():
        turns: asyncio.Queue[Turned] = asyncio.Queue()
        probed = asyncio.Semaphore(0)

        def observe(one: object) -> None:
            if isinstance(one, Turned):
                turns.put_nowait(one)
            if isinstance(one, Sent) and one.outcome.away and running.ways["smtp"].breaker.times > 2:
                probed.release()

        pace = Pace(retry_least=SECOND, retry_most=2 * SECOND, ask_least=SECOND // 10, ask_most=SECOND // 5)
        async with smtp_served(Mailbox()) as port:
            pass
        mailbox = Mailbox()
        async with engines.engine(tmp_path / "t.db", provider(port), pace=pace, observe=observe) as running:
            for number in range(90):
                await running.publish("customer.profile.changed", customer(f"c-{number}"))
                await running.publish("billing.payment.failed", failed(f"p-{number}", f"c-{number}"))
            await running.start()
            away = await turns.get()
            await probed.acquire()
            async with smtp_served(mailbox, port=port):
                back = await turns.get()
                await rest(running)
            messages = await rows(running, "messages")
        assert (away.provider, away.breaker.is_open, back.breaker.is_open, turns.empty()) == ("smtp", True, False, True)
        to = [address for envelope in mailbox.taken for address in envelope.rcpt_tos]
        assert sorted(to) == sorted(f"c-{number}@example.org" for number in range(90))
        assert {row["state"] for row in messages} == {"accepted"}
        # Who was under way when it went away has tried again, and who was a probe.
        assert sum(row["attempt"] == 1 for row in messages) >= 90 - 3 * running.concurrency

    asyncio.run(story())
