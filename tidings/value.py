"""Values: dataclasses that the type checker holds still."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value(cls: type[T]) -> type[T]:
    """Make a class of values that are never changed: frozen for the type checker, and free of its cost at run time.

    `dataclass(frozen=True)` guards every assignment, those of `__init__` too: an event takes seven times as long to
    make. For what is made for each event or row; everything else is frozen.
    """
    return dataclass(slots=True, unsafe_hash=True)(cls)
