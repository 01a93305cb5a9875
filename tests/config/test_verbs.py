"""Verbs that behave alike: alone they list, `--data` reaches past a configuration, and a mistyped word is told."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from gateway.access.keys import make
from gateway.cli.main import main, parser
from streams.processors import keys, kills
from streams.stores.sqlite import SqliteStore
from tidings.event import DAY

NOW = 1_800_000_000_000_000
LISTING = ("dead-letters", "keys", "sources", "contracts")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with a file, in which something is stopped and somebody has a key."""

    async def fill() -> None:
        store = await SqliteStore.open(tmp_path / "data" / "tidings.db", lambda: NOW)
        row = make(b"pepper", "billing", tenant="default", scopes=frozenset({"decisions"}), expires_at=NOW + DAY).row
        await store.run(keys.add(row, "ann"))
        await store.run(kills.kill("channel:sms", "ann", "try"))
        await store.close()

    (tmp_path / "data").mkdir()
    asyncio.run(fill())
    return tmp_path / "data"


@pytest.mark.parametrize("verb", LISTING)
def test_a_verb_that_can_list_lists_where_it_stands_alone(verb: str) -> None:
    for more in ([], ["--json"]):
        assert vars(parser().parse_args([verb, *more])) == vars(parser().parse_args([verb, "list", *more]))


@pytest.mark.parametrize("verb", LISTING)
def test_the_help_of_a_verb_that_lists_alone_says_so(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parser().parse_args([verb, "--help"])
    assert ended.value.code == 0
    assert "Without an action it lists." in " ".join(capsys.readouterr().out.split())


def test_keys_say_when_they_were_made_and_used_and_until_when_they_are_good(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = data.parent / "tidings.toml"
    config.write_text('data = "data"\nrules = "rules"\n', encoding="utf-8")
    assert main(["keys", "--config", str(config)]) == 0
    assert "made 2027-01-15 08:00 UTC, never used, until 2027-01-16 08:00 UTC" in capsys.readouterr().out
    assert main(["keys", "--config", str(config), "--json"]) == 0
    (one,) = json.loads(capsys.readouterr().out)
    assert (one["created"], one["used"], one["expires"]) == ("2027-01-15T08:00:00Z", None, "2027-01-16T08:00:00Z")


def test_past_a_broken_configuration_data_reaches_the_file_and_the_refusal_says_so(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(data.parent)
    Path("tidings.toml").write_text("data = [", encoding="utf-8")
    for words in (["kill", "--reason", "now"], ["kills"], ["audit"], ["dead-letters"]):
        assert main(words) == 1
        assert "To go past it: --data FOLDER" in capsys.readouterr().err
        assert main([*words, "--data", "data"]) == 0
        capsys.readouterr()
    assert main(["doctor"]) == 1
    assert main(["doctor", "--data", "data"]) == 0
    assert main(["doctor", "--data", "nowhere"]) == 1
    assert "there is no file nowhere/tidings.db" in capsys.readouterr().out


def test_a_word_of_which_nothing_is_written_down_is_told_with_the_one_that_was_meant(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, said in (
        (["--verb", "kil"], "did you mean verb 'kill'?"),
        (["--verb", "key create", "--who", "an"], "did you mean who 'ann' and verb 'keys create'?"),
        (["--verb", "xyz"], "without --who and --verb everything is listed"),
    ):
        assert main(["audit", "--data", str(data), *words]) == 1
        assert said in capsys.readouterr().out
