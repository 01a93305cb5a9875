"""`tidings ground rebuild`: after a database was restored, what the one that is gone has sent, as the topics know it.

Nothing is sent while dispatch is held. This says what is known, what is open and how much of that nobody can know;
`--confirm` writes it down, and lets dispatch go on.
"""

from __future__ import annotations

import asyncio
import json
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator
from typing import Any

from gateway import config
from gateway.cli.operator import operator
from gateway.cli.told import Told
from gateway.cli.topics import ground as reached
from gateway.codec import codec_of
from streams.kafka.rebuild import Picture, apply, look
from streams.registry.client import RegistryUnavailable
from streams.wording import counted, moment

NOT_YET = """\
{} were decided by the database that is gone, and not by this one yet: what they make may have been sent.
Let workers and deliverers run (nothing is sent meanwhile), then look again"""
LISTED = 20
"""Ids of each kind that are written out; `--json` has all."""


def rebuild(arguments: Namespace) -> int:
    """Say what is known; with `--confirm` go on upon it."""
    picture, ended = asyncio.run(_rebuild(arguments))
    if arguments.json:
        print(json.dumps({"confirmed": arguments.confirm, **_vars(picture)}))
        return 0
    if not picture.is_needed:
        print("The topics know nothing that the database does not, and nothing is held: there is nothing to do.")
        return 0
    for line in _lines(picture):
        print(line)
    print()
    if ended is None:
        print("Nothing was done: add --confirm. What is open and unknown is then looked up at its provider; where that")
        print("keeps no books, the rule's on_unknown decides. With --open send it is sent as if it had never been.")
    else:
        print(
            f"Done: {counted(ended, 'message')} of this database ended by it. Messages go again; see 'tidings sources list'."
        )
    return 0


async def _rebuild(arguments: Namespace) -> tuple[Picture, int | None]:
    settings = config.read(arguments.config)
    codec = codec_of(settings)
    try:
        async with reached(settings) as (_, store):
            picture = await look(settings.kafka(), store, codec)
            if not arguments.confirm or not picture.is_needed:
                return picture, None
            if picture.open.unread:
                raise Told(NOT_YET.format(counted(picture.open.unread, "record")))
            return picture, await apply(store, picture, operator(), ask=arguments.open == "look-up")
    except RegistryUnavailable as fault:
        raise Told(str(fault)) from fault
    finally:
        await codec.close()


def _lines(picture: Picture) -> Iterator[str]:
    gathered, still = picture.gathered, picture.open
    if picture.hold is not None:
        yield f"held since {moment(picture.hold['at'])}: {picture.older}"
    more = sum(gathered.last.values()) - sum(picture.heads.values())
    yield f"the topics hold {counted(more, 'outcome')} that this database never numbered"
    states = Counter(row["state"] for row in gathered.ends.values())
    for state, count in sorted(states.items()):
        yield f"  known     {counted(count, 'message')} {state}"
    yield f"  known     {counted(len(gathered.firings), 'firing')} of which something was said"
    if gathered.gaps:
        yield f"  lost      {counted(gathered.gaps, 'outcome')}: retention took them before they were read"
    yield f"open in this database: {counted(still.known, 'message')} end as the topics know"
    yield from _listed(
        f"{counted(len(still.waiting), 'message')} may have been sent since, nobody knows", still.waiting
    )
    if still.fresh:
        yield f"  new       {counted(still.fresh, 'message')} about what happened since the hold began"
    if still.unread:
        yield f"  to come   {counted(still.unread, 'record')} that the lost database had decided, and this one has not yet"
    yield from _listed(
        f"{counted(len(still.in_flight), 'message')} in flight when it was copied: reconciled as ever", still.in_flight
    )
    left = picture.firings_without_end
    yield from _listed(f"{counted(len(left), 'firing')} whose messages have no end in the topics", left)
    if gathered.newest is not None:
        yield f"what was sent after {moment(gathered.newest)} is in no topic: nobody can know it"


def _listed(says: str, names: Any) -> Iterator[str]:
    yield f"  unknown   {says}"
    for name in names[:LISTED]:
        yield f"            {name}"
    if len(names) > LISTED:
        yield f"            and {len(names) - LISTED} more: --json names all"


def _vars(picture: Picture) -> dict[str, Any]:
    gathered, still = picture.gathered, picture.open
    return {
        "needed": picture.is_needed,
        "held": None if picture.hold is None else str(picture.older),
        "numbers": [
            {"topic": topic, "partition": p, "database": picture.heads[topic, p], "log": at}
            for (topic, p), at in sorted(gathered.last.items())
        ],
        "known": dict(sorted(Counter(row["state"] for row in gathered.ends.values()).items())),
        "firings": len(gathered.firings), "lost": gathered.gaps, "newest": gathered.newest,
        "open": {"known": still.known, "unknown": list(still.waiting), "in_flight": list(still.in_flight),
                 "new": still.fresh, "to_come": still.unread},
        "firings_without_end": picture.firings_without_end,
    }  # fmt: skip
