"""`tidings audit`: who did what, newest first, while everything runs, or nothing does."""

from __future__ import annotations

import json
from argparse import Namespace

from gateway.cli.beside import beside
from gateway.cli.found_event import books_of, close
from gateway.cli.told import Told
from streams.explaining.books import Books
from streams.json_events import rfc3339
from streams.ledger.ledger import Ledger
from streams.ledger.rows import AuditLine, Page
from streams.wording import counted

MOST = 1_000


def audit(arguments: Namespace) -> int:
    """Run the verb; ends with 1 where nothing fits what was asked for."""
    if not 1 <= arguments.limit <= MOST:
        raise Told(f"--limit {arguments.limit} is not between 1 and {MOST:,}")
    with beside(arguments) as reader:
        page, near = reader.wait(_asked(arguments, books_of(reader)))
    from gateway.auditing import reason_of, row_of, upon  # heavy, and `--help` needs the options only

    if arguments.json:
        print(json.dumps([row_of(one).model_dump(mode="json") for one in page.rows], indent=1, ensure_ascii=False))
    else:
        for one in page.rows:
            why = f": {reason}" if (reason := reason_of(one)) else ""
            what = f"  ({said})" if (said := upon(one)) else ""
            print(f"{rfc3339(one.at)[:19]}Z  {one.who}  {one.verb}{why}{what}")
        print(_sum(arguments, page, near))
    return 0 if page.rows or not (arguments.who or arguments.what) else 1


async def _asked(arguments: Namespace, books: Books) -> tuple[Page[AuditLine], str]:
    """Return the rows, and where there are none what was probably meant."""
    from gateway.auditing import meant

    assert books.asking is not None, "what is beside an installation can be asked"
    ledger = Ledger(books.asking)
    try:
        page = await ledger.audit(who=arguments.who, verb=arguments.what, limit=arguments.limit)
        return page, "" if page.rows else await meant(ledger, arguments.who, arguments.what)
    finally:
        await close(books)


def _sum(arguments: Namespace, page: Page[AuditLine], near: str) -> str:
    if not page.rows:
        if near:
            return f"nothing is written down of this; did you mean {near}?"
        if arguments.who or arguments.what:
            return "nothing is written down of this; without --who and --verb everything is listed"
        return "nobody has done anything yet that is written down"
    return f"{counted(len(page.rows), 'row')}{', and older ones: --limit shows more' if page.older is not None else ''}"
