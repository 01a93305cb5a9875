"""Every verb says what it is for, with a call that works as it stands."""

import re
import shlex
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO

import pytest

from gateway.cli.main import parser
from gateway.cli.words import SAID


def verbs(words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield every verb that the help names, as it names them."""
    yield words
    section = help_of(words).partition("verbs:")[2].partition("\nexample:")[0]
    for name in re.findall(r"^    ([a-z-]+)", section, re.MULTILINE):
        yield from verbs((*words, name))


def help_of(words: tuple[str, ...]) -> str:
    said = StringIO()
    with redirect_stdout(said), pytest.raises(SystemExit):
        parser().parse_args([*words, "--help"])
    return said.getvalue()


ALL = [" ".join(("tidings", *words)) for words in verbs()]


def test_no_verb_is_without_words_and_no_words_without_a_verb():
    assert sorted(ALL) == sorted(SAID)


@pytest.mark.parametrize("name", sorted(SAID))
def test_the_help_of_a_verb_has_its_sentence_and_a_call_that_is_understood(name, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    about, example = SAID[name]
    text = help_of(tuple(name.split()[1:]))
    assert about in " ".join(text.split())
    assert f"example: {example}\n" in text
    assert max(map(len, text.splitlines())) <= 80
    assert example.startswith(name)
    assert parser().parse_args(shlex.split(example)[1:]).run
