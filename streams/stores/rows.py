"""From values in the order of the columns to rows and back, for stores that speak SQL."""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import cache
from typing import Any

from tidings.ports import Key, Row
from tidings.tables import TABLES


@cache
def row_of(table: str) -> Callable[[Any], Row]:
    """Return the function from values, in the order of the columns, to a row."""
    # Written out, as `{"topic": v[0], …}`: with `zip` it takes three times as long, and every row comes through here.
    pairs = ", ".join(f"{column.name!r}: v[{at}]" for at, column in enumerate(TABLES[table].columns))
    made: Callable[[Any], Row] = eval(f"lambda v: {{{pairs}}}", {})  # noqa: S307 - names of our tables
    return made


@cache
def values_of(table: str) -> Callable[[Row], tuple[Any, ...]]:
    """Return the function from a row to its values, in the order of the columns."""
    return operator.itemgetter(*(column.name for column in TABLES[table].columns))


@cache
def key_of(table: str) -> Callable[[Row], Key]:
    """Return the function from a row to its key."""
    names = TABLES[table].key_names
    if len(names) == 1:
        (name,) = names
        return lambda row: (row[name],)
    return operator.itemgetter(*names)
