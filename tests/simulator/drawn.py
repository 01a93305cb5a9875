"""What a history is made of: the plan that a seed draws, and the events that its producers append."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from tests.simulator.rules import DECLINED, ISSUED, MOVED, PAID, PING, TOPICS, Shop
from tidings import ids
from tidings.event import SECOND

START = 1_800_000_000 * SECOND
GRACE = 5 * SECOND
ACTIVE = 100 * SECOND
"""How long events happen; afterwards everything comes to rest."""
REST = 900 * SECOND


Append = tuple[int, tuple[str, int | None], dict[str, Any]]
"""(when, (topic, partition or any), event)"""

ALL = ("overdue", "silent", "paid", "declined")
RULES = (ALL, ("overdue", "declined"), ("overdue", "paid"), ("silent", "overdue", "declined"))

TROUBLES = ("twins", "doubt", "editors", "slow", "storm", "recall")
"""What a history may have much of: see `Plan.theme`."""

THEMES = (*TROUBLES, "mixed", *TROUBLES, "twins", "mixed")
"""By seed, in turn."""

STALLS = ("lock:sources", "lock:state", "lock:recipients", "lock:messages", "committed")
"""Where a process may stand still for long: each history has a place of its own."""


@dataclass(frozen=True)
class Plan:
    """What a seed chose; everything else is drawn while the history runs."""

    seed: int
    theme: str
    """`mixed`, or a trouble that this history has much of: `twins` (repeats on another partition while the first copy
    lags), `doubt` (people who withdraw their consent at the worst moment), `editors` (rule sets that come and go),
    `slow` (answers of the log that take long), `storm` (crashes and a provider that fails), `recall` (what was told
    is taken back a moment later, often by an event that is appended first)."""
    shop: Shop
    lateness: int
    partitions: int
    chaos: float
    late_closers: bool
    can_look_up: bool
    new_partition: bool
    sluggish: str | None
    """Where the processes of this history like to stand still."""

    @property
    def switches(self) -> bool:
        """Whether the rule set changes."""
        return self.theme == "editors"


def plan(seed: int, theme: str | None = None) -> Plan:
    """Draw the outline of a history, of the seed's theme or of a given one."""
    random = Random(seed)
    theme = theme or THEMES[seed % len(THEMES)]
    lateness = random.choice({"twins": (3,), "editors": (1, 3), "recall": (15,)}.get(theme, (1, 5, 15))) * SECOND
    shop = Shop(
        lateness=lateness,
        once=random.random() < 0.3 and theme not in ("twins", "editors"),
        on_repeat=random.choice(("keep", "restart")),
        patience=random.choice((30, 120, 600) if theme != "recall" else (300,)) * SECOND,
        on_unknown=random.choice(("resend", "unresolved")),
        consent="transactional" if theme in ("doubt", "recall") else random.choice(("marketing", "transactional")),
        names=ALL if theme in ("slow", "storm", "doubt", "recall") else random.choice(RULES),
        quiet=theme == "recall" or (theme in ("mixed", "storm") and random.random() < 0.3),
    )
    return Plan(
        seed=seed,
        theme=theme,
        shop=shop,
        lateness=lateness,
        partitions=2 if theme == "twins" else random.choice((1, 2)),
        chaos=0.6 if theme in ("storm", "recall") else random.choice((0.0, 0.2, 0.5)),
        late_closers=theme in ("mixed", "storm") or (theme == "doubt" and random.random() < 0.5),
        can_look_up=random.random() < 0.5,
        new_partition=random.random() < 0.25,
        sluggish={"twins": None, "doubt": "lock:recipients"}.get(theme, random.choice((*STALLS, None))),
    )


