"""[registry] in the configuration, and the verb that publishes to it."""

import asyncio
from pathlib import Path

import pytest

from gateway import config
from gateway.cli.main import main
from gateway.codec import codec_of
from streams.registry.endpoint import Endpoint
from streams.wire import Shipped
from tests.providers.stand_ins import served
from tests.registry.stand_in import KNOWN, StandIn
from tidings.errors import Misconfigured

GROUND = '[kafka]\nbootstrap = ["127.0.0.1:9092"]\nprefix = "shop."\n[postgres]\nhost = "127.0.0.1"\n'


def written(folder: Path, text: str) -> Path:
    file = folder / "tidings.toml"
    file.write_text(text)
    return file


def test_without_the_section_the_shipped_schemas_are_used(tmp_path):
    assert isinstance(codec_of(config.read(written(tmp_path, GROUND))).schemas, Shipped)


def test_everything_that_is_said_about_a_registry_reaches_it(tmp_path, monkeypatch):
    monkeypatch.setenv("T_WORD", "secret-word")
    more = (
        '[registry]\nurl = "https://registry.example.org/v7/"\nusername = "u"\npassword = "env:T_WORD"\nca = "ca.pem"\n'
    )
    read = config.read(written(tmp_path, GROUND + more))
    wanted = Endpoint("https://registry.example.org/v7", "u", "secret-word", tmp_path / "ca.pem", "shop.")
    assert read.registry() == wanted
    assert "secret-word" not in repr(read.registry())
    with pytest.raises(Misconfigured, match=r"\[registry\] ca: .*ca\.pem cannot be used"):
        wanted.context()


WRONG = {
    'url = "ftp://registry"': "not https",
    'url = "http://u:p@registry:8081"': "a name or a password before its host",
    'url = "http://registry:8081/?x=1"': "has a query",
    'url = "http://registry:8081"\nusername = "u"': "'password' is not set beside it",
    'url = "http://registry:8081"\nusername = "u"\npassword = "env:T_WORD"': "use https",
    'url = "http://registry:8081"\nca = "ca.pem"': "of use with https only",
    'url = "https://registry"\nusername = "u:v"\npassword = "env:T_WORD"': "username",
    'url = "https://registry"\nusername = "u"\npassword = "word"': "by reference only",
}


@pytest.mark.parametrize("text", WRONG)
def test_a_mistake_in_the_section_is_told(tmp_path, text):
    with pytest.raises(Misconfigured, match=WRONG[text]):
        config.read(written(tmp_path, f"{GROUND}[registry]\n{text}\n"))


def test_publish_says_what_it_did_and_does_it_once(tmp_path, capsys):
    async def body() -> None:
        there = StandIn()
        async with served(there) as url:
            file = str(written(tmp_path, f'{GROUND}[registry]\nurl = "{url}"\n'))

            async def publish(*words: str) -> tuple[int, str]:
                code = await asyncio.to_thread(main, ["contracts", "publish", "--config", file, *words])
                return code, capsys.readouterr().out

            code, said = await publish("--dry-run")
            assert (code, there.subjects) == (1, {})
            assert "shop.billing.invoice.paid.v1-tidings.billing.v1.InvoicePaid  version 1  not registered" in said
            code, said = await publish()
            assert code == 0
            assert f"{len(KNOWN.released)} changed" in said
            code, said = await publish("--dry-run")
            assert (code, len(said.splitlines())) == (0, 1)
            assert "none would be changed" in said

    asyncio.run(body())


def test_publish_without_a_registry_or_with_a_dead_one_is_told_in_a_sentence(tmp_path, capsys):
    file = written(tmp_path, GROUND)
    assert main(["contracts", "publish", "--config", str(file)]) == 1
    assert "has no [registry]" in capsys.readouterr().err
    written(tmp_path, f'{GROUND}[registry]\nurl = "http://127.0.0.1:1"\n')
    assert main(["contracts", "publish", "--config", str(file)]) == 1
    assert "the schema registry http://127.0.0.1:1 cannot be asked" in capsys.readouterr().err
