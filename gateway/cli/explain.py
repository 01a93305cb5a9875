"""`tidings rules explain`: what every rule made of one event, term by term, with values."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gateway.cli.dead_letters import reading
from gateway.cli.folder import example, loaded
from gateway.cli.ingest import read
from gateway.cli.told import Told
from handlers.operators.event import EventOperator, has_changed
from handlers.operators.missing import MissingOperator
from handlers.rules.conditions import Compiled, Trace
from schemas import contracts
from streams.codec import Codec
from streams.embedded_log import read_record
from streams.json_events import NotAnEvent, from_json, parse_json, rfc3339
from tidings import ids, images
from tidings.errors import BadContract
from tidings.event import Event
from tidings.images import Image
from tidings.log import LogRecord
from tidings.ports import Scan, Transaction
from tidings.rule import Matcher, Rule


def explain(arguments: Namespace) -> int:
    """Run the verb; EVENT is an id in the file of `--data`, or a JSON file with one event."""
    found, _, _ = loaded(arguments.rules or example())
    if found.rules is None:
        raise Told("the rules have errors; 'tidings rules check' tells them")
    rules = [rule for rule in found.rules.rules if arguments.rule in (None, rule.id)]
    if not rules:
        text = f"there is no rule {arguments.rule!r}"
        raise Told(text)
    path = Path(arguments.event)
    event = event_of_file(path) if path.is_file() else event_of_log(arguments.data, arguments.event)
    told = [verdict(rule, event) for rule in rules]
    looked = [one for one in told if one["outcome"] != "other_event"]
    if arguments.json:
        body = {"event": event.id, "type": event.type, "time": rfc3339(event.occurred_at), "rules": looked}
        print(json.dumps(body, indent=1, ensure_ascii=False))
        return 0
    print(f"{event.type}  {event.id}  {rfc3339(event.occurred_at)}  {event.data.get('customer_id') or ''}".rstrip())
    for one in looked:
        print(f"\n{one['rule']}: {one['says']}")
        for line in one["terms"]:
            print(f"  {'  ' * line['depth']}{line['term']}  is {line['value']}{line['because']}")
    others = len(told) - len(looked)
    print(f"\n{others} rules do not look at {event.type}." if others else "")
    return 0


def event_of_file(path: Path) -> Event:
    """Return the event of a JSON file, as if it had just been published."""
    try:
        body = parse_json(read(path))
        kind = body.get("type") if isinstance(body, dict) else None
        contract = contracts().by_type.get(str(kind))
        if contract is None:
            text = f"{path}: 'type' is {kind!r}, which is no event contract"
            raise Told(text)
        codec = Codec(contracts())
        payload = from_json(contract, body)
        key, value = codec.encode(contract.type, payload)
        return codec.decode(LogRecord(contract.topic, 0, 0, payload["meta"]["occurred_at"], key, value))
    except (NotAnEvent, BadContract) as fault:
        text = f"{path}: {fault}"
        raise Told(text) from fault


def event_of_log(folder: Path, name: str) -> Event:
    """Return an event of the log by its id or our reference, with `before` as complete as it was then."""

    def body() -> Transaction[list[LogRecord]]:
        rows = yield Scan("log")
        return [read_record(row) for row in rows]

    with reading(folder) as reader:
        records = reader.read(body)
    codec = Codec(contracts())
    known: dict[bytes, Image] = {}
    for record in sorted(records, key=lambda one: (one.topic, one.partition, one.offset)):
        try:
            event = codec.decode(record)
        except BadContract:
            continue
        contract = contracts().by_type[event.type]
        values = images.image_key(contract, event)
        if values is not None:
            place = ids.state_key(event.tenant, images.image_class(contract.entity), values)
            event, known[place] = images.complete(event, known.get(place))
        if name in (event.id, event.ref):
            return event
    text = f"there is no event {name!r} in {folder / 'tidings.db'}, and no such file"
    raise Told(text)


def verdict(rule: Rule, event: Event) -> dict[str, Any]:
    """Return what a rule makes of an event: its outcome, a sentence, and the terms with their values."""
    operator = rule.operator
    if isinstance(operator, EventOperator):
        return _of_event(rule, operator, event)
    if isinstance(operator, MissingOperator):
        return _of_missing(rule, operator, event)
    text = f"{operator.kind} has no explanation"
    raise TypeError(text)


def _said(rule: Rule, outcome: str, says: str, terms: list[dict[str, Any]]) -> dict[str, Any]:
    if rule.status != "live":
        says += f" (the rule is {rule.status}: nobody is told)"
    return {"rule": rule.id, "status": rule.status, "outcome": outcome, "says": says, "terms": terms}


def _of_event(rule: Rule, operator: EventOperator, event: Event) -> dict[str, Any]:
    if operator.matcher.type != event.type:
        return _said(rule, "other_event", "looks at another event", [])
    terms = list(_terms(operator.matcher, event, rule))
    for name in operator.changed:
        changed = has_changed(event.data, name)
        sides = _sides(event, name)
        known = changed or " is " not in sides
        terms.append(
            {
                "depth": 0,
                "term": f"changed {name}",
                "value": str(changed).lower() if known else "unknown",
                "because": sides,
            }
        )
    if operator.fires(event, rule.params):
        return _said(rule, "fired", "FIRES", terms)
    return _said(rule, "no_match", "does not fire", terms)


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
