"""Rules and rule sets as the kernel reads them: loaded, checked and compiled by `handlers.rules`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, Protocol

from tidings.contract import Contract, Type
from tidings.event import DAY, Event, Micros
from tidings.matching import Asking, Equalities, Index
from tidings.quiet_hours import QuietHours
from tidings.value import value

NEVER: Micros = -(2**62)
"""The watermark of a source that nobody has seen: before every instant."""


class Expression(Protocol):
    """A compiled expression over one event; three-valued (see `handlers.rules.conditions`)."""

    def true(self, data: Mapping[str, Any], event: Event, params: Mapping[str, Any]) -> bool:
        """Return whether the condition certainly holds; what is unknown does not."""
        ...

    def value(self, data: Mapping[str, Any], event: Event, params: Mapping[str, Any]) -> Any:
        """Return the value, or `UNKNOWN`."""
        ...


@dataclass(frozen=True, slots=True)
class Matcher:
    """Events of one type for which `condition` (if any) certainly holds."""

    type: str
    topic: str
    condition: Expression | None = None
    source_text: str = ""

    def matches(self, event: Event, params: Mapping[str, Any]) -> bool:
        """Return whether `event` is one of them."""
        if event.type != self.type:
            return False
        return self.condition is None or self.condition.true(event.data, event, params)

    def equalities(self, hidden: Collection[str] = ()) -> Equalities:
        """Return the paths at which one of certain values must stand, or the condition is certainly not true.

        Expressions that know it say it by an attribute of this name. Paths below the names `hidden` are left out.
        """
        found: Equalities = getattr(self.condition, "equalities", {})
        return {path: values for path, values in found.items() if path[0] not in hidden}


@value
class Item:
    """An event as one key of a stateful rule sees it, and as its buffer keeps it."""

    time: Micros
    rank: int
    source: str
    ref: str
    body: Mapping[str, Any]
    """What the operator kept of the event: canonical JSON."""

    @property
    def order(self) -> tuple[Micros, int, str, str]:
        """The order in which a key sees its events."""
        return (self.time, self.rank, self.source, self.ref)


@value
class Episode:
    """What a firing is about: the event that began it."""

    at: Micros
    source: str
    ref: str


@value
class Emission:
    """What an operator says of a key: `fired`, `repeated`, `updated`, `resolved` or `stopped`."""

    kind: str
    n: int
    episode: Episode
    logical_at: Micros
    event: Event
    """The event (projected, completed, rewritten) from which data and recipient are captured."""


State = Mapping[str, Any]


class Operator(Protocol):
    """What `when` names. Pure: state and an event or a timer in, state and emissions out."""

    @property
    def kind(self) -> str:
        """Its name in the language."""
        ...

    @property
    def stateful(self) -> bool:
        """Whether it keeps state for a key."""
        ...

    @property
    def prompt(self) -> bool:
        """Whether it decides before the watermark has passed."""
        ...

    @property
    def allowed_lateness(self) -> Micros:
        """How long after the watermark an event may still come."""
        ...

    @property
    def matchers(self) -> tuple[Matcher, ...]:
        """Every event that it looks at; gives the rule's topics."""
        ...

    def fires(self, event: Event, params: Mapping[str, Any]) -> Sequence[Emission]:
        """Stateless operators: decide on one event."""
        ...

    def says(self, event: Event, item: Item) -> Sequence[Emission]:
        """Stateful operators: what is said at once of an event whose item is kept, before any order is known."""
        ...

    def key(self, event: Event) -> tuple[Any, ...] | None:
        """Return the key of the event's state, or None where a part of it is null."""
        ...

    def item(self, event: Event, params: Mapping[str, Any]) -> Item | None:
        """Stateful operators: what to keep of an event, or None where it concerns nobody."""
        ...

    def closes(self, item: Item) -> bool:
        """Return whether the item may close an episode."""
        ...

    def timer(self, state: State | None) -> Micros | None:
        """Return the earliest timer of a state."""
        ...

    def apply(self, state: State | None, item: Item, rule: Rule) -> tuple[State | None, Sequence[Emission]]:
        """Apply a punctual event, in order."""
        ...

    def expire(self, state: State, rule: Rule) -> tuple[State | None, Sequence[Emission]]:
        """Apply the earliest timer."""
        ...

    def late(self, state: State | None, item: Item, rule: Rule) -> tuple[State | None, Sequence[Emission]]:
        """Apply a closer that came after the watermark had passed it."""
        ...


