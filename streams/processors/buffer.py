"""What waits in the buffers of keys, read for all keys of a transaction at once: each alone would cost a round trip."""

from __future__ import annotations

from collections.abc import Mapping

from tidings import canonical, watermark
from tidings.detection import Collected
from tidings.event import Micros
from tidings.ports import Find, FindEach, Read, Row, Transaction
from tidings.rule import Item, RuleSet
from tidings.state import KeyState, Order


def _item(row: Row) -> Item:
    return Item(row["time"], row["rank"], row["source"], row["ref"], canonical.loads(row["value"]))


def read_waiting(
    rules: RuleSet, states: Mapping[bytes, KeyState], topics: Mapping[str, Micros], floors: Mapping[str, Micros]
) -> Transaction[None]:
    """Read what waits in the buffers up to W, and the first item beyond it."""
    reached: dict[bytes, Micros] = {}
    for k, known in states.items():
        if known.value is None or known.ref.rule is None or not (kept := known.kept).waits:
            continue
        w = watermark.of_rule(rules.by_id[known.ref.rule], topics, floors)
        if kept.first is not None and kept.first > w:
            known.next_wait = kept.first
        else:
            reached[k] = w
    limit = 32
    first = yield FindEach("buffer", "by_time", [(k,) for k in reached], limit=limit)
    for k, w in reached.items():
        known, rows, most = states[k], first[k,], limit
        while len(rows) == most and rows[-1]["time"] <= w:
            most *= 8
            rows = yield Find("buffer", "by_time", (k,), limit=most)
        known.waiting = [_item(row) for row in rows if row["time"] <= w]
        known.next_wait = next((row["time"] for row in rows if row["time"] > w), None)


def read_present(states: Mapping[bytes, KeyState], collected: Collected) -> Transaction[None]:
    """Look up which items of the batch wait in a buffer already: its primary key is the dedupe."""
    asked = {
        (k, *item.order)
        for k, arrived in collected.arrived.items()
        if states[k].value is not None and states[k].kept.waits
        for item, _ in arrived
    }
    if not asked:
        return
    found: dict[bytes, set[Order]] = {}
    for k, *order in (yield Read("buffer", sorted(asked))):
        found.setdefault(k, set()).add(tuple(order))
    for k, orders in found.items():
        states[k].present = frozenset(orders)
