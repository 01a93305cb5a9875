"""Plain words for what became of something: for operations, and for support to paste."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from streams.wording import times
from tidings.message import Message
from tidings.reasons import MessageState, Reason, sentence_of
from tidings.receipts import Receipt

OVER = {
    "email": "by e-mail", "sms": "by SMS", "push": "by push", "slack": "in Slack", "teams": "in Teams",
    "ticket": "with a ticket", "webhook": "over a webhook", "workflow": "with a workflow",
}  # fmt: skip
NAMED = {
    "email": "E-mail", "sms": "SMS", "push": "Push", "slack": "Slack", "teams": "Teams", "ticket": "Ticket",
    "webhook": "Webhook", "workflow": "Workflow",
}  # fmt: skip

ICONS = {
    MessageState.ACCEPTED: "sent", MessageState.SUPPRESSED: "supp", MessageState.CANCELLED: "canc",
    MessageState.EXPIRED: "expd", MessageState.FAILED: "dead", MessageState.UNRESOLVED: "dead",
    MessageState.MERGED: "sent",
}  # fmt: skip
"""By terminal state; whatever is open is in flight."""
WORDS = {MessageState.ACCEPTED: "sent"}
"""Where people read another word than the record's."""

BRIEF: dict[Reason, str] = {
    Reason.STOPPED: "it was settled before it left",
    Reason.STALE: "it was too old when we learnt of it",
    Reason.EXPIRED: "it could not leave before its deadline",
    Reason.SHADOW: "the rule is on trial",
    Reason.RULE_OFF: "the rule was switched off",
    Reason.OVERFLOW: "too many events came for this one key",
    Reason.UNKNOWN_CUSTOMER: "we do not know the customer",
    Reason.NO_CONSENT: "there is no consent",
    Reason.TOPIC_OFF: "they have switched this topic off",
    Reason.NO_ADDRESS: "we have no address",
    Reason.ADDRESS_GONE: "the address is gone",
    Reason.UNKNOWN_TEAM: "the team is not in our directory",
    Reason.QUIET_HOURS: "quiet hours",
    Reason.AWAITING_OUTCOME: "the message that it corrects is still under way",
    Reason.NOTHING_TO_CORRECT: "nobody had been told",
    Reason.NEWER_EPISODE: "the same has happened again",
    Reason.SUPERSEDED: "they were told that the same has happened again",
    Reason.KILLED: "an operator has stopped sending",
    Reason.RENDER: "a value is missing in its text",
    Reason.REFUSED: "the provider refused it",
    Reason.GIVEN_UP: "the provider did not take it",
    Reason.NO_ANSWER: "nobody knows whether it arrived",
}
"""After `Not told: `, in a few words."""

NEXT: dict[Reason, str] = {
    Reason.NO_CONSENT: "Messages of this kind go out once they agree to them. What was held back until then is not sent later.",
    Reason.TOPIC_OFF: "They can switch the topic on again. What was held back until then is not sent later.",
    Reason.NO_ADDRESS: "Once we have an address, they hear of what happens from then on.",
    Reason.ADDRESS_GONE: "With another address they hear of what happens from then on.",
    Reason.UNKNOWN_CUSTOMER: "Once the id is linked to a customer, they hear of what happens from then on.",
    Reason.UNKNOWN_TEAM: "Put the team into teams.yaml, or mend its name in the rule.",
    Reason.SHADOW: "Nobody hears of it until the rule is live.",
    Reason.STALE: "An older event than this tells nobody. Newer ones of the same kind do.",
    Reason.EXPIRED: "It is not sent late. The next time it happens, they are told.",
    Reason.QUIET_HOURS: "It is not sent late. The next time it happens outside quiet hours, they are told.",
    Reason.RENDER: "Mend the template or the rule: a blank is never sent.",
    Reason.KILLED: "It waits until the operator lets sending go on, or until its deadline.",
}
"""What would have to be otherwise for somebody to hear of it the next time."""
NEXT_ENDED: dict[Reason, str] = {
    Reason.KILLED: "It is not sent any more. The next time it happens and nothing is stopped, they are told.",
}
"""The same of what does not wait any more, where the other says that it does."""


