"""`tidings demo`: a small shop in one process on one SQLite file, told as it happens."""

from __future__ import annotations

import asyncio
import heapq
import json
import signal
from argparse import Namespace
from pathlib import Path

from gateway.cli.folder import example, loaded
from gateway.cli.shop import Planned, Shop, customers
from gateway.cli.told import Told
from gateway.cli.watch import Watch, summary
from handlers.providers.catcher import FileCatcher
from handlers.providers.ways import Ways
from schemas import contracts
from streams.embedded import Engine, count, wall_clock
from streams.embedded_log import Append
from streams.json_events import from_json
from tidings.event import SECOND

STORY_EVERY = 0.55
"""Seconds between two stories."""
REST = 7.5
"""Seconds before the end in which nothing new happens, so that what was begun can end."""


def demo(arguments: Namespace) -> int:
    """Run the demonstration; 0 if the sum holds at its end."""
    folder: Path = arguments.data
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise Told(f"{folder} cannot be made: {fault.strerror}") from fault
    return asyncio.run(_demo(arguments, folder))


async def _demo(arguments: Namespace, folder: Path) -> int:
    found, files, texts = loaded(example())
    assert found.rules is not None, "the example's rules load; a test says so"
    file = folder / "tidings.db"
    again = file.exists()
    provider = FileCatcher(folder / "caught.jsonl", wall_clock)
    watch = Watch(found.rules, wall_clock, as_json=arguments.json)
    engine = Engine(file, contracts(), files, texts, found.rules, Ways(provider).of, observe=watch, kind="demo")
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stop.set)
    async with engine:
        if not arguments.json:
            _introduce(arguments, folder, len(found.rules.rules), again=again)
        if not again:
            for kind, event in customers(example(), wall_clock()):
                await engine.publish(kind, from_json(contracts().by_type[kind], event))
        await engine.start()
        await _play(engine, arguments.duration, arguments.seed, stop)
        await _settle(engine, arguments.duration, stop)
        await engine.stop()
        counts = await count(engine.store)
    lines, data, holds = summary(counts)
    if arguments.json:
        print(json.dumps({"what": "summary", **data}))
    else:
        print("\n" + "\n".join(lines))
        print(f"Mail as it was caught: {provider.path}. Run it again to go on from the same file.")
    return 0 if holds else 1


def _introduce(arguments: Namespace, folder: Path, rules: int, *, again: bool) -> None:
    ends = f"ends by itself after {arguments.duration:g} s" if arguments.duration else "Ctrl-C ends it"
    begins = "continues in" if again else "begins a new"
    print(
        f"A small shop: {rules} rules of {example()}, everything in one process; {begins} {folder / 'tidings.db'}; {ends}."
    )
    print(
        "event: something happened · fired: a rule speaks · silent: a rule looked and did not · told: what the customer"
    )
    print("gets · not told: with the reason · stopped: a firing was taken back · refused: a record nobody can read\n")


async def _play(engine: Engine, duration: float | None, seed: int, stop: asyncio.Event) -> None:
    """Publish stories until shortly before the end."""
    began = asyncio.get_running_loop().time()
    active = None if duration is None else max(duration - REST, duration / 3)
    shop = Shop(seed, f"{wall_clock() // SECOND:x}")
    planned: list[tuple[float, int, Planned]] = []
    next_story, number = 0.0, 0
    broken = False
    while not stop.is_set():
        engine.check()
        now = asyncio.get_running_loop().time() - began
        playing = active is None or now < active
        if not playing and not planned:
            return
        if playing and now >= next_story:
            next_story = now + STORY_EVERY
            for event in shop.story():
                number += 1
                heapq.heappush(planned, (now + event[0] / SECOND, number, event))
            if not broken and shop.told == 4:  # noqa: PLR2004 - once, when something has been seen already
                broken = True
                topic = engine.contracts.by_type["billing.invoice.paid"].topic
                await engine.log.append([Append(topic, b"inv-broken", b"\x00\x00\x00\x00\x07not what it says")])
        while planned and planned[0][0] <= now:
            kind, payload = shop.at(heapq.heappop(planned)[2], wall_clock())
            await engine.publish(kind, from_json(engine.contracts.by_type[kind], payload))
        if duration is not None and now >= duration - 1.5:
            return
        await asyncio.sleep(0.05)


async def _settle(engine: Engine, duration: float | None, stop: asyncio.Event) -> None:
    """Let what was begun end: until nothing waits but deadlines, for at most a few seconds."""
    patience = 1.0 if stop.is_set() or duration is None else REST
    end = asyncio.get_running_loop().time() + patience
    while asyncio.get_running_loop().time() < end:
        engine.check()
        if await engine.at_rest() and (stop.is_set() or not (await count(engine.store))["armed"]):
            return
        await asyncio.sleep(0.1)