Channel = Literal["email", "sms", "push", "slack", "teams", "ticket", "webhook", "workflow"]
PERSONAL: tuple[Channel, ...] = ("email", "sms", "push")
"""Channels that reach a person: consent and preference are asked where that person is a customer."""
CHAT: tuple[Channel, ...] = ("slack", "teams")
"""Rooms of a team, over incoming webhooks."""
MACHINES: tuple[Channel, ...] = ("ticket", "webhook", "workflow")
"""Channels that trigger another system: no consent and no quiet hours (`dispatch.md`, Gates)."""

Severity = Literal["low", "medium", "high", "critical"]
SEVERITIES: tuple[Severity, ...] = ("low", "medium", "high", "critical")


@dataclass(frozen=True, slots=True)
class Retry:
    """How patiently a step is tried again; None: as delivery does by itself."""

    attempts: int | None = None
    first: Micros | None = None
    """Bound of the first wait; each doubles."""
    most: Micros | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One message of a run."""

    channel: Channel
    template: str = ""
    """Name of its text; webhooks and workflows carry data only and have none."""
    data: Mapping[str, Expression] = field(default_factory=dict)
    """`with`: what the template may read, or what the other system is given."""
    types: Mapping[str, Type] = field(default_factory=dict)
    target: str = ""
    """Of a ticket, webhook or workflow: its name in `targets.yaml`."""
    condition: Expression | None = None
    """`if`: the step is due only where it certainly holds at the firing."""
    retry: Retry | None = None
    alert: bool = False
    """`on_failure: alert`: when the message ends as failed or unresolved, the owner of the rule hears of it."""


@dataclass(frozen=True, slots=True)
class To:
    """Whom a rule tells."""

    kind: Literal["customer", "team", "address"] = "customer"
    team: str = ""
    expression: Expression | None = None
    """Who, where the event does not say it by its contract: a customer's id, or an address."""


@dataclass(frozen=True, slots=True)
class Team:
    """People of ours, from `teams.yaml`. Addresses of chat rooms are references to secrets (`env:…`, `file:…`)."""

    name: str
    title: str = ""
    addresses: Mapping[str, str] = field(default_factory=dict)
    """By channel: `email`, `sms`, `slack`, `teams`."""
    timezone: str | None = None
    locale: str | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """Another system, from `targets.yaml`: where its tickets, webhooks or workflows go."""

    name: str
    channel: Channel
    url: str
    """`https://…`, or a reference to it."""
    secret: str | None = None
    """Reference to the signing secret (`whsec_…`, Standard Webhooks)."""


@dataclass(frozen=True, slots=True)
class Topic:
    """What a customer may switch off, from `topics.yaml`."""

    name: str
    sentence: str
    """What customers read, in English or where no other language fits."""
    locked: bool = False
    """Cannot be switched off."""
    sentences: Mapping[str, str] = field(default_factory=dict)
    """In other languages, by their tags: `de`, `de-AT`."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Another entity whose last known image the conditions read; its key is known from the payload beforehand."""

    alias: str
    entity: str
    paths: tuple[tuple[str, ...], ...]
    """Of the payload: one for each part of the entity's key."""


Status = Literal["draft", "shadow", "live"]


