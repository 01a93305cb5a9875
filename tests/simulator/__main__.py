"""Repeat histories: `python -m tests.simulator SEED [SEED …]`, or a range `FIRST..LAST`."""

import sys
import time

from tests.simulator.drawn import plan
from tests.simulator.history import History, check, command
from tests.simulator.invariants import replay_of


def main(arguments: list[str]) -> int:
    """Run the seeds that are named; 1 where one of them fails."""
    if arguments[:1] == ["--records"]:
        # The replay of a seed's journal, as bytes: for the comparison between processes.
        history = History(plan(int(arguments[1]))).run()
        sys.stdout.buffer.write(replay_of(history))
        return 0
    seeds: list[int] = []
    for word in arguments:
        first, dots, last = word.partition("..")
        seeds += range(int(first), int(last) + 1) if dots else [int(first)]
    failed = 0
    began = time.perf_counter()
    for seed in seeds:
        if faults := check(seed):
            failed += 1
            print(f"seed {seed}: {command(seed)}", *faults[:12], sep="\n  ")
    took = (time.perf_counter() - began) * 1000 / max(1, len(seeds))
    print(f"{len(seeds)} histories, {failed} failing, {took:.0f} ms each")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
