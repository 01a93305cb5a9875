"""Why a message is not (yet) with its recipient: one closed list, used in records, metrics and pages.

Each reason has a sentence that support can paste into a reply. States and their meaning are in `dispatch.md` order:
open ones wait for something, terminal ones never change again.
"""

from __future__ import annotations

from enum import StrEnum


class MessageState(StrEnum):
    """The states of a message. `digesting` and `merged` come with digests."""

    HELD = "held"
    DIGESTING = "digesting"
    PENDING = "pending"
    CLAIMED = "claimed"
    SENDING = "sending"
    UNKNOWN = "unknown"
    ACCEPTED = "accepted"
    SUPPRESSED = "suppressed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    FAILED = "failed"
    MERGED = "merged"
    UNRESOLVED = "unresolved"

    @property
    def is_open(self) -> bool:
        """Whether something may still happen."""
        return self in OPEN


OPEN = frozenset(
    {
        MessageState.HELD,
        MessageState.DIGESTING,
        MessageState.PENDING,
        MessageState.CLAIMED,
        MessageState.SENDING,
        MessageState.UNKNOWN,
    }
)
UNSENT = frozenset({MessageState.HELD, MessageState.DIGESTING, MessageState.PENDING, MessageState.CLAIMED})
"""Surely not with the recipient, and nothing in flight."""


class Reason(StrEnum):
    """Why a message was held, suppressed, cancelled, expired, or failed."""

    STOPPED = "stopped"
    STALE = "stale"
    EXPIRED = "expired"
    SHADOW = "shadow"
    RULE_OFF = "rule_off"
    OVERFLOW = "overflow"
    UNKNOWN_CUSTOMER = "unknown_customer"
    NO_CONSENT = "no_consent"
    TOPIC_OFF = "topic_off"
    NO_ADDRESS = "no_address"
    ADDRESS_GONE = "address_gone"
    UNKNOWN_TEAM = "unknown_team"
    QUIET_HOURS = "quiet_hours"
    AWAITING_OUTCOME = "awaiting_outcome"
    NOTHING_TO_CORRECT = "nothing_to_correct"
    NEWER_EPISODE = "newer_episode"
    SUPERSEDED = "superseded"
    KILLED = "killed"
    RENDER = "render"
    REFUSED = "refused"
    GIVEN_UP = "given_up"
    NO_ANSWER = "no_answer"

    @property
    def sentence(self) -> str:
        """One sentence for the recipient's support, in English."""
        return SENTENCES[self]


SENTENCES: dict[Reason, str] = {
    Reason.STOPPED: "What the message was about was settled before it left, so it was not sent.",
    Reason.STALE: "The event was already too old when we learnt of it, so nobody was told.",
    Reason.EXPIRED: "The message could not leave before its deadline, and was not sent late.",
    Reason.SHADOW: "The rule is on trial: it decides and records, and sends nothing.",
    Reason.RULE_OFF: "The rule was switched off before the message left.",
    Reason.OVERFLOW: "Too many events waited for this one key, so its firings are not trusted and nobody was told.",
    Reason.UNKNOWN_CUSTOMER: "We do not know which customer the event belongs to.",
    Reason.NO_CONSENT: "The customer has not agreed to messages of this kind, or has taken the agreement back.",
    Reason.TOPIC_OFF: "The customer has switched messages of this topic off.",
    Reason.ADDRESS_GONE: "The customer's address does not exist any more, or takes no messages from us.",
    Reason.UNKNOWN_TEAM: "The team that was to be told is not in our directory.",
    Reason.QUIET_HOURS: "It is quiet time where the customer lives: the message waits, if it is worth sending afterwards.",
    Reason.AWAITING_OUTCOME: "We do not know yet whether the message that this one corrects has arrived.",
    Reason.NOTHING_TO_CORRECT: "The message that this one would correct never reached anybody.",
    Reason.NEWER_EPISODE: "The same thing has happened again meanwhile; the all-clear waits for what becomes of that.",
    Reason.SUPERSEDED: "The customer was told meanwhile that the same thing happened again, so no all-clear was sent.",
    Reason.NO_ADDRESS: "We have no address of the customer for this channel.",
    Reason.KILLED: "Sending is stopped by an operator: the message waits until it is released or dropped.",
    Reason.RENDER: "The text of the message lacks a value, and a blank is never sent.",
    Reason.REFUSED: "The provider refused the message for good.",
    Reason.GIVEN_UP: "The provider did not take the message after many attempts.",
    Reason.NO_ANSWER: "The provider never said whether it took the message, and it is not sent a second time.",
}
ENDED: dict[Reason, str] = {
    Reason.QUIET_HOURS: "It was quiet time where the customer lives until it was too late to tell, so nothing was sent.",
    Reason.AWAITING_OUTCOME: "We never learnt whether the message that this one corrects had arrived, so it was not sent.",
    Reason.NEWER_EPISODE: "The same thing had happened again meanwhile, so no all-clear was sent.",
    Reason.KILLED: "Sending was stopped by an operator, and the message was dropped, or not released before its deadline.",
}
"""Of what does not wait any more, where the other sentence says that it does."""


def sentence_of(reason: str | None, state: MessageState | None = None) -> str:
    """Return the sentence of a reason, of a message in a state; empty for a word that this version does not know."""
    known = Reason(reason) if reason in set(Reason) else None
    if known is None:
        return ""
    return SENTENCES[known] if state is None or state in OPEN else ENDED.get(known, SENTENCES[known])