@dataclass(frozen=True)
class Rule:
    """One rule of a set."""

    id: str
    owner: str
    operator: Operator
    title: str = ""
    severity: Severity = "medium"
    raise_severity: tuple[tuple[Expression, Severity], ...] = ()
    """The highest severity whose condition certainly holds counts, never a lower one than the rule's own."""
    status: Status = "live"
    params: Mapping[str, Any] = field(default_factory=dict)
    to: To = To()
    customer_paths: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By type of the event that the rule speaks of: where it names the customer."""
    reads: tuple[Reading, ...] = ()
    topic: str | None = None
    """What the customer may switch off; None: nothing of it reaches a customer."""
    steps: tuple[Step, ...] = ()
    on_stop: tuple[Step, ...] = ()
    """The all-clear for those who were told, by the channel over which they were told."""
    consent: str = "transactional"
    quiet_hours: QuietHours | None = None
    expires: Micros | None = None
    on_unknown: Literal["resend", "unresolved"] = "unresolved"
    file: str = ""
    line: int = 0

    @cached_property
    def topics(self) -> tuple[str, ...]:
        """Every topic that the rule names; its watermark is the least of theirs."""
        return tuple(sorted({matcher.topic for matcher in self.operator.matchers}))

    @cached_property
    def types(self) -> frozenset[str]:
        """Every event type that the rule names."""
        return frozenset(matcher.type for matcher in self.operator.matchers)

    @property
    def state_class(self) -> str:
        """Class of the rule's rows of state."""
        return f"rule:{self.id}"

    @property
    def patience(self) -> Micros:
        """How long after the firing a message is still worth sending."""
        return DAY if self.expires is None else self.expires

    @property
    def longest_hold(self) -> Micros:
        """How much later than that its policy may let a message leave; `expires` counts for the whole run, holds and all."""
        return 0 if self.expires is not None or self.quiet_hours is None else self.quiet_hours.longest


Placed = tuple[int, Rule]
"""A rule, and its place among those that name the same type of event."""

COMPLETED = ("before", "after", "before_coverage", "after_coverage")
"""Fields of a change event that an image may complete."""


@dataclass(frozen=True, slots=True)
class Matching:
    """The deciding rules that name one type of event."""

    free: Index[Placed]
    """Those that need nothing but the event: asked when it is completed."""
    bound: Index[Placed]
    """Those that need rows of state for it, which the payload as it was sent must tell."""


def _matching(kind: str, rules: Sequence[Rule], contract: Contract | None) -> Matching:
    found: dict[bool, list[Asking[Placed]]] = {True: [], False: []}
    for place, rule in enumerate(rules):
        bound = rule.operator.stateful or bool(rule.reads)
        hidden = [reading.alias for reading in rule.reads]
        if bound and contract is not None and contract.is_change:
            hidden += COMPLETED
        conditions = [m.equalities(hidden) for m in rule.operator.matchers if m.type == kind]
        found[bound].append(Asking((place, rule), conditions))
    return Matching(Index(found[False]), Index(found[True]))


@dataclass(frozen=True)
class RuleSet:
    """Rules that are switched together. `hash` covers every text that can change what they decide."""

    hash: str
    rules: tuple[Rule, ...]
    contracts: Mapping[str, Contract]
    """By event type; those the rules name, and those that own an image."""
    templates: Mapping[str, str] = field(default_factory=dict)
    """Texts of the templates, pinned with the rules: `billing/overdue`, and `billing/overdue.de` for a language."""
    teams: Mapping[str, Team] = field(default_factory=dict)
    targets: Mapping[tuple[str, str], Target] = field(default_factory=dict)
    """By channel and name."""
    notice_topics: Mapping[str, Topic] = field(default_factory=dict)
    """What customers may switch off, by name."""

    @cached_property
    def by_id(self) -> Mapping[str, Rule]:
        """Rules by id."""
        return {rule.id: rule for rule in self.rules}

    @cached_property
    def active(self) -> tuple[Rule, ...]:
        """Rules that decide; a draft is loaded and checked only."""
        return tuple(rule for rule in self.rules if rule.status != "draft")

    @cached_property
    def by_type(self) -> Mapping[str, tuple[Rule, ...]]:
        """Deciding rules by the event types that they name."""
        found: dict[str, list[Rule]] = {}
        for rule in self.active:
            for kind in sorted(rule.types):
                found.setdefault(kind, []).append(rule)
        return {kind: tuple(rules) for kind, rules in found.items()}

    @cached_property
    def matching(self) -> Mapping[str, Matching]:
        """Deciding rules by the event types that they name, and by the values that they ask for."""
        return {kind: _matching(kind, rules, self.contracts.get(kind)) for kind, rules in self.by_type.items()}

    @cached_property
    def stateful(self) -> tuple[Rule, ...]:
        """Deciding rules that keep state."""
        return tuple(rule for rule in self.active if rule.operator.stateful)

    @cached_property
    def topics(self) -> tuple[str, ...]:
        """Every topic that a deciding rule names."""
        return tuple(sorted({topic for rule in self.active for topic in rule.topics}))
