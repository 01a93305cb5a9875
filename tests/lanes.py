"""Tests side by side: one collection, and then forks of it that take a file at a time, those that last longest first.

Most tests here wait for servers and processes, so there are more lanes than processors. A lane is a copy of this process
after collection: it has nothing to read again. A file is run by one lane, in its order, and so are the folders whose files
share something that is dear to start (`TOGETHER`). What a test needs beside that is its own: a prefix on Kafka, a database,
a folder, a port.
"""

from __future__ import annotations

import atexit
import os
import traceback
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

if TYPE_CHECKING:
    from _pytest.reports import BaseReport

LANES = 2 * (os.cpu_count() or 1)
"""How many, where nothing else is said."""
ALONE = 40
"""So few tests are run as they are."""
TOGETHER = ("tests/browser/",)
"""Folders that one lane runs: all of their files look at one browser, and at one shop."""
LONGEST = (
    "tests/proofs/test_chaos.py", "tests/live/test_demo.py", "tests/browser/", "tests/docs/test_commands.py",
    "tests/live/test_kill.py", "tests/benchmarks/test_bench.py", "tests/proofs/test_poison.py",
    "tests/proofs/test_members.py", "tests/proofs/test_moved.py", "tests/proofs/test_steady.py",
    "tests/outcomes/test_killed.py", "tests/live/test_compose.py", "tests/kafka/test_worker.py",
    "tests/simulator/test_simulator.py", "tests/live/test_cli.py", "tests/live/test_promises.py",
    "tests/again/test_horizon.py", "tests/live/test_deliver.py", "tests/live/test_run.py",
    "tests/kafka/test_stock_faust.py", "tests/simulator/test_server.py", "tests/live/test_demo_cluster.py",
    "tests/kafka/test_publishing.py", "tests/registry/test_contract.py", "tests/ground/test_moved.py",
    "tests/live/test_wheel.py", "tests/kafka/test_verb.py",
)  # fmt: skip
"""Files that take longest, in that order; the others follow by the number of their tests."""

_Group = list[pytest.Item]


def groups(items: Sequence[pytest.Item]) -> list[_Group]:
    """Return what one lane runs at a stretch, in the order in which it is begun."""
    found: dict[str, _Group] = {}
    for item in items:
        file = item.nodeid.partition("::")[0]
        found.setdefault(next((one for one in TOGETHER if file.startswith(one)), file), []).append(item)
    rank = {name: at for at, name in enumerate(LONGEST)}
    return [found[name] for name in sorted(found, key=lambda one: (rank.get(one, len(rank)), -len(found[one])))]


@dataclass
class Lane:
    """One of the forks, as their origin knows it."""

    pid: int
    connection: Connection
    running: str = ""
    fault: str = ""
    """What ended it, where it could say so."""
    left: list[pytest.Item] = field(default_factory=list)
    """What it has taken and not said the end of."""
    reports: list[BaseReport] = field(default_factory=list)


def run(session: pytest.Session, count: int) -> bool:
    """Run everything that was collected, and report it as if it had been run here."""
    option = session.config.option
    if count < 2 or len(session.items) <= ALONE or session.testsfailed or option.collectonly or option.usepdb:
        return False  # pytest's own way
    waiting = groups(session.items)[::-1]
    lanes: dict[Connection, Lane] = {}
    try:
        for _ in range(min(count, len(waiting))):
            lane = _fork(session, [*lanes])
            lanes[lane.connection] = lane
        while lanes:
            for connection in wait([*lanes]):
                lane = lanes[connection]  # type: ignore[index]
                try:
                    said = lane.connection.recv()
                except EOFError:
                    _ended(session, lane)
                    del lanes[lane.connection]
                    continue
                if isinstance(said, str):
                    lane.fault = said
                elif said is None:
                    over = session.shouldfail or session.shouldstop
                    group = waiting.pop() if waiting and not over else []
                    lane.left += group
                    lane.connection.send([item.nodeid for item in group])
                else:
                    _heard(session, lane, said)
    finally:
        # Where we were interrupted: each ends, by the same Ctrl-C or when it has nobody to tell, and takes its servers down.
        for lane in lanes.values():
            lane.connection.close()
        for lane in lanes.values():
            os.waitpid(lane.pid, 0)
    if waiting and not (session.shouldfail or session.shouldstop):
        session.shouldfail = f"no lane is left for {sum(map(len, waiting))} tests"
    if session.shouldfail:
        raise session.Failed(session.shouldfail)
    if session.shouldstop:
        raise session.Interrupted(session.shouldstop)
    return True


