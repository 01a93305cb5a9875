"""`tidings templates preview`: a message as a customer would get it, with the values that the contracts give as examples."""

from __future__ import annotations

from argparse import Namespace
from difflib import get_close_matches
from typing import Any

from gateway.cli.folder import example, loaded
from gateway.cli.told import Told
from handlers import templates
from handlers.operators.missing import MissingOperator
from schemas import contracts
from schemas.examples import described
from streams.codec import Codec
from streams.json_events import from_json
from tidings.event import Event
from tidings.log import LogRecord
from tidings.record import plain
from tidings.rule import Rule


def preview(arguments: Namespace) -> int:
    """Run the verb."""
    found, _, texts = loaded(arguments.rules or example())
    name = arguments.template
    if name not in texts:
        near = get_close_matches(name, list(texts), 1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(sorted(texts))}"
        text = f"there is no template {name!r}{hint}"
        raise Told(text)
    if found.rules is None:
        raise Told("the rules have errors; 'tidings rules check' tells them")
    used = [(rule, step) for rule in found.rules.rules for step in rule.steps if step.template == name]
    if not used:
        text = f"no rule uses {name!r}, so nothing says what its values are"
        raise Told(text)
    for rule, step in used:
        event = sample(rule)
        values = {key: plain(value.value(event.data, event, rule.params)) for key, value in step.data.items()}
        print(f"{rule.id}, {step.channel}, with the example of {event.type}:\n")
        try:
            rendered = templates.parse(texts[name]).render(values, step.types)
        except ValueError as fault:
            print(f"  not sent: {fault}\n")
            continue
        for line in (f"Subject: {rendered.subject}", "", *rendered.text.rstrip().splitlines()):
            print(f"  | {line}".rstrip())
        print()
    return 0


def sample(rule: Rule) -> Event:
    """Return the event on which a rule speaks, as its contract describes it."""
    operator: Any = rule.operator
    matcher = operator.after if isinstance(operator, MissingOperator) else operator.matcher
    contract = contracts().by_type[matcher.type]
    codec = Codec(contracts())
    payload = from_json(contract, described(contract))
    key, value = codec.encode(contract.type, payload)
    return codec.decode(LogRecord(contract.topic, 0, 0, payload["meta"]["occurred_at"], key, value))
