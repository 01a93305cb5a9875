"""The whole way of a message: event, firing, dispatch, claim, intent, a provider on loopback, result.

python -m benchmarks.delivery CHANNEL PORT MESSAGES
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from handlers.channels.wire import SmsSender
from handlers.providers.smtp import SmtpProvider, SmtpSettings
from handlers.providers.twilio import TwilioProvider, TwilioSettings
from handlers.rules.load import load
from schemas import contracts
from streams.embedded import Engine, calm_collector, wall_clock
from streams.embedded_log import Append
from streams.processors.results import Sent

CUSTOMERS = 500
FAILED, PROFILE = "billing.payment.failed", "customer.profile.changed"
RULES = """version: 1
rules:
  - id: payment-failed
    title: A payment failed
    owner: team-bench
    status: live
    policy: {{ consent: transactional }}
    when: {{ event: billing.payment.failed, if: code == "card_declined" }}
    to: customer
    topic: bench
    then: [{{ send: {channel}, template: failed, with: {{ what: payment_id, amount: amount }} }}]
"""
TOPICS = b"topics: { bench: { sentence: What the benchmark says } }\n"
TEXTS = {
    "email": {"failed": "Subject: A payment failed\n\nThe payment {{ what }} of {{ amount }} failed.\n"},
    "sms": {"failed": "The payment {{ what }} of {{ amount }} failed."},
}


def provider_of(channel: str, port: int) -> Any:
    """Return the real provider, at a server on loopback."""
    if channel == "email":
        return SmtpProvider(SmtpSettings("127.0.0.1", "Bench <bench@example.org>", port=port, tls="none"), wall_clock)
    settings = TwilioSettings(SmsSender("+15005550006", "AC" + "0" * 32, f"http://127.0.0.1:{port}"), "bench")
    return TwilioProvider(settings, lambda reference: reference, wall_clock, allow_loopback=True)


class Bench:
    """An engine, and when each message was accepted."""

    def __init__(self, folder: Path, channel: str, port: int) -> None:
        files = {"rules/bench.yaml": RULES.format(channel=channel).encode(), "topics.yaml": TOPICS}
        loaded = load(files, TEXTS[channel], contracts().by_type)
        assert loaded.rules is not None, "\n".join(str(one) for one in loaded.errors)
        provider = provider_of(channel, port)
        self.accepted: dict[str, float] = {}
        self.left = 0
        self.done = asyncio.Event()
        self.engine = Engine(
            folder / "bench.db", contracts(), files, TEXTS[channel], loaded.rules, lambda _: provider, history="live",
            observe=self.see,
        )  # fmt: skip

    def see(self, seen: object) -> None:
        """Note when a provider took a message."""
        if isinstance(seen, Sent) and seen.outcome.stage == "accepted":
            self.accepted[seen.message.body["data"]["what"]] = time.perf_counter()
            self.left -= 1
            if self.left <= 0:
                self.done.set()

    def record(self, kind: str, name: str, data: dict[str, Any]) -> Append:
        """Return the record of an event of now."""
        now = wall_clock()
        meta = {
            "event_id": name, "type": kind, "source": "bench", "occurred_at": now, "recorded_at": now,
            "tenant": "default", "correlation_id": None, "subject": None, "actor": None, "causation_id": None,
            "sequence": None,
        }  # fmt: skip
        return Append(contracts().by_type[kind].topic, *self.engine.codec.encode(kind, {"meta": meta, **data}))

    def failed(self, number: int) -> Append:
        """Return a failed payment, of which a customer hears."""
        name = f"pay-{number}"
        data = {
            "payment_id": name, "invoice_id": None, "customer_id": f"c-{number % CUSTOMERS}", "code": "card_declined",
            "amount": {"amount_minor": 4200, "currency": "EUR"}, "attempt": 1,
        }  # fmt: skip
        return self.record(FAILED, name, data)

    async def introduce(self) -> None:
        """Tell the engine who the customers are."""
        fields = contracts().by_type[PROFILE].fields
        for number in range(CUSTOMERS):
            known = {"customer_id": f"c-{number}", "email": f"c{number}@example.org", "phone": f"+49170{number:07}"}
            data = {**dict.fromkeys(fields), **known}
            await self.engine.log.append([self.record(PROFILE, f"p-{number}", data)])

    async def expect(self, number: int) -> None:
        """Begin to wait for so many messages."""
        self.left = number
        self.done.clear()

    async def rate(self, number: int) -> float:
        """Return messages a second, of a pile of events that came at once."""
        await self.expect(number)
        begun = time.perf_counter()
        await self.engine.log.append([self.failed(n) for n in range(number)])
        await self.finished()
        return number / (time.perf_counter() - begun)

    async def latencies(self, number: int, per_second: float, first: int) -> list[float]:
        """Return seconds from the event to the provider's yes, of events that come one by one."""
        await self.expect(number)
        begun = time.perf_counter()
        asked: dict[str, float] = {}
        for n in range(number):
            await asyncio.sleep(max(0.0, begun + n / per_second - time.perf_counter()))
            asked[f"pay-{first + n}"] = time.perf_counter()
            await self.engine.log.append([self.failed(first + n)])
        await self.finished()
        return sorted(self.accepted[name] - at for name, at in asked.items())

    async def finished(self) -> None:
        """Wait until all are accepted; raise what stopped the engine."""
        async with asyncio.timeout(300):
            while not self.done.is_set():
                self.engine.check()
                await asyncio.wait({asyncio.ensure_future(self.done.wait())}, timeout=1)


async def main(channel: str, port: int, number: int) -> None:
    """Measure, and print."""
    with tempfile.TemporaryDirectory(prefix="tidings-bench-") as folder:
        bench = Bench(Path(folder), channel, port)
        async with bench.engine as engine:
            await bench.introduce()
            await engine.start()
            calm_collector()
            rate = await bench.rate(number)
            found = await bench.latencies(max(10, number // 2), rate / 2, number)
    half, most = found[len(found) // 2], found[min(len(found) - 1, len(found) * 99 // 100)]
    print(json.dumps({"rate": rate, "p50": half, "p99": most, "load": rate / 2, "messages": number}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
