"""`tidings templates preview`: a message as a customer would get it, with the values that the contracts give as examples."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from gateway.cli.folder import example, loaded, to_mend
from gateway.cli.told import Told
from handlers import templates
from handlers.operators.missing import MissingOperator
from schemas import contracts
from schemas.examples import described
from streams.codec import Codec
from streams.json_events import from_json
from tidings.event import Event
from tidings.log import LogRecord
from tidings.quiet_hours import is_zone
from tidings.record import plain
from tidings.rule import Rule, Step


def preview(arguments: Namespace) -> int:
    """Run the verb; 1 where a text cannot be written with these values, or the rules have errors."""
    folder = arguments.rules or example()
    found, _, texts = loaded(folder)
    name = arguments.template
    if name not in texts:
        near = get_close_matches(name, list(texts), 1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(sorted(texts))}"
        text = f"there is no template {name!r}{hint}"
        raise Told(text)
    if arguments.zone is not None and not is_zone(arguments.zone):
        text = f"--zone {arguments.zone!r} is no IANA zone, as Europe/Berlin"
        raise Told(text)
    if arguments.locale is not None and templates.language_of(arguments.locale) is None:
        text = f"--locale {arguments.locale!r} is no locale; write one as de-DE"
        raise Told(text)
    used = [
        (rule, step)
        for rule in found.sound
        for step in (*rule.steps, *rule.on_stop)
        if step.template and name in (step.template, *variants(texts, step.template))
    ]
    if not used:
        text = f"no rule uses {name!r}, so nothing says what its values are"
        raise Told(text if found.rules is not None else to_mend(folder))
    channels = sorted({step.channel for _, step in used})
    if arguments.html is not None and "email" not in channels:
        text = f"--html is for e-mail; {name!r} is used by {' and '.join(channels)} only"
        raise Told(text)
    wrong = [not show(rule, step, texts, arguments) for rule, step in used]
    if found.rules is None:
        print(f"tidings: {to_mend(folder)}", file=sys.stderr)
    return 1 if any(wrong) or found.rules is None else 0


def variants(texts: Mapping[str, str], name: str) -> list[str]:
    """Return the names of a template's languages."""
    return [one for one in texts if one.startswith(f"{name}.")]


def show(rule: Rule, step: Step, texts: Mapping[str, str], arguments: Namespace) -> bool:
    """Print what a step says; return whether it can say it."""
    event = sample(rule)
    values = {key: plain(value.value(event.data, event, rule.params)) for key, value in step.data.items()}
    language = arguments.template[len(step.template) + 1 :] or None
    wanted = arguments.locale or language
    name = templates.choose(texts, step.template, wanted)
    if language is not None and name != arguments.template:
        text = f"who reads {wanted} gets {name!r}, not {arguments.template!r}; leave out one of the two"
        raise Told(text)
    locale = templates.spoken(texts, step.template, wanted)
    reader = f"for {locale}" if wanted in (None, locale) or name != step.template else _plain_for(wanted)
    print(f"{rule.id}, {step.channel}, {name} {reader}, with the example of {event.type}:\n")
    try:
        written = templates.parse(texts[name]).render(step.channel, values, step.types, locale, arguments.zone)
    except ValueError as fault:
        print(f"  not sent: {fault}\n")
        return False
    heads = [f"{key.capitalize()}: {written[key]}" for key in ("subject", "preheader", "title") if written.get(key)]
    body = str(written.get("text", written.get("body", "")))
    for line in (*heads, *([""] if heads else []), *body.rstrip().splitlines()):
        print(f"  | {line}".rstrip())
    if "segments" in written:
        print(f"  {written['segments']} part{'s' * (written['segments'] != 1)}, {written['encoding']}")
    if arguments.html is not None and "html" in written:
        arguments.html.write_text(written["html"], "utf-8")
        print(f"  HTML: {arguments.html}")
    print()
    return True


def _plain_for(locale: str) -> str:
    return f"for {locale} (no {templates.language_of(locale)} variant, so the plain one)"


def sample(rule: Rule) -> Event:
    """Return the event on which a rule speaks, as its contract describes it."""
    operator: Any = rule.operator
    matcher = operator.after if isinstance(operator, MissingOperator) else operator.matcher
    contract = contracts().by_type[matcher.type]
    codec = Codec(contracts())
    payload = from_json(contract, described(contract))
    key, value = codec.encode(contract.type, payload)
    return codec.decode(LogRecord(contract.topic, 0, 0, payload["meta"]["occurred_at"], key, value))