@dataclass
class Drawn:
    """Draws what happens in a history. It shares the chance of the history: a seed repeats both."""

    plan: Plan
    random: Random
    order: int = 0
    """Events so far: each has a name of its own."""

    def event(self, kind: str, at: int, data: dict[str, Any]) -> dict[str, Any]:
        self.order += 1
        source = self.random.choice(("shop", "erp"))
        name = f"e{self.order}"
        return {
            "ref": ids.event_ref("t", source, name, at), "tenant": "t", "source": source, "id": name, "type": kind,
            "occurred_at": at, "data": data,
        }  # fmt: skip

    def timeline(self) -> list[Append]:
        """Draw what the producers append: (when, topic, event)."""
        random = self.random
        happened: list[dict[str, Any]] = []
        for _ in range(random.randint(8, 22)):
            at = START + random.randrange(int(ACTIVE / SECOND)) * SECOND
            customer = random.choice(("c1", "c2"))
            invoice = f"i-{customer}-{random.randrange(2)}"
            kind = random.choice((ISSUED, ISSUED, PAID, MOVED, PING))
            if self.plan.theme in ("mixed", "doubt", "storm") and random.random() < 0.15:
                kind = DECLINED
            due = at + random.choice((0, 5, 10, 10, 20, 40)) * SECOND
            data = {"invoice_id": invoice, "customer_id": customer, "due": due}
            happened.append(self.event(kind, at, data))
            if kind is ISSUED and random.random() < 0.5:  # paid close to the deadline, often exactly at it
                when = due + random.choice((-1, 0, 0, 1)) * SECOND
                happened.append(self.event(PAID, max(when, at), data))
            if kind is DECLINED and random.random() < 0.6:  # the retry succeeds a moment later, or at the same one
                when = at + random.choice((0, 1, 4, 30)) * SECOND
                happened.append(self.event(PAID, when, data))
        again = 0.5 if self.plan.switches else 0.25
        if self.plan.theme == "recall":
            return sorted([*self._recalls(), *self._published(happened[:6], again)], key=lambda one: one[0])
        if self.plan.theme == "twins":
            return sorted([*self._twins(), *self._published(happened[:2], again)], key=lambda one: one[0])
        if self.plan.theme == "editors":
            return sorted([*self._echoes(), *self._published(happened[:9], again)], key=lambda one: one[0])
        return sorted(self._published(happened, again), key=lambda one: one[0])

    def _twins(self) -> list[Append]:
        """Invoices that are paid at once, whose first copy lags while a second one comes over another partition."""
        found: list[Append] = []
        topic = TOPICS[ISSUED]
        for number in range(3):
            at = START + (2 + 34 * number) * SECOND
            data = {"invoice_id": f"twin-{number}", "customer_id": "c1", "due": at + 2 * SECOND}
            issued = self.event(ISSUED, at, data)
            found.append((at, (topic, 0), issued))
            found.append((at + int((12 + 4 * self.random.random()) * SECOND), (topic, 1), issued))
            found.append((at + SECOND, (TOPICS[PAID], 0), self.event(PAID, at + SECOND, data)))
        return found

    def _recalls(self) -> list[Append]:
        """Declined payments whose retry succeeds at once, or while the message is quiet, in flight or of unknown fate."""
        found: list[Append] = []
        for begun in (2, 14, 26, 38, 46, 50, 54, 56, 58, 80):  # some of them shortly before the quiet minute
            at = START + begun * SECOND
            data = {"invoice_id": f"recall-{begun}", "customer_id": self.random.choice(("c1", "c2"))}
            declined = self.event(DECLINED, at, data)
            behind = self.random.random() < 0.5
            late = int((0.5 + 0.4 * self.random.random()) * self.plan.lateness) if behind else 0
            found.append((at + late, (TOPICS[DECLINED], None), declined))
            when = at + self.random.choice((0, 1) if behind else (6, 12, 20, 30, 45)) * SECOND
            found.append((when, (TOPICS[PAID], None), self.event(PAID, when, data)))
        return found

    def _echoes(self) -> list[Append]:
        """Invoices that are paid at once, and whose first copy comes again after the lateness was raised."""
        found: list[Append] = []
        for number in range(3):
            at = START + (2 + 34 * number) * SECOND
            data = {"invoice_id": f"echo-{number}", "customer_id": "c1", "due": at + 2 * SECOND}
            issued = self.event(ISSUED, at, data)
            found.append((at, (TOPICS[ISSUED], None), issued))
            found.append((at + int((25 + 6 * self.random.random()) * SECOND), (TOPICS[ISSUED], None), issued))
            found.append((at + SECOND, (TOPICS[PAID], None), self.event(PAID, at + SECOND, data)))
        return found

    def _published(self, happened: Sequence[dict[str, Any]], again: float) -> list[Append]:
        """Draw when each event is appended, and how often."""
        random = self.random
        appended: list[Append] = []
        for event in happened:
            topic = TOPICS[event["type"]]
            delay = int(random.random() * self.plan.lateness)
            if random.random() < 0.1:
                delay = -int(random.random() * 30 * SECOND)  # a producer whose clock is fast
            if self.plan.late_closers and event["type"] == PAID and random.random() < 0.5:
                delay = int(random.random() * 120 * SECOND)
            first = max(START, event["occurred_at"] + delay)
            appended.append((first, (topic, None), event))
            while random.random() < again:
                repeat = first + int(random.random() * (80 if self.plan.switches else 40) * SECOND)
                appended.append((repeat, (topic, None), event))
        return appended
