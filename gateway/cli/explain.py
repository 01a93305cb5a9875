"""`tidings rules explain`: what every rule made of one event, term by term, with values."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from textwrap import shorten
from typing import Any

from gateway.cli import found_event
from gateway.cli.beside import beside
from gateway.cli.folder import example, loaded, to_mend
from gateway.cli.found_event import Became, FoundEvent
from gateway.cli.ingest import mapped, see_that_it_exists
from gateway.cli.told import Told
from gateway.cli.wording import counted, moment
from handlers.operators.event import EventOperator, has_changed
from handlers.operators.missing import MissingOperator
from handlers.rules.conditions import Compiled, Trace
from streams.json_events import rfc3339
from tidings import canonical
from tidings.correction import NOTICE
from tidings.event import Event
from tidings.reasons import MessageState, Reason
from tidings.record import recipient_of, severity_of
from tidings.rule import Expression, Matcher, Rule, RuleSet

MAX_WORDS = 100
"""Characters of a message that are shown."""


def explain(arguments: Namespace) -> int:
    """Run the verb; EVENT is an id or a place in the file of `--data` or in the archive of a cluster, or a file.

    A file holds one event, or with `--source` a payload of another system, which may become several.
    """
    path = Path(arguments.event)
    if arguments.source is not None:
        see_that_it_exists(arguments.source)
        events = found_event.of_payload(path, arguments.source, mapped(arguments.mapping, arguments.rules))
        return _explain(arguments, *(FoundEvent(event) for event in events))
    if arguments.mapping is not None:
        raise Told("--mapping goes with --source: it says which event a payload of another system becomes")
    if path.is_file():
        return _explain(arguments, found_event.of_file(path))
    with beside(arguments) as reader:
        return _explain(arguments, found_event.of_log(reader, arguments.event))


def _explain(arguments: Namespace, *events: FoundEvent) -> int:
    told = [_judged(arguments, found) for found in events]
    if arguments.json:
        bodies = [body for _, body, _ in told]
        # A payload is a list of events, also where it became one only.
        print(json.dumps(bodies[0] if arguments.source is None else bodies, ensure_ascii=False))
        return 0
    for number, (found, body, others) in enumerate(told):
        if number:
            print()
        _show(found, body["rules"], others)
    return 0


def _judged(arguments: Namespace, found: FoundEvent) -> tuple[FoundEvent, dict[str, Any], int]:
    """Return what rules make of an event, and how many do not look at it."""
    active = _rules(arguments.rules) if arguments.rules is not None or found.rules is None else found.rules
    rules = [rule for rule in active.rules if arguments.rule in (None, rule.id)]
    if not rules:
        text = f"there is no rule {arguments.rule!r}; there are {', '.join(sorted(active.by_id))}"
        raise Told(text)
    event = found.event
    told = [verdict(rule, found) for rule in rules]
    looked = [one for one in told if one["outcome"] != "other_event"]
    body = {"event": event.id, "type": event.type, "time": rfc3339(event.occurred_at), "rules": looked}
    return found, body, len(told) - len(looked)


def _show(found: FoundEvent, looked: list[dict[str, Any]], others: int) -> None:
    event = found.event
    if found.alone:
        print(
            "beside the archive of a cluster an event is seen alone: 'before', and other entities, as far as it holds them"
        )
    print(f"{event.type}  {event.id}  {rfc3339(event.occurred_at)}  {event.data.get('customer_id') or ''}".rstrip())
    for one in looked:
        print(f"\n{one['rule']}: {one['says']}")
        for line in one["terms"]:
            print(f"  {'  ' * line['depth']}{line['term']}  is {line['value']}{line['because']}")
        for message in one["messages"]:
            print(f"  → {message['channel']} to {message['to']}: {message['state']}{message['because']}")
            for line in message["details"]:
                print(f"      {line}")
    if others:
        print(f"\n{counted(others, 'rule does', 'rules do')} not look at {event.type}.")


def _rules(folder: Path | None) -> RuleSet:
    found, _, _ = loaded(folder or example())
    if found.rules is None:
        raise Told(to_mend(folder or example()))
    return found.rules


def verdict(rule: Rule, found: FoundEvent) -> dict[str, Any]:
    """Return what a rule makes of an event: its outcome, a sentence, the terms with their values, what became of it."""
    operator, event = rule.operator, found.beside(rule)
    if isinstance(operator, EventOperator):
        said = _of_event(rule, operator, event)
    elif isinstance(operator, MissingOperator):
        said = _of_missing(rule, operator, event)
    else:
        text = f"{operator.kind} has no explanation"
        raise TypeError(text)
    begins = said["outcome"] in ("fired", "armed")
    messages = found.told(rule, operator.key(event) or ()) if begins else []
    return {**said, "messages": [_message(message) for message in messages]}


def _message(became: Became) -> dict[str, Any]:
    message = became.message
    reason = message.reason
    sentence = Reason(reason).sentence if reason in set(Reason) else ""
    because = f" ({reason}): {sentence}" if reason else ""
    kind = "" if message.role == NOTICE else " (all-clear)"
    return {
        "message": message.message_id, "channel": f"{message.channel}{kind}", "to": message.recipient,
        "state": str(message.state), "reason": reason, "because": because, "details": list(_details(became)),
    }  # fmt: skip


def _details(became: Became) -> Iterator[str]:
    """Yield what it says, when by the recipient's clock, and what was asked right before it left."""
    message, zone, attempt = became.message, became.person.timezone, became.attempt
    words = next((became.content[name] for name in ("subject", "title", "text") if became.content.get(name)), "")
    if words:
        yield f'"{shorten(str(words), MAX_WORDS, placeholder=" …")}"'
    if message.state is MessageState.HELD and message.due_at is not None:
        yield f"held until {moment(message.due_at, zone)}"
    if attempt is None:
        return
    ended = attempt["ended_at"] if attempt["ended_at"] is not None else attempt["intent_at"]
    yield f"attempt {attempt['no']} by {attempt['provider']}: {attempt['outcome'] or 'outcome not known'}, {moment(ended, zone)}"
    asked = canonical.loads(attempt["asked"])
    gates = []
    if became.person.kind == "customer" and asked["consent"]:
        given = "not withdrawn" if message.body["consent"] == "transactional" else "given"
        gates.append(f"consent '{message.body['consent']}' {given}")
        gates += [f"topic '{message.body['topic']}' not switched off"] if message.body.get("topic") else []
    if "quiet" in asked:
        gates.append(f"no quiet hours at {moment(asked['quiet']['at'], asked['quiet']['zone'])}")
    if gates:
        yield f"asked right before: {', '.join(gates)}"


