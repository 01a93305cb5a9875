"""What was done, in the order in which it happened; times in UTC, microseconds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from streams.explaining.says import NAMED, OVER, brief, state_icon, state_word
from streams.explaining.seen import sentence_of
from streams.explaining.stops import dropped_by, met, until_of
from streams.explaining.stored import Sent, Stored
from streams.json_events import rfc3339
from streams.processors.endings import DROP
from tidings.contract import Contract
from tidings.correction import NOTICE
from tidings.event import Event, Micros
from tidings.ports import Row
from tidings.reasons import MessageState, Reason
from tidings.record import TAKES_BACK
from tidings.rule import Rule
from tidings.scopes import said
from tidings.stops import Stop

OUTCOMES = {
    "accepted": ("sent", "accepted"), "not_sent": ("expd", "surely not sent"), "ambiguous": ("unk", "outcome not known"),
    "permanent": ("dead", "refused for good"),
}  # fmt: skip
RECEIPTS = {
    "sent": ("sent", "Sent on"), "undelivered": ("dead", "Not delivered"), "delivered": ("sent", "Delivered"),
    "bounced": ("dead", "Came back"), "opened": ("yes", "Opened"), "clicked": ("yes", "A link was followed"),
    "complained": ("warn", "Marked as unwanted"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Moment:
    """One thing that happened."""

    at: Micros | None
    """None: it has happened, and nothing keeps the time."""
    icon: str
    text: str
    detail: str = ""
    reference: str = ""
    """An id of somebody else's, to copy."""
    tone: str = "none"

    def to_json(self) -> dict[str, Any]:
        """Return it for scripts."""
        return {
            "at": None if self.at is None else rfc3339(self.at), "says": self.text, "detail": self.detail or None,
            "reference": self.reference or None,
        }  # fmt: skip


def timeline(
    stored: Stored, event: Event | None, rule: Rule | None, contracts: Mapping[str, Contract], now: Micros
) -> list[Moment]:
    """Return everything that is known to have happened, from the event on."""
    found = [*_moments(stored, event, rule, contracts, now), *_stops(stored, now)]
    # What bears no time stands where it was said: after what came before it.
    last = 0
    placed = []
    for one in found:
        last = last if one.at is None else one.at
        placed.append((last, one))
    return [one for _, one in sorted(placed, key=lambda pair: pair[0])]


def _moments(
    stored: Stored, event: Event | None, rule: Rule | None, contracts: Mapping[str, Contract], now: Micros
) -> Iterator[Moment]:
    fired = stored.fired
    if event is not None:
        contract = contracts.get(event.type)
        title = event.type if contract is None else sentence_of(contract)
        yield Moment(event.occurred_at, "event", title, f"as {event.source} says")
        late = event.appended_at - event.occurred_at
        yield Moment(
            event.appended_at, "dash", "The event arrived", f"{late / 1_000_000:.1f} s later" if late >= 0 else ""
        )
    if fired["logical_at"] != fired["episode_at"]:
        yield Moment(fired["logical_at"], "flit", "The deadline passed, and what should have come did not", tone="flit")
    if stored.run is not None:
        steps = [OVER.get(one.message.channel, one.message.channel) for one in stored.notices]
        at = min((one.message.created_at for one in stored.notices), default=None)
        reason = "" if stored.run.reason is None or stored.notices else brief(stored.run.reason)
        yield Moment(
            at, "decide", f"Decided: to tell {', '.join(dict.fromkeys(steps)) or 'nobody'}", reason, tone="flit"
        )
    for signal in stored.records:
        if signal["kind"] in TAKES_BACK:
            # Of a rule that decides on one event the record bears the time of that event, and not of what took it back.
            told = min((one.message.created_at for one in stored.corrections), default=None)
            at = signal["logical_at"] if signal["logical_at"] != fired["logical_at"] else told
            yield Moment(at, "canc", "It was taken back: what it was about is settled", tone="canc")
    for one in (*stored.notices, *stored.corrections):
        yield from _of_message(one, now)


