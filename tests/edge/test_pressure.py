"""Whether anything is taken in is said from what was read, and not from what is being read."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gateway import edge
from gateway.edge import Pressure
from tests.http.asking import run
from tidings.ports import StoreUnavailable


@dataclass
class Slow:
    """An engine, and its store, whose answers come when they are let."""

    path: Path
    waits: int = 0
    asked: int = 0
    answers: asyncio.Event = field(default_factory=asyncio.Event)
    fault: StoreUnavailable | None = None

    @property
    def store(self) -> "Slow":
        return self

    async def read(self, _: Any) -> tuple[int, int]:
        self.asked += 1
        await self.answers.wait()
        if self.fault is not None:
            raise self.fault
        return self.waits, 0


@pytest.fixture
def slow(tmp_path, monkeypatch):
    for name in ("LOOK_EVERY", "OLDEST"):
        monkeypatch.setattr(edge, name, 0.0)
    return Slow(tmp_path / "file")


def test_nobody_is_let_in_by_a_verdict_that_is_still_being_read(slow):
    async def body():
        pressure = Pressure(slow, untaken=1)
        slow.answers.set()
        assert await pressure() is None
        slow.answers.clear()
        slow.waits = 2
        asked = [asyncio.create_task(pressure()) for _ in range(3)]
        await asyncio.sleep(0)
        assert not any(one.done() for one in asked)
        slow.answers.set()
        assert all(await asyncio.gather(*asked))

    run(body())


def test_a_read_that_failed_is_no_verdict(slow):
    async def body():
        pressure = Pressure(slow)
        slow.answers.set()
        assert await pressure() is None
        slow.fault = StoreUnavailable("gone")
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                await pressure()

    run(body())


def test_a_read_that_hangs_is_given_up_and_said(slow, monkeypatch):
    monkeypatch.setattr(edge, "HANGS", 0.01)

    async def body():
        pressure = Pressure(slow)
        found = await asyncio.gather(*(pressure() for _ in range(3)), return_exceptions=True)
        assert [type(one) for one in found] == [StoreUnavailable] * 3
        slow.answers.set()
        assert await pressure() is None

    run(body())


def test_while_somebody_looks_what_was_just_seen_holds(slow, monkeypatch):
    monkeypatch.setattr(edge, "OLDEST", 3600.0)

    async def body():
        pressure = Pressure(slow)
        slow.answers.set()
        assert await pressure() is None
        slow.answers.clear()
        looks = asyncio.create_task(pressure())
        await asyncio.sleep(0)
        assert await pressure() is None
        assert slow.asked == 2
        slow.answers.set()
        await looks

    run(body())
