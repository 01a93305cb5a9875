"""Syntax of conditions: a lexer and a recursive-descent parser for a subset of CEL, bounded in size and depth."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

from handlers.rules.conditions.problems import Problem, Refused
from tidings.event import DAY, HOUR, MINUTE, SECOND

MAX_SOURCE = 4096
MAX_DEPTH = 30
MAX_NODES = 500
MAX_CHAIN = 100
"""Terms that may follow each other without parentheses, as in a || b || c."""
MAX_NUMBER = 2**63
MAX_DIGITS = 40
MAX_DURATION = 36_525 * DAY
MAX_DURATION_TEXT = 60

UNITS = {"ms": 1000, "s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY, "w": 7 * DAY}
DURATION = re.compile(r"(?:[0-9]+(?:ms|s|m|h|d|w))+")
TOKEN = re.compile(
    r"""(?P<space>\s+)
      | (?P<duration>(?:[0-9]+(?:ms|s|m|h|d|w))+\b)
      | (?P<number>[0-9]+(?:\.[0-9]+)?)
      | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
      | (?P<op>&&|\|\||==|!=|<=|>=|[-+*/%<>!?:.,()\[\]])""",
    re.VERBOSE,
)
INSTANT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2})")
ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"', "'": "'"}
KEYWORDS = {"true": True, "false": False, "null": None}


@dataclass(frozen=True, slots=True)
class Node:
    """A node of the tree. `kind`: literal, list, path, unary, binary, ternary, call; and named, once names are resolved."""

    kind: str
    offset: int
    length: int
    op: str = ""
    """Operator, function, or the kind of a literal."""
    value: Any = None
    """A literal's value, or the parts of a path."""
    children: tuple[Node, ...] = ()


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of source."""

    kind: str
    text: str
    offset: int


def parse_duration(text: str) -> int | None:
    """Return a duration such as `90m`, `3d` or `1h30m` in microseconds, or None where it is none, or beyond a century."""
    if len(text) > MAX_DURATION_TEXT or DURATION.fullmatch(text) is None:
        return None
    found = sum(int(number) * UNITS[unit] for number, unit in re.findall(r"([0-9]+)(ms|s|m|h|d|w)", text))
    return found if found <= MAX_DURATION else None


def parse_instant(text: str) -> int | None:
    """Return an RFC 3339 time with zone in microseconds, or None where it is none."""
    if INSTANT.fullmatch(text) is None:
        return None
    try:
        at = datetime.fromisoformat(text)
        if at.tzinfo is None or "T" not in text:
            return None
        since = at.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
    return (since.days * 86_400 + since.seconds) * SECOND + since.microseconds


def tokens(source: str) -> list[Token]:
    """Return the tokens of a source.

    Raises:
        Refused: at the first character that begins none.
    """
    found = []
    at = 0
    while at < len(source):
        match = TOKEN.match(source, at)
        if match is None:
            text, hint = f"{source[at]!r} means nothing here", {"=": "==", "&": "&&", "|": "||"}.get(source[at])
            if source[at] in "\"'":
                text, hint = "the text has no end", None
            raise Refused(Problem("R101", text, at, 1, hint))
        if match.lastgroup != "space":
            found.append(Token(str(match.lastgroup), match.group(), at))
        at = match.end()
    found.append(Token("end", "", len(source)))
    return found


def parse(source: str) -> Node:
    """Return the tree of an expression.

    Raises:
        Refused: it is too long, too deep, or no expression.
    """
    if len(source) > MAX_SOURCE:
        raise Refused(Problem("R102", f"{len(source)} characters; at most {MAX_SOURCE}", 0))
    parser = _Parser(source)
    tree = parser.ternary(0)
    parser.expect_end()
    return tree


LEVELS = (("||",), ("&&",), ("==", "!=", "<", "<=", ">", ">=", "in"), ("+", "-"), ("*", "/", "%"))
WORDS = {"and": "&&", "or": "||", "not": "!", "AND": "&&", "OR": "||", "NOT": "!"}


class _Parser:
    def __init__(self, source: str) -> None:
        self.tokens = tokens(source)
        self.at = 0
        self.nodes = 0

    @property
    def next(self) -> Token:
        return self.tokens[self.at]

    def take(self, *texts: str) -> Token | None:
        token = self.next
        if token.kind in ("op", "name") and token.text in texts:
            self.at += 1
            return token
        return None

    def need(self, text: str) -> Token:
        token = self.take(text)
        if token is None:
            self.unexpected(f"{text!r} is needed here")
        return token  # type: ignore[return-value]

    def unexpected(self, wanted: str) -> None:
        token = self.next
        found = "the expression ends" if token.kind == "end" else f"found {token.text!r}"
        raise Refused(
            Problem("R101", f"{wanted}; {found}", token.offset, max(1, len(token.text)), WORDS.get(token.text))
        )

    def expect_end(self) -> None:
        if self.next.kind != "end":
            self.unexpected("an operator or the end is needed here")

    def node(self, kind: str, start: int, *, op: str = "", value: Any = None, children: tuple[Node, ...] = ()) -> Node:
        self.nodes += 1
        last = self.tokens[self.at - 1]
        length = last.offset + len(last.text) - start
        if self.nodes > MAX_NODES:
            raise Refused(Problem("R102", f"more than {MAX_NODES} terms", start, length))
        return Node(kind, start, length, op, value, children)

    def deeper(self, depth: int) -> int:
        if depth >= MAX_DEPTH:
            raise Refused(Problem("R102", f"nested deeper than {MAX_DEPTH}", self.next.offset))
        return depth + 1

    def ternary(self, depth: int) -> Node:
        depth = self.deeper(depth)
        start = self.next.offset
        condition = self.level(0, depth)
        if self.take("?") is None:
            return condition
        then = self.ternary(depth)
        self.need(":")
        other = self.ternary(depth)
        return self.node("ternary", start, children=(condition, then, other))

    def level(self, level: int, depth: int) -> Node:
        if level == len(LEVELS):
            return self.unary(depth)
        start = self.next.offset
        left = self.level(level + 1, depth)
        chain = 0
        while (token := self.take(*LEVELS[level])) is not None:
            chain += 1
            if level == 2 and chain > 1:  # noqa: PLR2004 - the level of comparisons
                raise Refused(
                    Problem("R101", "comparisons do not chain; join them with &&", token.offset, len(token.text))
                )
            right = self.level(level + 1, depth)
            left = self.node("binary", start, op=token.text, children=(left, right))
            if chain >= MAX_CHAIN:
                text = f"more than {MAX_CHAIN} terms in a row; use 'in', or group them with parentheses"
                raise Refused(Problem("R102", text, token.offset, len(token.text)))
        return left

    def unary(self, depth: int) -> Node:
        start = self.next.offset
        token = self.take("!", "-")
        if token is None:
            return self.postfix(depth)
        return self.node("unary", start, op=token.text, children=(self.unary(self.deeper(depth)),))

    def postfix(self, depth: int) -> Node:
        start = self.next.offset
        found = self.primary(depth)
        while self.take(".") is not None:
            name = self.next
            if name.kind != "name":
                self.unexpected("a name is needed after the dot")
            self.at += 1
            if self.take("(") is not None:
                arguments = self.arguments(")", depth)
                found = self.node("call", start, op=name.text, children=(found, *arguments))
                depth = self.deeper(depth)
            elif found.kind == "path":
                found = self.node("path", start, value=(*found.value, name.text))
            else:
                raise Refused(
                    Problem("R101", "only events, records and params have fields", name.offset, len(name.text))
                )
        return found

    def arguments(self, close: str, depth: int) -> tuple[Node, ...]:
        found: list[Node] = []
        if self.take(close) is not None:
            return ()
        while True:
            found.append(self.ternary(depth))
            if self.take(close) is not None:
                return tuple(found)
            if self.take(",") is None:
                self.unexpected(f"',' or {close!r} is needed here")

    def primary(self, depth: int) -> Node:
        token = self.next
        start = token.offset
        self.at += 1
        match token.kind:
            case "number":
                if len(token.text) > MAX_DIGITS or Fraction(token.text) >= MAX_NUMBER:
                    raise Refused(Problem("R102", "this number is too large", start, len(token.text)))
                number = Fraction(token.text)
                exact = int(number) if number.denominator == 1 else number
                return self.node("literal", start, op="number", value=exact)
            case "duration":
                micros = parse_duration(token.text)
                if micros is None:
                    raise Refused(Problem("R102", "this duration is longer than a century", start, len(token.text)))
                return self.node("literal", start, op="duration", value=micros)
            case "text":
                return self.node("literal", start, op="string", value=self.unescape(token))
            case "name" if token.text in KEYWORDS:
                value = KEYWORDS[token.text]
                return self.node("literal", start, op="null" if value is None else "bool", value=value)
            case "name" if self.take("(") is not None:
                arguments = self.arguments(")", depth)
                return self.node("call", start, op=token.text, value="function", children=arguments)
            case "name":
                return self.node("path", start, value=(token.text,))
            case "op" if token.text == "(":
                inner = self.ternary(depth)
                self.need(")")
                return inner
            case "op" if token.text == "[":
                return self.node("list", start, children=self.arguments("]", depth))
        self.at -= 1
        self.unexpected("a value is needed here")
        raise AssertionError

    def unescape(self, token: Token) -> str:
        def one(match: re.Match[str]) -> str:
            if match.group(1) not in ESCAPES:
                text = f"\\{match.group(1)} is no escape"
                raise Refused(Problem("R101", text, token.offset + 1 + match.start(), 2))
            return ESCAPES[match.group(1)]

        return re.sub(r"\\(.)", one, token.text[1:-1])
