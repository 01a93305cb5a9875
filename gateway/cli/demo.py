"""`tidings demo`: a small shop in one process on one SQLite file, whose days pass in seconds, told as it happens."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import sys
import textwrap
from argparse import Namespace
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from gateway.cli.folder import example, loaded
from gateway.cli.place import CONFIG, DEMO
from gateway.cli.told import Told
from gateway.cli.watch import Watch, summary
from gateway.demo.play import Play
from gateway.demo.post import Post
from gateway.demo.scene import HOME, Scene, local
from gateway.demo.stage import OneFile, Stage
from gateway.metrics import Metrics
from handlers.providers.catcher import FileCatcher
from schemas import contracts
from streams import clock as clocks
from streams import control
from streams.embedded import Engine, wall_clock
from streams.json_events import rfc3339
from tidings.event import DAY, HOUR, Micros
from tidings.rule import RuleSet

OPENS: Micros = 10 * HOUR
"""Hour of the day (UTC) at which a new shop opens: morning in New York, noon in Berlin, evening in Tokyo."""
SHOP = "a small shop"
REST = 5.0
"""Seconds before the end in which nothing new begins, so that what was begun can end."""
PATIENCE = 1.0
"""Seconds for what is under way, once it is over."""


def demo(arguments: Namespace) -> int:
    """Run the demonstration; 0 if the sum holds at its end."""
    if arguments.data is None:
        arguments.data = DEMO if arguments.kafka is None else DEMO / "cluster"
    folder: Path = arguments.data
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise Told(f"{folder} cannot be made: {fault.strerror}") from fault
    from gateway.demo.served import place

    listener = place(arguments.port)
    with contextlib.closing(listener):
        if arguments.kafka is not None:
            from gateway.cli.demo_cluster import demo_on_cluster

            return asyncio.run(demo_on_cluster(arguments, folder, listener))
        return asyncio.run(_demo(arguments, folder, listener))


async def _demo(arguments: Namespace, folder: Path, listener: socket.socket) -> int:
    from gateway.demo.served import HOST, contents, served, url_of
    from gateway.edge import site_of

    found, files, texts = loaded(example())
    assert found.rules is not None, "the example's rules load; a test says so"
    file, url = folder / "tidings.db", url_of(listener)
    again = file.exists()
    clock = await clocks.resumed(file, arguments.speed, wall_clock() // DAY * DAY + OPENS)
    catcher = FileCatcher(folder / "caught.jsonl", clock)
    post = Post(catcher)
    telling = Telling(arguments, found.rules, clock, again=again)
    engine = Engine(
        file, contracts(), files, texts, found.rules, lambda _channel: post, clock, speed=arguments.speed, kind="demo",
        render=contents(folder, url),
    )  # fmt: skip
    metrics = Metrics(lambda: engine.rules, contracts().by_type, clock)
    engine.observe = both(metrics.observe, telling.tell)
    stop = telling.stop
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stop.set)
    stage = OneFile(engine)
    async with engine:
        play = await Play.on(stage, example(), arguments.seed)
        clock.go()
        await engine.start()
        async with (
            _kept(engine),
            control.serving(folder, engine.store),
            served(engine, metrics, site_of(engine, HOST, name=SHOP, folder=example()), listener),
            telling.showing(stage, play, f"everything in one process; {_begins(file, again=again)}", url),
        ):
            await played(stage, play, arguments.duration, stop)
        await engine.stop()
        clock.freeze()
        await engine.store.run(clocks.keep)
        counts = await stage.count()
    return telling.ended(counts, _next(play.told, catcher.path, arguments.data, url))


def both(*observers: Callable[[object], None]) -> Callable[[object], None]:
    """Return one observer for several."""

    def observe(seen: object) -> None:
        for one in observers:
            one(seen)

    return observe


def _begins(file: Path, *, again: bool) -> str:
    return f"{'continues in' if again else 'begins a new'} {file}"


async def played(engine: Stage, play: Play, duration: float | None, stop: asyncio.Event) -> None:
    """Begin stories until shortly before the end; then let what is under way end."""
    loop = asyncio.get_running_loop()
    if duration is not None:
        loop.call_later(max(0.0, duration - PATIENCE), stop.set)
    await play.go(stop, seconds=None if duration is None else max(duration - REST, duration / 2))
    end = loop.time() + PATIENCE
    while loop.time() < end and not await engine.at_rest():
        engine.check()
        await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def _kept(engine: Engine) -> AsyncIterator[None]:
    """Write the shop's time down again and again, so that a crash does not turn it back."""

    async def forever() -> None:
        while True:
            await asyncio.sleep(clocks.KEEP_EVERY)
            await engine.store.run(clocks.keep)

    task = asyncio.create_task(forever())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


