"""Canonical JSON (RFC 8785), for ids and for records that are compared byte by byte."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from json import encoder
from typing import Any

_C: Any = getattr(encoder, "c_make_encoder", None)
_SWIFT = _C and _C(None, None, encoder.encode_basestring, None, ":", ",", True, False, False)
"""The encoder in C with sorted keys, which for keys in ASCII is the order of the RFC."""
_READ = json.JSONDecoder().raw_decode
_SCALARS = frozenset({str, int, bool, type(None)})


def dumps(value: Any) -> bytes:
    """Return `value` as canonical JSON in UTF-8.

    Keys are ordered by UTF-16 code units, as the RFC asks. Integers are written in full: an instant in microseconds
    stays below 2^53 until the year 2255.

    Raises:
        TypeError: `value` holds a float (contracts have none) or something that JSON does not know.
    """
    if _SWIFT is not None and _is_plain(value):
        return "".join(_SWIFT(value, 0)).encode()
    return json.dumps(_ordered(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def loads(raw: bytes | str) -> Any:
    """Read what `dumps` wrote."""
    return _READ(raw if isinstance(raw, str) else raw.decode())[0]


def _is_plain(value: Any) -> bool:
    """Return whether a value holds nothing but the plain types, under keys in ASCII: nearly all that we write."""
    kind = type(value)
    if kind is dict:
        for key, part in value.items():
            if type(key) is not str or not key.isascii():
                return False
            if type(part) not in _SCALARS and not _is_plain(part):
                return False
        return True
    if kind is list or kind is tuple:
        for part in value:  # noqa: SIM110 - a generator costs twice as much
            if type(part) not in _SCALARS and not _is_plain(part):
                return False
        return True
    return kind in _SCALARS


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
