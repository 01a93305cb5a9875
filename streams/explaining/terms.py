"""What a rule makes of one event: its outcome, a sentence, and the terms of its conditions with their values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

from handlers.operators.event import EventOperator, has_changed
from handlers.operators.missing import MissingOperator
from handlers.rules.conditions import Compiled, Trace, render_value
from streams.explaining.veil import DOTS, OPEN, Veil, recipient_shown, shape
from streams.wording import counted
from tidings.event import Event
from tidings.record import recipient_of, severity_of
from tidings.rule import Expression, Matcher, Rule
from tidings.unknown import UNKNOWN

Outcome = Literal[
    "fired", "armed", "disarmed", "rescheduled", "stopped", "no_match", "null_key", "other_event"
]  # fmt: skip
Truth = Literal["true", "false", "unknown"]
CLOSE = 4
"""A number within a fourth of its limit came close to it."""


@dataclass(frozen=True, slots=True)
class Term:
    """One line of a condition: a term, and below it the terms that it is made of."""

    depth: int
    text: str
    value: str
    because: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return it for scripts."""
        return {"depth": self.depth, "term": self.text, "value": self.value, "because": self.because}


@dataclass(frozen=True, slots=True)
class Part:
    """One of the terms that must all hold."""

    text: str
    truth: Truth
    values: str
    """What its fields were: `amount is 12.00 EUR`."""
    short: str = ""
    """By how much it failed, where that is a number: `38.00 EUR`."""
    close: bool = False
    """Whether that is little (`is_close`)."""
    any_of: tuple[Part, ...] = ()
    """Where it is several of which one is enough: each of them."""

    def to_json(self) -> dict[str, Any]:
        """Return it for scripts."""
        return {
            "term": self.text, "value": self.truth, "because": self.values, "short_by": self.short or None,
            "any_of": [one.to_json() for one in self.any_of],
        }  # fmt: skip


@dataclass(frozen=True)
class Looked:
    """What one rule made of one event."""

    rule: Rule
    outcome: Outcome
    says: str
    terms: tuple[Term, ...] = ()
    parts: tuple[Part, ...] = ()
    key: tuple[Any, ...] = ()
    until: int | None = None
    """Of an absence that the event arms: its deadline."""

    @property
    def misses(self) -> int:
        """How many of the terms that must hold do not."""
        return sum(part.truth != "true" for part in self.parts)

    @property
    def kept_by(self) -> str:
        """What kept it from firing: the first term that does not hold, with its values, and how many more; empty: nothing did."""
        failed = [part for part in self.parts if part.truth != "true"]
        if not failed:
            return ""
        first = failed[0]
        word = "could not be known" if first.truth == "unknown" else "was false"
        values = f": {first.values}" if first.values else ""
        short = f", {first.short} away" if first.short else ""
        others = f", and {counted(len(failed) - 1, 'more term')}" if len(failed) > 1 else ""
        return f"{first.text} {word}{values}{short}{others}"

    def to_json(self) -> dict[str, Any]:
        """Return it for scripts."""
        return {
            "rule": self.rule.id, "status": self.rule.status, "outcome": self.outcome, "says": self.says,
            "terms": [term.to_json() for term in self.terms],
        }  # fmt: skip


def look(rule: Rule, event: Event, veil: Veil = OPEN) -> Looked:
    """Return what a rule makes of an event, which stands as the rule sees it: completed, with what it reads beside it."""
    operator = rule.operator
    if isinstance(operator, EventOperator):
        return _Look(rule, event, veil).of_event(operator)
    if isinstance(operator, MissingOperator):
        return _Look(rule, event, veil).of_missing(operator)
    text = f"{operator.kind} has no explanation"
    raise TypeError(text)


