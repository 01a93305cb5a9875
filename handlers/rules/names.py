"""What files give a name to, and who sees it: `conditions`, `policies`, `imports`.

A file sees what it defines itself and what the shared files define that it imports. A shared file (its name begins
with `_`) hands on what it imports. One name means one thing in a file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from posixpath import basename, dirname, join, normpath, relpath

from handlers.rules.conditions import Compiled, Named, Path, Scope, compile_condition
from handlers.rules.directory import NAME
from handlers.rules.policies import Policy, policy_of
from handlers.rules.shape import Shape
from handlers.rules.yaml import Node, Reader
from tidings.contract import Contract
from tidings.outcomes import OURS

MAX_IMPORTS = 50
MAX_CHAIN = 20
"""Files that import each other in a row."""
MAX_NAMES = 500
"""Conditions, and policies, of one file."""
RESERVED = ("event", "params", "has", "in", "true", "false", "null")


@dataclass(frozen=True)
class Place:
    """Where a name is defined."""

    file: str
    line: int


@dataclass
class Sight:
    """What a file sees."""

    conditions: dict[str, tuple[Named, Place]] = field(default_factory=dict)
    policies: dict[str, tuple[Policy, Place]] = field(default_factory=dict)
    blind: bool = False
    """A file that it imports could not be read: what is unknown may stand there."""

    def named(self) -> Mapping[str, Named]:
        """The conditions by name."""
        return {name: named for name, (named, _) in self.conditions.items()}


def is_shared(file: str) -> bool:
    """Return whether other files may import a file."""
    return basename(file).startswith("_")


def sights(
    files: Mapping[str, tuple[Reader, Node]], broken: frozenset[str], contracts: Mapping[str, Contract]
) -> dict[str, Sight]:
    """Return what each file sees; `broken` are files that are there and could not be read."""
    return _Names(files, broken, contracts).all()


class _Names:
    def __init__(
        self, files: Mapping[str, tuple[Reader, Node]], broken: frozenset[str], contracts: Mapping[str, Contract]
    ) -> None:
        self.files = files
        self.broken = broken
        self.contracts = contracts
        self.own: dict[str, Sight] = {}
        self.done: dict[str, Sight] = {}

    def all(self) -> dict[str, Sight]:
        for file, (reader, root) in self.files.items():
            self.own[file] = Sight()
            if root.kind == "map":
                self._define(file, Shape(reader), root, self.own[file])
        return {file: self._seen(file, ()) for file in self.files}

    def _define(self, file: str, shape: Shape, root: Node, sight: Sight) -> None:
        for part in ("policies", "conditions"):
            if (node := root.get(part)) is not None and len(node.entries) > MAX_NAMES:
                shape.wrong(node, "R002", f"{len(node.entries)} {part} in one file; at most {MAX_NAMES}")
                return
        for key, node in shape.entries(root.get("policies"), "'policies'"):
            sight.policies[key.text] = (policy_of(shape, node), Place(file, key.line))
        given = root.get("conditions")
        others = {
            key.text: f"a named condition stands by itself; write out what '{key.text}' says"
            for key, _ in (given.entries if given is not None else ())
        }
        for key, node in shape.entries(given, "'conditions'"):
            sight.conditions[key.text] = (self._condition(shape, key, node, others), Place(file, key.line))

    def _condition(self, shape: Shape, key: Node, node: Node, others: Mapping[str, str]) -> Named:
        """Check a condition against each event that it is about; what is wrong is told here, once."""
        name = key.text
        if NAME.fullmatch(name) is None or "-" in name or name in RESERVED:
            shape.wrong(
                key, "R009", "a condition's name is lower-case words joined by '_', and no word of the language"
            )
        if not shape.keys(node, "condition"):
            return Named(name, "", tuple(self.contracts), {})
        source = node.get("if")
        for needed in ("on", "if"):
            if node.get(needed) is None:
                shape.wrong(node, "R007", f"'{needed}' is missing: conditions: {{ {name}: {{ on: event, if: … }} }}")
        found: dict[str, Compiled] = {}
        on = list(self._on(shape, node.get("on")))
        for contract in on:
            if name in contract.fields:
                shape.wrong(key, "R009", f"{contract.type} has a field '{name}'; give the condition another name")
        if source is not None and source.kind != "scalar":
            shape.wrong(source, "R006", "an expression is needed here")
            source = None
        told: set[object] = set()
        for contract in on if source is not None else ():
            assert source is not None
            compiled = found[contract.type] = compile_condition(
                source.text, Scope(contract.fields, type=contract.type, elsewhere=others)
            )
            for problem in compiled.problems:
                if problem not in told:
                    told.add(problem)
                    shape.problem(source, problem)
        trees = {kind: one.tree for kind, one in found.items() if one.ok and one.tree is not None}
        reads: frozenset[Path] = frozenset().union(*(one.reads for one in found.values()))
        # An event that is none, or a condition that is none, is told; whoever uses the name is not told again.
        kinds = tuple(found) if on and source is not None else tuple(self.contracts)
        return Named(name, source.text if source is not None else "", kinds, trees, reads)

    def _on(self, shape: Shape, node: Node | None) -> Iterator[Contract]:
        if node is None:
            return
        if node.kind == "map" or (node.kind == "list" and not node.items):
            shape.wrong(node, "R006", "'on' is an event, or a list of events")
            return
        for one in node.items if node.kind == "list" else (node,):
            contract = self.contracts.get(one.text)
            if contract is None or one.text.startswith(OURS):
                shape.no_event(one, self.contracts)
            else:
                yield contract

    def _seen(self, file: str, path: tuple[str, ...]) -> Sight:
        if file in self.done:
            return self.done[file]
        own = self.own[file]
        sight = Sight(dict(own.conditions), dict(own.policies))
        reader, root = self.files[file]
        shape = Shape(reader)
        for node, name in self._imports(shape, file, root):
            if name in (*path, file):
                chain = " → ".join((*path, file, name)[(*path, file).index(name) :])
                shape.wrong(node, "R008", f"these files import each other: {chain}")
                continue
            if len(path) >= MAX_CHAIN:
                shape.wrong(node, "R002", f"more than {MAX_CHAIN} files import each other in a row")
                continue
            sight.blind = sight.blind or name not in self.files
            if name in self.files:
                other = self._seen(name, (*path, file))
                sight.blind = sight.blind or other.blind
                for mine, theirs in ((sight.conditions, other.conditions), (sight.policies, other.policies)):
                    self._join(shape, node, mine, theirs)  # type: ignore[arg-type]
        self.done[file] = sight
        return sight

    def _join(
        self, shape: Shape, node: Node, mine: dict[str, tuple[object, Place]], theirs: dict[str, tuple[object, Place]]
    ) -> None:
        for name, (value, place) in theirs.items():
            other = mine.setdefault(name, (value, place))[1]
            if other != place:
                text = f"'{name}' means two things here: {other.file}:{other.line} and {place.file}:{place.line}"
                shape.wrong(node, "R009", text)

    def _imports(self, shape: Shape, file: str, root: Node) -> Iterator[tuple[Node, str]]:
        node = root.get("imports")
        if node is None:
            return
        if node.kind != "list" or len(node.items) > MAX_IMPORTS:
            shape.wrong(node, "R006", f"'imports' is a list of files, at most {MAX_IMPORTS}: [_shared.yaml]")
            return
        seen: set[str] = set()
        for one in node.items:
            name = normpath(join(dirname(file), one.text)) if one.kind == "scalar" and one.text else ""
            if not name or not (name in self.files or name in self.broken):
                shared = (relpath(other, dirname(file) or ".") for other in self.files if is_shared(other))
                shape.wrong(one, "R008", f"there is no file '{one.text}' beside {file}", shape.near(one.text, shared))
            elif not is_shared(name):
                text = f"{name} holds rules; only files whose name begins with '_' are imported"
                shape.wrong(one, "R008", text)
            elif name in seen:
                shape.wrong(one, "R004", f"'{one.text}' stands here twice")
            else:
                seen.add(name)
                yield one, name
