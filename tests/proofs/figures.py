"""The figures of a proof: printed as a table, and kept in `docs/proofs.md` where the run was asked to."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "proofs.md"
HEAD = """# Proofs

What `make proofs` has shown, written by the run itself (`make proofs ARGS=--write`). Each part has the date of its run.
How it is done is in `tests/proofs`. Killing, standing still and poison run small with every `make test`; members that come
and go, a ground that moves and steady load run here only.
"""


def machine() -> str:
    """Say in a few words where it ran."""
    load = os.getloadavg()[0]
    return f"{os.cpu_count()} cores, load {load:.1f} at the end"


def tell(name: str, title: str, figures: Mapping[str, object], *, write: bool, also: str = "") -> None:
    """Print figures; with `write` put them in the place of those that an earlier run has left."""
    width = max(map(len, figures))
    print(f"\n{title}\n" + "\n".join(f"  {key:{width}}  {value}" for key, value in figures.items()))
    if not write:
        return
    rows = "\n".join(f"| {key} | {value} |" for key, value in figures.items())
    when = f"{datetime.now(UTC):%Y-%m-%d}, {machine()}"
    part = f"<!-- {name} -->\n## {title}\n\n{when}\n\n| | |\n|---|---|\n{rows}\n{also}<!-- end of {name} -->\n"
    text = PAGE.read_text("utf-8") if PAGE.exists() else HEAD
    found = re.compile(rf"<!-- {name} -->\n.*?<!-- end of {name} -->\n", re.DOTALL)
    text = found.sub(lambda _: part, text) if found.search(text) else f"{text}\n{part}"
    PAGE.write_text(text, "utf-8")
