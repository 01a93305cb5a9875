"""Conditions: a CEL subset, parsed, checked against the contract, three-valued, compiled to Python; and explained.

Differences from CEL, each on purpose: `/` never truncates, numbers are exact, money is a type, durations may be written
`4h`, and an order with null is *unknown* instead of an error (see docs/decisions.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from handlers.rules.conditions.check import KINDS, WORDS, Checker, Named, Path, Scope, Typed, has_paths, with_names
from handlers.rules.conditions.compile import Function, TooComplex, compiled
from handlers.rules.conditions.equalities import equalities
from handlers.rules.conditions.interpret import Trace, explain, render_value
from handlers.rules.conditions.problems import Problem, Refused
from handlers.rules.conditions.syntax import Node, parse, parse_duration
from tidings.event import Event
from tidings.unknown import UNKNOWN

__all__ = [
    "KINDS", "Compiled", "Named", "Path", "Problem", "Scope", "Trace", "compile_condition", "compile_value", "parse_duration",
    "render_value",
]  # fmt: skip


@dataclass(frozen=True)
class Compiled:
    """A compiled expression; implements `tidings.rule.Expression`."""

    source: str
    problems: tuple[Problem, ...]
    tree: Typed | None = None
    reads: frozenset[Path] = frozenset()
    """Paths of the payload that it reads."""
    params: frozenset[str] = frozenset()
    meaning: str = ""
    """The source with the names of conditions written out: two that are equal decide alike."""
    shown: frozenset[Path] = frozenset()
    """Paths that are certainly not null where the condition holds."""
    equalities: Mapping[Path, frozenset[Any]] = field(default_factory=dict)
    """Paths of the completed event with the values that each must have: with another the condition never holds."""
    _functions: tuple[Function, Function, Function] | None = field(default=None, repr=False, compare=False)

    @property
    def ok(self) -> bool:
        """Whether it can be evaluated; warnings do not matter."""
        return self._functions is not None

    @property
    def kind(self) -> str:
        """Kind of its value: bool, number, string, timestamp, duration, money, record, list."""
        return "any" if self.tree is None else self.tree.kind

    def true(self, data: Mapping[str, Any], event: Event, params: Mapping[str, Any]) -> bool:
        """Return whether the condition certainly holds."""
        if (functions := self._functions) is None:
            functions = self._ready
        try:
            return functions[0](data, event, params) is True
        except Exception:  # noqa: BLE001 - as `_safely`, which costs this most frequent of questions a third more
            return False

    def false(self, data: Mapping[str, Any], event: Event, params: Mapping[str, Any]) -> bool:
        """Return whether the condition certainly does not hold."""
        return _safely(self._ready[1], data, event, params) is True

    def value(self, data: Mapping[str, Any], event: Event, params: Mapping[str, Any]) -> Any:
        """Return the value, None for null, or `UNKNOWN`."""
        return _safely(self._ready[2], data, event, params)

    def explain(self, data: Mapping[str, Any], event: Event, params: Mapping[str, Any]) -> Trace:
        """Return the value, term by term."""
        assert self.tree is not None
        return explain(self.tree, self.source, data, event, params)

    @property
    def _ready(self) -> tuple[Function, Function, Function]:
        if self._functions is None:
            text = f"this expression has errors: {'; '.join(problem.text for problem in self.problems)}"
            raise ValueError(text)
        return self._functions


def _safely(function: Function, data: Mapping[str, Any], event: Event, params: Mapping[str, Any]) -> Any:
    """Evaluate; what fails all the same (data that no contract has checked) is unknown, for this event and rule only."""
    try:
        return function(data, event, params)
    except Exception:  # noqa: BLE001 - see above
        return UNKNOWN


def compile_condition(source: str, scope: Scope) -> Compiled:
    """Compile a condition; what is wrong with it stands in `problems`, and nothing is raised."""
    return compile_value(source, scope, ("bool",))


def compile_value(source: str, scope: Scope, expected: Sequence[str] = ()) -> Compiled:
    """Compile an expression whose value is one of the kinds `expected` (any, where there are none)."""
    try:
        node = parse(source)
    except Refused as fault:
        return Compiled(source, (fault.problem,))
    node = with_names(node, scope)
    checker = Checker(scope)
    tree = checker.check(node, scope.known)
    if expected and tree.kind not in (*expected, "any"):
        checker.problem(node, f"this is {WORDS[tree.kind]}; {' or '.join(WORDS[kind] for kind in expected)} is needed")
    if tree.constant and tree.kind == "bool":
        checker.problem(node, "this is always the same", code="R204", warn=True)
    functions = None
    if not checker.broken and not any(problem.severity == "error" for problem in checker.problems):
        try:
            functions = compiled(tree)
        except TooComplex:
            checker.problem(node, "this is too complex; split it", code="R102")
    problems = tuple(sorted(set(checker.problems), key=lambda problem: (problem.offset, problem.text)))
    return Compiled(
        source, problems, tree, frozenset(checker.reads), frozenset(checker.params), _written_out(source, node) if scope.named else source,
        has_paths(node) if tree.kind == "bool" else frozenset(), equalities(tree, frozenset(scope.images)), functions,
    )  # fmt: skip


def _written_out(source: str, node: Node) -> str:
    """Return the source with every name of a condition replaced by what it stands for."""
    # From the end, so that the places before stay right.
    for found in sorted(_names(node), key=lambda one: -one.offset):
        source = f"{source[: found.offset]}({found.value.source}){source[found.offset + found.length :]}"
    return source


def _names(node: Node) -> list[Node]:
    if node.kind == "named":
        return [node]
    return [found for child in node.children for found in _names(child)]