class Telling:
    """Tells what happens: in a live table on a terminal, else line by line."""

    def __init__(self, arguments: Namespace, rules: RuleSet, clock: Callable[[], Micros], *, again: bool) -> None:
        self.arguments = arguments
        self.rules = rules
        self.clock = clock
        self.again = again
        self.stop = asyncio.Event()
        """Set once the demonstration is to end."""
        self.unread: BrokenPipeError | None = None
        """Set once nobody reads what is told (`| head`)."""
        self.live = wants_table(arguments)
        if self.live:
            self.scene = Scene(rules, clock)
            self.observe: Callable[[object], None] = self.scene
        else:
            self.observe = Watch(rules, clock, as_json=arguments.json, stamp=lambda at: f"{local(at, HOME):%a %H:%M}")

    def tell(self, seen: object) -> None:
        """Tell one thing; where nobody reads any more, the shop closes."""
        if self.unread is not None:
            return
        try:
            self.observe(seen)
        except BrokenPipeError as fault:
            self.unread = fault
            self.stop.set()

    @contextlib.asynccontextmanager
    async def showing(self, stage: Stage, play: Play, where: str, url: str) -> AsyncIterator[None]:
        """Show it while the shop is open; the last frame stays."""
        if not self.live:
            if self.arguments.json:
                print(json.dumps({"at": rfc3339(self.clock()), "what": "console", "url": url}), flush=True)
            else:
                self._introduce(where, url)
            yield
            return
        from gateway.demo.screen import showing

        self.scene.people = play.shop.people
        ends = f"ends after {self.arguments.duration:g} s" if self.arguments.duration else "Ctrl-C ends it"
        async with showing(self.scene, stage, self.arguments.speed, ends, again=self.again, url=url):
            yield

    def ended(self, counts: dict[str, Any], more: list[str]) -> int:
        """Tell the sum, and what may be tried now; return 0 where the sum holds."""
        if self.unread is not None:
            raise self.unread
        lines, data, holds = summary(counts)
        if self.arguments.json:
            print(json.dumps({"what": "summary", **data}))
        else:
            print("\n".join(["", *(folded(lines, " " * 10) if self.live else lines), "", *more]))
        return 0 if holds else 1

    def _introduce(self, where: str, url: str) -> None:
        ends = f"ends after {self.arguments.duration:g} s" if self.arguments.duration else "Ctrl-C ends it"
        day = f"a day takes {86_400 / self.arguments.speed:.3g} s"
        what = f"A small shop: {len(self.rules.rules)} rules of {example()}, {where}; {day}; {ends}."
        words = [
            "event: something happened · fired: a rule speaks · silent: a rule looked and did not · told: what they get",
            "held, not told: with the reason · stopped: a firing was taken back · refused: a record nobody can read",
        ]
        looks = f"Look into it at {url} (console, and intake: POST {url}/v1/events); open to this machine only."
        print("\n".join([*folded([what, looks, *words]), ""]), flush=True)


def wants_table(arguments: Namespace) -> bool:
    """Return whether there is a terminal that wants a table."""
    if arguments.json or arguments.plain or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return sys.stdout.isatty()


def _next(event: str | None, caught: Path, data: Path, url: str) -> list[str]:
    """Return what one may try now. Commands stay whole, so that they can be copied."""
    tidings, at = _command(), "" if data == DEMO and not CONFIG.is_file() else f" --data {data}"
    left = f"Everything that would have left is in {caught}. Run it again, and the shop goes on at the same hour."
    console = f"The console was at {url}, and is there while the shop is open."
    ways = (
        (f"rules explain {event or 'EVENT'}{at}", "what every rule made of one event, term by term, with values"),
        (f"why-not c-finn{at}", "why a customer did not hear of something, rule by rule"),
        ("templates preview billing/invoice-overdue", "a message, with the example values of its contract"),
        (f"dead-letters list{at}", "the records that nobody could read, and why"),
    )
    tried = [line for words, says in ways for line in (f"  {tidings} {words}", *folded([f"      {says}"], " " * 6))]
    tutorial = folded([f"  The rules, as a tutorial: {example() / 'README.md'}"], "  ")
    return [*folded([left, console]), "", "Where to go next:", *tried, *tutorial]


def _command() -> str:
    """Return how this command was called, for people who copy it."""
    called = Path(sys.argv[0])
    return str(called) if called.name == "tidings" and shutil.which("tidings") != str(called) else "tidings"


def folded(lines: list[str], indent: str = "") -> list[str]:
    """Return lines folded between words to the terminal, if that is where they go."""
    if not sys.stdout.isatty():
        return lines
    width = shutil.get_terminal_size().columns
    fold = textwrap.TextWrapper(width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    return [part for line in lines for part in fold.wrap(line) or [""]]
