"""Watermarks: how far the event time of a partition, a topic and a rule is known to be complete.

W(p) = max(largest min(occurred_at, append time) - 1 µs, caught_up_at - grace). The minimum, so that one producer with
a fast clock accuses nobody; the microsecond, so that an event at exactly a deadline wins over the deadline.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tidings.event import SECOND, Micros
from tidings.ports import Row
from tidings.rule import NEVER, Rule

GRACE: Micros = 5 * SECOND
"""Clock skew allowed between a worker and the broker that stamps append times; 0 when both are one process."""


def of_partition(source: Row, grace: Micros) -> Micros:
    """Return W of one row of `sources`."""
    w = NEVER
    if source["max_time"] is not None:
        w = source["max_time"] - 1
    if source["caught_up_at"] is not None:
        w = max(w, source["caught_up_at"] - grace)
    return w


def of_topic(sources: Iterable[Row], grace: Micros) -> Micros:
    """Return W of a topic: the least of its partitions; one that nobody has read holds it back."""
    return min((of_partition(source, grace) for source in sources), default=NEVER)


def of_rule(rule: Rule, topics: Mapping[str, Micros], floors: Mapping[str, Micros]) -> Micros:
    """Return W of a rule: the least over all topics that it names, minus its lateness, never below its floor."""
    w = min((topics.get(topic, NEVER) for topic in rule.topics), default=NEVER)
    if w > NEVER:
        w -= rule.operator.allowed_lateness
    return max(w, floors.get(rule.id, NEVER))
