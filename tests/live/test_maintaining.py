"""Partitions of the days to come are made in good time: no process ends, or counts its store as away, for one attempt."""

import asyncio
import logging

import pytest

from streams.loops import Loop, Loops, maintaining
from tidings.ports import StoreReplaced, StoreUnavailable


class Locked:
    def __init__(self, fault: Exception) -> None:
        self.fault, self.asked = fault, 0

    async def maintain(self) -> int:
        self.asked += 1
        raise self.fault


def test_partitions_that_cannot_be_made_now_are_a_warning_and_no_absence_of_the_store(caplog):
    async def body():
        store, loops = Locked(StoreUnavailable("canceling statement due to lock timeout")), Loops(lambda _: None)
        loops.start({"maintain": Loop(maintaining(store), 0.001)})
        while store.asked < 3:
            await asyncio.sleep(0.001)
            loops.check()
        assert loops.away_since is None
        await loops.stop(1)

    with caplog.at_level(logging.WARNING):
        asyncio.run(body())
    assert {record.levelname for record in caplog.records} == {"WARNING"}


def test_another_database_is_noticed_by_whoever_looks_after_it():
    with pytest.raises(StoreReplaced):
        asyncio.run(maintaining(Locked(StoreReplaced("another")))())
