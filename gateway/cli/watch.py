"""Tells what happens, as it happens: one line for each thing, or one JSON object for scripts."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from handlers.operators.event import EventOperator
from handlers.operators.missing import MissingOperator
from handlers.rules.conditions import Compiled, Trace
from streams.explaining.because import stale
from streams.json_events import rfc3339
from streams.processors.detect import Batch, Done
from streams.processors.dispatch import Passed
from streams.processors.results import Sent
from streams.wording import LAST, counted, moment
from tidings import canonical
from tidings.correction import NOTICE
from tidings.event import Event
from tidings.message import Message
from tidings.person import Person
from tidings.reasons import MessageState, Reason, sentence_of
from tidings.rule import Rule, RuleSet
from tidings.unknown import UNKNOWN

QUIET = (
    "customer.profile.changed", "customer.consent.given", "customer.identity.linked", "customer.preference.changed",
)  # fmt: skip


def why_not(rule: Rule, event: Event) -> str | None:
    """Return why a rule did not speak on an event, or None where it has nothing to say about it."""
    operator = rule.operator
    if not isinstance(operator, EventOperator) or operator.matcher.type != event.type:
        return None
    whole = event.data.get("before_coverage", "FULL") in ("FULL", "ABSENT")
    if rule.reads or not whole or event.data.get("after_coverage") == "CHANGED_FIELDS_ONLY":
        return None  # what else it read is known inside its transaction only; `rules explain` tells it afterwards
    condition = operator.matcher.condition
    if isinstance(condition, Compiled) and not condition.true(event.data, event, rule.params):
        return decisive(condition.explain(event.data, event, rule.params))
    if operator.changed and not operator.fires(event, rule.params):
        return f"{' and '.join(operator.changed)} did not change"
    return None


def deadline_of(rule: Rule, event: Event) -> int | None:
    """Return until when an event lets a rule wait for what should follow it, or None where it arms nothing."""
    operator = rule.operator
    if not isinstance(operator, MissingOperator) or operator.after.type != event.type or rule.reads:
        return None
    if operator.key(event) is None or not operator.after.matches(event, rule.params):
        return None
    until = operator.deadline.value(event.data, event, rule.params)
    return until if isinstance(until, int) and 0 <= until < LAST else None


def decisive(trace: Trace) -> str:
    """Return the term that decided against: `amount >= 50 (amount is 12)`."""
    for part in trace.parts:
        if part.kind == "bool" and part.value is not True and part.parts and trace.value is not True:
            return decisive(part)
    if trace.value is UNKNOWN:
        return f"{trace.source} cannot be known: {trace.because}"
    details = [f"{part.source} is {part.shown}" for part in trace.parts if not part.constant and not part.parts]
    return f"{trace.source} is {trace.shown}" + (f" ({', '.join(details)})" if details else "")


@dataclass
class Watch:
    """Observes the engine."""

    rules: RuleSet
    clock: Callable[[], int]
    as_json: bool = False
    out: Callable[[str], None] = print
    stamp: Callable[[int], str] = lambda at: rfc3339(at)[11:19]
    """How an instant is shown in a line; in JSON it is whole."""
    quiet: bool = True
    """Leave out what only makes customers known."""
    told: list[Sent] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    """Our references of the events so far: what comes again counts once."""
    held: dict[str, Message] | None = None
    """Where it is a mapping, held messages wait in it for `hold`, which knows the person."""

    def __call__(self, seen: object) -> None:
        """Tell one thing."""
        match seen:
            case Batch():
                self._batch(seen)
            case Done():
                self._done(seen)
            case Passed():
                self._passed(seen)
            case Sent():
                self._sent(seen)
            case Message():
                self._message(seen)

    def say(self, what: str, line: str, /, **data: Any) -> None:
        """Print a line."""
        now = self.clock()
        if self.as_json:
            self.out(json.dumps({"at": rfc3339(now), "what": what, **data}, ensure_ascii=False))
        else:
            self.out(f"{self.stamp(now)}  {what:9}  {line}")

    def _batch(self, batch: Batch) -> None:
        for event in batch.events:
            if self.quiet and event.type in QUIET:
                continue
            who = event.data.get("customer_id") or event.data.get("sku") or ""
            key = event.subject or next(iter(event.data.values()), "")
            names = [str(one) for one in dict.fromkeys((key, who)) if one]
            text = "  ".join([event.type, *names, *([] if event.id in names else [f"id {event.id}"])])
            facts = {"type": event.type, "ref": event.ref, "id": event.id, "customer": event.data.get("customer_id")}
            if event.ref in self.seen:
                self.say("again", f"{text}  (came before; it is counted once)", **facts)
                continue
            self.seen.add(event.ref)
            self.say("event", text, **facts)
            for rule in self.rules.active:
                if (until := deadline_of(rule, event)) is not None:
                    self._armed(rule, event, until)
                if (reason := why_not(rule, event)) is not None:
                    self.say("silent", f"{rule.id}: {reason}", rule=rule.id, event=event.ref, because=reason)
        for refused in batch.refused:
            record = refused.record
            place = f"{record.topic}[{record.partition}]@{record.offset}"
            self.say("refused", f"{place}: {refused.reason}: {refused.detail}", place=place, reason=refused.reason)

    def _armed(self, rule: Rule, event: Event, until: int) -> None:
        operator = rule.operator
        assert isinstance(operator, MissingOperator), "only such a rule waits"
        key = [str(part) for part in operator.key(event) or ()]
        awaited = " or ".join(dict.fromkeys(one.type for one in operator.expect))
        text = f"{rule.id}  {', '.join(key)}  waits for {awaited} until {moment(until)}"
        self.say("armed", text, rule=rule.id, event=event.ref, key=key, until=rfc3339(until))

    def _done(self, done: Done) -> None:
        for record in done.records:
            body = canonical.loads(record.body)
            key = ", ".join(str(part) for part in record_key(body))
            text = f"{record.rule}  {record.recipient}  {key}".rstrip()
            what = "fired" if record.kind == "fired" else record.kind
            if record.kind == "stopped":
                text += "  (settled: whoever was told hears of it)"
            self.say(what, text, rule=record.rule, firing=record.firing_id, recipient=record.recipient, key=body["key"])

    def _passed(self, passed: Passed) -> None:
        for message in passed.result.messages.values():
            if message.state is not MessageState.PENDING:
                self._message(message)

    def _message(self, message: Message) -> None:
        if message.state in (MessageState.ACCEPTED, MessageState.PENDING):
            return
        if message.state is MessageState.HELD and self.held is not None:
            self.held[message.message_id] = message
            return
        reason = message.reason or ""
        sentence = "" if message.role == NOTICE else "All-clear. "
        sentence += sentence_of(reason, message.state)
        what = (
            "held" if message.state is MessageState.HELD else "not told" if not message.is_open else str(message.state)
        )
        if reason == Reason.STALE and (happened := message.body.get("logical_at")) is not None:
            sentence += f" It happened {moment(happened)}: {stale(message, self.rules.by_id.get(message.rule))}."
        text = f"{message.rule}  {message.channel}  {message.recipient}  {message.state}({reason}): {sentence}"
        self.say(what, text, **facts_of(message), because=sentence)

    def hold(self, message: Message, person: Person, content: Mapping[str, Any]) -> None:
        """Tell that a message waits: until when by the recipient's clock, and what it will say."""
        reason = message.reason or ""
        due_at = None if reason == Reason.KILLED else message.due_at
        until = "until released" if reason == Reason.KILLED else ""
        if due_at is not None:
            until = f"until {moment(due_at, person.timezone)}"
        text = f"{message.rule}  {message.channel}  {message.recipient}  {until}  {message.state}({reason})"
        due = None if due_at is None else rfc3339(due_at)
        self.say("held", text, **facts_of(message), until=due, timezone=person.timezone, **content)
        self._shown(shown(content))

    def _shown(self, lines: list[str]) -> None:
        if not self.as_json:
            margin = len(self.stamp(self.clock())) + 13
            for line in lines:
                self.out(f"{'':{margin}}| {line}".rstrip())

    def _sent(self, sent: Sent) -> None:
        message, content = sent.message, sent.outgoing.content
        if sent.outcome.stage != "accepted":
            self.say("attempt", f"{message.rule}: {sent.outcome.stage} {sent.outcome.detail}", stage=sent.outcome.stage)
            return
        self.told.append(sent)
        self.say(
            "told", f"{message.rule}  {message.channel}  {message.recipient}", rule=message.rule, recipient=message.recipient,
            message=message.message_id, channel=message.channel, to=sent.outgoing.address, **content,
        )  # fmt: skip
        self._shown([f"To: {sent.outgoing.address}", *shown(content)])


