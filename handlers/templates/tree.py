"""What a template is made of, once Jinja's parser has read it: a closed list of nodes, everything else is refused.

The nodes are the platform's own, so that nothing of Jinja runs: there are no calls, no attributes of objects, no
globals, no arithmetic; a name reads a key of a plain dict.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, NoReturn
from unicodedata import category

from jinja2 import TemplateSyntaxError, nodes
from jinja2.lexer import Token as JinjaToken
from jinja2.lexer import TokenStream
from jinja2.parser import Parser

from handlers.templates.filters import FILTERS
from handlers.templates.source import SYNTAX, Piece, Source, sentence

LOOP = ("index", "first", "last")
"""What `loop.…` knows."""
SIGNS = {"eq": "==", "ne": "!=", "lt": "<", "lteq": "<=", "gt": ">", "gteq": ">=", "in": "in", "notin": "not in"}
REFUSED: dict[type[nodes.Node], str] = {
    nodes.Call: "there are no calls; a value is computed under 'with' and named here",
    nodes.Getitem: "there are no brackets; parts are named with a dot",
    nodes.Concat: "texts are not joined with '~'; write one after the other",
    nodes.CondExpr: "there is no 'a if b else c'; write {% if b %}a{% else %}c{% endif %}",
    nodes.Test: "there is no 'is'; {% if name %} asks whether there is a value",
    nodes.Compare: "a comparison stands in {% if … %}",
    nodes.And: "'and' stands in {% if … %}",
    nodes.Or: "'or' stands in {% if … %}; {{ name|default(\"…\") }} takes the place of what is missing",
    nodes.Not: "'not' stands in {% if … %}",
    nodes.BinExpr: "there is no arithmetic; a value is computed under 'with' and named here",
    nodes.UnaryExpr: "there is no arithmetic; a value is computed under 'with' and named here",
}


@dataclass(frozen=True, slots=True)
class Path:
    """A name with its parts, each with its offset."""

    parts: tuple[str, ...]
    at: tuple[int, ...]

    def __str__(self) -> str:
        return ".".join(self.parts)


@dataclass(frozen=True, slots=True)
class Const:
    """A text, a number, true, false; or a tuple of texts and numbers after `in`."""

    value: Any
    at: int


@dataclass(frozen=True, slots=True)
class Filtered:
    """`inner|name(arguments)`."""

    inner: Value
    name: str
    arguments: tuple[Any, ...]
    at: int


Value = Path | Const | Filtered


@dataclass(frozen=True, slots=True)
class Compared:
    """`left sign right`."""

    left: Path | Const
    sign: str
    right: Path | Const
    at: int


@dataclass(frozen=True, slots=True)
class Not:
    """`not inner`."""

    inner: Condition


@dataclass(frozen=True, slots=True)
class Both:
    """`left and right`."""

    left: Condition
    right: Condition


@dataclass(frozen=True, slots=True)
class Either:
    """`left or right`."""

    left: Condition
    right: Condition


Condition = Path | Const | Compared | Not | Both | Either


@dataclass(frozen=True, slots=True)
class Text:
    """Literal text, in the form of its channel already."""

    text: str


@dataclass(frozen=True, slots=True)
class Show:
    """`{{ value }}`."""

    value: Value
    at: int
    in_url: bool
    key: str | None
    """The same value shown twice in a message is worded once; None where it changes from turn to turn."""


@dataclass(frozen=True, slots=True)
class Count:
    """The next number of a list; or, with `start`, nothing but its beginning."""

    key: str
    start: int | None


@dataclass(frozen=True, slots=True)
class If:
    """`{% if %}` with its `{% elif %}`s and its `{% else %}`."""

    branches: tuple[tuple[Condition, Tree], ...]
    otherwise: Tree


@dataclass(frozen=True, slots=True)
class Loop:
    """`{% for name in items %}`; `otherwise` is said where there are none."""

    name: str
    items: Path
    body: Tree
    otherwise: Tree | None


Node = Text | Show | Count | If | Loop
Tree = tuple[Node, ...]


def grow(source: Source, pieces: Sequence[Piece]) -> Tree:
    """Return the tree of texts and tags.

    Raises:
        BadTemplate: a tag holds what is no part of this language, or has no counterpart.
    """
    parser = Parser(SYNTAX, "")
    parser.stream = TokenStream(_tokens(pieces), None, None)
    try:
        read = parser.parse()
    except TemplateSyntaxError as fault:
        raise source.bad(f"this cannot be read: {sentence(fault)}", fault.lineno) from None
    except (ValueError, RecursionError, OverflowError):
        raise source.bad("this cannot be read", pieces[0].at if pieces else 0) from None
    return _Grower(source, frozenset(one.at for one in pieces if one.in_url), _starts(pieces)).body(read.body)


def _tokens(pieces: Sequence[Piece]) -> Iterator[JinjaToken]:
    """Feed the parser; where it asks for a line it is given an offset."""
    for piece in pieces:
        if piece.kind == "text":
            if piece.text:
                yield JinjaToken(piece.at, "data", piece.text)
        elif piece.kind == "count":
            # A name that the lexer lets nobody write.
            for kind, text in (("variable_begin", "{{"), ("name", f"#{piece.word}"), ("variable_end", "}}")):
                yield JinjaToken(piece.at, kind, text)
        elif piece.kind != "comment":
            yield from SYNTAX.lexer.wrap(piece.tokens)


def _starts(pieces: Sequence[Piece]) -> dict[int, int]:
    """Return for every token in a value's tag where that tag begins."""
    return {at: piece.at for piece in pieces if piece.kind == "show" for at, _, _ in piece.tokens}


