"""The deliverer: dispatch passes, and the way of a message to its provider.

Any number of them work side by side: `SKIP LOCKED` spreads the work, leases give back what a dead one held.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

from streams.processors import deliver
from streams.processors.breaking import Holding
from streams.processors.deliver import Begun, Claimed
from streams.processors.detect import Outdated
from streams.processors.dispatch import Pass, Stranger, Who, dispatch_all, dispatch_one, find_work, resolve
from streams.processors.results import TOGETHER, WRITE_AGAIN, Result, Results
from streams.processors.setbacks import InternalError, Setbacks, log_fault
from streams.processors.worker import Observe, _unobserved
from streams.rule_book import Learn, UnknownRules, nobody_switches, now_active
from tidings import delivery
from tidings.delivery import Pace
from tidings.errors import Misconfigured
from tidings.event import SECOND, Micros
from tidings.message import Message
from tidings.person import Person
from tidings.ports import (
    CommitUnknown,
    Outcome,
    Outgoing,
    Provider,
    Read,
    Row,
    Runtime,
    Store,
    StoreReplaced,
    StoreUnavailable,
    Transaction,
)
from tidings.reasons import MessageState
from tidings.rule import RuleSet

logger = logging.getLogger("tidings.deliverer")

Render = Callable[[RuleSet, Message, Person], Mapping[str, Any]]
"""From the pinned rule set, a message and its recipient to its content; raises `ValueError` where a value is missing."""

ProviderOf = Callable[[str], Provider]
"""From a channel to its way out."""

COME_AGAIN = SECOND // 5
"""Until a recipient whom nobody knows is looked at again."""
RECOVER = SECOND // 2
"""Between two looks for leases that are over, of thirty seconds and more."""
OUTSIDE = (StoreUnavailable, Misconfigured, UnknownRules)
"""What is no fault of a single recipient's."""


