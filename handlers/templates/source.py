"""The source of a template: its header lines, its body, and the tags in both, each with its place.

Jinja's lexer tells only lines. Its tokens are counted here, so that every tag and every name keeps its offset.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from typing import Literal

from jinja2 import Environment, TemplateSyntaxError

from handlers.templates.faults import MAX_TEXT, BadTemplate, breaks_line

SYNTAX = Environment(keep_trailing_newline=True, autoescape=True)
"""Lends its lexer and its parser; nothing is ever run by it."""
HEADERS = ("Subject", "Title", "Preheader")
WORDS = ("if", "elif", "else", "endif", "for", "endfor")
"""Tags of `{% … %}` that there are."""
HEADER = re.compile(r"([A-Za-z][A-Za-z-]*)[ \t]*:[ \t]*(.*?)[ \t]*")
MAX_TAG = 2_000
"""Characters of one tag."""
MAX_TOKENS = 200
"""Words and signs of one tag; a bound for the parser's recursion, as are the next two."""
MAX_PARENTHESES = 10
MAX_TAGS = 1_000
"""Tags of one text."""
MAX_DEPTH = 10
"""Tags within tags."""
NEAR = 0.75

Token = tuple[int, str, str]
"""Offset, kind, text."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Literal text, or one tag."""

    kind: Literal["text", "show", "block", "comment", "count"]
    at: int
    text: str = ""
    tokens: tuple[Token, ...] = ()
    word: str = ""
    """`if`, `endif`, … of a block; which list is counted, and `=` from where on."""
    in_url: bool = False
    """A value here is a part of a link."""


@dataclass(frozen=True)
class Source:
    """A text that may be cut."""

    text: str

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """Offsets at which the lines begin."""
        return (0, *(match.end() for match in re.finditer("\n", self.text)))

    def place(self, at: int) -> tuple[int, int]:
        """Return line and column of an offset."""
        line = bisect_right(self.starts, at)
        return line, at - self.starts[line - 1] + 1

    def bad(self, text: str, at: int) -> BadTemplate:
        """Return a refusal with its place."""
        return BadTemplate(text, *self.place(min(at, len(self.text))))


