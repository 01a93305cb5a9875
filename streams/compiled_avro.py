"""Avro schemas compiled to Python: reading a record takes half as long as interpreting its schema for each of them.

What a compiled function returns is what fastavro would have read, and holds no NUL. Whatever it stumbles over (a text that
is no UTF-8, an index beyond its enum, bytes that are left over) raises something that says nothing: whoever asked
then asks fastavro, which has the last word, and the words for it. Schemas are our own or a registry's, and never become
code: names and symbols stand in the function's constants.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import count
from typing import Any

Read = Callable[[bytes, int], dict[str, Any]]
"""From a record's bytes, and where its Avro begins, to the payload."""

DEEPEST = 20
"""Records within records; a schema that names itself is not compiled."""
LONGEST = 63
"""Bits of a number that are read here; an honest one has one more at most, and is left to fastavro."""


class _Otherwise(Exception):
    """The schema has something that is not compiled: floats, maps, fixed, logical types, unions of many, recursion."""


def compiled(schema: Any) -> Read | None:
    """Return the function that reads records of a parsed schema; None: it has something that is not compiled."""
    try:
        return _Source(schema).made()
    except _Otherwise:
        return None


def _any(raw: bytes, at: int) -> tuple[int, int]:
    """Read a number; return it, and where it ends."""
    found = shift = 0
    while True:
        byte = raw[at]
        at += 1
        found |= (byte & 127) << shift
        if byte < 128:  # noqa: PLR2004 - the bit that says that more follow
            return (found >> 1) ^ -(found & 1), at
        shift += 7
        if shift >= LONGEST:
            raise OverflowError


_UPPER: dict[bytes, int] = {}
"""By the last five bytes of a number of eight: what they stand for. An instant in microseconds has eight, and shares
these five with all others of its second."""
MOST = 4_096
"""Of them at most."""


def _long(raw: bytes, at: int) -> tuple[int, int]:
    """Read a number of more than one byte; return it, and where it ends."""
    one, two = raw[at], raw[at + 1]
    if one > 127 and two < 128:  # noqa: PLR2004
        found = one & 127 | two << 7
        return (found >> 1) ^ -(found & 1), at + 2
    end = at + 8
    upper = _UPPER.get(raw[at + 3 : end])
    if upper is not None and one > 127 and two > 127 and (three := raw[at + 2]) > 127:  # noqa: PLR2004
        found = one & 127 | (two & 127) << 7 | (three & 127) << 14 | upper
        return (found >> 1) ^ -(found & 1), end
    number, after = _any(raw, at)
    if after == end:
        if len(_UPPER) >= MOST:
            _UPPER.clear()
        folded = number << 1 if number >= 0 else ~(number << 1)
        _UPPER[raw[at + 3 : end]] = folded & ~0x1FFFFF
    return number, after