@dataclass(frozen=True)
class _Look:
    rule: Rule
    event: Event
    veil: Veil

    def said(self, outcome: Outcome, says: str, terms: list[Term] | None = None, **more: Any) -> Looked:
        if self.rule.status != "live":
            says += f" (the rule is {self.rule.status}: nobody is told)"
        return Looked(self.rule, outcome, says, tuple(terms or ()), **more)

    def of_event(self, operator: EventOperator) -> Looked:
        rule, event = self.rule, self.event
        stops = [one.matcher for one in operator.stops if one.matcher.type == event.type]
        if operator.matcher.type != event.type:
            return self.of_stop(operator, stops) if stops else self.said("other_event", "looks at another")
        terms, parts = self.asked(operator.matcher)
        for name in operator.changed:
            changed = has_changed(event.data, name)
            sides = self.sides(name)
            known = changed or " is " not in sides
            value: Truth = "unknown" if not known else "true" if changed else "false"
            terms.append(Term(0, f"changed {name}", value, f" ({sides})"))
            parts.append(Part(f"{name} changed", value, sides))
        if len(operator.changed) > 1:
            parts = [*parts[: -len(operator.changed)], _any_of(parts[-len(operator.changed) :])]
        key = operator.key(event) or ()
        if operator.fires(event, rule.params):
            says = f"FIRES for {self.for_whom()}"
            return self.said("fired", says, terms + list(self.consequences()), parts=tuple(parts), key=key)
        return self.said("no_match", "does not fire", terms, parts=tuple(parts), key=key)

    def of_stop(self, operator: EventOperator, stops: list[Matcher]) -> Looked:
        """Say whether an event takes back what a rule has told."""
        key = operator.key(self.event)
        if key is None:
            return self.said("null_key", "does not see the event: what would say whom it concerns is null")
        asked = [self.asked(one) for one in stops]
        terms = [line for lines, _ in asked for line in lines]
        if any(one.matches(self.event, self.rule.params) for one in stops):
            names = (".".join(path) for path in operator.match_here)
            named = ", ".join(f"{name} {value}" for name, value in zip(names, key, strict=True))
            return self.said("stopped", f"takes back what it has told ({named})", terms, key=key)
        return self.said("no_match", "its condition does not hold, so nothing is taken back", terms, key=key)

    def of_missing(self, operator: MissingOperator) -> Looked:
        rule, event = self.rule, self.event
        roles: list[tuple[str, Outcome, tuple[Matcher, ...]]] = [
            ("arms it", "armed", (operator.after,)),
            ("is what it waits for: disarms it, or takes the firing back", "disarmed", operator.expect),
            ("cancels it", "disarmed", operator.cancel_on),
            ("brings another deadline", "rescheduled", operator.reschedule_on),
        ]
        looked = [
            (says, outcome, one) for says, outcome, matchers in roles for one in matchers if one.type == event.type
        ]
        if not looked:
            return self.said("other_event", "looks at another event")
        key = operator.key(event)
        if key is None:
            return self.said("null_key", f"does not see the event: {', '.join(operator.by)} is null")
        asked = [self.asked(one) for _, _, one in looked]
        terms = [line for lines, _ in asked for line in lines]
        for (says, outcome, one), (_, parts) in zip(looked, asked, strict=True):
            if one.matches(event, rule.params):
                until, due = "", None
                if outcome in ("armed", "rescheduled") and isinstance(operator.deadline, Compiled):
                    trace = operator.deadline.explain(event.data, event, rule.params)
                    terms += list(self.lines(trace, 0))
                    until = f" until {trace.shown}"
                    due = trace.value if isinstance(trace.value, int) else None
                named = ", ".join(f"{name} {value}" for name, value in zip(operator.by, key, strict=True))
                if outcome == "armed":
                    terms += list(self.consequences())
                return self.said(outcome, f"{says}{until} ({named})", terms, parts=tuple(parts), key=key, until=due)
        parts = [part for _, parts in asked for part in parts]
        return self.said("no_match", "its condition does not hold", terms, parts=tuple(parts), key=key)

    def for_whom(self) -> str:
        whom = recipient_of(self.rule, self.event)
        severity = severity_of(self.rule, self.event)
        if whom[-1] == ":":
            return f"nobody that we know, {severity}"
        if self.veil is not OPEN and whom.startswith("address:"):
            whom = f"address:{recipient_shown(whom)}"
        return f"{whom}, {severity}"

    def consequences(self) -> Iterator[Term]:
        """Explain what depends on the event beside the condition: a raised severity, steps that are not always due."""
        for condition, severity in self.rule.raise_severity:
            yield from self.headed(f"severity {severity}", condition)
        for step in self.rule.steps:
            if step.condition is not None:
                yield from self.headed(f"{step.channel} {step.target or step.template}", step.condition)

    def headed(self, head: str, condition: Expression) -> Iterator[Term]:
        holds = condition.true(self.event.data, self.event, self.rule.params)
        yield Term(0, head, "due" if holds else "not due")
        if isinstance(condition, Compiled):
            yield from self.lines(condition.explain(self.event.data, self.event, self.rule.params), 1)

    def sides(self, name: str) -> str:
        sides = []
        for side in ("before", "after"):
            row, coverage = self.event.data.get(side), self.event.data.get(f"{side}_coverage")
            if not (isinstance(row, Mapping) and name in row):
                sides.append(f"{side} is {coverage}")
            elif self.veil.hides((side, name)):
                sides.append(f"{side} {shape(row[name])}")
            else:
                sides.append(f"{side} null" if row[name] is None else f"{side} {row[name]!r}")
        return ", ".join(sides)

    def asked(self, matcher: Matcher) -> tuple[list[Term], list[Part]]:
        if not isinstance(matcher.condition, Compiled):
            return [], []
        trace = matcher.condition.explain(self.event.data, self.event, self.rule.params)
        return list(self.lines(trace, 0)), [self.part(one) for one in conjuncts(trace)]

    def lines(self, trace: Trace, depth: int) -> Iterator[Term]:
        because = f" ({trace.because})" if trace.because and not any(part.because for part in trace.parts) else ""
        yield Term(depth, trace.source, self.shown(trace), because)
        for part in trace.parts:
            if not part.constant:
                yield from self.lines(part, depth + 1)

    def part(self, trace: Trace) -> Part:
        truth: Truth = "unknown" if trace.value is UNKNOWN else "true" if trace.value is True else "false"
        values = dict.fromkeys(f"{leaf.source} is {self.shown(leaf)}" for leaf in _leaves(trace))
        if truth == "unknown" and trace.because:
            values[trace.because] = None
        hidden = any(self.hides(leaf) for leaf in _leaves(trace))
        short, close = ("", False) if hidden else (short_by(trace), is_close(trace))
        others = tuple(self.part(one) for one in alternatives(trace)) if trace.op == "||" else ()
        return Part(trace.source, truth, ", ".join(values), short, close, others)

    def shown(self, trace: Trace) -> str:
        if self.hides(trace):
            return shape(trace.value)
        return DOTS if trace.kind != "bool" and any(self.hides(leaf) for leaf in _leaves(trace)) else trace.shown

    def hides(self, trace: Trace) -> bool:
        return not trace.parts and not trace.constant and self.veil.hides_text(trace.source)


