"""Publishing to the topics of a cluster: dead letters that can be read now, and payloads that a person gives."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.cli.operator import operator
from gateway.cli.told import Told
from gateway.config import Config
from gateway.logs import silence
from streams.embedded_log import Append
from streams.kafka.cluster import Refused
from streams.kafka.publish import Partly, Published, publish
from streams.kafka.reach import Away
from streams.processors.audit import audit
from streams.redrive import Redriven
from streams.stores.postgres import PostgresStore
from streams.wording import counted
from tidings.ports import Body, Now, Put, Read, Transaction

AT_ONCE = 500
"""Letters between two marks: so many are published twice at most if this is killed. A repeat is known by its event."""


class Unpublished(Told):
    """Not all of it was published; `done` records were."""

    def __init__(self, text: str, done: int = 0) -> None:
        super().__init__(text)
        self.done = done


async def published(settings: Config, appends: Sequence[Append], place: Sequence[int | None]) -> list[Published]:
    """Publish, and say in a sentence what went wrong.

    Raises:
        Unpublished: it did not work, or not for all of them.
    """
    silence("aiokafka")
    try:
        return await publish(settings.kafka(), appends, place=place)
    except Partly as fault:
        for one in fault.done:
            print(f"published {one}")
        raise Unpublished(str(fault), len(fault.done)) from fault
    except (Away, Refused) as fault:
        raise Unpublished(f"{fault}; nothing was published") from fault


async def republish(settings: Config, letters: Sequence[Redriven]) -> int:
    """Publish dead letters with the bytes that they had, then mark them: killed between, they come twice, never not at all."""
    store = await PostgresStore.open(settings.postgres())
    count = 0
    try:
        for start in range(0, len(letters), AT_ONCE):
            part = letters[start : start + AT_ONCE]
            fresh = set(await store.read(_unmarked(part)))
            part = [letter for letter in part if letter.place in fresh]
            appends = [one for letter in part for one in letter.appends]
            # A record goes back to its own partition; what a payload becomes now, to that of its key.
            place = [
                letter.place[2] if one.topic == letter.place[1] else None for letter in part for one in letter.appends
            ]
            for one in await published(settings, appends, place):
                print(f"published {one}")
            count += await store.run(_mark(part))
    finally:
        await store.close()
    return count


def _unmarked(letters: Sequence[Redriven]) -> Body[list[tuple[str, str, int, int]]]:
    def body() -> Transaction[list[tuple[str, str, int, int]]]:
        rows = yield Read("dead_letters", [letter.place for letter in letters])
        return [place for place, row in rows.items() if row["redriven_at"] is None]

    return body


def _mark(letters: Sequence[Redriven]) -> Body[int]:
    def body() -> Transaction[int]:
        rows = yield Read("dead_letters", [letter.place for letter in letters])
        now = yield Now()
        yield Put("dead_letters", [{**row, "redriven_at": now} for row in rows.values()])
        yield from audit("dead-letters redrive", operator(), {"letters": [list(place) for place in sorted(rows)]})
        return len(rows)

    return body


def told_of(done: Sequence[Published]) -> str:
    """Return how many records were published, and where."""
    return f"{counted(len(done), 'event')} published; the workers of the cluster decide on {'it' if len(done) == 1 else 'them'}"