class _Source:
    """The text of one function, a line a step. `b` are the bytes, `i` is where it stands."""

    def __init__(self, schema: Any) -> None:
        self.schema = schema
        self.lines: list[str] = []
        self.constants: dict[str, Any] = {"long": _long, "any": _any}
        self.names: dict[str, Any] = {}
        self.numbers: Iterator[int] = count()

    def made(self) -> Read:
        result = self._value(self.schema, 1, 0)
        if not isinstance(self.schema, Mapping) or self.schema.get("type") != "record":
            raise _Otherwise
        text = "\n".join(
            ["def read(b, i):", *self.lines, "    if i != len(b): raise ValueError", f"    return {result}"]
        )
        exec(text, self.constants)  # noqa: S102 - made of steps, never of what a schema says
        read: Read = self.constants["read"]
        return read

    def _add(self, depth: int, *lines: str) -> None:
        self.lines += ["    " * depth + line for line in lines]

    def _new(self) -> str:
        return f"v{next(self.numbers)}"

    def _constant(self, value: Any) -> str:
        name = f"k{next(self.numbers)}"
        self.constants[name] = value
        return name

    def _value(self, schema: Any, indent: int, depth: int) -> str:
        """Add the steps that read a value, and return the variable, or the expression, that is it."""
        if depth > DEEPEST:
            raise _Otherwise
        if isinstance(schema, list):
            return self._optional(schema, indent, depth)
        kind = schema
        if isinstance(schema, Mapping):
            kind = schema["type"]
            if "logicalType" in schema:
                raise _Otherwise
            if isinstance(kind, (list, Mapping)):
                return self._value(kind, indent, depth)
            if kind in ("record", "enum"):
                self.names[schema["name"]] = schema
        elif schema in self.names:
            schema = self.names[schema]
            kind = schema["type"]
        step = {
            "string": self._text, "long": self._number, "int": self._number, "boolean": self._boolean,
            "enum": self._symbol, "record": self._record, "array": self._array,
        }.get(kind)  # fmt: skip
        if step is None:
            raise _Otherwise
        return step(schema, indent, depth)

    def _number(self, _schema: Any, indent: int, _depth: int) -> str:
        v = self._new()
        self._add(
            indent, f"{v} = b[i]", f"if {v} < 128:", "    i += 1", f"    {v} = ({v} >> 1) ^ -({v} & 1)", "else:",
            f"    {v}, i = long(b, i)",
        )  # fmt: skip
        return v

    def _text(self, _schema: Any, indent: int, _depth: int) -> str:
        v = self._new()
        self._add(
            indent, "n = b[i]", "if n < 128:", "    i += 1", "    j = i + (n >> 1)",
            "    if n & 1: raise ValueError", "else:", "    n, i = long(b, i)", "    j = i + n",
            "    if n < 0: raise ValueError", f"{v} = b[i:j].decode()", "i = j", f"if '\\0' in {v}: raise ValueError",
        )  # fmt: skip
        return v

    def _boolean(self, _schema: Any, indent: int, _depth: int) -> str:
        v = self._new()
        self._add(indent, f"{v} = (False, True)[b[i]]", "i += 1")
        return v

    def _symbol(self, schema: Any, indent: int, _depth: int) -> str:
        v = self._new()
        # By its byte: a symbol's index is even there, and what no symbol has is no key.
        symbols = self._constant({2 * at: one for at, one in enumerate(schema["symbols"][:64])})
        self._add(indent, f"{v} = {symbols}[b[i]]", "i += 1")
        return v

    def _optional(self, branches: list[Any], indent: int, depth: int) -> str:
        if len(branches) != 2 or "null" not in branches:  # noqa: PLR2004 - null and something
            raise _Otherwise
        v, null = self._new(), branches.index("null")
        self._add(indent, "n = b[i]", "i += 1", f"if n == {2 * null}:", f"    {v} = None", f"elif n == {2 - 2 * null}:")
        found = self._value(branches[1 - null], indent + 1, depth)
        self._add(indent, f"    {v} = {found}", "else:", "    raise ValueError")
        return v

    def _record(self, schema: Any, indent: int, depth: int) -> str:
        found = [
            (self._constant(field["name"]), self._value(field["type"], indent, depth + 1)) for field in schema["fields"]
        ]
        return f"{{{', '.join(f'{name}: {value}' for name, value in found)}}}"

    def _array(self, schema: Any, indent: int, depth: int) -> str:
        v, left = self._new(), self._new()
        self._add(
            indent, f"{v} = []", "while True:", f"    {left}, i = any(b, i)", f"    if not {left}: break",
            f"    if {left} < 0:", f"        {left} = -{left}", "        _, i = any(b, i)",
            f"    if {left} > len(b) - i: raise ValueError",  # none has less than a byte, or it is nothing, without end
            f"    for _ in range({left}):",
        )  # fmt: skip
        found = self._value(schema["items"], indent + 2, depth + 1)
        self._add(indent + 2, f"{v}.append({found})")
        return v