RELEASED = "an operator lets it go"
"""Until when something waits that is stopped."""
TOO_LATE = "sending was stopped until it was too late"


def brief(reason: str | None) -> str:
    """Return a reason in a few words."""
    return BRIEF[Reason(reason)] if reason in set(Reason) else str(reason or "")


def sentence(reason: str | None, state: MessageState | None = None) -> str:
    """Return the sentence of a reason, or nothing for a word that this version does not know."""
    return sentence_of(reason, state)


def state_icon(message: Message) -> str:
    """Return the shape of a message's state."""
    return ICONS.get(message.state, "flit")


def state_word(message: Message) -> str:
    """Return the word of a message's state."""
    return WORDS.get(message.state, str(message.state))


def came_back(message: Message) -> str:
    """Return what its provider has said since, as words after the message; nothing where it has said nothing bad."""
    return ", which came back" if message.receipt in (Receipt.BOUNCED, Receipt.UNDELIVERED) else ""


def listed(words: Sequence[str], last: str = "and") -> str:
    """Return `a`, `a and b`, `a, b and c`."""
    return " ".join([", ".join(words[:-1]), last, words[-1]]) if len(words) > 1 else "".join(words)


def verdict(
    messages: Sequence[Message], run_reason: str | None, *, waits: str = "", stopped: Collection[str] = ()
) -> tuple[str, str]:
    """Return the shape and the sentence of a decision: what became of its notices, in the order of their steps.

    `waits` is until when what is held waits, in words; `stopped` are the ids of those that expired while they were stopped.
    """
    if not messages:
        if run_reason:
            return "canc", f"Nobody was told: {brief(run_reason)}"
        return "flit", "Decided; the messages are being made"
    told = [one for one in messages if one.state in (MessageState.ACCEPTED, MessageState.MERGED)]
    if told:
        ways = [f"{OVER.get(one.channel, one.channel)}{came_back(one)}" for one in told]
        text = f"Told {listed(list(dict.fromkeys(ways)))}"
        rest = [one for one in messages if one not in told]
        return "sent", f"{text}; {_rest(rest)}" if rest else text
    first = next((one for one in messages if one.is_open), messages[0])
    return _open(first, waits) if first.is_open else _ended(first, stopped)


def _open(message: Message, waits: str) -> tuple[str, str]:
    if message.state is MessageState.HELD:
        if waits == RELEASED:
            return "flit", f"Not told yet: held until {waits}"
        return "flit", f"Not told yet: held{f' until {waits}' if waits else ''}, {brief(message.reason)}"
    if message.state is MessageState.UNKNOWN:
        return "flit", "Perhaps told: the provider has not said whether it took the message"
    over = OVER.get(message.channel, message.channel)
    if message.state is MessageState.PENDING and message.attempt:
        return "flit", f"Not told yet: tried {over} {times(message.attempt)}, and is tried again"
    return "flit", f"On its way {over}"


def _ended(message: Message, stopped: Collection[str]) -> tuple[str, str]:
    word = {
        MessageState.FAILED: "Failed",
        MessageState.UNRESOLVED: "Unresolved",
        MessageState.EXPIRED: "Not told in time",
    }
    why = _expired(message) if message.state is MessageState.EXPIRED else brief(message.reason)
    if message.message_id in stopped:
        why = TOO_LATE
    return state_icon(message), f"{word.get(message.state, 'Not told')}: {why}"


def _expired(message: Message) -> str:
    return "its quiet hours outlast the news" if message.reason == Reason.QUIET_HOURS else brief(message.reason)


def _rest(messages: Sequence[Message]) -> str:
    words = [
        f"{NAMED.get(one.channel, one.channel)} {state_word(one)}" + (f" ({brief(one.reason)})" if one.reason else "")
        for one in messages
    ]
    return ", ".join(words)
