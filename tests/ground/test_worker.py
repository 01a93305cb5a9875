"""The ground moves under real workers: they hold what is not the log they read, go on with the rest, and follow a decision."""

import asyncio
from pathlib import Path

import pytest

from gateway.cli.main import main
from streams.kafka.cluster import opened
from streams.kafka.ground import Ground
from streams.processors import detect, people
from tests import services
from tests.kafka.world import World, until, world
from tests.live import engines
from tidings.ports import Put

pytestmark = pytest.mark.live

FAILED, PLACED = "billing.payment.failed.v1", "sales.order.placed.v1"
TYPES = ("billing.payment.failed", "sales.order.placed")


def ground(here: World) -> Ground:
    return Ground(here.connection, here.store, (detect.READER, people.READER), run=here.store.run_of_server)


async def made_again(here: World) -> None:
    """Delete a topic and make it again, with more records than it had."""
    async with opened(here.connection) as cluster:
        settings = (await cluster.described([FAILED]))[FAILED].own
        await cluster.delete([FAILED])
        await cluster.create(FAILED, 1, 1, settings)  # a broker that makes topics by itself may have been faster
    await sent(here, FAILED, b"new", 9)


async def sent(here: World, topic: str, word: bytes, count: int) -> None:
    for number in range(count):
        await (await here.send(topic, b"k", b"%b %d" % (word, number), 0))


async def letters(here: World, topic: str) -> list[bytes]:
    """Nothing of it can be read as an event, so that each record that is taken is a dead letter, under its offset."""
    rows = [row for row in await here.rows("dead_letters") if row["topic"] == topic]
    return [row["value"] for row in sorted(rows, key=lambda row: row["offset"])]


@pytest.mark.parametrize("running", [True, False], ids=["under a running worker", "between two workers"])
def test_a_topic_made_again_is_held_others_go_on_and_after_the_printed_command_all_of_it_is_read(
    tmp_path: Path, running: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "tidings.toml"
    old, new = ([b"%b %d" % (word, n) for n in range(count)] for word, count in ((b"old", 5), (b"new", 9)))

    async def held(here: World) -> bool:
        return [row["reason"] for row in await here.rows("holds")] == ["remade"]

    async def run(*verb: str) -> tuple[int, str]:
        code = await asyncio.to_thread(main, [*verb, "--config", str(config)])
        return code, capsys.readouterr().out

    async def decide(here: World) -> None:
        code, says = await run("sources", "accept", FAILED, "--from-start")
        assert code == 0
        assert "9 records of today's log will be read" in says
        assert "Nothing was done: add --confirm." in says
        assert await held(here)
        code, _ = await run("sources", "accept", FAILED, "--from-start", "--confirm")
        assert code == 0
        await here.taken()
        assert await letters(here, FAILED) == old + new
        assert (await run("sources", "list", "--held")) == (0, "nothing is held\n")
        # The store goes on counting, one left out; people compare with Kafka's tools, which say 9.
        said = (await run("sources", "list"))[1]
        (line,) = [line.split() for line in said.splitlines() if line.startswith(FAILED) and "detect" in line]
        assert line == [FAILED, "detect", "9", "read", "0", "waiting", "base", "6", "in", "0"]
        assert "so many higher than Kafka does" in said

    async def play(place) -> None:
        async with world(place, 1, TYPES) as here:
            config.write_text(
                f'[kafka]\nbootstrap = ["{here.connection.bootstrap[0]}"]\nprefix = "{here.connection.prefix}"\n'
                f'[postgres]\nhost = "{place.host}"\nport = {place.port}\n'
                f'database = "{place.database}"\nuser = "{place.user}"\n'
            )
            await here.apply(engines.RULES, engines.TEMPLATES)
            async with here.worker(ground=ground(here)) as first:
                await sent(here, FAILED, b"old", 5)
                await here.taken(60, first)
                if running:
                    await made_again(here)
                    await until(lambda: held(here))
                    await sent(here, PLACED, b"other", 3)
                    await until(lambda: has(here, PLACED, 3))
                    await decide(here)
                    return
            await made_again(here)
            async with here.worker(ground=ground(here)):
                await until(lambda: held(here))
                await sent(here, PLACED, b"other", 3)
                await until(lambda: has(here, PLACED, 3))
                assert await letters(here, FAILED) == old
                await decide(here)

    async def has(here: World, topic: str, count: int) -> bool:
        return len(await letters(here, topic)) == count

    with services.database() as place:
        asyncio.run(play(place))


def test_a_database_that_goes_back_under_a_running_worker_holds_every_message_and_what_it_forgot_is_read_again() -> (
    None
):
    async def play(place) -> None:
        async with world(place, 1, TYPES) as here:
            await here.apply(engines.RULES, engines.TEMPLATES)
            async with here.worker(ground=ground(here)) as worker:
                await sent(here, FAILED, b"first", 2)
                await here.taken(60, worker)
                older = [row for row in await here.rows("sources") if row["topic"] == FAILED]
                await sent(here, FAILED, b"second", 3)
                await here.taken(60, worker)
                await here.store.run(lambda: restored(older))
                await sent(here, FAILED, b"third", 1)
                await here.taken(60, worker)
                assert [row["scope"] for row in await here.rows("kills")] == ["ground"]
                assert len(await letters(here, FAILED)) == 6

    def restored(rows):
        """What a restore in place does to the positions, while nobody loses a connection."""
        yield Put("sources", rows)

    with services.database() as place:
        asyncio.run(play(place))
