"""What a page does not show by itself: values that a contract marks personal, and whole addresses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tidings.contract import Contract, Field
from tidings.rule import Rule

PERSONAL = ("personal", "sensitive")
DOTS = "•••"

Path = tuple[str, ...]


@dataclass(frozen=True)
class Veil:
    """Over the values of one event, as one rule sees it."""

    hidden: frozenset[Path] = frozenset()

    def hides(self, path: Path) -> bool:
        """Return whether the value at a path is, or holds, or belongs to, what is personal."""
        return any(path[: len(one)] == one or one[: len(path)] == path for one in self.hidden)

    def hides_text(self, text: str) -> bool:
        """Return the same of a path as conditions write it."""
        return bool(self.hidden) and self.hides(tuple(text.split(".")))


OPEN = Veil()
"""For whoever sees everything anyway: the command line on the machine of the data."""


def over(contracts: Mapping[str, Contract], contract: Contract | None, rule: Rule | None = None) -> Veil:
    """Return the veil over the events of a contract, with the entities that a rule reads beside them."""
    hidden = set() if contract is None else set(_personal(contract.fields, ()))
    for one in () if rule is None else rule.reads:
        owner = next((c for c in contracts.values() if c.entity == one.entity and c.is_change), None)
        after = None if owner is None else owner.fields.get("after")
        if after is not None:
            hidden |= set(_personal(after.type.fields, (one.alias,)))
    return Veil(frozenset(hidden))


def _personal(fields: Mapping[str, Field], above: Path) -> Iterator[Path]:
    for name, one in fields.items():
        path = (*above, name)
        if one.pii in PERSONAL and not one.type.fields:
            yield path
        yield from _personal(one.type.fields, path)


def shape(value: Any) -> str:
    """Return what may be said of a personal value: that it is there, and how long it is."""
    if value is None:
        return "null"
    return f"{DOTS} ({len(value)} letters)" if isinstance(value, str) else DOTS


def masked(address: str) -> str:
    """Return an address so that its owner recognises it and nobody else can use it: `j•••@w•••.de`, `+49 ••• ••• 18`."""
    name, at, domain = address.rpartition("@")
    if at:
        host, dot, top = domain.rpartition(".")
        return f"{name[:1]}{DOTS}@{host[:1]}{DOTS}{dot}{top}" if dot else f"{name[:1]}{DOTS}@{domain[:1]}{DOTS}"
    if address.startswith("+"):
        return f"{address[:3]} {DOTS} {DOTS} {address[-2:]}" if len(address) > 7 else f"+{DOTS}"  # noqa: PLR2004 - a number
    return f"{address[:1]}{DOTS}" if address else ""


def recipient_shown(recipient: str) -> str:
    """Return how a recipient is named to people: a customer or a team by its name, a bare address masked."""
    kind, _, name = recipient.partition(":")
    if kind == "address":
        return masked(name) or "an address that the event does not say"
    return name or "a customer whom the event does not name"
