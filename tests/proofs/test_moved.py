"""A topic is deleted and made again; the database is restored from an older dump: noticed, held, mended as the verbs say."""

import asyncio
import json
import subprocess
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from tests.proofs import compare, outcomes
from tests.proofs.chaos import Feed
from tests.proofs.figures import tell
from tests.proofs.stand import Stand, standing
from tests.proofs.story import WORKERS, shop_of, started
from tests.servers.postgres import programs
from tidings.event import SECOND

LATENESS = 15 * SECOND
VOIDED = "billing.invoice.voided.v1"


async def opened_for(stand: Stand, events: int, seed: int, patience: float = 300) -> Feed:
    """Let a shop be open, until all of it is decided and told."""
    feed = Feed(stand, shop_of(events, 150, seed))
    before = await stand.offsets()
    await feed.run()
    await stand.settled(before + feed.count + feed.again, feed.shop.last, patience)
    return feed


async def deleted(stand: Stand, topic: str) -> None:
    admin = AIOKafkaAdminClient(**stand.kafka.connection().options())
    await admin.start()
    try:
        await admin.delete_topics([topic])
        for _ in range(100):
            if topic not in await admin.list_topics():
                return
            await asyncio.sleep(0.2)
        raise AssertionError("the topic is not gone")
    finally:
        await admin.close()


async def held(stand: Stand, seconds: float = 120) -> list[str]:
    """Wait until sources are held; return the lines that an operator sees."""
    for _ in range(int(seconds)):
        lines = await asyncio.to_thread(
            stand.verb, "sources", "list", "--held", "--config", stand.config("operator"), codes=(0, 1)
        )
        # 'nothing is held' is said as well.
        if found := [line for line in lines.splitlines() if line.startswith("held ")]:
            return found
        await asyncio.sleep(1)
    raise AssertionError("nobody has noticed")


def made_again(folder: Path, events: int) -> dict[str, object]:
    """Delete a topic under the workers, and make it again: longer than it was, so that offsets alone say nothing."""
    with standing(folder, lateness=LATENESS, partitions=2, altered={"deliver": "impatient"}) as stand:
        started(stand)
        asyncio.run(opened_for(stand, events, 1))
        for name in (*WORKERS, "archive"):
            assert stand.end(name) == 0
        asyncio.run(deleted(stand, VOIDED))
        stand.apply_topics()
        feed = Feed(stand, shop_of(2 * events, 400, 2))
        asyncio.run(feed.run())
        for name in WORKERS:
            stand.run("worker", name)
        stand.run("archive", "archive")
        lines = asyncio.run(held(stand))
        said = stand.verb("sources", "accept", VOIDED, "--from-start", "--config", stand.config("operator"))
        stand.verb("sources", "accept", VOIDED, "--from-start", "--confirm", "--config", stand.config("operator"))
        asyncio.run(caught_up(stand))
        assert stand.verb("sources", "list", "--held", "--config", stand.config("operator")).startswith("held") is False
        for name in list(stand.running):
            assert stand.end(name) == 0
        stand.run("archive", "archive-again")
        told = compare.verified(stand)
        lost = [line.strip() for line in said.splitlines() if "lost" in line]
        return {
            "held": "; ".join(sorted({line.split(": ", 1)[1] for line in lines})),
            "partitions held": len(lines),
            "said before it was confirmed": "; ".join(dict.fromkeys(lost)) or "nothing is lost",
            "mended with": f"tidings sources accept {VOIDED} --from-start --confirm",
            "verify afterwards": compare.said(told),
        }


async def caught_up(stand: Stand, seconds: float = 300) -> None:
    """Wait until detection has read every log to its end."""
    for _ in range(int(seconds)):
        told = json.loads(
            await asyncio.to_thread(
                stand.verb, "sources", "list", "--json", "--config", stand.config("operator"), codes=(0, 1)
            )
        )
        if not any(one["lag"] for one in told["sources"]) and not await stand.open():
            return
        await asyncio.sleep(1)
    raise AssertionError("it does not catch up")


