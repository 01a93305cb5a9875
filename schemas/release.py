"""Releases contracts: freezes what is bundled under `avro/released`, and notes it in `lock.json`."""

from __future__ import annotations

import json
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Sequence
from copy import deepcopy
from importlib.util import find_spec
from pathlib import Path

from schemas import gate
from schemas.loading import contracts, digest, schema_id

FOLDER = Path(__file__).parent / "avro"
ABOUT = """Freeze a new version of every contract that differs from its newest released one.

Without --confirm nothing is written. What a reader of a released version would not
survive is refused: a version is never changed again once it is released."""


def refusals(catalogue: gate.Catalogue) -> list[gate.Finding]:
    """Return why nothing may be released as it stands."""
    return gate.lint(catalogue) or gate.frozen(catalogue) or gate.breaking(catalogue)


def freeze(due: Sequence[gate.Due], catalogue: gate.Catalogue, folder: Path) -> None:
    """Write these versions and the lock; `refusals` was asked before, and judges."""
    lock = deepcopy(dict(catalogue.lock))
    for one in due:
        target = folder / "released" / one.full_name / f"{one.number}.avsc"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(one.schema, indent=1, ensure_ascii=False) + "\n", "utf-8")
        sha256 = digest(one.schema)
        entry = lock.setdefault(one.full_name, {"current": 0, "versions": {}})
        entry["versions"][str(one.number)] = {"sha256": sha256, "schema_id": schema_id(sha256), "status": "released"}
        entry["current"] = one.number
    (folder / "lock.json").write_text(json.dumps(lock, indent=1, sort_keys=True) + "\n", "utf-8")
    contracts.cache_clear()


def main(argv: Sequence[str] | None = None, folder: Path = FOLDER) -> int:
    """Say what a release would freeze, or freeze it; return the exit code: 1 where something forbids it."""
    parser = ArgumentParser("python -m schemas.release", description=ABOUT, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--confirm", action="store_true", help="write the versions and lock.json")
    code, lines = release(folder, confirmed=parser.parse_args(argv).confirm)
    print(*lines, sep="\n")  # noqa: T201 - a command
    return code


def release(folder: Path, *, confirmed: bool) -> tuple[int, list[str]]:
    """Release what is due below a folder if it may be, and was confirmed; return the exit code and what to say."""
    if find_spec("avro") is None:
        return 1, ["the package 'avro' is not installed (it belongs to the group 'dev'): nothing is released unchecked"]
    catalogue = gate.read(folder)
    refused = refusals(catalogue)
    if refused:
        count = "1 finding" if len(refused) == 1 else f"{len(refused)} findings"
        return 1, [*map(str, refused), f"nothing is released: {count}"]
    due = gate.due(catalogue)
    if not due:
        return 0, ["nothing to release: every contract is as it was released last"]
    lines = [f"{one.full_name}: version {one.number}" for one in due]
    if not confirmed:
        return 0, [*lines, "nothing is written yet: --confirm releases what stands above, for good"]
    freeze(due, catalogue, folder)
    return 0, [*lines, "released; now run: python -m schemas.generate"]


if __name__ == "__main__":
    raise SystemExit(main())
