"""What is said of a configuration that cannot be used: our own words, with the key, its line, and what to write."""

import re

import pytest

from gateway import config
from gateway.mistakes import type_at
from gateway.sections import Section, Settings
from tidings.errors import Misconfigured

VALUES = (
    "1", "-1", "99999999", "1.5", "true", '""', '"word"', '"587"', '"true"', "[]", "[1]", '["x"]', "[[1]]", "{ a = 1 }", "[{ a = 1 }]",
    "2012-01-18", "2012-01-18T08:00:00Z", "08:00:00", r'"a\u0000b"', "inf",
)  # fmt: skip
FOREIGN = re.compile(
    r"[Ii]nput|valid|required|[Tt]uple|bool\b|integer|dictionary|instance|pattern|pydantic|<class|None"
)


def keys():
    for name in Settings.model_fields:
        wanted, _ = type_at((name,))
        if isinstance(wanted, type) and issubclass(wanted, Section):
            yield from (((name, key), wanted.model_fields[key]) for key in wanted.model_fields)
        yield (name,), Settings.model_fields[name]


@pytest.mark.parametrize("place", [place for place, _ in keys()], ids=".".join)
def test_whatever_stands_at_a_key_is_told_in_our_words_with_its_line(tmp_path, place):
    file = tmp_path / "tidings.toml"
    section = f"[{place[0]}]\n" if len(place) == 2 else ""
    for value in VALUES:
        file.write_text(f"# a comment\n{section}{place[-1]} = {value}\n")
        try:
            config.read(file)
        except Misconfigured as told:
            for line in str(told).splitlines():
                where, _, what = line.partition(": ")
                assert re.fullmatch(rf"{re.escape(str(file))}:[123]", where), line
                assert not FOREIGN.search(what.replace("invalid", "")), line
                if what.startswith(f"{'.'.join(place)}: "):
                    assert where.endswith(f":{3 if section else 2}"), line


def test_the_lines_that_are_told_for_missing_keys_make_a_configuration_together(tmp_path):
    file = tmp_path / "tidings.toml"
    sections = sorted({place[0] for place, _ in keys() if len(place) == 2})
    file.write_text("".join(f"[{name}]\n" for name in sections))
    with pytest.raises(Misconfigured) as told:
        config.read(file)
    copied = re.findall(r":([0-9]+): ([a-z]+)\.[a-z_]+: it is missing; write '(.*)'", str(told.value))
    assert len(copied) == len(str(told.value).splitlines())
    assert all(sections[int(number) - 1] == name for number, name, _ in copied)
    file.write_text(
        "".join(f"[{s}]\n" + "".join(f"{line}\n" for _, name, line in copied if name == s) for s in sections)
    )
    assert config.read(file).settings.smtp is not None


SAID = {
    "[http]\nport = true\n": "2: http.port: a whole number stands here, not true or false; write 'port = 8080', or nothing",
    '[http]\nport = "8080"\n': "2: http.port: a whole number stands here, not text; write 'port = 8080', or nothing",
    "[http]\nport = 99999\n": "2: http.port: 99999 is too large; 65535 at most",
    "allow_loopback_webhooks = 1\n": (
        "1: allow_loopback_webhooks: true or false stands here, not a whole number; "
        "write 'allow_loopback_webhooks = false', or nothing"
    ),
    "http = 8080\n": "1: http: a section stands here: write '[http]' on a line of its own, and its keys below",
    'history = "alive"\n': "1: history: it is one of 'past', 'live'; did you mean 'live'?",
    '[smtp]\nhost = ["a"]\nsender = "S <s@example.org>"\n': (
        "2: smtp.host: text stands here, not a list; write 'host = \"smtp.example.org\"'"
    ),
    '[kafka]\nbootstrap = "k:9092"\n[postgres]\nhost = "h"\n': (
        "2: kafka.bootstrap: a list stands here, not text; write 'bootstrap = [\"kafka-1.example.org:9092\"]'"
    ),
    '[kafka]\nbootstrap = ["k:9092", 7]\n[postgres]\nhost = "h"\n': (
        "2: kafka.bootstrap, number 2: text stands here, not a whole number"
    ),
}


@pytest.mark.parametrize("text", SAID)
def test_what_is_said_names_what_to_write(tmp_path, text):
    file = tmp_path / "tidings.toml"
    file.write_text(text)
    with pytest.raises(Misconfigured) as told:
        config.read(file)
    assert str(told.value) == f"{file}:{SAID[text]}"
