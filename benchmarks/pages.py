"""Every page of the console over a million decisions: time by the clock, of the processor, and size, on either store.

Each asking is another one (another customer, another instant), so nothing that a page remembers answers it. What the
processor did is counted as well: of a file all of it is ours; of a server our part, and its own, where it is on this machine.

python -m benchmarks.pages [--decisions N] [--events N] [--data FOLDER | --postgres HOST:PORT/DATABASE] [--only WORD]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gzip
import os
import random
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
from fastapi import FastAPI

from benchmarks.filled import BUSY, OVER, fill, opened
from gateway.console.app import console, in_frame
from gateway.console.app import routes as console_routes
from gateway.http.app import protect
from streams.embedded import calm_collector
from streams.ledger.ledger import Ledger
from streams.ledger.proof import Proof
from streams.ledger.rows import Decision, Filter, MessageLine, Outcome
from streams.stores.place import Place
from streams.stores.sqlite import SqliteStore
from tests.explaining.laboratory import Shop
from tidings.event import DAY, HOUR, MINUTE, Micros

DECISIONS = 1_000_000
EVENTS = 250_000
"""Of the newest decisions the events are kept: a log reaches back less far than what was decided."""
FIRINGS = 2_000
"""Of the one customer who is never quiet, in four days."""
TURNS = 40
WALL, BYTES = 50.0, 40_000
"""What a page may cost: milliseconds at the 95th percentile, bytes."""


@dataclass
class Known:
    """What to ask for."""

    now: Micros
    decisions: list[Decision] = field(default_factory=list)
    messages: list[MessageLine] = field(default_factory=list)
    busy: list[Decision] = field(default_factory=list)
    refs: list[str] = field(default_factory=list)
    chance: random.Random = field(default_factory=lambda: random.Random(7))

    def ever(self) -> int:
        """Return an instant before everything, another one each time: no count is remembered for it."""
        return 1_000 + self.chance.randrange(10**9)

    def past(self) -> int:
        """Return an instant among the decisions."""
        return self.now - self.chance.randrange(OVER)

    def decision(self) -> Decision:
        """Return one of all decisions."""
        return self.chance.choice(self.decisions)

    def message(self) -> MessageLine:
        """Return one of all messages."""
        return self.chance.choice(self.messages)

    def customer(self) -> str:
        """Return the id of a customer of whom something is decided."""
        return self.decision().recipient.partition(":")[2]


async def look_around(ledger: Ledger, now: Micros, shop: Shop) -> Known:
    """Return decisions and messages of all times."""
    found = Known(now)
    for _ in range(40):
        about = Filter(until=found.past())
        found.decisions += (await ledger.decisions(about, limit=5)).rows
        found.messages += (await ledger.messages(about, limit=5)).rows
    found.busy = list((await ledger.decisions(Filter(recipient=f"customer:{BUSY}"), limit=200)).rows)
    for one in found.busy[:20]:
        event = await shop.books.archive.began(one.firing_id, lambda _: ())
        assert event is not None
        found.refs.append(event.ref)
    return found


Ask = tuple[str, dict[str, str] | None]
"""A path, and what a form says."""


def pages(k: Known, rules: list[str]) -> Iterator[tuple[str, object]]:
    """Yield the name of every page, and what makes its next asking."""

    def listed(page: str, query: str = "") -> object:
        return lambda: (f"/{page}?from={k.ever()}{query}", None)

    yield "overview", lambda: ("/", None)
    yield "overview, 30 days", lambda: ("/?window=30d", None)
    yield "decisions", lambda: (f"/decisions?from={k.now - 7 * DAY - k.chance.randrange(HOUR)}", None)
    yield "decisions, all", listed("decisions")
    yield "decisions, from the past on", lambda: (f"/decisions?from={k.ever()}&before={k.past()}", None)
    yield "decisions, a day of the past", lambda: (f"/decisions?from={(at := k.past()) - DAY}&to={at}", None)
    yield "decisions, newer", lambda: (f"/decisions?from={k.ever()}&after={k.past()}", None)
    for one in Outcome:
        yield f"decisions {one}", listed("decisions", f"&outcome={one}")
        yield f"decisions {one}, past", lambda one=one: (
            f"/decisions?from={k.ever()}&outcome={one}&before={k.past()}", None,
        )  # fmt: skip
    for reason in ("no_consent", "no_address", "quiet_hours", "render", "rule_off"):
        yield f"decisions, {reason}", listed("decisions", f"&reason={reason}")
    yield "decisions, suppressed, no_consent", listed("decisions", "&outcome=suppressed&reason=no_consent")
    yield "decisions of a rule", lambda: (f"/decisions?from={k.ever()}&rule={k.chance.choice(rules)}", None)
    for one in Outcome:
        yield f"decisions of a rule, {one}", lambda one=one: (
            f"/decisions?from={k.ever()}&rule={k.chance.choice(rules)}&outcome={one}", None,
        )  # fmt: skip
    yield "decisions of a rule, no_address", lambda: (
        f"/decisions?from={k.ever()}&rule={k.chance.choice(rules)}&reason=no_address", None,
    )  # fmt: skip
    yield "decisions of a customer", lambda: (f"/decisions?from={k.ever()}&recipient=customer:{k.customer()}", None)
    yield "decisions of the busy customer", listed("decisions", f"&recipient=customer:{BUSY}")
    yield "decisions of the busy customer, failed", listed("decisions", f"&recipient=customer:{BUSY}&outcome=failed")
    yield "decisions of the busy customer, a rule", listed("decisions", f"&recipient=customer:{BUSY}&rule={rules[0]}")
    yield "decisions of a firing", lambda: (f"/decisions?time=all&firing={k.decision().firing_id}", None)
    yield "decision", lambda: (f"/decisions/{k.decision().id}", None)
    yield "decision of the busy customer", lambda: (f"/decisions/{k.chance.choice(k.busy).id}", None)
    yield "event", lambda: (f"/events/{k.chance.choice(k.refs)}", None)
    yield "customer", lambda: (f"/customers/{k.customer()}", None)
    yield "customer, why-not", lambda: (f"/customers/{k.customer()}?ask=1&window=90d", None)
    yield "busy customer", lambda: (f"/customers/{BUSY}", None)
    yield "busy customer, why-not", lambda: (f"/customers/{BUSY}?ask=1&window=30d", None)
    yield "busy customer, why-not of a rule", lambda: (f"/customers/{BUSY}?ask=1&rule=payment-failed&window=30d", None)
    yield "busy customer, why-not of an order", lambda: (f"/customers/{BUSY}?ask=1&about=busy-1&window=90d", None)
    yield "messages", lambda: (f"/messages?from={k.now - 7 * DAY - k.chance.randrange(HOUR)}", None)
    yield "messages, all", listed("messages")
    yield "messages, from the past on", lambda: (f"/messages?from={k.ever()}&before={k.past()}", None)
    for one in (one for one in Outcome if one is not Outcome.NOTHING):
        yield f"messages {one}", listed("messages", f"&outcome={one}")
    yield "messages failed, of SMS", listed("messages", "&outcome=failed&channel=sms")
    yield "messages of push", listed("messages", "&channel=push")
    yield "messages of Slack", listed("messages", "&channel=slack")
    yield "messages, no_address", listed("messages", "&reason=no_address")
    yield "messages, no_consent", listed("messages", "&reason=no_consent")
    yield "messages of a rule", lambda: (f"/messages?from={k.ever()}&rule={k.chance.choice(rules)}", None)
    yield "messages of a rule, failed", lambda: (
        f"/messages?from={k.ever()}&rule={k.chance.choice(rules)}&outcome=failed", None,
    )  # fmt: skip
    yield "messages of a customer", lambda: (f"/messages?from={k.ever()}&recipient=customer:{k.customer()}", None)
    yield "messages of the busy customer", listed("messages", f"&recipient=customer:{BUSY}")
    yield "message", lambda: (f"/messages/{k.message().message_id}", None)
    yield "rules", lambda: ("/rules", None)
    for name, above in (("rule", "/rules/"), ("near misses of a rule", "/near-misses?rule=")):
        yield name, lambda above=above: (f"{above}{k.chance.choice(rules)}", None)
    yield "dead letters", lambda: ("/dead-letters", None)
    yield "kills", lambda: ("/kills", None)
    words = {
        "a customer": k.customer,
        "the busy customer": lambda: BUSY,
        "a decision": lambda: k.decision().id,
        "the beginning of a message": lambda: k.message().message_id[:8],
        "a firing": lambda: k.decision().firing_id,
        "a provider's reference": lambda: f"ref-{k.message().message_id}",
        "a payment": lambda: f"busy-{k.chance.randrange(FIRINGS)}",
        "an event": lambda: k.chance.choice(k.refs),
        "nothing": lambda: f"nothing-{k.chance.random()}",
    }
    for what, word in words.items():
        yield f"find {what}", lambda word=word: ("/find", {"q": word()})


def served(database: str) -> float:
    """Return milliseconds of processor time of the server's processes that work for a database on this machine."""
    found = 0
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (process / "cmdline").read_bytes().split(b"\0")[0].decode(errors="replace")
            if words.startswith("postgres: ") and f" {database} " in words:
                user, system = (process / "stat").read_text().rpartition(")")[2].split()[11:13]
                found += int(user) + int(system)
    return found * 1000 / os.sysconf("SC_CLK_TCK")


