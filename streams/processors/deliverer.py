"""The deliverer: dispatch passes, and the way of a message to its provider.

Any number of them work side by side: `SKIP LOCKED` spreads the work, leases give back what a dead one held.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from streams.processors import deliver
from streams.processors.deliver import Claimed
from streams.processors.detect import Outdated
from streams.processors.dispatch import Passed, dispatch_one, find_work, resolve
from streams.processors.worker import Observe, _unobserved
from tidings.delivery import Pace
from tidings.message import Message
from tidings.person import Person
from tidings.ports import Outcome, Outgoing, Provider, Read, Row, Runtime, Store, Transaction
from tidings.rule import RuleSet

logger = logging.getLogger("tidings.deliverer")

Render = Callable[[RuleSet, Message, Person], Mapping[str, Any]]
"""From the pinned rule set, a message and its recipient to its content; raises `ValueError` where a value is missing."""

ProviderOf = Callable[[str], Provider]
"""From a channel to its way out."""


@dataclass(frozen=True, slots=True)
class Sent:
    """One attempt and the message after it."""

    outgoing: Outgoing
    outcome: Outcome
    message: Message


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
    claims: int = 0

    async def step(self) -> bool:
        """Dispatch, deliver, recover and reconcile once."""
        busy = await self.dispatch()
        busy = await self.deliver() or busy
        busy = await self.recover() or busy
        return await self.reconcile() or busy

    async def send(self) -> bool:
        """Deliver and reconcile once, for one who leaves dispatch and recovery to another loop."""
        busy = await self.deliver()
        return await self.reconcile() or busy

    async def attend(self) -> bool:
        """Dispatch and recover once: what does not wait for any provider."""
        busy = await self.dispatch()
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
        for who in await self.store.read(find_work()):
            passed = await self.store.run(dispatch_one(self.rules, who, self.load_rules), urgent=True)
            if isinstance(passed, Outdated):
                self._switch(passed)
                return True
            if isinstance(passed, Passed):
                busy = True
                self.observe(passed)
        return busy

    async def deliver(self) -> bool:
        """Claim, render, commit the intent, send, write the results."""
        if not await self.store.read(deliver.find_due(("pending",), self.channels)):
            return False
        self.claims += 1
        owner = f"{self.name}#{self.claims}"
        messages = await self.store.run(deliver.claim(owner, self.concurrency, self.pace, self.channels), urgent=True)
        if not messages:
            return False
        people = await self.store.read(_people(self.rules, messages))
        group = [self._rendered(message, people[message.message_id]) for message in messages]
        whom = {message.message_id: (message.tenant, message.recipient) for message in messages}
        outgoing = await self.intend(group, owner)
        await self.runtime.gather([self._send(one, whom[one.message_id]) for one in outgoing])
        return True

    async def intend(self, group: Sequence[Claimed], owner: str) -> Sequence[Outgoing]:
        """T3, with the rule set that is active now."""
        while True:
            body = deliver.intend(self.rules, group, owner, self.pace)
            intended = await self.store.run(body, urgent=True)
            if isinstance(intended, Outdated):
                self._switch(intended)
                continue
            for message in intended.kept:
                self.observe(message)
            return intended.outgoing

    async def _send(self, outgoing: Outgoing, who: tuple[str, str]) -> None:
        outcome = await self.provider_of(outgoing.channel).send(outgoing)
        message = await self.store.run(deliver.record_result(outgoing, who, outcome, self.pace), urgent=True)
        self.observe(Sent(outgoing, outcome, message))

    async def reconcile(self) -> bool:
        """Ask the provider about deliveries of unknown outcome, once their books have settled."""
        messages = await self.store.read(deliver.find_unknown(self.channels))
        for message in messages:
            provider = self.provider_of(message.channel)
            found = await provider.look_up(message.message_id) if provider.can_look_up else None
            body = deliver.reconcile(message, found, can_look_up=provider.can_look_up, pace=self.pace)
            self.observe(await self.store.run(body, urgent=True))
        return bool(messages)

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

    def _switch(self, outdated: Outdated) -> None:
        if outdated.active is not None:
            self.rules = self.load_rules(outdated.active)


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