@dataclass
class Deliverer:
    """One dispatcher and deliverer. `step` does one round and says whether there was anything to do."""

    name: str
    store: Store
    runtime: Runtime
    provider_of: ProviderOf
    rules: RuleSet
    load_rules: Callable[[str], RuleSet]
    render: Render
    pace: Pace = field(default_factory=Pace)
    concurrency: int = 16
    """Messages in flight at once: exactly as many can be of unknown outcome after a crash."""
    observe: Observe = _unobserved
    channels: frozenset[str] | None = None
    """Of which it delivers; None: all. A channel that hangs then holds up no other."""
    learn: Learn = nobody_switches
    """Reads a rule set that another process has made active, or decided with."""
    together: int = 8
    """Recipients that are dispatched in one transaction."""
    passes: int = 1
    """Such transactions side by side."""
    strangers: dict[Who, Micros] = field(default_factory=dict)
    """Whom nobody knows yet, and when their turn comes again."""
    failing: Setbacks[Who] = field(default_factory=Setbacks)
    """Whose passes fail; one of them must not end everybody's."""
    unsettled: Setbacks[str] = field(default_factory=Setbacks)
    """Messages whose reconciliation fails."""
    woken: set[str] = field(default_factory=set)
    """Channels over which something is to leave since somebody last took them out."""
    recovered: Micros = 0
    claims: int = 0
    more: bool = False
    """Whether there was as much to claim as was asked for, so that nobody asks whether there is anything."""
    results: Results = field(init=False)
    holding: Holding = field(init=False)

    def __post_init__(self) -> None:
        self.results = Results(self)
        self.holding = Holding(self.name, self.channels, self.pace)

    async def step(self) -> bool:
        """Dispatch, deliver, recover and reconcile once."""
        busy = await self.dispatch()
        busy = await self.deliver() or busy
        busy = await self.recover() or busy
        return await self.reconcile() or busy

    async def attend(self) -> bool:
        """Dispatch, and recover now and then: what does not wait for any provider."""
        busy = await self.dispatch()
        now = self.runtime.now()
        if self.recovered <= now < self.recovered + RECOVER * self.pace.speed:
            return busy
        self.recovered = now
        return await self.recover() or busy

    async def recover(self) -> bool:
        """Take back what a dead deliverer held."""
        if not await self.store.read(deliver.find_due(("claimed", "sending"), None)):
            return False
        changed = await self.store.run(deliver.recover(self.pace), urgent=True)
        for message in changed:
            self.observe(message)
        return bool(changed)

    async def dispatch(self) -> bool:
        """Run a pass over every recipient that has something to hear."""
        busy = False
        now = self.runtime.now()
        self.strangers = {who: until for who, until in self.strangers.items() if now < until <= now + COME_AGAIN}
        work = await self.store.read(find_work(self.strangers, self.failing.resting(now)))
        # Deliverers that begin in different places meet less often.
        first = crc32(self.name.encode()) % len(work) if work else 0
        work = work[first:] + work[:first]
        groups = [work[at : at + self.together] for at in range(0, len(work), self.together)]
        for at in range(0, len(groups), self.passes):
            done = await self.runtime.gather([self._pass_all(group) for group in groups[at : at + self.passes]])
            busy = busy or any(done)
        return busy

    async def _pass_all(self, whom: Sequence[Who]) -> bool:
        """Run the passes of a group, in as few transactions as they take."""
        busy = False
        while len(whom) > 1:
            try:
                passed = await self.store.run(dispatch_all(self.rules, whom, self.load_rules), urgent=True)
            except (StoreUnavailable, Misconfigured):
                raise
            except Exception:  # noqa: BLE001 - one of them is at fault, or decided with rules that are not known here
                break
            if isinstance(passed, Outdated):
                await self._switch(passed)
                return True
            for who, one in passed.items():
                busy = self._passed(who, one) or busy
                self.failing.forget(who)
            whom = [who for who in whom if who not in passed]
        return any([await self._pass(who) for who in whom]) or busy

    async def _pass(self, who: Who) -> bool:
        """Run one pass; where our own code fails, the recipient rests."""
        try:
            passed = await self._try_pass(who)
        except OUTSIDE:
            raise
        except Exception as fault:  # noqa: BLE001 - whatever our own code raises, one recipient does it
            log_fault("dispatch", fault, self.failing.note(who, self.runtime.now()))
            self.observe(InternalError("dispatch"))
            return False
        self.failing.forget(who)
        return passed

    async def _try_pass(self, who: Who) -> bool:
        """Run one pass; with a rule set that is not known here, or active no more, it comes again."""
        try:
            passed = await self.store.run(dispatch_one(self.rules, who, self.load_rules), urgent=True)
        except UnknownRules as unknown:
            await self._know(unknown.digest)
            return True
        if isinstance(passed, Outdated):
            await self._switch(passed)
            return True
        return self._passed(who, passed)

    def _passed(self, who: Who, passed: Pass) -> bool:
        """Note what became of a pass; say whether it did anything."""
        if isinstance(passed, Stranger):
            self.strangers[who] = self.runtime.now() + COME_AGAIN
            return False
        if passed is not None:
            self.woken |= {m.channel for m in passed.result.messages.values() if m.state is MessageState.PENDING}
            self.observe(passed)
        return passed is not None

    async def deliver(self) -> bool:
        """Claim, render, commit the intent, send, write the results: one group at a time."""
        taken = await self.take(self.concurrency)
        if taken is None:
            return False
        await self.runtime.gather([self.send(one, who) for one, who in taken])
        return True

    async def take(self, limit: int) -> Sequence[tuple[Outgoing, Who]] | None:
        """Claim up to `limit` messages and commit the intent to send them; None: none waits.

        What is returned has to be sent, and its result written: it counts as begun. From a provider that is away all is
        held back but one message now and then; what passes its deadline meanwhile ends as ever.
        """
        room = self.holding.breaker.room(self.runtime.now())
        if room is not None:
            ended = await self._take_overdue()
            if ended is not None or room == 0:
                self.more = False
                return ended
            limit = min(limit, room)
        if not self.more and not await self.store.read(deliver.find_due(("pending",), self.channels)):
            return None
        owner = self._owner()
        messages = await self.store.run(deliver.claim(owner, limit, self.pace, self.channels), urgent=True)
        self.more = len(messages) == limit
        if not messages:
            return None
        begun = await self._begin(messages, owner)
        if room is not None:  # what was claimed before it opened is no probe, however late it begins
            self.holding.began([one for one, _ in begun])
        return begun

    async def _take_overdue(self) -> Sequence[tuple[Outgoing, Who]] | None:
        """Let end what is pending past its deadline; None: there is none, or it is not time to look."""
        names = await self.holding.overdue(self.store, self.runtime.now())
        begun: list[tuple[Outgoing, Who]] = []
        for at in range(0, len(names), TOGETHER):
            owner = self._owner()
            body = deliver.claim_overdue(names[at : at + TOGETHER], owner, self.pace)
            if messages := await self.store.run(body, urgent=True):
                begun += await self._begin(messages, owner)
        return begun if names else None

    def _owner(self) -> str:
        self.claims += 1
        return f"{self.name}#{self.claims}"

    async def _begin(self, messages: Sequence[Message], owner: str) -> list[tuple[Outgoing, Who]]:
        """Render what was claimed, and commit the intent to send it."""
        for digest in {message.body["rule_set"] for message in messages} - {self.rules.hash}:
            await self._know(digest)
        people = await self.store.read(_people(self.rules, messages))
        group = [self._rendered(message, people[message.message_id]) for message in messages]
        whom = {message.message_id: (message.tenant, message.recipient) for message in messages}
        return [(one, whom[one.message_id]) for one in await self.intend(group, owner)]

    async def intend(self, group: Sequence[Claimed], owner: str) -> Sequence[Outgoing]:
        """T3, with the rule set that is active now.

        An intent whose commit was not answered is looked for: what was begun is sent, and does not end as unknown.
        """
        while True:
            body = deliver.intend(self.rules, group, owner, self.pace)
            try:
                intended = await self.store.run(body, urgent=True)
            except CommitUnknown:
                begun = await self._begun(group, owner)
                if begun.outgoing or begun.late:
                    return begun.outgoing
                continue
            if isinstance(intended, Outdated):
                await self._switch(intended)
                continue
            for message in intended.kept:
                self.observe(message)
            return intended.outgoing

    async def _begun(self, group: Sequence[Claimed], owner: str) -> Begun:
        """Find what was committed, once the store answers; what is too late to begin is written as not sent."""
        logger.warning("the store did not answer to an intent for %d messages; looked for until it does", len(group))
        while True:
            try:
                begun = await self.store.run(deliver.find_begun(group, owner), urgent=True)
                break
            except StoreReplaced:
                raise
            except StoreUnavailable:
                await self.runtime.sleep(WRITE_AGAIN)
        whom = {one.message.message_id: (one.message.tenant, one.message.recipient) for one in group}
        for late in begun.late:
            await self.settle(late, whom[late.message_id], Outcome("not_sent", detail="the store was away"))
        return begun

    async def send(self, outgoing: Outgoing, who: Who) -> None:
        """Hand a message over, and write what became of it."""
        await self.settle(outgoing, who, await self.ask(outgoing))

    async def ask(self, outgoing: Outgoing) -> Outcome:
        """Ask the provider to take a message; return what came of it, and what that counts for."""
        provider = self.provider_of(outgoing.channel)
        outcome = await provider.send(outgoing)
        if (turned := self.holding.heard(outgoing, outcome, provider.name, self.runtime.now())) is not None:
            self.observe(turned)
        return self.holding.breaker.judged(outcome)

    async def settle(self, outgoing: Outgoing, who: Who, outcome: Outcome) -> None:
        """T4; whoever else is writing results may take it along, and be done later."""
        await self.results.bring(Result(outgoing, who, outcome))

    async def reconcile(self) -> bool:
        """Ask the provider about deliveries of unknown outcome, once their books have settled."""
        resting = self.unsettled.resting(self.runtime.now())
        limit = self.concurrency + len(resting)
        found = await self.store.read(deliver.find_unknown(self.channels, limit=limit))
        messages = [message for message in found if message.message_id not in resting][: self.concurrency]
        await self.runtime.gather([self._reconcile(message) for message in messages])
        return bool(messages)

    async def _reconcile(self, message: Message) -> None:
        try:
            await self._look_up(message)
        except OUTSIDE:
            raise
        except Exception as fault:  # noqa: BLE001 - one message that cannot be settled must not stop the others
            log_fault("reconcile", fault, self.unsettled.note(message.message_id, self.runtime.now()))
            self.observe(InternalError("reconcile"))
        else:
            self.unsettled.forget(message.message_id)

    async def _look_up(self, message: Message) -> None:
        provider = self.provider_of(message.channel)
        asks = provider.can_look_up
        if self.holding.breaker.is_open:  # books are asked no more than messages; only who has no time left still asks
            asks = asks and delivery.may_be_last_look(message, self.runtime.now(), self.pace)
        found = await provider.look_up(message.message_id) if asks else None
        body = deliver.reconcile(message, found, can_look_up=provider.can_look_up, pace=self.pace)
        self.observe(await self.store.run(body, urgent=True))

    def _rendered(self, message: Message, person: Person) -> Claimed:
        name = self.provider_of(message.channel).name
        try:
            rules = self.rules
            if message.body["rule_set"] != rules.hash:
                rules = self.load_rules(message.body["rule_set"])
            return Claimed(message, self.render(rules, message, person), provider=name)
        except Exception as fault:  # noqa: BLE001 - one message that cannot be rendered must not stop the others
            # What the templates raise names what is missing, never a value; of anything else only the type is kept.
            why = str(fault)[:200] if isinstance(fault, ValueError) else type(fault).__name__
            logger.warning("render failed for message %s of rule %s", message.message_id, message.rule)
            return Claimed(message, None, why, name)

    async def _know(self, digest: str) -> None:
        """Read a rule set, if it is not known; one that does not load any more is found out by whoever asks for it."""
        with contextlib.suppress(KeyError, ValueError):
            try:
                self.load_rules(digest)
            except UnknownRules:
                await self.learn(digest)

    async def _switch(self, outdated: Outdated) -> None:
        if outdated.active is not None:
            self.rules = await now_active(self.load_rules, self.learn, outdated.active)


def _people(rules: RuleSet, messages: Sequence[Message]) -> Callable[[], Transaction[dict[str, Person]]]:
    """Read who will hear the messages, for their language and zone; the gates read them again, under their locks."""

    def body() -> Transaction[dict[str, Person]]:
        whom = sorted({(message.tenant, message.recipient) for message in messages})
        rows = yield Read("recipients", whom)
        linked = [(row["tenant"], row["linked_to"]) for row in rows.values() if row["linked_to"] is not None]
        rows |= yield Read("recipients", sorted(linked))
        known: dict[tuple[str, ...], Row | None] = {who: rows.get(who) for who in (*whom, *linked)}
        return {m.message_id: resolve(rules, (m.tenant, m.recipient), known) for m in messages}

    return body
