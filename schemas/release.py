"""Releases contracts: freezes what is bundled under `avro/released`, and notes it in `lock.json`."""

from __future__ import annotations

import json
from pathlib import Path

from schemas.loading import bundle, contracts, digest, read_lock, schema_id, sources

FOLDER = Path(__file__).parent / "avro"


def release(folder: Path = FOLDER) -> list[str]:
    """Write a new version of every event whose bundled schema is not the newest released one; return their names.

    Run it after `gate.check` has said that nothing breaks; it judges nothing itself.
    """
    lock = read_lock()
    done = []
    for full_name, source in sorted(sources().items()):
        if "event_type" not in source:
            continue
        schema = bundle(full_name)
        sha256 = digest(schema)
        entry = lock.setdefault(full_name, {"current": 0, "versions": {}})
        versions = entry["versions"]
        if entry["current"] and versions[str(entry["current"])]["sha256"] == sha256:
            continue
        number = entry["current"] + 1
        target = folder / "released" / full_name / f"{number}.avsc"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(schema, indent=1, ensure_ascii=False) + "\n", "utf-8")
        versions[str(number)] = {"sha256": sha256, "schema_id": schema_id(sha256), "status": "released"}
        entry["current"] = number
        done.append(f"{full_name} {number}")
    (folder / "lock.json").write_text(json.dumps(lock, indent=1, sort_keys=True) + "\n", "utf-8")
    contracts.cache_clear()
    return done


if __name__ == "__main__":
    for line in release():
        print("released", line)  # noqa: T201 - a command
