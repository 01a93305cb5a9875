"""What a page of the documentation claims: its blocks of commands and of rules, with the remarks that stand before them.

A remark is an HTML comment right before a block, invisible to readers:

    <!-- not run: REASON -->      the block is not for this machine, or ends with a person
    <!-- ends with 1 -->          the last command is meant to fail
    <!-- wait: TEXT -->           the block starts a process that goes on; it is ready when it has said TEXT
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(
    r"(?:<!-- (?P<remark>[^\n]*?) -->\n+)?^```(?P<kind>[a-z]+)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE
)


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    page: str
    line: int
    kind: str
    text: str
    remark: str

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"

    def remarked(self, word: str) -> str | None:
        """Return what stands behind a remark's word; None without it."""
        return self.remark.removeprefix(word).strip(" :") if self.remark.startswith(word) else None


def blocks(page: str, kind: str) -> list[Block]:
    """Return the blocks of one kind, in their order."""
    text = (ROOT / page).read_text("utf-8")
    return [
        Block(page, text.count("\n", 0, found.start("kind")) + 1, found["kind"], found["text"], found["remark"] or "")
        for found in BLOCK.finditer(text)
        if found["kind"] == kind
    ]