def opening(rule: Rule) -> set[str]:
    """Return the types of the events with which a rule may begin something."""
    operator = rule.operator
    return {operator.after.type} if isinstance(operator, MissingOperator) else {operator.matchers[0].type}


def begins(rule: Rule, event: Event) -> bool:
    """Return whether an event fires or arms a rule, as `look` would find, for a tenth of the time."""
    operator = rule.operator
    if isinstance(operator, MissingOperator):
        after = operator.after
        return event.type == after.type and operator.key(event) is not None and after.matches(event, rule.params)
    if isinstance(operator, EventOperator):
        return event.type == operator.matcher.type and bool(operator.fires(event, rule.params))
    return False


def conjuncts(trace: Trace) -> Iterator[Trace]:
    """Yield the terms that must all hold, whoever has given several of them a name."""
    if trace.op in ("&&", "named") and trace.parts:
        for part in trace.parts:
            yield from conjuncts(part)
    else:
        yield trace


def alternatives(trace: Trace) -> Iterator[Trace]:
    """Yield the terms of which one is enough."""
    if trace.op == "||":
        for part in trace.parts:
            yield from alternatives(part)
    else:
        yield trace


def _leaves(trace: Trace) -> Iterator[Trace]:
    if not trace.parts and not trace.constant:
        yield trace
    for part in trace.parts:
        yield from _leaves(part)


def short_by(trace: Trace) -> str:
    """Return by how much a comparison failed, where its sides are numbers, times, or money of one currency."""
    sides = _sides(trace)
    if sides is None:
        return ""
    left, right = sides
    value, kind = trace.parts[0].value, trace.parts[0].kind
    if isinstance(value, Mapping):
        return render_value({**value, "amount_minor": abs(left - right)}, "money")
    return render_value(abs(left - right), "duration" if kind in ("timestamp", "duration") else "number")


def is_close(trace: Trace) -> bool:
    """Return whether a comparison failed by little: by at most a `CLOSE`th of the larger side. Of instants none does."""
    sides = _sides(trace)
    if sides is None or trace.parts[0].kind == "timestamp":
        return False
    left, right = Fraction(sides[0]), Fraction(sides[1])
    return abs(left - right) * CLOSE <= max(abs(left), abs(right))


def _sides(trace: Trace) -> tuple[int | Fraction, int | Fraction] | None:
    """Return what a comparison that failed compared, where that is numbers."""
    if trace.value is not False or trace.op not in ("<", "<=", ">", ">=", "=="):
        return None
    left, right = (part.value for part in trace.parts)
    if isinstance(left, Mapping) and isinstance(right, Mapping) and left.get("currency") == right.get("currency"):
        left, right = left["amount_minor"], right["amount_minor"]
    if not all(isinstance(one, (int, Fraction)) and not isinstance(one, bool) for one in (left, right)):
        return None
    return left, right


def _any_of(parts: list[Part]) -> Part:
    """Return several of which one is enough as one."""
    truths = {part.truth for part in parts}
    truth: Truth = "true" if "true" in truths else "unknown" if "unknown" in truths else "false"
    return Part(
        " or ".join(part.text for part in parts), truth, "; ".join(part.values for part in parts), any_of=tuple(parts)
    )
