"""`tidings contracts`: what events are, and the gate that every change of them passes."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Callable
from difflib import get_close_matches
from importlib.util import find_spec

from gateway.cli import contract_page
from gateway.cli.told import Told
from schemas import contracts
from tidings.errors import Misconfigured

FIRST = ("shape", "released versions", "breaking changes")
"""What stands in them makes everything after them wrong, or puts the blame on the wrong file."""


def listing(arguments: Namespace) -> int:
    """`tidings contracts list`."""
    known = sorted(contracts().by_type.values(), key=lambda one: one.type)
    if arguments.json:
        rows = [{"type": c.type, "topic": c.topic, "version": c.version, "owner": c.owner, "doc": c.doc} for c in known]
        print(json.dumps(rows))
        return 0
    width = max(len(contract.type) for contract in known)
    for contract in known:
        print(f"{contract.type:{width}}  {contract.owner:16}  {contract.doc}")
    return 0


def show(arguments: Namespace) -> int:
    """`tidings contracts show NAME`: an event, or a type that fields have."""
    known = contracts().by_type
    name = arguments.type
    named = contract_page.named(known.values())
    if name in known:
        body = contract_page.event(known[name])
        lines = contract_page.event_lines(known[name])
    elif (full_name := contract_page.find(name, named)) is not None:
        body = contract_page.type_of(named[full_name])
        lines = contract_page.type_lines(named[full_name])
    else:
        near = get_close_matches(name, [*known, *(one.short for one in named.values())], 1)
        meant = f"did you mean {near[0]!r}?" if near else "'tidings contracts list' has all of them"
        text = f"there is no event contract and no type {name!r}; {meant}"
        raise Told(text)
    print(json.dumps(body, ensure_ascii=False) if arguments.json else "\n".join(lines))
    return 0


def check(_: Namespace) -> int:
    """`tidings contracts check`."""
    from schemas import gate
    from schemas.generate import stale
    from streams.contract_proofs import prove

    catalogue = gate.read()
    stages: list[tuple[str, str | None, Callable[[], list[gate.Finding]]]] = [
        ("shape", None, lambda: gate.lint(catalogue)),
        ("released versions", None, lambda: gate.frozen(catalogue)),
        ("breaking changes", "avro", lambda: gate.breaking(catalogue)),
        ("releases", None, lambda: gate.unreleased(catalogue)),
        ("proofs and examples", None, lambda: prove(contracts())),
        ("generated models", "datamodel_code_generator", lambda: stale(catalogue)),
    ]
    count = 0
    for place, (name, package, stage) in enumerate(stages):
        if package is not None and find_spec(package) is None:
            print(f"{name}: NOT CHECKED, the package {package!r} is not installed (it belongs to the group 'dev')")
            continue
        found = stage()
        for finding in found:
            print(finding)
        count += len(found)
        print(f"{name}: {_findings(len(found))}")
        if found and name in FIRST:
            rest = ", ".join(name for name, _, _ in stages[place + 1 :])
            print(f"not checked before this is mended: {rest}")
            break
    print(f"{len(catalogue.lock)} contracts: {_findings(count)}")
    return 1 if count else 0


def publish(arguments: Namespace) -> int:
    """`tidings contracts publish`: every released version into the schema registry."""
    import asyncio

    from gateway import config
    from streams.registry.client import Registry
    from streams.registry.publish import LEVEL, Published
    from streams.registry.publish import publish as publish_to

    read = config.read(arguments.config)
    endpoint = read.registry()
    if endpoint is None:
        text = f"{read.path} has no [registry]: the shipped schemas are used, and there is nothing to publish"
        raise Misconfigured(text)

    async def run() -> list[Published]:
        registry = Registry(endpoint)
        try:
            return [one async for one in publish_to(registry, contracts(), write=not arguments.dry_run)]
        finally:
            await registry.close()

    found = asyncio.run(run())
    changed = [one for one in found if one.changed]
    for one in changed:
        number = "not registered" if one.number is None else f"id {one.number}"
        print(f"{one.subject}  version {one.version}  {number}")
    done = "would be changed" if arguments.dry_run else "changed"
    print(f"{len(found)} released versions, {LEVEL}, at {endpoint.url}: {len(changed) or 'none'} {done}")
    return 1 if arguments.dry_run and changed else 0


def _findings(count: int) -> str:
    return "in order" if count == 0 else "1 finding" if count == 1 else f"{count} findings"
