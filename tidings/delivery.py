"""Delivery: T2 to T5 as a state machine over one message; pure, and the only road past `pending`.

```
T2 claim      pending → claimed(owner, lease)
T3 intent     claimed → sending(attempt + 1), committed before the first byte; or held, ended, pending again
T4 result     sending → accepted | pending | failed | cancelled | unknown
lease over    claimed → pending;  sending → unknown, never pending
T5 reconcile  unknown, settle over → accepted | pending | cancelled | unresolved
```
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from hashlib import blake2b

from tidings.correction import NOTICE
from tidings.dispatch import Heard
from tidings.event import MINUTE, SECOND, Micros
from tidings.gates import End, Hold, Stage, World, address_of, gates, quiet_of
from tidings.message import Message
from tidings.person import Person
from tidings.ports import Outcome
from tidings.reasons import MessageState, Reason
from tidings.record import TAKES_BACK

MENDED_SOONEST: Micros = MINUTE
MENDED_LATEST: Micros = 10 * MINUTE
"""Waits while our own settings are wrong: a server that refuses our password need not hear it for every message."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How patient delivery is; all in microseconds of the clock that the store tells."""

    lease: Micros = 30 * SECOND
    leases: Mapping[str, Micros] = field(default_factory=dict)
    """By channel, where its provider may take longer."""
    first_byte: Micros = 5 * SECOND
    """How long after the intent the first byte may leave (`dispatch.md`, `start_by`)."""
    settle: Micros = MINUTE
    """How long an unknown delivery rests before it is looked up, so that a provider's own books are up to date."""
    retry_least: Micros = 2 * SECOND
    retry_most: Micros = 10 * MINUTE
    ask_least: Micros = 2 * SECOND
    ask_most: Micros = 15 * SECOND
    """Bounds of the pauses between two questions to a provider that is away (`tidings.breaker`): one message asks, and all wait."""
    attempts: int = 10_000
    """Far more than fit before any deadline: what ends a message that nobody takes is its deadline, or its step's `retry`."""
    look_up_again: Micros = 30 * SECOND
    speed: int = 1
    """How much faster the store's clock runs than the real one."""

    def lease_of(self, channel: str) -> Micros:
        """Return how long an attempt over a channel may take."""
        return self.leases.get(channel, self.lease)

    def at_speed(self, speed: int) -> Pace:
        """Return the same patience in real time, for a store whose clock runs `speed` times as fast."""
        leases = {name: one * speed for name, one in self.leases.items()}
        others = [part.name for part in fields(self) if part.name not in ("attempts", "leases", "speed")]
        times = {name: getattr(self, name) * speed for name in others}
        return replace(self, **times, leases=leases, speed=self.speed * speed)


def claim(message: Message, owner: str, now: Micros, pace: Pace) -> Message | None:
    """T2. Return the message claimed, or None where it is not to be had."""
    if message.state is not MessageState.PENDING or message.due_at is None or message.due_at > now:
        return None
    return replace(message, state=MessageState.CLAIMED, owner=owner, due_at=now + pace.lease_of(message.channel))


def is_mine(message: Message | None, owner: str, rev: int, now: Micros) -> bool:
    """Return whether T3 may go on: claimed by this owner, within the lease, not rewritten since it was rendered."""
    return (
        message is not None
        and message.state is MessageState.CLAIMED
        and message.owner == owner
        and message.rev == rev
        and message.due_at is not None
        and now < message.due_at
    )


def intend(
    message: Message, person: Person, signals: Sequence[Heard], world: World, now: Micros, pace: Pace
) -> Message:
    """T3. Return the message as *sending*, with the number of the last signal that was read, or what a gate made of it."""
    stopped = any(signal.kind in TAKES_BACK for signal in signals)
    verdict = gates(message, person, replace(world, stopped=world.stopped or stopped), now, Stage.INTENT)
    if isinstance(verdict, End):
        return message.ended(verdict.state, verdict.reason)
    if isinstance(verdict, Hold):
        return message.held(verdict.reason, verdict.until)
    lease = now + pace.lease_of(message.channel)
    quiet = quiet_of(message, person)
    closing = None if quiet is None else quiet[0].closing(now, quiet[1])
    return replace(
        message,
        state=MessageState.SENDING,
        attempt=message.attempt + 1,
        due_at=lease,
        start_by=min(now + pace.first_byte, lease, message.deadline, *(() if closing is None else (closing,))),
        seen=max((signal.seq for signal in signals), default=0),
        body={**message.body, "address": address_of(message, person)},
    )


