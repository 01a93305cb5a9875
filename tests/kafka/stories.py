"""One process of a story about Faust as it comes, or about ours: `python -m tests.kafka.stories KIND STORY TOPIC BOOK RUN`.

Each value whose work is done is a line of BOOK. RUN 1 meets the trouble of the story; RUN 2 reads what is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import Any, cast

import faust
from faust.types import TP
from mode.supervisors import CrashingSupervisor

from streams.kafka.app import make_app
from streams.kafka.connection import Connection
from streams.kafka.transport import Pace
from tests import services

FIRST = b"0"
TROUBLE = b"2"
REST = 2.5
"""Seconds without a record after which a run ends, once it has met the trouble of its story."""


class Book:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.moved = 0.0

    def write(self, line: str) -> None:
        self.stir()
        with self.path.open("a") as book:
            book.write(f"{line}\n")

    def stir(self) -> None:
        self.moved = asyncio.get_running_loop().time()

    async def quiet(self, begun: asyncio.Event) -> None:
        """Wait for the silence behind what has begun; before that, it is only a broker that takes its time."""
        await begun.wait()
        self.stir()
        while asyncio.get_running_loop().time() - self.moved < REST:  # noqa: ASYNC110 - a second of silence has no event
            await asyncio.sleep(0.1)


def stock(story: str, topic: str, book: Book, met: asyncio.Event, *, first: bool) -> faust.App:
    """Faust as it comes, with the settings that its documentation starts from."""
    app = faust.App(
        f"{topic}.group", broker=f"kafka://{os.environ[services.KAFKA]}", env={"": ""}, value_serializer="raw",
        topic_disable_leader=True, topic_allow_declare=False, web_enabled=False, consumer_auto_offset_reset="earliest",
        broker_commit_interval=0.2, broker_session_timeout=6.0, broker_request_timeout=7.0,
        stream_wait_empty=story != "sigterm", datadir=book.path.with_suffix(".data"), autodiscover=False,
    )  # fmt: skip
    app._create_directories = lambda: None  # type: ignore[method-assign]
    channel = app.topic(topic, value_type=bytes)

    async def one_by_one(stream):
        async for value in stream:
            if first and story in ("exception", "crash") and value == TROUBLE:
                met.set()
                raise ZeroDivisionError
            if first and story in ("kill", "sigterm") and value == FIRST:
                book.write("begun")
                await asyncio.sleep(3600)
            book.write(value.decode())

    async def in_batches(stream):
        async for values in stream.take(3, within=0.5):
            for value in values:
                if first and value == TROUBLE:
                    met.set()
                    raise ZeroDivisionError
                book.write(value.decode())

    if story == "seek":

        async def assigned(_sender: Any, *words: Any, **_: Any) -> None:
            for place in words[0]:
                await app.consumer.seek(place, 3)

        app.on_partitions_assigned.connect(cast(Any, assigned))

    supervisor = CrashingSupervisor if story == "crash" else None
    agent = in_batches if story == "take" else one_by_one
    app.agent(channel, concurrency=2 if story == "kill" else 1, supervisor_strategy=supervisor, name="a")(agent)
    return app


class FromBook:
    """Positions kept outside of Kafka: behind what the book holds."""

    def __init__(self, at: int) -> None:
        self.at = at

    async def assigned(self, places):
        return dict.fromkeys(places, self.at)

    def unreadable(self, place: TP, fault: Exception) -> None:
        raise fault


def ours(story: str, topic: str, book: Book, met: asyncio.Event, *, first: bool) -> faust.App:
    done = len([one for one in book.path.read_text().split() if one.isdigit()]) if book.path.exists() else 0
    begun = False

    async def take(batch) -> bool:
        nonlocal begun
        values = [record.value for record in batch.records]
        if first and not begun and story == "exception":
            begun = True
            met.set()
            raise ZeroDivisionError
        if first and story in ("kill", "sigterm"):
            book.write("begun")
            await asyncio.sleep(1.5 if story == "sigterm" else 3600)
        for value in values:  # one transaction, as far as this story goes
            book.write(value.decode())
        batch.applied = batch.last
        return True

    prefix, _, name = topic.rpartition(".")
    connection = Connection((os.environ[services.KAFKA],), prefix=f"{prefix}.")
    positions = FromBook(3 if story == "seek" else done)
    return make_app(connection, [name], take, positions, Pace(session=6.0, rebalance=6.0, request=7.0))


async def acknowledged(app: faust.App, place: TP) -> bool:
    """Whether Faust takes `TROUBLE` for done. A crash stops committer and consumer: whether Kafka is still told is a race."""
    consumer: Any = app.consumer
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(30):
            while int(TROUBLE) not in consumer._acked[place]:
                if (consumer._committed_offset[place] or 0) > int(TROUBLE):
                    break
                await asyncio.sleep(0.05)
            return True
    return False


async def run(kind: str, story: str, topic: str, path: str, turn: str) -> None:
    book = Book(Path(path))
    first = turn == "1"
    met, assigned = asyncio.Event(), asyncio.Event()
    app = {"stock": stock, "ours": ours}[kind](story, topic, book, met, first=first)

    async def have(_sender: Any, places: Any, **_: Any) -> None:
        if places:
            assigned.set()

    app.on_partitions_assigned.connect(cast(Any, have))
    if story == "send":
        await app.producer.start()
        answer: Any = await app.topic(topic, value_type=bytes).send(value=b"x")
        book.write(f"answered {answer.done()}")
        await answer
        await app.producer.stop()
        return
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await app.start()
    watching: list[asyncio.Task[Any]] = [asyncio.create_task(stop.wait())]
    if not (first and story in ("kill", "sigterm")):
        troubled = first and story in ("exception", "crash", "take")
        watching.append(asyncio.create_task(book.quiet(met if troubled else assigned)))
    watching.append(asyncio.create_task(app.wait_until_stopped()))
    await asyncio.wait(watching, return_when=asyncio.FIRST_COMPLETED)
    if first and story == "crash":
        book.write(f"acknowledged {await acknowledged(app, TP(topic, 0))}")
    try:
        await asyncio.wait_for(app.stop(), 8 if kind == "stock" else 60)  # as `faust worker` does, whatever ended it
    except TimeoutError:
        os._exit(2)  # a crashed application does not always stop
    for task in watching:
        task.cancel()


if __name__ == "__main__":
    asyncio.run(run(*sys.argv[1:]))
