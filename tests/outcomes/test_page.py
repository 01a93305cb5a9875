"""The consumer on the page does what the page says, as it stands there."""

import asyncio
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from schemas import contracts
from streams.codec import Codec
from streams.kafka.relay import Relay
from streams.stores.sqlite import SqliteStore
from tests import services
from tests.outcomes.world import ENDED, ended, topics, until, write
from tidings.outcomes import TOPICS

PAGE = (Path(__file__).parents[2] / "docs" / "outcomes.md").read_text("utf-8")
(PROGRAM,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_the_consumer_of_the_page_takes_each_outcome_once_and_tells_what_is_missing():
    start = PROGRAM.index("class Numbers")
    scope: dict[str, type] = {}
    exec(PROGRAM[start : PROGRAM.index("class GoOn")], scope)

    def header(number: int) -> list[tuple[str, bytes]]:
        return [("ce_id", b"x"), ("tidings-number", str(number).encode())]

    one = scope["Numbers"]()
    taken = [n for n in (4, 5, 5, 4, 6, 7, 6, 8) if one.take("t", 0, header(n))]
    assert taken == [4, 5, 6, 7, 8]
    assert one.take("t", 1, header(1))
    again = scope["Numbers"](one.seen)
    assert not again.take("t", 0, header(8))
    with pytest.raises(LookupError, match="2 outcomes before 11 are missing"):
        again.take("t", 0, header(11))


@contextmanager
def consuming(folder: Path, kafka: object) -> Iterator[subprocess.Popen[str]]:
    """Run the page's program, and kill it."""
    words = [sys.executable, "warehouse.py", kafka.bootstrap[0], kafka.prefix]  # type: ignore[attr-defined]
    with subprocess.Popen(words, cwd=folder, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def kept(folder: Path) -> list[str]:
    with closing(sqlite3.connect(folder / "warehouse.db", timeout=30)) as file:
        if not file.execute("SELECT 1 FROM sqlite_schema WHERE name = 'outcomes'").fetchone():
            return []
        return [row[0] for row in file.execute("SELECT json_extract(body, '$.message_id') FROM outcomes")]


def wait_for(what: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 120
    while not what():
        assert time.monotonic() < end
        assert process.poll() is None, process.stderr and process.stderr.read()
        time.sleep(0.1)


@pytest.mark.live
def test_the_program_of_the_page_has_each_outcome_once_though_it_is_killed_and_ends_at_a_gap(tmp_path):
    kafka = services.kafka()
    (tmp_path / "warehouse.py").write_text(PROGRAM)

    async def play() -> None:
        store = await SqliteStore.open(tmp_path / "store")
        async with topics(kafka):
            relay = Relay(store, kafka, Codec(contracts()), "one", limit=7)
            wanted: list[str] = []

            async def publish(turn: int) -> None:
                names = [f"{turn}-{n}" for n in range(40)]
                wanted.extend(names)
                await store.run(write([ended(name, f"customer:{name}") for name in names]))
                await until(relay)

            await publish(0)
            for turn in (1, 2):
                with consuming(tmp_path, kafka) as process:
                    await asyncio.to_thread(wait_for, lambda: len(kept(tmp_path)) >= len(wanted) - 10, process)
                    # Killed here, in whatever it does.
                await publish(turn)
            with consuming(tmp_path, kafka) as process:
                await asyncio.to_thread(wait_for, lambda: len(kept(tmp_path)) >= len(wanted), process)
            assert sorted(kept(tmp_path)) == sorted(wanted)
            await relay.stop()
            with closing(sqlite3.connect(tmp_path / "warehouse.db")) as file:
                change = "UPDATE places SET number = number - 3, next_offset = next_offset - 1 WHERE topic = ?"
                file.execute(change, (kafka.prefix + ENDED,))
                file.commit()
            with consuming(tmp_path, kafka) as process:
                await asyncio.to_thread(process.wait, 120)
                assert process.stderr is not None
                assert "outcomes before" in process.stderr.read()
        await store.close()

    asyncio.run(play())


def test_the_page_names_the_topics():
    assert all(topic in PAGE for topic in TOPICS)