class _Grower:
    """Turns Jinja's nodes into ours."""

    def __init__(self, source: Source, urls: frozenset[int], starts: dict[int, int]) -> None:
        self.source = source
        self.urls = urls
        self.starts = starts
        self.turning: tuple[str, ...] = ()
        """Names of the loop around, with `loop` itself."""

    def refuse(self, text: str, at: int) -> NoReturn:
        raise self.source.bad(text, at)

    def body(self, read: Sequence[nodes.Node]) -> Tree:
        found: list[Node] = []
        for node in read:
            if isinstance(node, nodes.Output):
                found += [self.output(part) for part in node.nodes]
            elif isinstance(node, nodes.If):
                found.append(self.question(node))
            elif isinstance(node, nodes.For):
                found.append(self.loop(node))
            else:
                self.refuse("this is no part of the language of templates", node.lineno)
        return tuple(found)

    def output(self, node: nodes.Expr) -> Node:
        if isinstance(node, nodes.TemplateData):
            return Text(node.data)
        if isinstance(node, nodes.Name) and node.name.startswith("#"):
            key, _, start = node.name.partition("=")
            return Count(key, int(start) if start else None)
        value = self.value(node)
        at = self.starts.get(first(value), first(value))
        changes = any(path.parts[0] in self.turning for path in paths(value))
        return Show(value, at, at in self.urls, None if changes else worded(value))

    def value(self, node: nodes.Expr) -> Value:
        if isinstance(node, nodes.Filter):
            return self.filtered(node)
        return self.simple(node)

    def simple(self, node: nodes.Node | None) -> Path | Const:
        if isinstance(node, nodes.Const):
            return Const(self.constant(node), node.lineno)
        if isinstance(node, (nodes.Name, nodes.Getattr)):
            return self.path(node)
        if isinstance(node, nodes.Filter):
            self.refuse("a filter stands in {{ … }} only", node.lineno)
        if node is None:
            self.refuse("something is missing here", 0)
        told = [text for kind, text in REFUSED.items() if isinstance(node, kind)]
        at = node.expr.lineno if isinstance(node, nodes.Compare) else node.lineno
        raise self.source.bad(told[0] if told else "this is no part of the language of templates", at)

    def constant(self, node: nodes.Const) -> Any:
        value = node.value
        if isinstance(value, str) and any(category(letter) in ("Cc", "Cs") for letter in value):
            self.refuse("a text in quotes holds a control character", node.lineno)
        if value is None:
            self.refuse("there is no 'none'; {% if name %} asks whether there is a value", node.lineno)
        return value

    def path(self, node: nodes.Node) -> Path:
        parts: list[str] = []
        at: list[int] = []
        while isinstance(node, nodes.Getattr):
            parts.append(node.attr)
            at.append(node.lineno + 1)
            node = node.node
        if not isinstance(node, nodes.Name):
            self.simple(node)
            self.refuse("only names have parts", node.lineno)
        parts.append(node.name)
        at.append(node.lineno)
        for part, place in zip(parts, at, strict=True):
            if part.startswith("_") or not part.isascii():
                self.refuse(f"'{part[:40]}' is no name: letters, digits and underscores, a letter first", place)
        path = Path(tuple(reversed(parts)), tuple(reversed(at)))
        if path.parts[0] == "loop":
            if "loop" not in self.turning:
                self.refuse("'loop' is known inside {% for %} only", path.at[0])
            if path.parts[1:] not in {(name,) for name in LOOP}:
                self.refuse(f"there are {', '.join(f'loop.{name}' for name in LOOP)}", path.at[0])
        return path

    def filtered(self, node: nodes.Filter) -> Filtered:
        found = FILTERS.get(node.name)
        if found is None:
            near = get_close_matches(node.name, FILTERS, 1)
            hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(sorted(FILTERS))}"
            self.refuse(f"there is no filter '{node.name[:40]}'; {hint}", node.lineno)
        if node.kwargs or node.dyn_args is not None or node.dyn_kwargs is not None:
            self.refuse(f"'{node.name}' takes plain values only: {found.usage}", node.lineno)
        arguments = []
        for argument in node.args:
            if not isinstance(argument, nodes.Const):
                self.refuse(f"'{node.name}' takes a value in quotes, or a number: {found.usage}", argument.lineno)
            arguments.append(self.constant(argument))
        if (wrong := found.argument.wrong(arguments)) is not None:
            self.refuse(f"'{node.name}' {wrong}: {found.usage}", node.lineno)
        assert node.node is not None  # {% filter %} is no tag here
        return Filtered(self.value(node.node), node.name, tuple(arguments), node.lineno)

    def question(self, node: nodes.If) -> If:
        branches = tuple((self.condition(one.test), self.body(one.body)) for one in (node, *node.elif_))
        return If(branches, self.body(node.else_))

    def condition(self, node: nodes.Node) -> Condition:
        if isinstance(node, nodes.Not):
            return Not(self.condition(node.node))
        if isinstance(node, nodes.And):
            return Both(self.condition(node.left), self.condition(node.right))
        if isinstance(node, nodes.Or):
            return Either(self.condition(node.left), self.condition(node.right))
        if isinstance(node, nodes.Compare):
            return self.compared(node)
        return self.simple(node)

    def compared(self, node: nodes.Compare) -> Compared:
        if len(node.ops) != 1:
            self.refuse("one comparison at a time; join them with 'and'", node.expr.lineno)
        operand = node.ops[0]
        sign = SIGNS[operand.op]
        left = self.simple(node.expr)
        right: Path | Const
        if operand.op in ("in", "notin"):
            if not isinstance(operand.expr, (nodes.List, nodes.Tuple)):
                self.refuse('\'in\' asks a list of values: status in ["open", "late"]', node.lineno)
            items = []
            for item in operand.expr.items:
                if not isinstance(item, nodes.Const):
                    self.refuse("the list after 'in' holds values in quotes, or numbers", item.lineno)
                items.append(self.constant(item))
            right = Const(tuple(items), operand.expr.lineno)
        else:
            right = self.simple(operand.expr)
        return Compared(left, sign, right, node.expr.lineno)

    def loop(self, node: nodes.For) -> Loop:
        if self.turning:
            self.refuse("a loop inside a loop", node.lineno)
        if node.test is not None or node.recursive:
            self.refuse("a loop has no condition of its own; write {% if … %} inside", node.lineno)
        if not isinstance(node.target, nodes.Name) or node.target.name == "loop" or node.target.name.startswith("_"):
            self.refuse("one name follows 'for': {% for item in items %}", node.lineno)
        items = self.simple(node.iter)
        if not isinstance(items, Path):
            self.refuse("a loop goes over a list that has a name", items.at)
        self.turning = (node.target.name, "loop")
        body = self.body(node.body)
        self.turning = ()
        return Loop(node.target.name, items, body, self.body(node.else_) if node.else_ else None)


