"""Rules and rule sets as the kernel reads them: loaded, checked and compiled by `handlers.rules`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, Protocol

from tidings.contract import Contract, Type
from tidings.event import DAY, Event, Micros

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


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class Episode:
    """What a firing is about: the event that began it."""

    at: Micros
    source: str
    ref: str


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class Send:
    """One message of a run."""

    channel: Literal["email"]
    template: str
    data: Mapping[str, Expression] = field(default_factory=dict)
    """`with`: what the template may read."""
    types: Mapping[str, Type] = field(default_factory=dict)


Status = Literal["draft", "shadow", "live"]


@dataclass(frozen=True)
class Rule:
    """One rule of a set."""

    id: str
    owner: str
    operator: Operator
    title: str = ""
    severity: Literal["low", "medium", "high", "critical"] = "medium"
    status: Status = "live"
    params: Mapping[str, Any] = field(default_factory=dict)
    to: Literal["customer"] = "customer"
    customer_paths: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By type of the event that the rule speaks of: where it names the customer."""
    steps: tuple[Send, ...] = ()
    consent: str = "transactional"
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


@dataclass(frozen=True)
class RuleSet:
    """Rules that are switched together. `hash` covers every text that can change what they decide."""

    hash: str
    rules: tuple[Rule, ...]
    contracts: Mapping[str, Contract]
    """By event type; those the rules name, and those that own an image."""
    templates: Mapping[str, str] = field(default_factory=dict)
    """Texts of the templates, pinned with the rules."""

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
    def stateful(self) -> tuple[Rule, ...]:
        """Deciding rules that keep state."""
        return tuple(rule for rule in self.active if rule.operator.stateful)

    @cached_property
    def topics(self) -> tuple[str, ...]:
        """Every topic that a deciding rule names."""
        return tuple(sorted({topic for rule in self.active for topic in rule.topics}))