async def measure(shop: Shop, turns: int, only: str) -> None:
    """Ask every page, and print a row of each."""
    site = shop.site()

    async def at_once(_: float) -> None:
        return None

    proof = Proof(site.ledger, site.now, at_once)
    if only in "overview, 30 days":
        begun = time.perf_counter()
        await proof.step()
        print(f"The proof counts everything in {time.perf_counter() - begun:.1f} s.\n", flush=True)
    site = replace(site, proof=proof)
    rendered = console(site)
    app = FastAPI(openapi_url=None, redirect_slashes=False)
    protect(app, refuse=in_frame(rendered))
    app.include_router(console_routes(site, rendered))
    database = "" if isinstance(shop.store, SqliteStore) else shop.store.place.database
    known = await look_around(site.ledger, site.now(), shop)
    rules = sorted(rule.id for rule in shop.rules.rules)
    print(
        "| page | p50 ms | p95 ms | processor, p50 | p95 | server, mean | kB | gzipped | |\n|---|---|---|---|---|---|---|---|---|",
        flush=True,
    )
    calm_collector()  # as the processes do that serve
    transport = httpx.ASGITransport(app, client=("127.0.0.1", 1))
    headers = {"accept": "text/html", "sec-fetch-site": "same-origin"}
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=headers) as client:
        for name, next_ in pages(known, rules):
            if only not in name:
                continue
            took, used, size, packed, status = [], [], 0, 0, set()
            before = 0.0
            for turn in range(turns + 2):
                if turn == 2:
                    before = served(database)
                path, form = next_()
                begun, busy = time.perf_counter(), time.process_time()
                answer = await (client.get(path) if form is None else client.post(path, data=form))
                if turn > 1:
                    took.append((time.perf_counter() - begun) * 1000)
                    used.append((time.process_time() - busy) * 1000)
                status.add(answer.status_code)
                if len(answer.content) > size:
                    size, packed = len(answer.content), len(gzip.compress(answer.content, 6))
            server = (served(database) - before) / turns
            took.sort(), used.sort()
            half, most = turns // 2, turns * 95 // 100
            over = " ".join(word for word, is_over in (("slow", took[most] > WALL), ("large", size > BYTES)) if is_over)
            codes = "" if status <= {200, 303} else f" {sorted(status)}"
            print(
                f"| {name} | {took[half]:.1f} | {took[most]:.1f} | {used[half]:.1f} | {used[most]:.1f} | {server:.1f} | "
                f"{size / 1000:.1f} | {packed / 1000:.1f} | {over}{codes} |", flush=True,
            )  # fmt: skip