def _said(rule: Rule, outcome: str, says: str, terms: list[dict[str, Any]]) -> dict[str, Any]:
    if rule.status != "live":
        says += f" (the rule is {rule.status}: nobody is told)"
    return {"rule": rule.id, "status": rule.status, "outcome": outcome, "says": says, "terms": terms}


def _of_event(rule: Rule, operator: EventOperator, event: Event) -> dict[str, Any]:
    stops = [one.matcher for one in operator.stops if one.matcher.type == event.type]
    if operator.matcher.type != event.type:
        return _of_stop(rule, operator, stops, event) if stops else _said(rule, "other_event", "looks at another", [])
    terms = list(_terms(operator.matcher, event, rule))
    for name in operator.changed:
        changed = has_changed(event.data, name)
        sides = _sides(event, name)
        known = changed or " is " not in sides
        value = str(changed).lower() if known else "unknown"
        terms.append({"depth": 0, "term": f"changed {name}", "value": value, "because": sides})
    if operator.fires(event, rule.params):
        return _said(rule, "fired", f"FIRES for {_for_whom(rule, event)}", terms + list(_consequences(rule, event)))
    return _said(rule, "no_match", "does not fire", terms)


def _of_stop(rule: Rule, operator: EventOperator, stops: list[Matcher], event: Event) -> dict[str, Any]:
    """Say whether an event takes back what a rule has told."""
    key = operator.key(event)
    if key is None:
        return _said(rule, "null_key", "does not see the event: what would say whom it concerns is null", [])
    terms = [line for one in stops for line in _terms(one, event, rule)]
    if any(one.matches(event, rule.params) for one in stops):
        names = (".".join(path) for path in operator.match_here)
        named = ", ".join(f"{name} {value}" for name, value in zip(names, key, strict=True))
        return _said(rule, "stopped", f"takes back what it has told ({named})", terms)
    return _said(rule, "no_match", "its condition does not hold, so nothing is taken back", terms)


