"""Writes the released document anew: `python -m tests.intake.release`, then look at the difference."""

import asyncio
import json
import tempfile
from pathlib import Path

from tests.intake.edge import edge

FILE = Path(__file__).resolve().parents[2] / "schemas" / "http" / "v1" / "openapi.json"


async def served() -> str:
    """Return the document as it is served."""
    with tempfile.TemporaryDirectory() as folder:
        async with edge(Path(folder)) as shop:
            answer = await shop.client.get("/openapi.json")
            return json.dumps(answer.json(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_text(asyncio.run(served()), "utf-8")
