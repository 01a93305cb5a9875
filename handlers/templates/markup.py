"""The light Markdown of templates: read once, with its tags in disguise, and held to what a message may be.

What the author wrote is markup, what a value holds never is: values come in after all this has been done.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.token import Token

from handlers.templates.faults import BadTemplate
from handlers.templates.mask import HOST, Mask
from handlers.templates.source import Piece

MAX_NESTING = 20
SAFE = r"[A-Za-z0-9._~:/?#@!$&'*+,;=%()-]*"
ADDRESS = re.compile(
    rf"(?P<web>{HOST}(?:[/?#]{SAFE})?)|mailto:[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+(?:\?{SAFE})?|tel:\+?[0-9-]+",
    re.IGNORECASE,
)
RULES = ("list", "heading", "blockquote", "hr", "emphasis", "link", "image", "escape", "newline", "entity", "backticks",
         "autolink")  # fmt: skip


def _lone(state: StateBlock, start: int, end: int, silent: bool) -> bool:  # noqa: FBT001 - markdown-it's signature
    """Read a line of blocks alone, which is no paragraph and ends the one before."""
    line = state.src[state.bMarks[start] + state.tShift[start] : state.eMarks[start]]
    if state.env["lone"].fullmatch(line) is None:
        return False
    if not silent:
        token = state.push("tags", "", 0)
        token.content, token.map = line, [start, start + 1]
        state.line = start + 1
    return True


def _reader() -> MarkdownIt:
    reader = MarkdownIt("zero", {"maxNesting": MAX_NESTING}).enable(list(RULES))
    reader.block.ruler.before("paragraph", "tags", _lone, {"alt": ["paragraph", "list", "blockquote"]})
    # Every address is refused or allowed here, with its place, instead of being left standing as text.
    reader.validateLink = lambda url: True  # type: ignore[method-assign]
    reader.normalizeLink = lambda url: url  # type: ignore[method-assign]
    reader.normalizeLinkText = lambda link: link  # type: ignore[method-assign]
    return reader


READER = _reader()


@dataclass
class Block:
    """A part of a text: paragraph, heading, list, item, quote, rule, tag, or a group of all between two tags."""

    kind: str
    line: int
    children: list[Block] = field(default_factory=list)
    inline: list[Token] = field(default_factory=list)
    level: int = 0
    start: int | None = None
    """Of a list with numbers."""
    tight: bool = True
    number: str = ""
    """Of a tag, in the mask."""


@dataclass
class Document:
    """A text that was read."""

    mask: Mask
    blocks: list[Block]
    counters: list[Piece] = field(default_factory=list)

    def counter(self, word: str) -> str:
        """Return the word of a new piece that numbers the items of a list while they are written."""
        self.counters.append(Piece("count", self.mask.start, word=word))
        return self.mask.show(str(len(self.mask.pieces) + len(self.counters) - 1), "s")

    def bad(self, text: str, line: int) -> BadTemplate:
        """Return a refusal; `line` counts from 0 in the masked text."""
        return BadTemplate(text, self.mask.line(line))


def read(mask: Mask) -> Document:
    """Return the blocks of a text.

    Raises:
        BadTemplate: a link leads where none may, or a tag stands where it tears what is around it.
    """
    tokens = READER.parse(mask.text, {"lone": mask.lone})
    document = Document(mask, [])
    document.blocks = _nest(iter(tokens), mask)
    _check(document)
    document.blocks = _gather(document, document.blocks)
    return document


def _nest(tokens: Iterator[Token], mask: Mask) -> list[Block]:
    found: list[Block] = []
    for token in tokens:
        line = token.map[0] if token.map else 0
        if token.type == "tags":
            found += [Block("tag", line, number=match.group(2)) for match in mask.word.finditer(token.content)]
        elif token.type == "hr":
            found.append(Block("rule", line))
        elif token.type == "inline":
            found.append(Block("inline", line, inline=token.children or []))
        elif token.nesting == 1:
            kind = token.type.removesuffix("_open")
            block = Block({"list_item": "item", "blockquote": "quote"}.get(kind, kind), line)
            block.children = _nest(tokens, mask)
            if kind.endswith("_list"):
                start = token.attrs.get("start", 1)
                block.kind, block.start = "list", int(start) if kind == "ordered_list" else None
            elif kind in ("paragraph", "heading"):
                block.level = int(token.tag[1:] or 0) if kind == "heading" else 0
                block.tight = token.hidden
                block.inline = block.children[0].inline if block.children else []
                block.children = []
            found.append(block)
        elif token.nesting == -1:
            return found
    return found


def _check(document: Document) -> None:
    """Hold every tag to its order, and to the element in which its group began."""
    seen: list[tuple[str, str, tuple[int, ...], int]] = []
    _walk(document, document.blocks, (), seen)
    blocks = [(number, path, line) for kind, number, path, line in seen if kind == "b"]
    pieces = document.mask.pieces
    expected = [str(number) for number, piece in enumerate(pieces) if piece.kind == "block"]
    values = sorted(int(number) for kind, number, _, _ in seen if kind != "b")
    if [number for number, _, _ in blocks] != expected or values != [
        number for number, piece in enumerate(pieces) if piece.kind == "show"
    ]:
        found = {int(number) for _, number, _, _ in seen}
        lost = [one for number, one in enumerate(pieces) if one.kind in ("block", "show") and number not in found]
        raise document.mask.source.bad("a tag cannot stand here", lost[0].at if lost else document.mask.start)
    around: list[tuple[int, ...]] = []
    for number, path, _ in blocks:
        piece = pieces[int(number)]
        if piece.word in ("if", "for"):
            around.append(path)
        elif around and around[-1] != path:
            text = f"'{{% {piece.word} %}}' stands inside other markup (bold, a link, an item) than the tag that it belongs to"
            raise document.mask.source.bad(text, piece.at)
        if piece.word.startswith("end") and around:
            around.pop()


def _walk(
    document: Document,
    blocks: Iterable[Block],
    path: tuple[int, ...],
    seen: list[tuple[str, str, tuple[int, ...], int]],
) -> None:
    word = document.mask.word
    for block in blocks:
        inside = (*path, id(block))
        if block.kind == "tag":
            seen.append(("b", block.number, path, block.line))
        elements: list[int] = []
        named = False
        for token in block.inline:
            if token.markup == "autolink":
                # `<https://…>` is address and label at once; its values are counted in the address.
                named = token.nesting == 1
            if token.type == "image":
                raise document.bad("there are no pictures: a mail fetches nothing", block.line)
            if token.type == "link_open":
                href = str(token.attrs.get("href", ""))
                token.attrs["href"] = _address(document, href, block.line)
                if token.attrs.pop("title", None) is not None:
                    raise document.bad("a link has no title", block.line)
                seen += [("u", match.group(2), inside, block.line) for match in word.finditer(href)]
            if token.nesting == 1:
                elements.append(id(token))
            elif token.nesting == -1:
                elements.pop()
            here = (*inside, *elements, *((id(token),) if token.type == "code_inline" else ()))
            if not named:
                seen += [(match.group(1), match.group(2), here, block.line) for match in word.finditer(token.content)]
        _walk(document, block.children, inside, seen)


def _address(document: Document, href: str, line: int) -> str:
    """Return where a link leads, with its values marked as parts of it."""
    mask = document.mask
    match = ADDRESS.fullmatch(href)
    if match is None:
        # The word of a tag is letters and digits, so an address with a value in it reads like any other.
        shown = mask.word.sub("{{…}}", href)[:80]
        raise document.bad(f"a link leads to https://host/…, mailto: or tel:, not to '{shown}'", line)
    first = mask.word.search(href)
    if first is not None:
        if re.fullmatch(rf"{HOST}/{SAFE}", href[: first.start()], re.IGNORECASE) is None:
            at = mask.pieces[int(first.group(2))].at
            raise mask.source.bad("a value may stand in a link only after https://host/", at)
        if any(one.group(1) == "b" for one in mask.word.finditer(href)):
            at = next(mask.pieces[int(one.group(2))].at for one in mask.word.finditer(href) if one.group(1) == "b")
            raise mask.source.bad("inside the address of a link stand values only", at)
    return mask.word.sub(lambda one: mask.show(one.group(2), "u"), href)


def _gather(document: Document, blocks: list[Block]) -> list[Block]:
    """Make one list of the items that stand in loops and questions beside each other."""
    for block in blocks:
        block.children = _gather(document, block.children)
    return _runs(document, _group(document, blocks))


def _runs(document: Document, blocks: list[Block]) -> list[Block]:
    found: list[Block] = []
    run: list[Block] = []
    for block in blocks:
        kind = _list_kind(block)
        if run and _list_kind(run[0]) != kind:
            found += _merge(document, run)
            run = []
        if kind is not None:
            run.append(block)
        else:
            found += _runs(document, block.children) if block.kind == "group" else [block]
    return [*found, *_merge(document, run)]


def _group(document: Document, blocks: list[Block]) -> list[Block]:
    """Put what stands between a tag and its end, at one level, into one block."""
    stack: list[list[Block]] = [[]]
    for block in blocks:
        word = document.mask.pieces[int(block.number)].word if block.kind == "tag" else ""
        if word in ("if", "for"):
            stack.append([block])
        elif word.startswith("end") and len(stack) > 1:
            inner = [*stack.pop(), block]
            stack[-1].append(Block("group", inner[0].line, children=inner, number=inner[0].number))
        else:
            stack[-1].append(block)
    return [block for level in stack for block in level]


def _list_kind(block: Block) -> str | None:
    """Return what list a block is, or is nothing but; None where it is something else."""
    if block.kind == "list":
        return "bullets" if block.start is None else "numbers"
    if block.kind != "group":
        return None
    kinds = {_list_kind(child) for child in block.children if child.kind != "tag"}
    return kinds.pop() if len(kinds) == 1 else None


def _merge(document: Document, run: list[Block]) -> list[Block]:
    if not run:
        return []
    pieces = document.mask.pieces
    always = any(
        block.kind == "list"
        or (pieces[int(block.number)].word == "for" and _words(document, block) == ["for", "endfor"])
        for block in run
    )
    if not always:
        return [part for block in run for part in (_runs(document, block.children) if block.children else [block])]
    lists = [one for block in run for one in _lists(block)]
    loose = any(not one.tight for each in lists for one in paragraphs(each))
    merged = replace(lists[0], children=[])
    for block in run:
        merged.children += _items(block)
    for paragraph in paragraphs(merged):
        paragraph.tight = not loose
    return [merged]


def _words(document: Document, group: Block) -> list[str]:
    return [document.mask.pieces[int(one.number)].word for one in group.children if one.kind == "tag"]


def _lists(block: Block) -> list[Block]:
    return [block] if block.kind == "list" else [one for child in block.children for one in _lists(child)]


def paragraphs(block: Block) -> list[Block]:
    """Return the paragraphs of a list's items."""
    return [child for item in block.children for child in item.children if child.kind == "paragraph"]


def _items(block: Block) -> list[Block]:
    """Return the items and tags of a list or a group."""
    if block.kind == "list":
        return block.children
    return [block] if block.kind == "tag" else [one for child in block.children for one in _items(child)]
