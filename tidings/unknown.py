"""The value of an expression that cannot be known: null where an order was asked, a division by zero, another currency."""

from __future__ import annotations

from typing import Final, NoReturn


class Unknown:
    """Neither true nor false; asking for its truth is a mistake of the caller."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "UNKNOWN"

    def __bool__(self) -> NoReturn:
        text = "unknown is neither true nor false; ask `is UNKNOWN`"
        raise TypeError(text)


UNKNOWN: Final = Unknown()
