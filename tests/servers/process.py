"""A server as a process that outlives whoever started it: found again by its pid file, known by its command line."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

STARTS = 120.0
"""Seconds that a start may take, on a machine that does other things as well."""
STOPS = 30.0
PORTS = range(20_000, 32_000)
"""Below the ports of outgoing connections: those would take the port of a server that was killed, or meet themselves there."""
TOLD = 15
"""Last lines of the log that a failure shows."""


class NotInstalled(Exception):
    """A program is not on this machine; the text says which, and what to install."""


class NotStarted(Exception):
    """A server does not answer; the text ends with the last lines of its log."""


def is_free(port: int) -> bool:
    """Return whether a server could listen there."""
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """Return a port where nobody listens."""
    return next(port for port in random.SystemRandom().sample(PORTS, len(PORTS)) if is_free(port))


def command_of(pid: int) -> str:
    """Return the command line of a process; nothing where there is none, or where it has ended and waits to be buried."""
    if Path("/proc/self").exists():
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            return ""
    done = subprocess.run(["ps", "-o", "args=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return "" if "<defunct>" in done.stdout else done.stdout.strip()


def children_of(pid: int) -> list[int]:
    """Return the processes that a process has begun, without theirs."""
    if not Path("/proc/self").exists():
        done = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=False)
        pairs = [line.split() for line in done.stdout.splitlines()]
        return [int(child) for child, parent in pairs if int(parent) == pid]
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # The name stands in brackets and may hold anything.
            if stat.read_text(errors="replace").rpartition(")")[2].split()[1] == str(pid):
                found.append(int(stat.parent.name))
    return found


def wait_until(what: Callable[[], bool], seconds: float) -> bool:
    """Return whether it came true in time."""
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


class Server:
    """What Kafka and PostgreSQL have in common. Their files are in `folder`, and nothing else is."""

    name: str
    family = False
    """Whether it works through children, which a kill and a pause have to reach as well."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.log = self.folder / "log"
        self._pid_file = self.folder / "pid"
        self._begun: subprocess.Popen[bytes] | None = None

    # -- what each of them says

    def _prepare(self) -> None:
        """Make its files, where they are not there yet."""
        raise NotImplementedError

    def _command(self) -> tuple[Sequence[str | Path], Mapping[str, Any]]:
        """Return its command line, which names a path in its folder, and further words for Popen."""
        raise NotImplementedError

    def _answers(self) -> bool:
        """Return whether it does its work."""
        raise NotImplementedError

    @property
    def _known_by(self) -> str:
        """A path of this very server, which stands in its command line."""
        raise NotImplementedError

    # -- what can be done with it

    def pid(self) -> int | None:
        """Return its process, if it lives. A pid that another program has by now is nobody's."""
        if self._begun is not None:
            self._begun.poll()
        try:
            found = int(self._pid_file.read_text())
        except (OSError, ValueError):
            return None
        return found if self._known_by in command_of(found) else None

    def start(self) -> None:
        """Start it, and wait until it answers; one that runs is left alone.

        Raises:
            NotInstalled: a program is missing.
            NotStarted: it ended, or does not answer in time.
        """
        if self.pid() is not None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        self._prepare()
        words, more = self._command()
        with self.log.open("ab") as log:
            self._begun = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, **more
            )
        self._pid_file.write_text(str(self._begun.pid))
        ended = self._begun
        came = wait_until(lambda: ended.poll() is not None or self._answers(), STARTS)
        if not came or ended.poll() is not None:
            self.kill()
            raise NotStarted(f"{self.name} does not start; {self.log} ends with\n{self.last_lines()}")

    def stop(self) -> None:
        """End it in order."""
        self._end(self._stopping)

    def kill(self) -> None:
        """SIGKILL, to everything that belongs to it: no last word, no flush."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Let it stand still, with its connections open (SIGSTOP)."""
        self._tell(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._tell(signal.SIGCONT)

    def discard(self) -> None:
        """Kill it, and remove its files."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def last_lines(self) -> str:
        """Return how its log ends."""
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-TOLD:])
        except OSError:
            return "(no log)"

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.discard()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()

    _stopping = signal.SIGTERM

    def _tell(self, what: signal.Signals) -> None:
        for one in self._everybody():
            with contextlib.suppress(ProcessLookupError):
                os.kill(one, what)

    def _everybody(self) -> Iterator[int]:
        pid = self.pid()
        if pid is not None:
            # Children first seen, parent first told: it begins no others meanwhile.
            children = children_of(pid) if self.family else []
            yield pid
            yield from children

    def _end(self, how: signal.Signals) -> None:
        everybody = list(self._everybody())
        if everybody:
            for one in everybody if how is signal.SIGKILL else everybody[:1]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(one, how)
            if how is not signal.SIGKILL:
                self._tell(signal.SIGCONT)  # one that was paused would not hear of it
            if not wait_until(lambda: self._gone(everybody), STOPS):
                for one in everybody:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(one, signal.SIGKILL)
                wait_until(lambda: self._gone(everybody), STOPS)
        if self._begun is not None:
            self._begun.wait()
            self._begun = None
        self._pid_file.unlink(missing_ok=True)

    def _gone(self, everybody: Sequence[int]) -> bool:
        if self._begun is not None:
            self._begun.poll()
        return not any(command_of(one) for one in everybody)