def _heard(session: pytest.Session, lane: Lane, said: dict[str, Any]) -> None:
    """Report a test once it is over: those of several lanes would be mixed otherwise."""
    hook = session.config.hook
    report = hook.pytest_report_from_serializable(config=session.config, data=said)
    lane.running = report.nodeid
    lane.reports.append(report)
    if report.when != "teardown":
        return
    hook.pytest_runtest_logstart(nodeid=report.nodeid, location=report.location)
    for one in lane.reports:
        hook.pytest_runtest_logreport(report=one)
    hook.pytest_runtest_logfinish(nodeid=report.nodeid, location=report.location)
    lane.left = [item for item in lane.left if item.nodeid != report.nodeid]
    lane.reports, lane.running = [], ""


def _ended(session: pytest.Session, lane: Lane) -> None:
    """Say which tests a lane has not run that ended before its time: none of them is passed over."""
    code = os.waitstatus_to_exitcode(os.waitpid(lane.pid, 0)[1])
    why = "was not run: its lane ended" if not lane.running else f"was not run: its lane ended after {lane.running}"
    if session.shouldfail or session.shouldstop:
        return
    for item in lane.left:
        report = pytest.TestReport(item.nodeid, item.location, {}, "failed", f"{why} with {code}\n{lane.fault}", "call")
        session.config.hook.pytest_runtest_logreport(report=report)
    if code and not lane.left:
        session.shouldfail = f"a lane ended with {code} when its tests were over"


def _fork(session: pytest.Session, others: Sequence[Connection]) -> Lane:
    here, there = Pipe()
    pid = os.fork()
    if pid:
        there.close()
        return Lane(pid, here)
    code = 1
    try:
        for one in (*others, here):
            one.close()
        code = _work(session, there)
    except BaseException:  # noqa: BLE001 - whatever it is, the origin says it
        with suppress(OSError):
            there.send(traceback.format_exc())
    finally:
        _leave(code)


def _leave(code: int) -> NoReturn:
    """End without what pytest does when it ends: that is for the origin."""
    os._exit(code)


def _work(session: pytest.Session, origin: Connection) -> int:
    """Run in a lane whatever the origin hands out."""
    config = session.config
    plugins = config.pluginmanager
    # Prints nothing, and captures into files of its own: the others write at another place of the same one.
    plugins.unregister(name="terminalreporter")
    capture: Any = plugins.getplugin("capturemanager")
    capture.stop_global_capturing()
    capture.start_global_capturing()
    atexit._clear()  # what the origin does at its end
    plugins.register(_Telling(config, origin))
    ahead = _handed_out(session, origin)
    try:
        item = next(ahead, None)
        while item is not None and not (session.shouldfail or session.shouldstop):
            # What is shared by a folder or by all is taken down when the next test does not need it.
            following = next(ahead, None)
            config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            item = following
    finally:
        session._setupstate.teardown_exact(None)
        atexit._run_exitfuncs()
    return 0


def _handed_out(session: pytest.Session, origin: Connection) -> Iterator[pytest.Item]:
    by_id = {item.nodeid: item for item in session.items}
    while True:
        origin.send(None)
        names = origin.recv()
        if not names:
            return
        yield from (by_id[name] for name in names)


@dataclass(eq=False)  # pytest keeps plugins in sets
class _Telling:
    """Sends every report of a lane to the origin."""

    config: pytest.Config
    origin: Connection

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.origin.send(self.config.hook.pytest_report_to_serializable(config=self.config, report=report))