def first(value: Value) -> int:
    """Return the offset at which a value begins."""
    while isinstance(value, Filtered):
        value = value.inner
    return value.at[0] if isinstance(value, Path) else value.at


def worded(value: Value) -> str:
    """Return one text for values that are written alike."""
    if isinstance(value, Filtered):
        return f"{worded(value.inner)}|{value.name}{value.arguments!r}"
    return str(value) if isinstance(value, Path) else repr(value.value)


def paths(value: Value | Condition) -> Iterator[Path]:
    """Return the paths that a value or a condition reads."""
    if isinstance(value, Path):
        yield value
    elif isinstance(value, (Filtered, Not)):
        yield from paths(value.inner)
    elif isinstance(value, (Compared, Both, Either)):
        yield from paths(value.left)
        yield from paths(value.right)


def names(tree: Tree) -> frozenset[str]:
    """Return the names that a tree needs from outside."""
    found: set[str] = set()
    for node in tree:
        if isinstance(node, Show):
            found |= {path.parts[0] for path in paths(node.value)}
        elif isinstance(node, If):
            found |= {path.parts[0] for condition, _ in node.branches for path in paths(condition)}
            found |= names(node.otherwise).union(*(names(body) for _, body in node.branches))
        elif isinstance(node, Loop):
            found |= (names(node.body) - {node.name, "loop"}) | {node.items.parts[0]} | names(node.otherwise or ())
    return frozenset(found)
