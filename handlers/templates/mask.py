"""Tags in disguise: each stands as one word in the text, so that Markdown moves it about and does not look inside."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from handlers.templates.source import Piece, Source

HOST = r"https://[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?(?::[0-9]{1,5})?"
URL_TAIL = re.compile(r"https?://[^\s<>\"'|()\[\]]*\Z", re.IGNORECASE)
URL_READY = re.compile(rf"{HOST}/", re.IGNORECASE)
LONGEST = 2_000
"""Characters before a value in which a link may begin."""


@dataclass(frozen=True)
class Mask:
    """A masked text. `b` words are blocks, `s` words values, `u` words values inside a link's address."""

    source: Source
    pieces: tuple[Piece, ...]
    start: int
    """Offset of the body in the source."""

    @cached_property
    def prefix(self) -> str:
        """Letters that the text does not hold."""
        number = 0
        while f"zq{number}z" in self.source.text:
            number += 1
        return f"zq{number}z"

    @cached_property
    def word(self) -> re.Pattern[str]:
        """The word of any tag: its kind and its number."""
        return re.compile(rf"{self.prefix}([bsu])([0-9]+)x")

    @cached_property
    def lone(self) -> re.Pattern[str]:
        """A line of blocks and nothing else."""
        return re.compile(rf"[ \t]*(?:{self.prefix}b[0-9]+x[ \t]*)+")

    @cached_property
    def rows(self) -> tuple[tuple[str, int], ...]:
        """Lines with a word for each tag and without comments, each with its line in the source."""
        words = {"block": "b", "show": "s", "comment": "c"}
        rows: list[tuple[str, int]] = [("", self.source.place(self.start)[0])]
        for number, piece in enumerate(self.pieces):
            if piece.kind != "text":
                rows[-1] = (f"{rows[-1][0]}{self.prefix}{words[piece.kind]}{number}x", rows[-1][1])
                continue
            head, *others = piece.text.split("\n")
            rows[-1] = (rows[-1][0] + head, rows[-1][1])
            line = self.source.place(piece.at)[0]
            rows += [(text, line + after) for after, text in enumerate(others, 1)]
        comment = re.compile(f"{self.prefix}c[0-9]+x")
        return tuple(
            (comment.sub("", text), line)
            for text, line in rows
            if not comment.search(text) or comment.sub("", text).strip()
        )

    @cached_property
    def text(self) -> str:
        """The text that Markdown reads."""
        return "\n".join(text for text, _ in self.rows)

    def line(self, row: int) -> int:
        """Return the line in the source of a line of the text, which counts from 0."""
        return self.rows[min(row, len(self.rows) - 1)][1] if self.rows else 1

    def show(self, number: str, kind: str) -> str:
        """Return the word of a tag as another kind."""
        return f"{self.prefix}{kind}{number}x"

    def unmask(self, text: str, extra: Sequence[Piece] = ()) -> tuple[Piece, ...]:
        """Return texts and tags; a value that goes on from an address is known as a part of it.

        Raises:
            BadTemplate: a value would decide where a link leads.
        """
        found: list[Piece] = []
        pieces = (*self.pieces, *extra)
        tail = ""
        end = 0
        at = self.start
        for match in self.word.finditer(text):
            literal = text[end : match.start()]
            end = match.end()
            tail = (tail + literal)[-LONGEST:]
            found.append(Piece("text", at, literal))
            piece = pieces[int(match.group(2))]
            at = piece.at
            if piece.kind == "show":
                begun = URL_TAIL.search(tail)
                if begun is not None and URL_READY.match(begun.group()) is None:
                    raise self.source.bad("a value may stand in a link only after https://host/", piece.at)
                piece = replace(piece, in_url=match.group(1) == "u" or begun is not None)
                tail += "\0"
            found.append(piece)
        return (*found, Piece("text", at, text[end:]))


def without_lone_lines(mask: Mask) -> str:
    """Return the masked text in which a line of blocks alone leaves no line behind."""
    kept = [text.strip() if mask.lone.fullmatch(text) else f"{text}\n" for text, _ in mask.rows]
    return "".join(kept).removesuffix("\n")