def facts_of(message: Message) -> dict[str, Any]:
    """Return what scripts learn of a message."""
    return {
        "rule": message.rule, "recipient": message.recipient, "message": message.message_id, "channel": message.channel,
        "state": str(message.state), "reason": message.reason or "",
    }  # fmt: skip


def shown(content: Mapping[str, Any]) -> list[str]:
    """Return a content as lines: its heading, its text, or what another system is given."""
    heads = [f"{name.capitalize()}: {content[name]}" for name in ("subject", "title") if content.get(name)]
    text = str(content.get("text") or content.get("body") or "")
    data = [] if text else [f"{name}: {value}" for name, value in content.get("data", {}).items()]
    return [*heads, *([""] if heads and text else []), *text.rstrip().splitlines(), *data]


def record_key(body: dict[str, Any]) -> list[Any]:
    """Return the key values of a record."""
    return list(body["key"])


ENDS = ("accepted", "suppressed", "cancelled", "expired", "failed", "unresolved")


def summary(counts: dict[str, Any]) -> tuple[list[str], dict[str, Any], bool]:
    """Return the sum in words, as data, and whether it holds."""
    by_state, corrections = _by_state(counts["messages"]), _by_state(counts["corrections"])
    untaken, decided = counts["untaken"], counts["decided"]
    holds = counts["steps_due"] == sum(by_state.values())
    holds = holds and counts["events"] == decided + counts["dead_letters"] + untaken
    left = f" + {untaken} not taken yet" if untaken else ""
    fired = counts["records"].get("fired", 0)
    stopped = counts["records"].get("stopped", 0)
    lines = [
        f"events    {counts['events']} published = {decided} decided + {counts['dead_letters']} in the dead letters{left}",
        f"firings   {fired} fired, {stopped} of them taken back; {waiting(counts)}",
        f"messages  {counts['steps_due']} due = {_terms(by_state)}",
        f"because   {_reasons(counts['reasons']) or 'nothing was held back'}",
    ]
    if any(corrections.values()):
        because = _reasons(counts["correction_reasons"])
        lines.append(f"clears    {counted(sum(corrections.values()), 'all-clear')} = {_terms(corrections)}")
        lines += [f"because   {because}"] if because else []
    lines.append("The sum holds." if holds else "THE SUM DOES NOT HOLD: please report this, with the file.")
    data = {
        "events": counts["events"], "decided": decided, "dead_letters": counts["dead_letters"], "not_taken": untaken,
        "fired": fired, "stopped": stopped, "armed": counts["armed"],
        "buffered": counts["buffered"], "steps_due": counts["steps_due"],
        "messages": by_state, "reasons": counts["reasons"], "corrections": corrections,
        "correction_reasons": counts["correction_reasons"], "holds": holds,
    }  # fmt: skip
    return lines, data, holds


def waiting(counts: dict[str, Any]) -> str:
    """Return what waits: absences for their deadline, events for such as happened before them and come late."""
    armed, buffered = counts["armed"], counts["buffered"]
    text = f"{counted(armed, 'absence waits', 'absences wait')} for {'its' if armed == 1 else 'their'} deadline"
    if buffered:
        text += f", {counted(buffered, 'event waits', 'events wait')} for others that may come late"
    return text


def _by_state(counted: dict[str, int]) -> dict[str, int]:
    """Return the terminal states in their order, and everything else as `open`."""
    ended = {state: counted.get(state, 0) for state in ENDS}
    return {**ended, "open": sum(counted.values()) - sum(ended.values())}


def _terms(by_state: dict[str, int]) -> str:
    return " + ".join(f"{number} {state}" for state, number in by_state.items() if number) or "0"


def _reasons(counted: dict[str, int]) -> str:
    return ", ".join(f"{number} {name}" for name, number in sorted(counted.items()))
