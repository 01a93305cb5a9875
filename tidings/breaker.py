"""A breaker for one way out: a provider that is away is asked by one message, not by all.

```
closed      everything may be claimed
open        nothing is claimed until the pause is over
half open   one message is the probe; its answer closes the breaker, or opens it again for longer
```

It only holds claiming back. What waits stays pending with its attempts untouched, and leaves through the same gates. One
process keeps it in memory: nothing is lost with it, and whoever begins anew finds out with a few messages.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tidings.delivery import MENDED_LATEST, MENDED_SOONEST, Pace, share_of
from tidings.event import MINUTE, Micros
from tidings.ports import Outcome

ENOUGH = 5
"""Attempts in a row that found the provider away. Of different messages, where it had heard of them: what is wrong with
one message alone holds up nobody."""
SILENT: Micros = MINUTE
"""So long nobody was reached at all: enough in a small shop, where few messages ask, and seldom."""

Attempt = tuple[str, int]
"""(message, number)"""


@dataclass(frozen=True, slots=True)
class Breaker:
    """What a process has last heard of a provider."""

    name: str
    """Of the way out in its process: pauses are spread by it, and the same in every run of a test."""
    failed: frozenset[Attempt] = frozenset()
    """Closed: what found it away since anybody was answered. A message of which it had heard counts once, as number 0."""
    times: int = 0
    """How often it has been opened in a row for the same kind of reason; 0: closed."""
    since: Micros = 0
    """When it was first found away."""
    until: Micros = 0
    pause: Micros = 0
    probe: Attempt | None = None
    """Half open: the one attempt that may say that the provider is back."""
    misconfigured: bool = False
    """A person has to mend something."""
    why: str = ""
    """What was heard last; it may repeat what a server wrote, and is not for logs as it stands."""

    @property
    def is_open(self) -> bool:
        """Whether messages wait for the provider; half open as well."""
        return self.times > 0

    def room(self, now: Micros) -> int | None:
        """Return how many messages may be begun now; None: as many as one likes.

        A clock that was set back makes nobody wait for longer than was meant.
        """
        if not self.is_open:
            return None
        resting = self.until - self.pause <= now < self.until
        return 0 if resting or self.probe is not None else 1

    def asking(self, attempt: Attempt) -> Breaker:
        """Return it with an attempt under way."""
        return replace(self, probe=attempt) if self.is_open and self.probe is None else self

    def heard(self, attempt: Attempt, outcome: Outcome, now: Micros, pace: Pace) -> Breaker:
        """Return it after the outcome of an attempt.

        An attempt that was begun before it opened says nothing new of a provider that is open since. An outcome that no
        server has answered, and that blames none, says nothing either: `start_by` was over, the message was unfit.
        """
        if self.is_open and attempt != self.probe:
            return self
        if outcome.away:
            at_once = self.is_open or outcome.misconfigured or outcome.retry_after is not None
            since = self.since if self.is_open or self.failed else now
            failed = self.failed | {attempt if outcome.unheard else (attempt[0], 0)}
            silent = outcome.unheard and now - since >= SILENT * pace.speed
            if at_once or silent or len(failed) >= ENOUGH:
                return self._opened(outcome, since, now, pace)
            return replace(self, failed=failed, since=since)
        if outcome.stage == "accepted" or outcome.first_byte_at is not None:
            return Breaker(self.name)
        return replace(self, probe=None)

    def judged(self, outcome: Outcome) -> Outcome:
        """Return what an attempt counts for, once it was heard.

        That a provider is away is its own fault where it has not heard of the message, or while nobody else is let to
        it either. That it hung up on one message alone may be the message's: then it counts, and its step may give up.
        """
        return outcome if outcome.unheard or self.is_open else replace(outcome, away=False)

    def _opened(self, outcome: Outcome, since: Micros, now: Micros, pace: Pace) -> Breaker:
        times = self.times + 1 if self.misconfigured == outcome.misconfigured else 1
        if outcome.misconfigured:
            pause = min(MENDED_SOONEST << min(times - 1, 16), MENDED_LATEST) * pace.speed
        else:
            bound = min(pace.ask_least << min(times - 1, 16), pace.ask_most)
            # In the upper half: processes that opened together ask apart, and a pause is one.
            pause = bound - bound * share_of(f"{self.name}:{times}:{since}") // 2**65
            asked = min(outcome.retry_after or 0, MENDED_LATEST) * pace.speed
            pause = max(pause, asked)
        return Breaker(
            self.name, times=times, since=since, until=now + pause, pause=pause,
            misconfigured=outcome.misconfigured, why=outcome.detail[:200],
        )  # fmt: skip
