"""What `make services`, `make services-stop` and `make test` call.

python -m tests.servers start            keeps running; state and logs in .services
python -m tests.servers stop             ends what `start` has begun
python -m tests.servers with COMMAND …   runs a command with both, and ends what it had to begin for it
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.servers import NotInstalled, NotStarted, PrivateKafka, PrivatePostgres
from tests.servers.java import ROOT
from tests.servers.kafka import QUICK
from tests.servers.process import Server
from tests.services import KAFKA, POSTGRES, REQUIRED

STATE = Path(os.environ.get("TIDINGS_SERVICES") or ROOT / ".services").absolute()
RUNS = 9
"""Runs of the tests in one working tree at a time that have servers of their own."""


@dataclass
class Ground:
    """Both servers of a folder."""

    folder: Path
    long: bool = False
    """Whether they are to run for long, and be measured."""

    def __post_init__(self) -> None:
        self.kafka = PrivateKafka(self.folder / "kafka", options=() if self.long else QUICK)
        self.postgres = PrivatePostgres(self.folder / "postgres")

    def both(self) -> tuple[tuple[str, PrivateKafka | PrivatePostgres], ...]:
        """Return them, with the variable that names each."""
        return (KAFKA, self.kafka), (POSTGRES, self.postgres)

    def running(self) -> dict[str, str]:
        """Return where those are that run, by variable."""
        return {name: f"127.0.0.1:{one.port}" for name, one in self.both() if one.pid() is not None}

    def write(self) -> None:
        """Tell others where they are: `set -a; . .services/env`."""
        lines = "".join(f"{name}={place}\n" for name, place in self.running().items())
        (self.folder / "env").write_text(lines)


@contextlib.contextmanager
def locked(file: Path, *, wait: bool) -> Iterator[bool]:
    """Hold a lock as long as this process lives; False where somebody else has it and nobody waits."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True


def started(servers: Iterable[Server]) -> dict[str, Exception]:
    """Start them side by side, and return what hindered whom."""

    def try_one(server: Server) -> tuple[str, Exception | None]:
        try:
            server.start()
        except (NotInstalled, NotStarted) as fault:
            return server.name, fault
        return server.name, None

    with ThreadPoolExecutor() as threads:
        return {name: fault for name, fault in threads.map(try_one, servers) if fault is not None}


def start() -> int:
    """Start what does not run yet, and say where both are."""
    ground, code = Ground(STATE, long=True), 0
    with locked(STATE / "lock", wait=True):
        before = ground.running()
        faults = started(server for _, server in ground.both())
        for name, server in ground.both():
            if server.name in faults:
                print(f"{server.name}: {faults[server.name]}", file=sys.stderr)
                code = 1
                continue
            runs = "runs already" if name in before else "started"
            print(f"{server.name:<11}{ground.running()[name]:<17}{runs}, log {os.path.relpath(server.log)}")
        ground.write()
    if code == 0:
        print(f"Tests find them by themselves; others by: set -a; . {os.path.relpath(STATE)}/env")
    return code


def stop() -> int:
    """End what `start` has begun; data and jars stay for the next time."""
    ground = Ground(STATE)
    with locked(STATE / "lock", wait=True):
        for _, server in ground.both():
            runs = server.pid() is not None
            server.stop()
            print(f"{server.name}: {'stopped' if runs else 'does not run'}")
        if STATE.joinpath("env").exists():
            ground.write()
    return 0


def run_with(command: Sequence[str]) -> int:
    """Run a command with both servers, and say in one line where they come from."""
    with contextlib.ExitStack() as kept:
        given = {name: os.environ[name] for name in (KAFKA, POSTGRES) if os.environ.get(name)}
        running = Ground(STATE).running()
        own = next(
            Ground(place) for number in range(RUNS)
            if kept.enter_context(locked((place := STATE / f"run-{number}") / "lock", wait=False))
        )  # fmt: skip
        wanted = [server for name, server in own.both() if name not in given and name not in running]
        for server in wanted:
            server.discard()  # what a run that was killed has left
            kept.callback(server.discard)
        faults = started(wanted)
        places = {**running, **own.running()}
        told = []
        for name, server in own.both():
            if name in given:
                told.append(f"{server.name} as {name} says")
            elif name in running:
                told.append(f"{server.name} of `make services`")
            elif server.name in faults:
                told.append(f"no {server.name}, its tests are skipped: {faults[server.name]}")
            else:
                told.append(f"{server.name} started for this run")
        print("; ".join(told), flush=True)
        if faults and os.environ.get(REQUIRED):
            print(f"{REQUIRED} is set: nothing is skipped, so nothing is run", file=sys.stderr)
            return 1
        return _run(command, {**os.environ, **places, **given})


def _run(command: Sequence[str], environment: dict[str, str]) -> int:
    """Run it as if we were not there: Ctrl-C reaches it by the terminal, SIGTERM by us."""
    child = subprocess.Popen(command, env=environment)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # after it: what is ignored is inherited
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    code = child.wait()
    return 128 - code if code < 0 else code


def main(words: Sequence[str]) -> int:
    """Do what the first word says."""
    match list(words):
        case ["start"]:
            return start()
        case ["stop"]:
            return stop()
        case ["with", *command] if command and shutil.which(command[0]):
            return run_with(command)
        case _:
            print(__doc__, file=sys.stderr)
            return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
