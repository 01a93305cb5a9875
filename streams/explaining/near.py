"""Near misses: events of which a rule said no for one term alone, as whoever tunes its limits wants to see them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from streams.explaining.books import Books
from streams.explaining.came_of import about_of
from streams.explaining.seen import sentence_of
from streams.explaining.terms import Looked, Part, look, opening
from streams.explaining.veil import over
from tidings.event import Event, Micros
from tidings.record import recipient_of
from tidings.rule import Rule

SHOWN = 20
"""Of each rule, the newest."""


@dataclass(frozen=True, slots=True)
class Near:
    """One event that all but fired."""

    rule: Rule
    ref: str
    """Of the event."""
    title: str
    about: str
    """What the event is about beside the customer; empty: it does not say."""
    recipient: str
    """Who would have heard."""
    occurred_at: Micros
    kept_by: str
    """The term that did not hold, with its values; what is personal is named and not shown."""


def is_near(rule: Rule, event: Event, looked: Looked) -> bool:
    """Return whether one term alone kept an event from firing.

    Where that term is a limit, what came close to it is near. Where it is none, it says no to everything else, which is
    near only to a rule that asks more: whether a value or a row is there at all is not more.
    """
    if looked.outcome != "no_match" or event.type not in opening(rule) or looked.misses != 1:
        return False
    failed = failed_of(looked)
    if failed.gap is not None:
        return failed.close
    return failed.presence != "row" and sum(not part.presence for part in looked.parts) > 1


def failed_of(looked: Looked) -> Part:
    """Return the term that does not hold."""
    return next(part for part in looked.parts if part.truth != "true")


def closest(found: Iterable[tuple[Event, Looked]]) -> list[Event]:
    """Return near misses by how far they were from a limit, and behind them those of no number, as they came."""

    def far(one: tuple[Event, Looked]) -> tuple[bool, Fraction]:
        gap = failed_of(one[1]).gap
        return gap is None, gap or Fraction(0)

    return [event for event, _ in sorted(found, key=far)]


def near(books: Books, rule: Rule, found: Iterable[Event], most: int = SHOWN) -> Sequence[Near]:
    """Return the first near misses as they may be shown. `found`: the events as the rule sees them."""
    contracts, rows = books.archive.by_type, []
    for event, _ in zip(found, range(most), strict=False):
        contract = contracts.get(event.type)
        looked = look(rule, event, over(contracts, contract, rule))
        title = event.type if contract is None else sentence_of(contract)
        rows.append(
            Near(
                rule, event.ref, title, about_of(event, contract) or "", recipient_of(rule, event), event.occurred_at, looked.kept_by
            )
        )  # fmt: skip
    return rows
