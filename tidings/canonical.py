"""Canonical JSON (RFC 8785), for ids and for records that are compared byte by byte."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any


def dumps(value: Any) -> bytes:
    """Return `value` as canonical JSON in UTF-8.

    Keys are ordered by UTF-16 code units, as the RFC asks. Integers are written in full: an instant in microseconds
    stays below 2^53 until the year 2255.

    Raises:
        TypeError: `value` holds a float (contracts have none) or something that JSON does not know.
    """
    return json.dumps(_ordered(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def loads(raw: bytes) -> Any:
    """Read what `dumps` wrote."""
    return json.loads(raw)


def _ordered(value: Any) -> Any:
    if value is None or isinstance(value, (str, int)):
        return value
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                text = f"canonical JSON has text keys only, not {key!r}"
                raise TypeError(text)
        return {key: _ordered(value[key]) for key in sorted(value, key=_utf16)}
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        return [_ordered(item) for item in value]
    text = f"canonical JSON has no {type(value).__name__}"
    raise TypeError(text)


def _utf16(key: str) -> bytes | str:
    # Below the surrogates both orders agree, and the string itself is the cheaper key.
    return key.encode("utf-16-be", "surrogatepass")