def settle_result(
    message: Message, attempt: int, outcome: Outcome, *, stopped: bool, now: Micros, pace: Pace
) -> Message:
    """T4. Return the message after its attempt's outcome.

    An answer that comes after the lease is over finds the message *unknown* and still settles it, as long as no other
    attempt has begun. What the outcome cannot change comes back as it was.
    """
    if message.attempt != attempt or message.state not in (MessageState.SENDING, MessageState.UNKNOWN):
        return message
    if outcome.stage == "accepted":
        return _accepted(message, outcome.reference)
    if outcome.stage == "permanent":
        return message.ended(MessageState.FAILED, Reason.REFUSED)
    if outcome.stage == "not_sent":
        wait = outcome.retry_after
        if outcome.misconfigured or outcome.away:
            # No attempt of the message's: what its step says of retries is not used up by what is wrong elsewhere.
            count = message.body.get("uncounted", 0) + 1
            message = replace(message, body={**message.body, "uncounted": count})
            if outcome.misconfigured:  # it waits until somebody has mended it, and asks less and less often
                wait = min(MENDED_SOONEST * 2 ** min(count - 1, 16), MENDED_LATEST)
        return _again(message, stopped=stopped, wait=wait, now=now, pace=pace)
    if message.state is MessageState.UNKNOWN:
        return message
    return unknown(message, now, pace)


def lease_over(message: Message, now: Micros, pace: Pace) -> Message:
    """Return a message whose deliverer is gone: claimed goes back, a begun sending is unknown, never pending."""
    if message.due_at is None or message.due_at > now:
        return message
    if message.state is MessageState.CLAIMED:
        return message.pending(now)
    if message.state is MessageState.SENDING:
        return unknown(message, now, pace)
    return message


def unknown(message: Message, now: Micros, pace: Pace) -> Message:
    """Return the message as *unknown*: it rests until the provider's books have settled."""
    return replace(message, state=MessageState.UNKNOWN, due_at=now + pace.settle, owner=None)


def reconcile(
    message: Message, found: str | None, *, can_look_up: bool, stopped: bool, now: Micros, pace: Pace
) -> Message:
    """T5. Return an unknown message after the look-up said `accepted`, `absent`, or nothing (None)."""
    if message.state is not MessageState.UNKNOWN or message.due_at is None or message.due_at > now:
        return message
    if found == "accepted":
        return _accepted(message, None)
    if found == "absent":
        return _again(message, stopped=stopped, wait=0, now=now, pace=pace)
    if can_look_up and now + pace.look_up_again < message.deadline:
        return replace(message, due_at=now + pace.look_up_again)
    if message.on_unknown == "resend":
        return _again(message, stopped=stopped, wait=0, now=now, pace=pace)
    return message.ended(MessageState.UNRESOLVED, Reason.NO_ANSWER)


def may_be_last_look(message: Message, now: Micros, pace: Pace) -> bool:
    """Return whether T5 may end an unknown message before it comes to a look-up after the next one."""
    return now + 2 * pace.look_up_again >= message.deadline


def _accepted(message: Message, reference: str | None) -> Message:
    ended = replace(message, state=MessageState.ACCEPTED, reason=None, due_at=None, owner=None)
    return ended if reference is None else replace(ended, body={**message.body, "reference": reference})


def _again(message: Message, *, stopped: bool, wait: Micros | None, now: Micros, pace: Pace) -> Message:
    """Return a message that was surely not sent: cancelled if its run was stopped meanwhile, else waiting again."""
    if stopped and message.role == NOTICE:
        return message.ended(MessageState.CANCELLED, Reason.STOPPED)
    pace = patience_of(message, pace)
    counted = message.attempt - message.body.get("uncounted", 0)
    if counted >= pace.attempts:
        return message.ended(MessageState.FAILED, Reason.GIVEN_UP)
    # What a provider asks for is real time, as the rest of the pace.
    # Nor does it wait longer for what was no fault of its own: the breaker paces it, and it leaves soon after.
    pause = backoff(message.message_id, message.attempt, pace, counted) if wait is None else wait * pace.speed
    return message.pending(min(now + pause, max(now, message.deadline)))


def patience_of(message: Message, pace: Pace) -> Pace:
    """Return the pace of a message whose step says how it is tried again."""
    retry = message.body.get("retry")
    if retry is None:
        return pace
    attempts, first, most = retry["attempts"], retry["first"], retry["most"]
    least = pace.retry_least if first is None else first * pace.speed
    return replace(
        pace,
        attempts=pace.attempts if attempts is None else attempts,
        retry_least=least,
        # A step that waits long at first, and says nothing of the longest wait, does not wait less.
        retry_most=max(pace.retry_most, least) if most is None else most * pace.speed,
    )


def backoff(message_id: str, attempt: int, pace: Pace, counted: int | None = None) -> Micros:
    """Return the wait before the next attempt: full jitter below a bound that doubles with each that counts.

    The jitter is a hash of message and attempt: spread over messages, and the same in every run of a test.
    """
    times = max(0, (attempt if counted is None else counted) - 1)
    bound = min(pace.retry_most, pace.retry_least * 2 ** min(times, 30))
    pause: int = bound * share_of(f"{message_id}:{attempt}") >> 64
    return max(1, pause)


def share_of(what: str) -> int:
    """Return a number below 2**64 that looks drawn."""
    return int.from_bytes(blake2b(what.encode(), digest_size=8).digest(), "big")
