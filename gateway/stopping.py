"""Stopping, releasing and dropping, as whoever asks for it sees it: the command line, the pages, HTTP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from dataclasses import dataclass
from difflib import get_close_matches
from hashlib import sha256
from typing import Protocol, runtime_checkable

from gateway.site import Site
from streams.processors import endings, kills
from streams.processors.endings import DROP, PATIENCE, RELEASE, Ending
from streams.processors.kills import Kill
from streams.processors.outcomes import Telling
from streams.stores.counts import Unsent, Waits
from streams.stores.postgres import PostgresStore
from streams.wording import counted
from tidings import canonical
from tidings.ports import Body, Reader, Scan, Store, StoreUnavailable, Transaction
from tidings.scopes import said

WITHIN = 2.0
"""Seconds for counting what waits; a kill does not wait for its number."""

TENANTS = 100
"""Tenants among which the one is looked for that was probably meant."""
SHOWN = 5
LAST = chr(0x10FFFF)
"""Behind every recipient of a tenant."""


class NoScope(ValueError):
    """What was to be stopped does not exist; the text says what does."""


@runtime_checkable
class Counting(Protocol):
    """A store that counts what has not left."""

    async def unsent(self, *, within: float) -> Unsent:
        """Count, in at most `within` seconds."""
        ...


async def unsent_of(store: object, within: float = WITHIN) -> Unsent | None:
    """Count what has not left; None: that took too long, and is no reason to stop nothing."""
    try:
        return await store.unsent(within=within) if isinstance(store, Counting) else None
    except StoreUnavailable:
        return None


@dataclass(frozen=True)
class Stopping:
    """Stopping over a site."""

    site: Site

    async def standing(self) -> list[Kill]:
        """Return what is stopped, the oldest first."""
        return await self.site.store.read(kills.standing)

    async def unsent(self) -> Unsent | None:
        """Count what has not left."""
        return await unsent_of(self.site.store)

    async def ending(self) -> list[Ending]:
        """Return which stops are ending."""
        return await self.site.store.read(endings.begun)

    async def find(self, name: str, verb: str) -> Kill | Ending | None:
        """Return the kill of an id, while it stands, or while it ends by this verb."""
        found: list[Kill | Ending] = [*await self.standing()]
        found += [one for one in await self.ending() if one.verb == verb]
        return next((one for one in found if id_of(one) == name), None)

    async def kill(self, scope: str, who: str, reason: str) -> tuple[Kill, bool]:
        """Stop a scope; return the kill that stands, and whether it is new.

        Raises:
            NoScope: there is no such rule or tenant.
        """
        counts = await self.unsent() if scope.startswith("rule:") else None
        check(scope, {*self.site.rules().by_id, *(() if counts is None else counts.rules)})
        await check_tenant(self.site.store, scope, {self.site.tenant})
        before = await self.site.store.run(kills.kill(scope, who, reason), urgent=True)
        if before is not None:
            return before, False
        found = next((one for one in await self.standing() if one.scope == scope), None)
        return found or Kill(scope, self.site.now(), who, reason), True

    async def release(self, one: Kill | Ending, who: str, reason: str) -> Ending | None:
        """End this kill, or go on with its end: what it held goes on. Return how far; None: it has ended already."""
        return await self._end(RELEASE, one, who, reason)

    async def drop(self, one: Kill | Ending, who: str, reason: str) -> Ending | None:
        """As `release`; what it held is cancelled."""
        return await self._end(DROP, one, who, reason)

    async def _end(self, verb: str, one: Kill | Ending, who: str, reason: str) -> Ending | None:
        store: Store = self.site.store
        # On a cluster every end is told to the topics.
        telling = Telling(store) if isinstance(store, PostgresStore) else store
        asked = time.monotonic()
        counts = await self.unsent()
        patience = max(0.0, PATIENCE - (time.monotonic() - asked))  # whoever asks waits for both
        total = None if counts is None else total_of(verb, counts.of(one.scope))
        end = kills.release if verb == RELEASE else kills.drop
        return await end(telling, one.scope, who, reason, at=one.at, total=total, patience=patience)


def id_of(one: Kill | Ending) -> str:
    """Return the id of a kill: another one of the same scope, later, has another."""
    return f"kil_{sha256(canonical.dumps([one.scope, one.at])).hexdigest()[:20]}"


def check(scope: str, rules: Collection[str]) -> None:
    """See that a scope names something: a typing error would stop nothing, and look as if it had.

    Raises:
        NoScope: `rules`, those in use or with something unsent, do not hold its rule.
    """
    kind, _, name = scope.partition(":")
    if kind != "rule" or name in rules:
        return
    near = get_close_matches(name, rules, 1)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    text = f"there is no rule '{name}'{hint}"
    raise NoScope(text)


def known_tenants(name: str) -> Body[set[str]]:
    """Return the body that reads which tenants have recipients: the first few, and `name`, if it has one."""

    def body() -> Transaction[set[str]]:
        found = {
            row["tenant"] for row in (yield Scan("recipients", after=(name, ""), limit=1)) if row["tenant"] == name
        }
        after = ("", "")
        for _ in range(TENANTS):
            rows = yield Scan("recipients", after=after, limit=1)
            if not rows:
                break
            found.add(rows[0]["tenant"])
            after = (rows[0]["tenant"], LAST)  # on to the next one, by the primary key
        return found

    return body


async def check_tenant(reader: Reader, scope: str, ours: Collection[str]) -> None:
    """See that a tenant is one of `ours` or has a recipient, for the reason of `check`.

    Raises:
        NoScope: nothing knows it. A store that does not answer in time is no reason to stop nothing.
    """
    kind, _, name = scope.partition(":")
    if kind != "tenant" or name in ours:
        return
    try:
        async with asyncio.timeout(WITHIN):
            known = {*ours, *await reader.read(known_tenants(name))}
    except (StoreUnavailable, TimeoutError):
        return
    if name not in known:
        near = get_close_matches(name, known, 1)
        hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(sorted(known)[:SHOWN])}"
        text = f"nothing is known of a tenant '{name}'; {hint}"
        raise NoScope(text)


def total_of(verb: str, waits: Waits) -> int | None:
    """Return how many messages an end concerns; None: not all could be counted."""
    if not waits.whole:
        return None
    return waits.killed if verb == RELEASE else waits.stopped


def ending_in_words(one: Ending) -> str:
    """Return how far an end has come: `releasing: 12,000 of 31,000`, or `12,000 so far` where more waits than is counted."""
    verb = "releasing" if one.verb == RELEASE else "dropping"
    passed = f"{one.done + one.kept:,}"
    return f"{verb}: {passed} of {one.total:,}" if one.total is not None else f"{verb}: {passed} so far"


def kept_in_words(verb: str, scope: str, counts: Unsent | None, standing: Collection[str]) -> str:
    """Return what other kills mean for an end: what they keep waiting, or what is dropped in spite of them; or nothing."""
    count, others = (0, []) if counts is None else counts.shared(scope, standing)
    if not count:
        return ""
    named = " and ".join(map(said, others))
    least = "" if counts is None or counts.whole else "at least "
    are = "is" if len(others) == 1 else "are"
    if verb == DROP:
        return f"{least}{count:,} of them {'is' if count == 1 else 'are'} stopped by {named} as well, and cancelled all the same"
    keep = "keeps" if count == 1 else "keep"
    return f"{least}{count:,} of them {keep} waiting: {named} {are} stopped as well"


def waits_in_words(waits: Waits | None) -> str:
    """Return how much waits: `143 messages wait`."""
    if waits is None:
        return "how much waits could not be counted"
    least = "" if waits.whole else "at least "
    verb = "waits" if waits.stopped == 1 else "wait"
    return f"{least}{counted(waits.stopped, 'message')} {verb}"


def sending_in_words(waits: Waits | None) -> str:
    """Return what may still arrive after a kill, or nothing."""
    if waits is None or not waits.sending:
        return ""
    are = "is" if waits.sending == 1 else "are"
    return f"{counted(waits.sending, 'message')} {are} with a provider at this moment and may still arrive"


def stopped_before(kill: Kill, at: str) -> str:
    """Return that somebody was faster."""
    return f"already stopped by {kill.by} at {at}: {kill.reason or 'no reason given'}"