def read(text: str) -> Source:
    """Return a source with lines that end in one way.

    Raises:
        BadTemplate: it is too long, or holds characters that are no text.
    """
    if len(text) > MAX_TEXT:
        raise BadTemplate(f"{len(text)} characters; at most {MAX_TEXT}", 1)
    source = Source(text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n"))
    for at, letter in enumerate(source.text):
        if letter not in "\n\t" and unicodedata.category(letter) in ("Cc", "Cs"):
            raise source.bad("a control character stands here", at)
    return source


@dataclass(frozen=True, slots=True)
class Span:
    """A part of the source."""

    start: int
    end: int


def split(source: Source) -> tuple[dict[str, Span], Span]:
    """Return where the values of the header lines stand, by their names, and where the body does.

    Raises:
        BadTemplate: a header is unknown, empty or said twice, or no empty line follows.
    """
    found: dict[str, Span] = {}
    at = 0
    for line in source.text.split("\n"):
        match = HEADER.fullmatch(line)
        name = match.group(1).capitalize() if match is not None else ""
        if match is None or (name not in HEADERS and not found and not _meant(source, name)):
            break
        if name not in HEADERS:
            raise source.bad(f"there is no header '{match.group(1)}'; headers are {', '.join(HEADERS)}", at)
        if name in found:
            raise source.bad(f"'{name}' is said twice", at)
        if not match.group(2):
            raise source.bad(f"'{name}:' says nothing", at)
        if breaks_line(match.group(2)):
            raise source.bad(f"the {name.lower()} holds a control character", at)
        found[name] = Span(at + match.start(2), at + match.end(2))
        at += len(line) + 1
    if not found:
        return {}, Span(0, len(source.text))
    rest = source.text[at:]
    gap, _, _ = rest.partition("\n")
    if gap.strip():
        raise source.bad("an empty line follows the header lines", at)
    start = min(at + len(gap) + 1, len(source.text))
    return found, Span(start, len(source.text))


def _meant(source: Source, name: str) -> bool:
    """Refuse a first line that is nearly a header; any other is the first line of a text."""
    if near := get_close_matches(name, HEADERS, 1, NEAR):
        raise source.bad(f"there is no header '{name}'; did you mean '{near[0]}'?", 0)
    return False


def cut(source: Source, span: Span) -> tuple[Piece, ...]:
    """Return texts and tags in their order.

    Raises:
        BadTemplate: a tag is not closed, too long, or of a kind that there is not.
    """
    pieces: list[Piece] = []
    open_tag: list[Token] = []
    around: list[Piece] = []
    count = 0
    for token in _tokens(source, span):
        at, kind, value = token
        if kind == "data":
            pieces.append(Piece("text", at, value))
        elif kind == "raw_begin":
            raise source.bad('{% raw %} is not built; {{ "{{" }} shows two braces', at)
        elif kind in ("variable_begin", "block_begin", "comment_begin"):
            open_tag = [token]
        elif kind in ("variable_end", "block_end", "comment_end"):
            piece = _tag(source, (*open_tag, token))
            count += 1
            if count > MAX_TAGS:
                raise source.bad(f"more than {MAX_TAGS} tags", piece.at)
            _pair(source, piece, around)
            pieces.append(piece)
            open_tag = []
        else:
            open_tag.append(token)
            if kind != "comment" and (len(open_tag) > MAX_TOKENS or at - open_tag[0][0] > MAX_TAG):
                raise source.bad("this tag is too long, or is not closed", open_tag[0][0])
    if open_tag:
        raise source.bad(f"'{open_tag[0][2]}' is not closed", open_tag[0][0])
    if around:
        word = around[-1].word
        raise source.bad(f"{{% {word} … %}} needs its {{% end{word} %}}", around[-1].at)
    return tuple(pieces)


def _pair(source: Source, piece: Piece, around: list[Piece]) -> None:
    """Hold a tag to the one that it belongs to; `around` are those that are open."""
    word = piece.word
    if word in ("if", "for"):
        around.append(piece)
        if len(around) > MAX_DEPTH:
            raise source.bad(f"more than {MAX_DEPTH} tags within each other", piece.at)
    elif word:
        fits = {"elif": ("if",), "else": ("if", "for"), "endif": ("if",), "endfor": ("for",)}[word]
        if not around or around[-1].word not in fits:
            inside = f"inside {{% {around[-1].word} … %}}" if around else "here"
            raise source.bad(f"{{% {word} %}} has no {{% {fits[0]} … %}} {inside}", piece.at)
        if word.startswith("end"):
            around.pop()


def _tokens(source: Source, span: Span) -> Iterator[Token]:
    text = source.text[span.start : span.end]
    at = 0
    begun = 0
    try:
        for _, kind, value in SYNTAX.lexer.tokeniter(text, None):
            if not text.startswith(value, at):
                # `{%-` takes the blanks before it away.
                at += len(text[at:]) - len(text[at:].lstrip())
            if kind.endswith("_begin"):
                begun = at
            yield span.start + at, kind, value
            at += len(value)
    except TemplateSyntaxError as fault:
        place = begun if "comment" in str(fault) or "raw" in str(fault) else at
        raise source.bad(f"this cannot be read: {sentence(fault)}", span.start + place) from None


def sentence(fault: TemplateSyntaxError) -> str:
    """Return what Jinja says, in one bounded line."""
    return " ".join(str(fault.message).split())[:160]


def _tag(source: Source, tokens: tuple[Token, ...]) -> Piece:
    at, opening, _ = tokens[0]
    if opening == "comment_begin":
        return Piece("comment", at)
    deep = 0
    for where, kind, value in tokens:
        deep += (value in "([{") - (value in ")]}") if kind == "operator" else 0
        if deep > MAX_PARENTHESES:
            raise source.bad(f"more than {MAX_PARENTHESES} parentheses within each other", where)
    if opening == "variable_begin":
        return Piece("show", at, tokens=tokens)
    word = next((value for _, kind, value in tokens[1:-1] if kind != "whitespace"), "")
    if word not in WORDS:
        near = get_close_matches(word, WORDS, 1)
        hint = f"; did you mean '{near[0]}'?" if near else f"; there are {', '.join(WORDS)}"
        raise source.bad(f"there is no tag '{word[:40]}'{hint}", at)
    return Piece("block", at, tokens=tokens, word=word)
