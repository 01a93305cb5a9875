"""A text in the form of each channel: HTML, plain text, Slack's mrkdwn, the Markdown of Teams."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markdown_it.token import Token

from handlers.templates import escapes
from handlers.templates.layout import LINK
from handlers.templates.markup import Block, Document, paragraphs
from handlers.templates.mask import Mask
from handlers.templates.source import Piece

SPOKEN = re.compile("(?:mailto|tel):", re.IGNORECASE)


@dataclass(frozen=True)
class Dialect:
    """How a channel that writes in lines says what the author marked."""

    escape: Callable[[str], str]
    bold: str
    italic: str
    code: str
    heading: str
    hard: str
    bullet: str
    rule: str
    link: Callable[[str, str], str]
    """Of label and address."""


def _told(label: str, href: str) -> str:
    """Return a link for those who cannot click on words."""
    bare = SPOKEN.sub("", href)
    return label if label in (href, bare) else f"{label} ({bare})"


TEXT = Dialect(lambda text: text, "", "", "", "", "\n", "- ", "-" * 20, _told)
SLACK = Dialect(
    escapes.slack, "*", "_", "`", "*", "\n", "• ", "─" * 20,
    lambda label, href: f"<{href.replace('&', '&amp;')}|{label}>",
)  # fmt: skip
TEAMS = Dialect(
    escapes.teams, "**", "_", "`", "**", "  \n", "- ", "\\-\\-\\-",
    lambda label, href: f"[{label}]({href.replace('(', '%28').replace(')', '%29')})",
)  # fmt: skip


def lines(document: Document, dialect: Dialect) -> tuple[Piece, ...]:
    """Return the text as a channel of lines writes it.

    Raises:
        BadTemplate: a value would decide where a link leads.
    """
    text = _lines(document, dialect, document.blocks, "", "")
    return document.mask.unmask(text, document.counters)


def _lines(document: Document, dialect: Dialect, blocks: Sequence[Block], first: str, rest: str) -> str:
    parts: list[str] = []
    lead = first
    for block in blocks:
        if block.kind == "tag":
            parts.append(document.mask.show(block.number, "b"))
            continue
        if block.kind == "list":
            parts.append(_list(document, dialect, block, lead, rest))
        elif block.kind == "quote":
            parts.append(_lines(document, dialect, block.children, f"{lead}> ", f"{rest}> "))
        elif block.kind == "rule":
            parts.append(f"{lead}{dialect.rule}\n\n")
        else:
            text = _inline(document.mask, dialect, block.inline, rest)
            mark = dialect.heading if block.kind == "heading" else ""
            gap = "" if block.kind == "paragraph" and block.tight else "\n"
            parts.append(f"{lead}{mark}{text}{mark}\n{gap}")
        lead = rest
    return "".join(parts)


def _list(document: Document, dialect: Dialect, block: Block, first: str, rest: str) -> str:
    parts: list[str] = []
    lead, number = first, block.start or 0
    # How many items there will be is known only when they are written.
    counted = block.start is not None and any(item.kind == "tag" for item in block.children)
    key = str(len(document.counters))
    if counted:
        parts.append(document.counter(f"{key}={number}"))
    for item in block.children:
        if item.kind == "tag":
            parts.append(document.mask.show(item.number, "b"))
            continue
        marker = dialect.bullet if block.start is None else f"{document.counter(key) if counted else number}. "
        parts.append(_lines(document, dialect, item.children, f"{lead}{marker}", f"{rest}{' ' * len(dialect.bullet)}"))
        if not item.children:
            parts.append(f"{lead}{marker}\n")
        lead, number = rest, number + 1
    loose = any(not one.tight for one in paragraphs(block))
    return "".join(parts) + ("" if loose or rest else "\n")


def _inline(mask: Mask, dialect: Dialect, tokens: Sequence[Token], rest: str) -> str:
    parts: list[list[str]] = [[]]
    links: list[str] = []
    for token in tokens:
        out = parts[-1]
        if token.type in ("text", "code_inline"):
            mark = dialect.code if token.type == "code_inline" else ""
            out.append(f"{mark}{outside(mask, token.content, dialect.escape)}{mark}")
        elif token.type == "softbreak":
            out.append(f"\n{rest}")
        elif token.type == "hardbreak":
            out.append(f"{dialect.hard}{rest}")
        elif token.type in ("strong_open", "strong_close"):
            out.append(dialect.bold)
        elif token.type in ("em_open", "em_close"):
            out.append(dialect.italic)
        elif token.type == "link_open":
            links.append(str(token.attrs["href"]))
            parts.append([])
        elif token.type == "link_close":
            label = "".join(parts.pop())
            href = links.pop()
            # An address that is its own label was marked as a part of a link there, and as a text here.
            same = mask.word.sub(lambda one: mask.show(one.group(2), "u"), label)
            parts[-1].append(dialect.link(same if same == href else label, href))
    return "".join("".join(one) for one in parts)


def outside(mask: Mask, text: str, escape: Callable[[str], str]) -> str:
    """Return a text with everything escaped but the words of tags."""
    parts: list[str] = []
    end = 0
    for match in mask.word.finditer(text):
        parts += [escape(text[end : match.start()]), match.group()]
        end = match.end()
    return "".join([*parts, escape(text[end:])])


ELEMENTS = {"strong": "strong", "em": "em"}


def html(document: Document) -> tuple[Piece, ...]:
    """Return the text as HTML.

    Raises:
        BadTemplate: a value would decide where a link leads.
    """
    return document.mask.unmask(_html(document.mask, document.blocks), document.counters)


def _html(mask: Mask, blocks: Sequence[Block]) -> str:
    parts: list[str] = []
    for block in blocks:
        inner = _html(mask, block.children) if block.children else _spans(mask, block.inline)
        if block.kind == "tag":
            parts.append(mask.show(block.number, "b"))
        elif block.kind == "rule":
            parts.append("<hr>\n")
        elif block.kind == "paragraph":
            parts.append(f"{inner}\n" if block.tight else f"<p>{inner}</p>\n")
        elif block.kind == "heading":
            parts.append(f"<h{block.level}>{inner}</h{block.level}>\n")
        elif block.kind == "list":
            name = "ul" if block.start is None else "ol"
            start = f' start="{block.start}"' if block.start not in (None, 1) else ""
            parts.append(f"<{name}{start}>\n{inner}</{name}>\n")
        else:
            name = {"item": "li", "quote": "blockquote"}[block.kind]
            parts.append(f"<{name}>{inner.rstrip()}</{name}>\n")
    return "".join(parts)


def _spans(mask: Mask, tokens: Sequence[Token]) -> str:
    parts: list[str] = []
    for token in tokens:
        if token.type in ("text", "code_inline"):
            text = outside(mask, token.content, escapes.html)
            parts.append(f"<code>{text}</code>" if token.type == "code_inline" else text)
        elif token.type == "softbreak":
            parts.append("\n")
        elif token.type == "hardbreak":
            parts.append("<br>\n")
        elif token.type == "link_open":
            parts.append(f'<a href="{outside(mask, str(token.attrs["href"]), escapes.html)}" style="{LINK}">')
        elif token.type == "link_close":
            parts.append("</a>")
        elif token.type.endswith(("_open", "_close")):
            name = ELEMENTS[token.type.rpartition("_")[0]]
            parts.append(f"</{name}>" if token.nesting == -1 else f"<{name}>")
    return "".join(parts)
