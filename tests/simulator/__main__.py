"""Repeat histories: `python -m tests.simulator SEED [SEED …]`, or a range `FIRST..LAST`."""

import sys
import time

from tests.simulator.history import check, command


def main(arguments: list[str]) -> int:
    """Run the seeds that are named; 1 where one of them fails."""
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
