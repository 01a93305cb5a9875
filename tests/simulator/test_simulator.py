"""The kernel under attack: 300 histories here, 20,000 in `make proofs`; and every bug that the simulator must see."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulator import bugs
from tests.simulator.drawn import plan
from tests.simulator.history import History, check, command
from tests.simulator.invariants import replayed
from tidings.journal import canonical_records

ROOT = Path(__file__).parents[2]
SEEN_WITHIN = 30


@pytest.mark.parametrize("first", range(0, 300, 50))
def test_fifty_histories_keep_every_promise(first: int) -> None:
    for seed in range(first, first + 50):
        faults = check(seed)
        assert not faults, f"{command(seed)}\n" + "\n".join(faults[:10])


@pytest.mark.parametrize("bug", bugs.BUGS, ids=lambda bug: bug.__name__)
def test_a_missing_safeguard_is_seen_within_thirty_histories(bug: bugs.Patch, monkeypatch: pytest.MonkeyPatch) -> None:
    bug(monkeypatch)
    for seed in range(SEEN_WITHIN):
        try:
            faults = check(seed, bugs.THEME.get(bug))
        except Exception:  # noqa: BLE001 - a crash is a finding as well
            return
        if faults:
            return
    pytest.fail(f"{bug.__name__}: not seen in {SEEN_WITHIN} histories")


@pytest.mark.parametrize("seed", [3, 11, 29])
def test_a_history_is_the_same_in_a_fresh_process_with_another_hash_seed(seed: int) -> None:
    """Records of this process, and of its journal's replay in another one, byte for byte."""
    history = History(plan(seed)).run()
    assert not replayed(history)
    rows = history.store.rows("records")
    mine = canonical_records([(r["firing_id"], r["kind"], r["n"], r["body"]) for r in rows])
    for hash_seed in ("1", "4711"):
        done = subprocess.run(
            [sys.executable, "-m", "tests.simulator", "--records", str(seed)],
            env={**os.environ, "PYTHONHASHSEED": hash_seed}, cwd=ROOT, capture_output=True, check=True,
        )  # fmt: skip
        assert done.stdout == mine


def test_histories_are_full_of_trouble() -> None:
    """The simulator would prove nothing if nothing happened: crashes, unknown outcomes, every kind of end."""
    crashes = unknown = away = 0
    kinds: set[str] = set()
    states: set[str] = set()
    for seed in range(40):
        history = History(plan(seed)).run()
        crashes += history.crashes
        unknown += len(history.watch.unknown)
        away += history.provider.met
        kinds |= {f"{row['rule']} {row['kind']}" for row in history.store.rows("records")}
        states |= {f"{row['state']}({row['reason'] or ''})" for row in history.store.rows("messages")}
    assert crashes > 100
    assert unknown > 10
    assert away > 15
    assert kinds >= {"overdue fired", "overdue stopped", "silent fired", "silent stopped", "paid fired"}
    assert states >= {
        "accepted()", "suppressed(stale)", "suppressed(no_consent)", "cancelled(stopped)", "expired(expired)",
        "failed(refused)",
    }  # fmt: skip


@pytest.mark.proofs
def test_twenty_thousand_histories_keep_every_promise() -> None:
    """Two processes share them; a failing seed prints the command that repeats it."""
    halves = [f"{half * 10_000}..{half * 10_000 + 9_999}" for half in (0, 1)]
    running = [subprocess.Popen([sys.executable, "-m", "tests.simulator", half], cwd=ROOT) for half in halves]
    assert [process.wait() for process in running] == [0, 0]