async def run(where: Path | Place, arguments: argparse.Namespace) -> None:
    """Fill what is empty, and measure."""
    async with opened(where) as shop:
        ledger = shop.site().ledger
        if not (await ledger.decisions(limit=1)).rows:
            begun = time.perf_counter()
            await fill(shop, where, arguments.decisions, min(arguments.events, arguments.decisions), FIRINGS)
            print(f"Filled in {time.perf_counter() - begun:.0f} s.", flush=True)
        newest = (await ledger.decisions(limit=1)).rows[0].decided_at
        shop.clock = max(shop.clock, newest + MINUTE)
        await measure(shop, arguments.turns, arguments.only)


def main() -> None:
    """Fill, measure, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--decisions", type=int, default=DECISIONS)
    parser.add_argument("--events", type=int, default=EVENTS)
    parser.add_argument("--turns", type=int, default=TURNS)
    parser.add_argument("--only", default="", help="pages whose name has this word")
    parser.add_argument("--data", type=Path, help="where the file is made, or is from the last time")
    parser.add_argument("--postgres", help="HOST:PORT/DATABASE, empty or from the last time; user postgres")
    arguments = parser.parse_args()
    if arguments.postgres:
        where, _, database = arguments.postgres.partition("/")
        host, _, port = where.partition(":")
        asyncio.run(run(Place(host, int(port), database, "postgres"), arguments))
        return
    with tempfile.TemporaryDirectory(prefix="tidings-pages-") as folder:
        kept = arguments.data or Path(folder)
        kept.mkdir(parents=True, exist_ok=True)
        asyncio.run(run(kept / "tidings.db", arguments))


if __name__ == "__main__":
    main()
