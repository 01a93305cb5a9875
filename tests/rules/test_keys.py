"""Keys: each that is built exists, each that is not is refused by its name, and a misspelt one gets what was meant."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from handlers.rules.keys import BUILT, LATER
from handlers.rules.load import Loaded, load
from handlers.rules.yaml import Node, Reader
from tests.rules.sample import KNOWN, TEXTS, edited, files, loaded

CRM, BILLING, MORE = "rules/crm.yaml", "rules/billing.yaml", "rules/more.yaml"
SHARED = "rules/_shared.yaml"
PLACE: dict[str, tuple[str, str, str]] = {
    # kind of mapping: a file, a text of it, and the same with a key more
    "file": (MORE, "version: 1\n", "version: 1\nKEY: 1\n"),
    "shared": (SHARED, "version: 1\n", "version: 1\nKEY: 1\n"),
    "condition": (MORE, "large: { on", "large: { KEY: 1, on"),
    "rule": (MORE, "    status: shadow\n", "    status: shadow\n    KEY: 1\n"),
    "raise": (MORE, "{ if: large, to: high }", "{ KEY: 1, if: large, to: high }"),
    "when": (BILLING, "    when:\n      missing:\n", "    when:\n      KEY: 1\n      missing:\n"),
    "event": (MORE, "      allowed_lateness: 5m\n", "      allowed_lateness: 5m\n      KEY: 1\n"),
    "missing": (BILLING, "        once: true\n", "        once: true\n        KEY: 1\n"),
    "match": (BILLING, "expect: { event", "expect: { KEY: 1, event"),
    "stop": (MORE, "- { event: billing.payment.succeeded,", "- { KEY: 1, event: billing.payment.succeeded,"),
    "param": (BILLING, "grace: { type", "grace: { KEY: 1, type"),
    "reading": (MORE, "account: { entity", "account: { KEY: 1, entity"),
    "to": (CRM, "{ team: care-leads }", "{ KEY: 1, team: care-leads }"),
    "step": (MORE, "        if: large\n", "        if: large\n        KEY: 1\n"),
    "all_clear": (MORE, "        on_failure: alert\n", "        on_failure: alert\n        KEY: 1\n"),
    "retry": (MORE, "retry: { max: 3 }", "retry: { KEY: 1, max: 3 }"),
    "policy": (MORE, "  office:\n", "  office:\n    KEY: 1\n"),
    "quiet_hours": (MORE, "    quiet_hours:\n", "    quiet_hours:\n      KEY: 1\n"),
    "window": (MORE, '- { start: "18:00"', '- { KEY: 1, start: "18:00"'),
    "teams": ("teams.yaml", "version: 1\n", "version: 1\nKEY: 1\n"),
    "team": ("teams.yaml", "  care-leads:\n", "  care-leads:\n    KEY: 1\n"),
    "targets": ("targets.yaml", "version: 1\n", "version: 1\nKEY: 1\n"),
    "target": ("targets.yaml", "care: { url", "care: { KEY: 1, url"),
    "topics": ("topics.yaml", "version: 1\n", "version: 1\nKEY: 1\n"),
    "topic": ("topics.yaml", "billing: { sentence", "billing: { KEY: 1, sentence"),
}  # fmt: skip
NEAR = {
    "file": ("polices", "policies"), "shared": ("conditons", "conditions"), "condition": ("iff", "if"),
    "rule": ("on_stpo", "on_stop"), "raise": ("too", "to"), "when": ("mising", "missing"), "event": ("chnaged", "changed"),
    "missing": ("cancel_no", "cancel_on"), "match": ("evnt", "event"), "stop": ("macth", "match"),
    "param": ("defualt", "default"), "reading": ("entitiy", "entity"), "to": ("custmer", "customer"),
    "step": ("worklfow", "workflow"), "all_clear": ("tempalte", "template"), "retry": ("max_backof", "max_backoff"),
    "policy": ("consnt", "consent"), "quiet_hours": ("if_unkown", "if_unknown"), "window": ("dayz", "days"),
    "teams": ("team", "teams"), "team": ("emial", "email"), "targets": ("ticket", "tickets"), "target": ("secrte", "secret"),
    "topics": ("topic", "topics"), "topic": ("sentense", "sentence"),
}  # fmt: skip


def with_key(kind: str, key: str) -> Loaded:
    file, old, new = PLACE[kind]
    return edited(file, (old, new.replace("KEY", key)))


def test_every_kind_of_mapping_is_tried() -> None:
    assert set(PLACE) == set(NEAR) == set(BUILT)
    assert set(LATER) <= set(BUILT)


@pytest.mark.parametrize(("kind", "key"), [(kind, key) for kind, keys in LATER.items() for key in keys])
def test_a_key_that_is_not_built_yet_is_refused_by_its_name(kind: str, key: str) -> None:
    found = with_key(kind, key)
    assert found.rules is None
    (error,) = found.errors
    assert (error.code, error.text) == ("R010", f"'{key}' is part of the language, but not built yet")
    assert error.file == PLACE[kind][0]
    assert error.snippet[error.column - 1 :].startswith(f"{key}: 1")


@pytest.mark.parametrize("key", LATER["when"])
def test_an_operator_that_is_not_built_yet_is_refused_by_its_name(key: str) -> None:
    text = (
        f"version: 1\nrules:\n  - id: a\n    owner: o\n    status: live\n    when:\n      {key}:\n"
        "        event: billing.payment.failed\n    to: { team: care-leads }\n"
        "    then: [{ send: sms, template: billing/card-expired-sms }]\n"
    )
    found = loaded({"rules/a.yaml": text.encode()})
    assert [(one.code, one.file, one.line, one.column) for one in found.errors] == [("R010", "rules/a.yaml", 7, 7)]


@pytest.mark.parametrize("kind", NEAR)
def test_a_key_that_is_none_is_refused_with_what_was_meant(kind: str) -> None:
    key, meant = NEAR[kind]
    (error,) = with_key(kind, key).errors
    assert (error.code, error.hint, error.file) == ("R005", meant, PLACE[kind][0])
    assert error.snippet[error.column - 1 :].startswith(key)
    (error,) = with_key(kind, "qwertz").errors
    assert (error.code, error.hint) == ("R005", None)


def test_a_misspelt_key_of_later_is_suggested_as_well() -> None:
    (error,) = with_key("rule", "freqency_cap").errors
    assert (error.code, error.hint) == ("R005", "frequency_cap")


def keys_of(node: Node) -> Iterator[str]:
    for key, value in node.entries:
        yield key.text
        yield from keys_of(value)
    for item in node.items:
        yield from keys_of(item)


def test_the_folder_of_these_tests_uses_every_key_that_is_built() -> None:
    used = {key for name, raw in files().items() for key in keys_of(Reader(name, raw).read())}
    assert {key for keys in BUILT.values() for key in keys} <= used


def test_without_anything_beside_them_rules_are_told_what_is_missing() -> None:
    rules = {name: raw for name, raw in files().items() if name.startswith("rules/")}
    found = load(rules, TEXTS, KNOWN)
    assert {one.code for one in found.errors} == {"R005"}
    # Once each, however many names of it the rules use.
    assert sorted(one.text.rpartition(" ")[2] for one in found.errors) == ["targets.yaml", "teams.yaml", "topics.yaml"]


def test_a_file_whose_list_is_no_mapping_is_told_once_and_not_at_every_name_of_it() -> None:
    (error,) = loaded({"topics.yaml": b"topics: [billing]"}).errors
    assert (error.file, error.text) == ("topics.yaml", "'topics' must be a mapping of names")


@pytest.mark.parametrize("name", ["teams.yaml", "targets.yaml", "topics.yaml", "rules/_shared.yaml"])
def test_a_file_that_cannot_be_read_is_told_once_and_not_at_every_name_of_it(name: str) -> None:
    found = loaded({name: b"["})
    assert [(one.code, one.file) for one in found.errors] == [("R001", name)]


def test_every_code_and_every_key_is_in_the_documentation() -> None:
    root = Path(__file__).resolve().parents[2]
    text = (root / "docs" / "rules.md").read_text()
    folders = (root / "handlers" / "rules", root / "handlers" / "templates")
    sources = "".join(path.read_text() for folder in folders for path in folder.rglob("*.py"))
    codes = set(re.findall(r'"(R[0-9]{3})"', sources))
    assert codes == set(re.findall(r"^\| (R[0-9]{3}) \|", text, re.MULTILINE))
    words = set(re.findall(r"[a-z_]+", text))
    assert {key for keys in BUILT.values() for key in keys} <= words
