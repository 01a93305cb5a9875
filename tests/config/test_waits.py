"""What waits for a person, as `doctor` and `kill` say it."""

import asyncio

from gateway.cli.doctor import examine_folder
from gateway.cli.main import main
from streams.processors import kills
from streams.stores.sqlite import SqliteStore
from tidings.ports import Put


def letter(reader, offset, **more):
    row = {
        "reader": reader,
        "topic": "t",
        "partition": 0,
        "offset": offset,
        "reason": "undecodable",
        "detail": "",
        "schema_id": None,
    }
    row |= {"appended_at": 1, "key": None, "value": None, "headers": b"[]", "redriven_at": None, "aside_at": None}
    return row | more


def test_doctor_notes_what_is_stopped_and_the_dead_letters_that_wait(tmp_path):
    async def fill():
        store = await SqliteStore.open(tmp_path / "tidings.db")

        def letters():
            yield Put("dead_letters", [letter("a", 1), letter("b", 1), letter("a", 2), letter("a", 3, redriven_at=5)])

        await store.run(kills.kill("channel:sms", "ann", "wrong prices"))
        await store.run(letters)
        await store.close()

    asyncio.run(fill())
    found = {one.what: one for one in examine_folder(tmp_path)}
    assert found["stopped"].state == found["dead letters"].state == "note"
    assert found["stopped"].says.startswith("channel sms, by ann since ")
    assert found["stopped"].says.endswith(": wrong prices; 0 messages wait")
    assert found["dead letters"].says == "2 wait for a person"


def test_a_kill_of_a_tenant_that_nothing_knows_is_refused_unless_it_is_insisted_on(tmp_path, capsys):
    async def fill():
        await (await SqliteStore.open(tmp_path / "tidings.db")).close()

    asyncio.run(fill())
    kill = ["kill", "--data", str(tmp_path), "--reason", "r", "--tenant", "defualt"]
    assert main(kill) == 1
    assert "did you mean 'default'?" in capsys.readouterr().err
    assert main([*kill, "--force"]) == 0
