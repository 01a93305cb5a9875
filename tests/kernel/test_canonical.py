"""Canonical JSON: the quick way and the slow way write the same bytes, and refuse the same values."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidings import canonical

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4) | st.tuples(inner, inner),
    max_leaves=20,
)


def reference(value: Any) -> Any:
    """RFC 8785: keys in the order of their UTF-16 code units."""
    if isinstance(value, dict):
        return {key: reference(value[key]) for key in sorted(value, key=lambda key: key.encode("utf-16-be"))}
    return [reference(part) for part in value] if isinstance(value, (list, tuple)) else value


@given(VALUES)
def test_the_bytes_are_those_of_the_rfc(value):
    expected = json.dumps(reference(value), ensure_ascii=False, separators=(",", ":")).encode()
    assert canonical.dumps(value) == expected
    assert canonical.loads(expected) == json.loads(expected)


@pytest.mark.parametrize("value", [1.5, {"a": [1.0]}, {"a": float("nan")}, {1: "a"}, b"raw", {"a": {"b"}}, object()])
def test_what_json_or_contracts_do_not_know_is_refused(value):
    with pytest.raises(TypeError, match="canonical JSON has"):
        canonical.dumps(value)
