"""What a figure is to reach, in a line: a quick run has no verdict, for it measures the start of processes."""

NOTHING = "(a quick run: says nothing)"


def aim(wanted: str, good: bool, *, quick: bool) -> str:  # noqa: FBT001 - it is the verdict
    """Return what is wanted, and whether it is reached; of a quick run neither."""
    if quick:
        return NOTHING
    return f"({wanted})" if good else f"({wanted})   not reached"