def _for_whom(rule: Rule, event: Event) -> str:
    whom = recipient_of(rule, event)
    severity = severity_of(rule, event)
    return f"{whom}, {severity}" if whom[-1] != ":" else f"nobody that we know, {severity}"


def _consequences(rule: Rule, event: Event) -> Iterator[dict[str, Any]]:
    """Explain what depends on the event beside the condition: a raised severity, steps that are not always due."""
    for condition, severity in rule.raise_severity:
        yield from _headed(f"severity {severity}", condition, event, rule)
    for step in rule.steps:
        if step.condition is not None:
            yield from _headed(f"{step.channel} {step.target or step.template}", step.condition, event, rule)


def _headed(head: str, condition: Expression, event: Event, rule: Rule) -> Iterator[dict[str, Any]]:
    holds = condition.true(event.data, event, rule.params)
    yield {"depth": 0, "term": head, "value": "due" if holds else "not due", "because": ""}
    if isinstance(condition, Compiled):
        yield from _lines(condition.explain(event.data, event, rule.params), 1)


def _sides(event: Event, name: str) -> str:
    sides = []
    for side in ("before", "after"):
        row, coverage = event.data.get(side), event.data.get(f"{side}_coverage")
        known = isinstance(row, dict) and name in row
        sides.append(f"{side} {row[name]!r}" if known and isinstance(row, dict) else f"{side} is {coverage}")
    return f" ({', '.join(sides)})"


def _of_missing(rule: Rule, operator: MissingOperator, event: Event) -> dict[str, Any]:
    roles = [
        ("arms it", "armed", (operator.after,)),
        ("is what it waits for: disarms it, or takes the firing back", "disarmed", operator.expect),
        ("cancels it", "disarmed", operator.cancel_on),
        ("brings another deadline", "rescheduled", operator.reschedule_on),
    ]  # fmt: skip
    looked = [(says, outcome, one) for says, outcome, matchers in roles for one in matchers if one.type == event.type]
    if not looked:
        return _said(rule, "other_event", "looks at another event", [])
    key = operator.key(event)
    if key is None:
        return _said(rule, "null_key", f"does not see the event: {', '.join(operator.by)} is null", [])
    terms = [line for _, _, one in looked for line in _terms(one, event, rule)]
    for says, outcome, one in looked:
        if one.matches(event, rule.params):
            until = ""
            if outcome in ("armed", "rescheduled") and isinstance(operator.deadline, Compiled):
                trace = operator.deadline.explain(event.data, event, rule.params)
                terms += list(_lines(trace, 0))
                until = f" until {trace.shown}"
            named = ", ".join(f"{name} {value}" for name, value in zip(operator.by, key, strict=True))
            if outcome == "armed":
                terms += list(_consequences(rule, event))
            return _said(rule, outcome, f"{says}{until} ({named})", terms)
    return _said(rule, "no_match", "its condition does not hold", terms)


def _terms(matcher: Matcher, event: Event, rule: Rule) -> Iterator[dict[str, Any]]:
    if isinstance(matcher.condition, Compiled):
        yield from _lines(matcher.condition.explain(event.data, event, rule.params), 0)


def _lines(trace: Trace, depth: int) -> Iterator[dict[str, Any]]:
    because = f" ({trace.because})" if trace.because and not any(part.because for part in trace.parts) else ""
    yield {"depth": depth, "term": trace.source, "value": trace.shown, "because": because}
    for part in trace.parts:
        if not part.constant:
            yield from _lines(part, depth + 1)
