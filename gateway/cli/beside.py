"""Reading beside those who work: the file of an engine, or the database of a cluster."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from argparse import Namespace
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from gateway.cli.place import folder_of, settings_of
from gateway.config import Config
from streams.clock import clock_of
from streams.ledger.asking import Asking, SqliteAsking
from streams.stores.sqlite import SqliteReader
from tidings import ports
from tidings.event import Micros
from tidings.ports import Body

if TYPE_CHECKING:
    from streams.stores.postgres import PostgresStore

T = TypeVar("T")


class Reader(Protocol):
    """What a command line asks."""

    @property
    def cluster(self) -> Config | None:
        """Return the configuration of the cluster; None beside a file."""
        ...

    @property
    def name(self) -> str:
        """Return what is read, for a sentence."""
        ...

    def now(self) -> Micros:
        """Return the time by the clock of those who work."""
        ...

    def read(self, body: Body[T]) -> T:
        """Run a body that only reads, on a snapshot."""
        ...


class FileReader:
    """Of one file."""

    cluster: Config | None = None

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = SqliteReader(folder / "tidings.db")
        self.name = str(self.file.path)

    @property
    def store(self) -> ports.Reader:
        """Return the same for those who await."""
        return _Awaited(self.file)

    def asking(self) -> Asking:
        """Return what answers in SQL; it is closed by whoever asked for it."""
        return SqliteAsking(self.file.path)

    def now(self) -> Micros:
        """Return the time by the file's clock, which may be a fast one."""
        return clock_of(self.file.path)()

    def wait(self, what: Coroutine[Any, Any, T]) -> T:
        """Await something in a loop of its own."""
        return asyncio.run(what)

    def read(self, body: Body[T]) -> T:
        """Run a body that only reads, on a snapshot."""
        return self.file.read(body)

    def close(self) -> None:
        """Let go of the file."""
        self.file.close()


@dataclass(frozen=True)
class _Awaited:
    file: SqliteReader

    async def read(self, body: Body[T]) -> T:
        return self.file.read(body)


class ClusterReader:
    """Of the database of a cluster; a loop of its own, for callers that have none."""

    def __init__(self, settings: Config) -> None:
        from streams.stores.postgres import PostgresStore

        self.settings = settings
        self.cluster: Config | None = settings
        place = settings.postgres()
        self.name = f"the database {place.host}:{place.port}/{place.database}"
        self._runner = asyncio.Runner()
        try:
            self._store: PostgresStore = self._runner.run(PostgresStore.open(place))
        except BaseException:
            self._runner.close()
            raise

    @property
    def store(self) -> ports.Reader:
        """Return the same for those who await, in the loop of `wait`."""
        return self._store

    def asking(self) -> Asking:
        """Return what answers in SQL, in the loop of `wait`; it is closed by whoever asked for it."""
        from streams.ledger.asking import PostgresAsking

        return PostgresAsking(self._store.place, 1)

    def now(self) -> Micros:
        """Return the time."""
        return time.time_ns() // 1000

    def read(self, body: Body[T]) -> T:
        """Run a body that only reads, on a snapshot."""
        return self._runner.run(self._store.read(body))

    def wait(self, what: Coroutine[Any, Any, T]) -> T:
        """Await something in our loop."""
        return self._runner.run(what)

    def close(self) -> None:
        """Disconnect."""
        with self._runner as runner:
            runner.run(self._store.close())


@contextlib.contextmanager
def beside(arguments: Namespace) -> Iterator[FileReader | ClusterReader]:
    """Open what the options name, and say on standard error which it is where nobody named it.

    Raises:
        Misconfigured: the configuration has mistakes, or there is no such file or database.
        StoreUnavailable: the database cannot be reached.
    """
    settings = settings_of(arguments)
    reader: FileReader | ClusterReader
    if settings is not None and settings.on_cluster:
        reader = ClusterReader(settings)
        print(f"reading {reader.name} (as {settings.path.name} says)", file=sys.stderr)
    else:
        reader = FileReader(folder_of(arguments))
    try:
        yield reader
    finally:
        reader.close()
