"""A server whose volume was put back to an older state says that it is the same; a process knows better."""

import asyncio
import shutil
import subprocess

import pytest

from streams.kafka.connection import Connection
from streams.kafka.ground import Ground
from streams.processors import ground
from streams.processors.kills import kill
from streams.stores.migrate import migrate
from streams.stores.place import Place
from streams.stores.postgres import PostgresStore
from streams.stores.postgres_identity import Identity
from tests.servers.postgres import PrivatePostgres
from tidings.ports import StoreReplaced


@pytest.mark.live
def test_a_process_goes_on_after_a_crash_and_not_upon_a_volume_that_was_put_back(tmp_path):
    async def whole(server: PrivatePostgres) -> None:
        await migrate(server.place())
        await asyncio.to_thread(server.stop)
        snapshot = server.data.with_name("snapshot")
        await asyncio.to_thread(subprocess.check_call, ["/bin/cp", "-a", str(server.data), str(snapshot)])
        await asyncio.to_thread(server.start)
        store = await PostgresStore.open(server.place())
        try:
            await store.run(kill("all", "an operator"))
            await store.skew()
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
            await store.run(kill("all", "an operator"))
            await store.skew()
            await asyncio.to_thread(server.stop)
            shutil.rmtree(server.data)
            snapshot.rename(server.data)
            await asyncio.to_thread(server.start)
            for _ in range(2):
                with pytest.raises(StoreReplaced, match="put back"):
                    await store.run(kill("all", "nobody"))
        finally:
            await store.close()

    with PrivatePostgres(tmp_path / "pg") as server:
        asyncio.run(whole(server))


@pytest.mark.live
def test_who_starts_after_a_volume_was_put_back_begins_nothing_until_the_topics_can_be_asked(tmp_path):
    """The snapshot says of itself that it was compared: it was, before what it has forgotten was sent."""
    nowhere = Connection(("127.0.0.1:1",))

    async def begun(server: PrivatePostgres) -> bool:
        store = await PostgresStore.open(server.place())
        try:
            await asyncio.wait_for(Ground(nowhere, store, (), within=0.5, run=store.run_of_server).begin(), 3)
        except TimeoutError:
            return False
        else:
            return True
        finally:
            await store.close()

    async def whole(server: PrivatePostgres) -> None:
        await migrate(server.place())
        store = await PostgresStore.open(server.place())
        await store.run(ground.write_compared(store.run_of_server()))
        await store.close()
        assert await begun(server)
        await asyncio.to_thread(server.stop)
        snapshot = server.data.with_name("snapshot")
        await asyncio.to_thread(subprocess.check_call, ["/bin/cp", "-a", str(server.data), str(snapshot)])
        shutil.rmtree(server.data)
        snapshot.rename(server.data)
        await asyncio.to_thread(server.start)
        assert not await begun(server)

    with PrivatePostgres(tmp_path / "pg") as server:
        asyncio.run(whole(server))


def test_answers_that_overtake_each_other_are_no_older_state():
    identity = Identity(Place(host="nowhere", port=1, database="d", user="u"))
    first, second = identity.asked, identity.asked
    identity.flushed(200, second)
    identity.flushed(100, first)
    identity.flushed(None, identity.asked)  # a standby
    identity.flushed(200, identity.asked)
    with pytest.raises(StoreReplaced):
        identity.flushed(199, identity.asked)
