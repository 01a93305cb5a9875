"""`tidings rules explain`: what every rule made of one event, term by term, with values."""

from __future__ import annotations

import asyncio
import json
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from textwrap import shorten
from typing import Any

from gateway.cli import found_event
from gateway.cli.beside import beside
from gateway.cli.folder import example, loaded, to_mend
from gateway.cli.found_event import FoundEvent
from gateway.cli.ingest import mapped, see_that_it_exists
from gateway.cli.told import Told
from streams.explaining.became import Became
from streams.explaining.books import Books
from streams.explaining.terms import look
from streams.json_events import rfc3339
from streams.wording import counted, moment
from tidings import canonical
from tidings.correction import NOTICE
from tidings.reasons import MessageState, Reason
from tidings.rule import Rule, RuleSet

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
        return asyncio.run(_explain(arguments, *(FoundEvent(event) for event in events)))
    if arguments.mapping is not None:
        raise Told("--mapping goes with --source: it says which event a payload of another system becomes")
    if path.is_file():
        return asyncio.run(_explain(arguments, found_event.of_file(path)))
    with beside(arguments) as reader:
        return reader.wait(_beside(arguments, found_event.books_of(reader)))


async def _beside(arguments: Namespace, books: Books) -> int:
    try:
        return await _explain(arguments, await found_event.of_log(books, arguments.event))
    finally:
        await found_event.close(books)


async def _explain(arguments: Namespace, *events: FoundEvent) -> int:
    told = [await _judged(arguments, found) for found in events]
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


async def _judged(arguments: Namespace, found: FoundEvent) -> tuple[FoundEvent, dict[str, Any], int]:
    """Return what rules make of an event, and how many do not look at it."""
    active = _rules(arguments.rules) if arguments.rules is not None or found.rules is None else found.rules
    rules = [rule for rule in active.rules if arguments.rule in (None, rule.id)]
    if not rules:
        text = f"there is no rule {arguments.rule!r}; there are {', '.join(sorted(active.by_id))}"
        raise Told(text)
    event = found.event
    told = [await verdict(rule, found) for rule in rules]
    looked = [one for one in told if one["outcome"] != "other_event"]
    body = {"event": event.id, "type": event.type, "time": rfc3339(event.occurred_at), "rules": looked}
    return found, body, len(told) - len(looked)


def _show(found: FoundEvent, looked: list[dict[str, Any]], others: int) -> None:
    event = found.event
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


async def verdict(rule: Rule, found: FoundEvent) -> dict[str, Any]:
    """Return what a rule makes of an event: its outcome, a sentence, the terms with their values, what became of it."""
    looked = look(rule, await found.beside(rule))
    messages = await found.told(rule, looked.key) if looked.outcome in ("fired", "armed") else []
    return {**looked.to_json(), "messages": [_message(message) for message in messages]}


def _message(became: Became) -> dict[str, Any]:
    message = became.message
    reason = message.reason
    because = f" ({reason}): {became.because}" if reason else ""
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
    if message.state is MessageState.HELD and message.reason == Reason.KILLED:
        yield f"held until it is released; worth sending until {moment(message.deadline, zone)}"
    elif message.state is MessageState.HELD and message.due_at is not None:
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
