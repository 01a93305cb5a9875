"""Processes, broker and database die and stand still: the same detection records, no message lost, verify finds nothing."""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests import services
from tests.proofs.chaos import IN_HAND, MOVED, SLEEP, Chaos
from tests.proofs.figures import tell
from tests.proofs.stand import standing
from tests.proofs.story import DELIVERERS, WORKERS, judged, lived, started
from tidings.event import SECOND


@dataclass(frozen=True)
class Size:
    events: int
    rate: float
    lateness: int
    kills: int
    pauses: int
    broker: int
    database: int
    rest: tuple[float, float]
    patience: float
    altered: Mapping[str, str] = field(default_factory=dict)


SMALL = Size(3_000, 110, 60 * SECOND, 4, 1, 1, 1, (0.5, 1.5), 240, {"deliver": "impatient"})
FULL = Size(100_000, 200, 120 * SECOND, 20, 10, 3, 3, (4.0, 14.0), 900)


def proven(folder: Path, size: Size) -> dict[str, object]:
    begun = time.monotonic()
    with standing(folder, lateness=size.lateness, partitions=12, altered=size.altered) as stand:
        started(stand)
        chaos = Chaos(
            stand, (*WORKERS, *DELIVERERS), size.kills, size.pauses, size.broker, size.database, rest=size.rest
        )
        feed, longest = asyncio.run(lived(stand, size.rate, size.events, chaos.run(), size.patience))
        asyncio.run(chaos.finish())
        took = time.monotonic() - begun
        assert {what for stroke, what in chaos.hurt if stroke == "kill"} == {MOVED, IN_HAND}, chaos.hurt
        ends = sum((one.ends for one in stand.running.values()), Counter[int]())
        verdict = judged(stand, feed)
        return {
            **verdict.figures(feed, stand),
            "SIGKILL of workers and deliverers": chaos.strokes("kill"),
            f"SIGSTOP for {SLEEP:.0f} s": chaos.strokes("pause"),
            "SIGKILL of the broker": chaos.strokes("broker"),
            "SIGKILL of PostgreSQL": chaos.strokes("database"),
            "processes that ended by themselves": ", ".join(f"{n} × code {code}" for code, n in ends.items() if code != -9)
            or "none",
            **longest.figures(),
            "deadlocks": f"{chaos.deadlocks} found by PostgreSQL, {verdict.deadlocks} in the logs of {verdict.logs} processes",
            "duration": f"{took / 60:.1f} min",
        }  # fmt: skip


@pytest.mark.live
def test_a_cluster_that_is_killed_and_paused_decides_and_tells_what_an_undisturbed_process_does(tmp_path):
    services.kafka()
    tell("small", "Killed, paused and cut off (small)", proven(tmp_path / "stand", SMALL), write=False)


@pytest.mark.proofs
def test_chaos(tmp_path, write):
    tell("chaos", "Killed, paused and cut off", proven(tmp_path / "stand", FULL), write=write)
