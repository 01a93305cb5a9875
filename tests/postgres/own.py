"""A PostgreSQL of a test's own, which it may kill: small, on loopback, its files in the test's folder."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from streams.stores.place import Place
from streams.stores.postgres_connections import connect
from tests.services import postgres_binaries
from tidings.ports import StoreUnavailable

STARTS = 30.0
"""Seconds that a start, or a recovery after a kill, may take."""


class OwnServer:
    """Started, killed and started again."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.place = Place("127.0.0.1", port, "postgres", "postgres")
        self.binaries = postgres_binaries()
        self._running: subprocess.Popen[bytes] | None = None
        # PostgreSQL refuses to run as root.
        self.user = "postgres" if os.getuid() == 0 else None
        if self.user is not None:
            shutil.chown(folder, self.user)
        subprocess.run(
            [self.binaries / "initdb", "-D", folder / "data", "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8"],
            check=True, capture_output=True, user=self.user, cwd=folder,
        )  # fmt: skip

    def start(self, settings: Sequence[str] = ()) -> None:
        """Start it, and wait until it takes connections."""
        options = [
            f"port={self.place.port}", "listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=30",
            "shared_buffers=16MB", *settings,
        ]  # fmt: skip
        words = [word for option in options for word in ("-c", option)]
        self._running = subprocess.Popen(
            [self.binaries / "postgres", "-D", self.folder / "data", *words],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, user=self.user, cwd=self.folder,
        )  # fmt: skip
        end = time.monotonic() + STARTS
        while not asyncio.run(self._answers()):
            assert time.monotonic() < end, "the server does not start"
            time.sleep(0.05)

    async def _answers(self) -> bool:
        try:
            connection = await connect(self.place, {})
        except StoreUnavailable:
            return False
        await connection.close()
        return True

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it: SIGINT cuts connections and shuts down, SIGQUIT ends it at once, without a checkpoint."""
        assert self._running is not None
        self._running.send_signal(how)
        self._running.wait()
        self._running = None

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self._running is not None


@contextmanager
def own_server() -> Iterator[OwnServer]:
    """Make a server, start it, and take it away afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="tidings-postgres-"))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    try:
        server = OwnServer(folder, port)
        server.start()
        try:
            yield server
        finally:
            if server.running:
                server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