def dump(stand: Stand, file: Path) -> None:
    words = [str(programs() / "pg_dump"), "-h", "127.0.0.1", "-p", str(stand.postgres.port), "-U", "postgres", "-Fc"]
    subprocess.run([*words, "-f", str(file), "tidings"], check=True)


def restore(stand: Stand, file: Path) -> None:
    asyncio.run(stand.sql("DROP DATABASE tidings WITH (FORCE)", "postgres"))
    asyncio.run(stand.sql("CREATE DATABASE tidings", "postgres"))
    words = [str(programs() / "pg_restore"), "-h", "127.0.0.1", "-p", str(stand.postgres.port), "-U", "postgres"]
    subprocess.run([*words, "-d", "tidings", str(file)], check=True)


def restored(folder: Path, events: int) -> dict[str, object]:
    """Dump the database while everything works, let it work on, and restore the dump."""
    with standing(folder, lateness=LATENESS, partitions=2, altered={"deliver": "impatient"}) as stand:
        started(stand)

        async def dumped() -> Feed:
            feeding = asyncio.create_task(opened_for(stand, events, 1))
            await asyncio.sleep(events / 150 / 2)
            await asyncio.to_thread(dump, stand, folder / "dump")
            feed = await feeding
            await outcomes.published(stand)
            return feed

        feed = asyncio.run(dumped())
        before = asyncio.run(compare.recorded(stand))
        handed = len(stand.book.read_text().split())
        for name in list(stand.running):
            assert stand.end(name) == 0
        restore(stand, folder / "dump")
        then = len(asyncio.run(compare.recorded(stand)))
        started(stand)
        asyncio.run(noticed(stand))
        asyncio.run(read_again(stand, feed))
        meanwhile = len(stand.book.read_text().split()) - handed
        assert not meanwhile, "something was sent while nobody knew what was"
        said = stand.verb("ground", "rebuild", "--json", "--config", stand.config("operator"))
        picture = json.loads(said)
        stand.verb("ground", "rebuild", "--confirm", "--config", stand.config("operator"))
        asyncio.run(stand.settled(0, 0, 300))
        asyncio.run(outcomes.published(stand))
        after = asyncio.run(compare.recorded(stand))
        asyncio.run(compare.same(stand, after, before))
        for name in list(stand.running):
            assert stand.end(name) == 0
        stand.run("archive", "archive-again")
        told = compare.verified(stand)
        book = stand.book.read_text().split()
        twice = {name for name in book if book.count(name) > 1}
        unknown = set(picture["open"]["unknown"]) | set(picture["open"]["in_flight"])
        assert twice <= unknown, (
            f"{len(twice - unknown)} were sent twice, and the picture did not say that this may happen"
        )
        return {
            "records in the dump, and when it was lost": f"{then:,} of {len(before):,}",
            "held": picture["held"],
            "known from the topics": ", ".join(f"{n:,} {state}" for state, n in picture["known"].items()),
            "unknown, and shown": f"{len(unknown)} messages; {len(twice)} of them were handed over twice",
            "sent while it was held": meanwhile,
            "mended with": "tidings ground rebuild --confirm",
            "records afterwards": f"{len(after):,}, {len(after.items() ^ before.items())} other than before the loss",
            "verify afterwards": compare.said(told),
        }


async def noticed(stand: Stand, seconds: float = 120) -> None:
    for _ in range(int(seconds)):
        if await stand.ask("SELECT 1 FROM kills WHERE scope = 'ground'"):
            return
        await asyncio.sleep(1)
    raise AssertionError("nobody has noticed that the database is older")


async def read_again(stand: Stand, feed: Feed, seconds: float = 300) -> None:
    """Wait until what was decided once is decided again."""
    for _ in range(int(seconds)):
        if await stand.offsets() >= feed.count + feed.again and not (await stand.open()).get("unread"):
            return
        await asyncio.sleep(1)
    raise AssertionError("it is not read again")


@pytest.mark.proofs
def test_the_ground_moves(tmp_path, write):
    tell("again", "A topic deleted and made again", made_again(tmp_path / "topic", 3_000), write=write)
    tell("restored", "A database restored from an older dump", restored(tmp_path / "dump", 12_000), write=write)
