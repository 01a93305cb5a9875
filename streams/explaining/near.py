"""Near misses: events of which a rule said no for one term alone, as whoever tunes its limits wants to see them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from streams.explaining.books import Books
from streams.explaining.came_of import about_of
from streams.explaining.seen import sentence_of
from streams.explaining.terms import Looked, look, opening
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

    A rule that asks one thing says no to everything else, which is near to nothing, unless that is a limit: what came
    close to it is.
    """
    if looked.outcome != "no_match" or event.type not in opening(rule) or looked.misses != 1:
        return False
    return len(looked.parts) > 1 or looked.parts[0].close


def near(books: Books, rule: Rule, found: Iterable[Event]) -> Sequence[Near]:
    """Return near misses as they may be shown. `found`: the events as the rule sees them, newest first."""
    contracts, rows = books.archive.by_type, []
    for event, _ in zip(found, range(SHOWN), strict=False):
        contract = contracts.get(event.type)
        looked = look(rule, event, over(contracts, contract, rule))
        title = event.type if contract is None else sentence_of(contract)
        rows.append(
            Near(
                rule, event.ref, title, about_of(event, contract) or "", recipient_of(rule, event), event.occurred_at, looked.kept_by
            )
        )  # fmt: skip
    return rows
