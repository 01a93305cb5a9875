"""What was stopped when, as it was written down; and in words: for operations with names, for customers without."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from streams.processors import kills
from streams.processors.endings import DROP, RELEASE
from streams.wording import moment
from tidings import canonical
from tidings.event import Micros
from tidings.gates import GROUND
from tidings.message import Message
from tidings.ports import Find, Row, Transaction
from tidings.reasons import MessageState, Reason, sentence_of
from tidings.scopes import said
from tidings.stops import Act, Held, Stop, Stops, stops_of

NEWEST = 200
"""Beginnings and ends of each kind that are looked at, the newest; the audit itself is kept for good."""
ENDS = {f"{RELEASE} begun": RELEASE, f"{DROP} begun": DROP, "ground release": RELEASE}
"""By verb of the audit: how a stop ends. `release` and `drop` are written when the last message had its turn."""


def read_stops() -> Transaction[Stops]:
    """Read what is stopped, and what was."""
    acts: list[Act] = []
    reach: Micros | None = None
    for verb in ("kill", *ENDS):
        rows = yield Find("audit", "by_verb", (verb,), limit=NEWEST, backwards=True)
        acts += [act for row in rows if (act := _act(row)) is not None]
        if len(rows) == NEWEST:
            reach = max(reach or 0, rows[-1]["at"])
    now = yield from kills.standing()
    return stops_of(acts, [Stop(one.scope, one.at, None, one.by, one.reason) for one in now], reach)


def _act(row: Row) -> Act | None:
    """Return what a line says of a stop; None for one that is not as ours are."""
    try:
        body = canonical.loads(row["body"])
    except ValueError:
        return None
    if not isinstance(body, dict):
        return None
    ends = ENDS.get(row["verb"], "")
    scope = GROUND if row["verb"] == "ground release" else body.get("scope")
    since = body.get("since")
    if not isinstance(scope, str) or (scope == GROUND and not isinstance(since, int)):
        return None
    return Act(row["seq"], row["at"], scope, row["who"], str(body.get("reason", "")), ends, since)


# -- for operations


def named(stop: Stop, zone: str | None = None) -> str:
    """Return a stop in words: what, by whom, since when, and how it ended."""
    by = f" by {stop.by}" if stop.by else ""
    head = f"{said(stop.scope)},{by} since {'before ' if stop.earlier else ''}{moment(stop.at, zone)}"
    if stop.until is None:
        return head
    word = "dropped" if stop.how == DROP else "released"
    return f"{head}, {word} {moment(stop.until, zone)}"


def met(message: Message, until: Micros, stops: Stops) -> Iterator[Stop]:
    """Yield the stops that a message met, from its decision to `until`."""
    for one in stops.of(message):
        if one.meets(message.created_at, until):
            yield one


# -- for customers, and whoever writes to them


def until_of(message: Message, ended_at: Micros | None, now: Micros) -> Micros:
    """Return until when a message can have been kept by anything."""
    if message.is_open:
        return now
    if ended_at is not None:
        return ended_at
    # Nothing keeps the time. What expired did so at its deadline at the earliest, and what was dropped was by then.
    return min(now, message.deadline) if message.reason in (Reason.EXPIRED, Reason.KILLED) else message.created_at


def too_late(message: Message, ended_at: Micros | None, stops: Stops, now: Micros) -> Held | None:
    """Return for how long stops kept a message that expired meanwhile; None: it expired otherwise."""
    if message.state is not MessageState.EXPIRED or message.reason != Reason.EXPIRED:
        return None
    for one in stops.held(message, until_of(message, ended_at, now)):
        if one.since <= message.deadline and (one.until is None or message.deadline < one.until):
            return one
    return None


def held_back(
    message: Message, ended_at: Micros | None, stops: Stops, now: Micros, zone: str | None = None
) -> str | None:
    """Return what stops did to a message that did not leave, in a sentence that names nobody; None: nothing that is known."""
    if message.reason == Reason.KILLED:
        return (
            _dropped(message, ended_at, stops, now, zone) if not message.is_open else _waits(message, stops, now, zone)
        )
    if message.state is not MessageState.EXPIRED:
        return None
    found = too_late(message, ended_at, stops, now)
    if found is not None and found.until is not None:
        return f"It was held back by us from {_span(found.since, found.until, zone)}, and by then it was too late to be useful."
    if found is not None:
        return f"It has been held back by us since {moment(found.since, zone)}, and is too late to be useful by now."
    if message.reason != Reason.EXPIRED and (ended_at is None or ended_at <= message.created_at):
        return None  # nothing held it, or nobody knows for how long
    spans = [one for one in stops.held(message, until_of(message, ended_at, now)) if one.until is not None]
    ended = sentence_of(message.reason, message.state)
    return f"It was held back by us from {_listed(spans, zone)}. {ended}" if spans else None


def _waits(message: Message, stops: Stops, now: Micros, zone: str | None) -> str | None:
    last = next(reversed(stops.held(message, now)), None)
    if last is None or last.until is not None:
        return None
    return (
        f"It has been held back by us since {moment(last.since, zone)}, and leaves once that ends, "
        f"if it is before {moment(message.deadline, zone)}."
    )


def dropped_by(message: Message, ended_at: Micros | None, stops: Stops, now: Micros) -> Stop | None:
    """Return the stop with which a message was dropped; None where it was not, or it could be any of several."""
    if message.is_open or message.reason != Reason.KILLED:
        return None
    until = now if ended_at is None else ended_at
    drops = [
        one for one in met(message, until, stops) if one.how == DROP and one.until is not None and one.until <= until
    ]
    if ended_at is not None and drops:
        return max(drops, key=lambda one: one.until or 0)
    return drops[0] if len(drops) == 1 else None


def _dropped(message: Message, ended_at: Micros | None, stops: Stops, now: Micros, zone: str | None) -> str | None:
    stop = dropped_by(message, ended_at, stops, now)
    if stop is None or stop.until is None:
        return None
    since = max(stop.at, message.created_at)
    return f"It was held back by us from {_span(since, stop.until, zone)}, and withdrawn then."


def _listed(spans: Sequence[Held], zone: str | None) -> str:
    """Return the newest two of some spans that are over."""
    return " and from ".join(_span(one.since, one.until or one.since, zone) for one in spans[-2:])


def _span(since: Micros, until: Micros, zone: str | None) -> str:
    """Return `2027-01-15 14:02 to 16:10 in Berlin`."""
    first, last = moment(since, zone), moment(until, zone)
    if first[10:11] != " " or last[10:11] != " ":
        return f"{first} to {last}"
    return f"{first[:16]} to {last[11:] if first[:10] == last[:10] else last}"
