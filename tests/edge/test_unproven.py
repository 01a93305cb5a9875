"""A process without `secret_key` beside keys says so itself: nobody has to guess why every key is refused."""

import pytest

from gateway.access.keys import UNPROVEN
from tests.edge import edge
from tests.http.asking import run

pytestmark = pytest.mark.live


def test_keys_that_a_process_cannot_prove_make_it_unready_and_stand_in_its_log(tmp_path, caplog):
    async def body() -> None:
        async with edge(tmp_path) as shop:
            shop.site.door.keys.pepper = None
            assert (await shop.get("/readyz")).status == 200
            await shop.key("somebody", "decisions")
            shop.site.door.keys._looked = float("-inf")  # a second later
            assert await shop.site.door.keys.are_dead()
            ready = await shop.get("/readyz")
            while ready.status == 200:  # an answer is given again for half a second
                ready = await shop.get("/readyz")
            (check,) = [one for one in ready.json["checks"] if one["state"] == "wrong"]
            assert (check["name"], "set secret_key" in check["says"]) == ("keys", True)
            assert [one.levelname for one in caplog.records if one.getMessage() == UNPROVEN] == ["ERROR"]

    run(body())
