"""`tidings rules apply`: a folder becomes the rules of a cluster, in one step, and everybody follows."""

from __future__ import annotations

import asyncio
import json
from argparse import Namespace
from collections.abc import Iterator, Mapping
from typing import Any

from gateway import config
from gateway.cli.folder import loaded
from gateway.cli.operator import operator
from gateway.cli.rules import closing_line
from gateway.cli.told import Told
from gateway.config import Config
from schemas import contracts
from streams import rule_switch
from streams.rule_book import RuleBook
from streams.rule_switch import Applied
from streams.stores.postgres import PostgresStore
from streams.wording import counted
from tidings.rule import RuleSet
from tidings.watermark import GRACE

SHOWN = 6
"""Templates that are named; --json names all."""
TO_DO = 3
"""Exit code of a dry run that found something to change."""


def apply(arguments: Namespace) -> int:
    """`tidings rules apply`: 0 the folder is what decides now, 1 it is refused, 3 a dry run would change something."""
    settings = config.read(arguments.config)
    if not settings.on_cluster:
        raise Told(
            f"{settings.path.name} names no cluster; 'tidings run' reads {settings.rules} again whenever a file changes"
        )
    folder = arguments.folder or settings.rules
    found, files, texts = loaded(folder)
    if found.rules is None:
        if arguments.json:
            print(json.dumps({"refused": [one.to_json() for one in found.errors]}))
        else:
            for one in found.diagnostics:
                print(one)
            print(f"{folder}: {closing_line(found, len(files), len(texts))}; nothing was changed")
        return 1
    applied = asyncio.run(_apply(settings, found.rules, files, texts, dry_run=arguments.dry_run))
    if arguments.json:
        print(json.dumps(_plain(applied, dry_run=arguments.dry_run)))
    else:
        for line in _lines(applied, dry_run=arguments.dry_run):
            print(line)
    if applied.why:
        return 1
    return TO_DO if arguments.dry_run and applied.changes else 0


async def _apply(
    settings: Config, rules: RuleSet, files: Mapping[str, bytes], texts: Mapping[str, str], *, dry_run: bool
) -> Applied:
    store = await PostgresStore.open(settings.postgres())
    try:
        book = RuleBook(contracts(), store)
        return await rule_switch.apply(store, book, rules, files, texts, grace=GRACE, dry_run=dry_run, who=operator())
    finally:
        await store.close()


def _plain(applied: Applied, *, dry_run: bool) -> dict[str, Any]:
    one = applied.difference
    return {
        "old": None if applied.old is None else applied.old.hash, "new": applied.new.hash,
        "switched": applied.switched, "dry_run": dry_run, "refused": list(applied.why),
        "added": list(one.added), "removed": list(one.removed), "changed": list(one.changed), "same": one.same,
        "templates": list(one.texts), "beside": list(one.beside), "waiting": applied.waiting,
    }  # fmt: skip


def _lines(applied: Applied, *, dry_run: bool) -> Iterator[str]:
    """Yield what changes, rule by rule, and what became of it."""
    one = applied.difference
    for sign, word, names in (("+", "added", one.added), ("~", "changed", one.changed), ("-", "removed", one.removed)):
        for name in names:
            rests = applied.waiting.get(name) if word == "removed" else None
            keys = (
                ""
                if rests is None
                else f"; {rests}{'+' if rests >= applied.most else ''} of its keys wait, and rest now"
            )
            yield f"{sign} {name}  {word}{keys}"
    if one.texts:
        more = f" and {len(one.texts) - SHOWN} more" if len(one.texts) > SHOWN else ""
        yield f"~ {counted(len(one.texts), 'template')}: {', '.join(one.texts[:SHOWN])}{more}"
    yield from (f"~ {name}.yaml" for name in one.beside)
    if applied.why:
        yield from applied.why
        yield "refused; the rules that decide are as they were"
        return
    number = counted(len(applied.new.rules), "rule")
    same = "" if applied.old is None else f"; {one.same} as they were"
    if not applied.changes:
        yield f"nothing to do: {number}, set {applied.new.hash[:12]}, decide already"
    elif dry_run:
        yield f"a dry run: nothing was changed; set {applied.new.hash[:12]} would have {number}{same}"
    else:
        yield f"{number} decide now, set {applied.new.hash[:12]}{same}"
