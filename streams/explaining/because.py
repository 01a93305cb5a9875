"""Why a message is where it is, in sentences that support may paste: the reason of its record, and what lay behind it."""

from __future__ import annotations

from handlers.rules.conditions.interpret import render_duration
from streams.explaining import says
from streams.explaining.stops import held_back
from streams.wording import span
from tidings.event import MINUTE, Micros
from tidings.message import Message
from tidings.reasons import Reason
from tidings.rule import Rule
from tidings.stops import Stops


def because(
    message: Message,
    ended_at: Micros | None,
    stops: Stops,
    now: Micros,
    *,
    rule: Rule | None = None,
    zone: str | None = None,
) -> str:
    """Return why; empty where there is nothing to say.

    `rule`: as the message was decided; without it nothing is said that only whoever writes rules can follow.
    """
    stopped = held_back(message, ended_at, stops, now, zone)
    if stopped is not None:
        return stopped
    known = says.sentence(message.reason, message.state)
    too_old = stale(message, rule) if message.reason == Reason.STALE else None
    return f"{known} {too_old[:1].upper()}{too_old[1:]}." if too_old else known


def stale(message: Message, rule: Rule | None) -> str:
    """Return what made a message stale: its age at the decision, against how long its rule tells."""
    age = message.created_at - int(message.body["logical_at"])
    old = f"it was {span(age) if age < MINUTE else render_duration(age // MINUTE * MINUTE)} old when it was decided"
    if rule is None:
        return old
    if age >= rule.patience:
        within = "unless its rule says 'expires'" if rule.expires is None else "by the rule's 'expires'"
        return f"{old}, and what is older than {render_duration(rule.patience)} is told to nobody ({within})"
    return (
        f"{old}, and had happened before its topic was connected here: what was there already is history, and told to "
        'nobody (unless it is connected with history = "live")'
    )
