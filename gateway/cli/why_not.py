"""`tidings why-not`: why a customer did not hear of something, rule by rule, the one that came furthest first."""

from __future__ import annotations

import json
from argparse import Namespace

from gateway.cli.beside import beside
from gateway.cli.found_event import books_of, close
from gateway.cli.told import Told
from handlers.rules.conditions import parse_duration
from streams.explaining import why_not as explaining
from streams.explaining.books import Books
from streams.explaining.why_not import NoSuchRule, WhyNot
from streams.wording import counted, moment
from tidings.event import DAY

LONGEST = 400 * DAY


def why_not(arguments: Namespace) -> int:
    """Run the verb; ends with 1 where nobody has heard of the customer."""
    with beside(arguments) as reader:
        return reader.wait(_beside(arguments, books_of(reader)))


async def _beside(arguments: Namespace, books: Books) -> int:
    window = parse_duration(arguments.window)
    if window is None or not 0 < window <= LONGEST:
        raise Told(f"--window {arguments.window!r} is no time; write it as 36h, 7d or 30d")
    now = books.now()
    try:
        found = await explaining.why_not(
            books, arguments.customer, rule=arguments.rule, about=arguments.about, since=now - window, until=now,
            reveal=True,
        )  # fmt: skip
    except NoSuchRule as fault:
        raise Told(str(fault)) from fault
    finally:
        await close(books)
    if arguments.json:
        print(json.dumps(found.to_json(), indent=1, ensure_ascii=False))
    else:
        _print(found)
    return 0 if found.known or found.looked_at else 1


def _print(found: WhyNot) -> None:
    more = ", the newest of more" if found.more else ""
    span = f"{moment(found.since)} to {moment(found.until)}"
    print(f"{found.customer}  {span}: {counted(found.looked_at, 'event')} that {found.reads} looked at{more}")
    if not found.known:
        print("No event has made this customer known: no profile, no consent.")
    silent = [one.rule.id for one in found.answers if one.first.kind == "nothing"]
    for one in found.answers:
        if one.first.kind == "nothing" and len(found.answers) > 1:
            continue
        trial = "" if one.rule.status == "live" else f"  ({one.rule.status}: nobody is told)"
        print(f"\n{one.rule.id}{trial}")
        for candidate in (one.first, *one.also):
            print(f"  {candidate.says}")
            if candidate.decision is not None:
                print(f"    decision {candidate.decision}")
    if silent and len(found.answers) > 1:
        print(
            f"\n{counted(len(silent), 'rule')} saw nothing of this customer that {'it reads' if len(silent) == 1 else 'they read'}: {', '.join(silent)}"
        )