def _stops(stored: Stored, now: Micros) -> Iterator[Moment]:
    """Yield the stops that a message met before it left, or ended."""
    concerned: dict[Stop, None] = {}
    for sent in (*stored.notices, *stored.corrections):
        if sent.message.state is MessageState.SUPPRESSED:
            continue  # at once, whatever was stopped
        drop = dropped_by(sent.message, sent.ended_at, stored.stops, now)
        until = until_of(sent.message, sent.ended_at, now)
        if sent.message.state is MessageState.ACCEPTED and sent.attempts:
            until = sent.attempts[-1]["intent_at"]
        elif drop is not None and drop.until is not None:
            until = min(until, drop.until)
        concerned |= dict.fromkeys(met(sent.message, until, stored.stops))
    for stop in concerned:
        text = f"Stopped: {said(stop.scope)}" + (", or before" if stop.earlier else "")
        yield Moment(stop.at, "held", text, _who(stop.by, stop.reason), tone="flit")
        if stop.until is not None:
            word, tone = ("Dropped", "canc") if stop.how == DROP else ("Released", "flit")
            icon = "canc" if stop.how == DROP else "flit"
            yield Moment(
                stop.until, icon, f"{word}: {said(stop.scope)}", _who(stop.ended_by, stop.ended_because), tone=tone
            )


def _who(by: str, reason: str) -> str:
    return ": ".join(part for part in (f"by {by}" if by else "", reason) if part)


def _of_message(sent: Sent, now: Micros) -> Iterator[Moment]:
    message = sent.message
    name = NAMED.get(message.channel, message.channel)
    if message.role != NOTICE:
        yield Moment(
            message.created_at,
            "decide",
            f"All-clear to be sent {OVER.get(message.channel, message.channel)}",
            tone="flit",
        )
        name = f"All-clear ({name})"
    for attempt in sent.attempts:
        yield from _of_attempt(attempt, name, str(message.body.get("reference") or ""), message.attempt)
    for receipt in sent.receipts:
        icon, text = RECEIPTS.get(receipt["receipt"], ("dash", receipt["receipt"]))
        yield Moment(
            receipt["at"],
            icon,
            f"{name}: {text.lower()}",
            "says the provider",
            tone=icon if icon in ("sent", "dead") else "none",
        )
    if message.state is MessageState.CLAIMED:
        yield Moment(message.due_at, "flit", f"{name}: taken by a deliverer, until then", tone="flit")
    elif message.state is MessageState.HELD and message.reason == Reason.KILLED:
        yield Moment(
            message.deadline, "held", f"{name}: held until it is released; after that time it is not sent", tone="flit"
        )
    elif message.state is MessageState.HELD:
        yield Moment(message.due_at, "held", f"{name}: held until then", brief(message.reason), tone="flit")
    elif message.state is MessageState.PENDING:
        since = message.due_at is not None and message.due_at <= now
        yield Moment(
            message.due_at,
            "flit",
            f"{name}: {'is due since then' if since else 'to be handed over, not before'}",
            tone="flit",
        )
    elif not message.is_open and message.state is not MessageState.ACCEPTED:
        icon = state_icon(message)
        at = sent.ended_at if sent.ended_at is not None or sent.attempts else message.created_at
        why = brief(message.reason)
        if sent.ended_at is None and message.reason == Reason.EXPIRED:
            at, why = message.deadline, f"at its deadline, which this is, or later: {why}"
        elif sent.ended_at is None and message.reason in (Reason.STOPPED, Reason.RULE_OFF, Reason.KILLED):
            at = None
        yield Moment(at, icon, f"{name} {state_word(message)}", why, tone=icon)


def _of_attempt(attempt: Row, name: str, reference: str, newest: int) -> Iterator[Moment]:
    number = attempt["no"]
    yield Moment(
        attempt["intent_at"],
        "dash",
        f"{name}: attempt {number} begins",
        f"every gate was asked again; by {attempt['provider']}",
        tone="flit",
    )
    if attempt["outcome"] is None:
        return
    icon, text = OUTCOMES.get(attempt["outcome"], ("unk", attempt["outcome"]))
    at = attempt["ended_at"] if attempt["ended_at"] is not None else attempt["intent_at"]
    mine = reference if number == newest and attempt["outcome"] == "accepted" else ""
    yield Moment(at, icon, f"{name} {text}, attempt {number}", attempt["detail"], mine, tone=icon)
