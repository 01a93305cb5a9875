"""The terminal: paints the board some times a second, and leaves its last frame behind."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

from rich.console import Console
from rich.live import Live

from gateway.cli.watch import summary
from gateway.demo.board import Board
from gateway.demo.scene import Scene, ahead
from gateway.demo.stage import Stage
from tidings.event import Micros
from tidings.ports import Scan, Transaction

FRAME = 0.15
"""Seconds between two frames."""
SUM_EVERY = 0.7
"""Seconds between two sums; more where the file has grown so that a sum takes long."""
SHARE = 15
"""A sum takes at most one part in so many of the time."""


@contextlib.asynccontextmanager
async def showing(
    scene: Scene, stage: Stage, speed: int, ending: str, *, again: bool, url: str = ""
) -> AsyncIterator[None]:
    """Paint the scene while something goes on."""
    console = Console()
    board = Board(scene, speed, await stage.store.read(_opened), ending=ending, again=again, url=url)
    with Live(board, console=console, screen=True, auto_refresh=False, redirect_stderr=False) as live:
        tasks = [asyncio.create_task(_paint(live)), asyncio.create_task(_look(board, stage))]
        try:
            yield
            await _read(board, stage)
        finally:
            for task in tasks:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
    board.ending = ""
    console.print(board, height=max(console.height - 1, 1))


def _opened() -> Transaction[Micros]:
    rows = yield Scan("sources")
    opened: Micros = min(row["connected_at"] for row in rows)
    return opened


async def _paint(live: Live) -> None:
    while True:
        live.refresh()
        await asyncio.sleep(FRAME)


async def _look(board: Board, stage: Stage) -> None:
    while True:
        began = time.monotonic()
        await _read(board, stage)
        await asyncio.sleep(max(SUM_EVERY, SHARE * (time.monotonic() - began)))


async def _read(board: Board, stage: Stage) -> None:
    board.ahead = await stage.store.read(lambda: ahead(board.scene.rules))
    board.sums = summary(await stage.count())[1]
    board.group = await stage.group()
