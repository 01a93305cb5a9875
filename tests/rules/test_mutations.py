"""Damaged files: whatever is done to them, they load or are told, at a place, within bounded work, and never raise."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml

from gateway.cli.folder import read_rules
from handlers.rules import shape
from handlers.rules.conditions import check as checking
from handlers.rules.load import Loaded, load
from handlers.rules.yaml import Reader
from tests.rules.sample import KNOWN, TEXTS, files
from tests.rules.test_loader import GOOD, check

SHOP = Path(__file__).resolve().parents[2] / "examples" / "shop"
CHUNKS = 40
EACH = 50
MOST = {"node": 2_000, "term": 1_000, "near": 250}
"""Work on one folder: nodes of files that are read, terms of conditions that are checked, suggestions that are sought.

The whole folder needs 730, 110 and none.
"""


def damaged(raw: bytes, chance: Random) -> bytes:
    """Flip, delete, insert and repeat bytes and lines."""
    for _ in range(chance.randint(1, 3)):
        lines = raw.splitlines(keepends=True) or [b""]
        row = chance.randrange(len(lines))
        at = chance.randrange(len(raw) + 1)
        other = chance.choice([b"\x00", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\t", b"\r", b"\xc2\x85", b"\xe2\x80\xa8", b"'", b'"',
                               b"[", b"}", b": ", b"- ", b"&a ", b"*a ", b"!t ", b"%", b"#", b"|", b">", b"? ", b"0"])  # fmt: skip
        match chance.randrange(9):
            case 0:
                raw = raw[:at] + bytes([raw[at] ^ 1 << chance.randrange(8)] if at < len(raw) else []) + raw[at + 1 :]
            case 1:
                raw = raw[:at] + raw[at + chance.randint(1, 20) :]
            case 2:
                raw = raw[:at] + other + raw[at:]
            case 3:
                raw = raw[:at] + raw[at : at + chance.randint(1, 40)] * 2 + raw[at:]
            case 4:
                raw = b"".join(lines[:row] + lines[row + 1 :])
            case 5:
                raw = b"".join([*lines[:row], lines[row], *lines[row:]])
            case 6:
                raw = b"".join([*lines[:row], b" " * chance.randint(1, 4) + lines[row], *lines[row + 1 :]])
            case 7:
                raw = b"".join([*lines[:row], lines[row].lstrip(), *lines[row + 1 :]])
            case _:
                raw = raw[:at]
    return raw


WORDS = [
    7, -1, True, None, "", "x", [], {}, [1], {"a": 1}, 10**30, "x" * 5000, "customer", "billing.invoice.paid", "24:00", "env:X", "has(after)",
    "after.plan ==", "((((", "a" * 200, "1h", [["x"]], "event", "params.x", "mon", "slack", "Europe/Berlin", "paying_customer", "_shared.yaml",
]  # fmt: skip


def places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every container of a tree with each of its keys."""
    if isinstance(tree, (dict, list)):
        for key in list(tree) if isinstance(tree, dict) else range(len(tree)):
            yield tree, key
            yield from places(tree[key])


def rebuilt(raw: bytes, chance: Random) -> bytes:
    """Replace, remove, exchange and rename parts of a file's tree."""
    tree = yaml.safe_load(raw)
    for _ in range(chance.randint(1, 3)):
        known = list(places(tree))
        if not known:
            break
        inside, key = chance.choice(known)
        other, other_key = chance.choice(known)
        match chance.randrange(5):
            case 0 | 1:
                inside[key] = chance.choice(WORDS)
            case 2:
                del inside[key]
            case 3:
                inside[key] = yaml.safe_load(yaml.safe_dump(other[other_key]))
            case _ if isinstance(inside, dict):
                inside[chance.choice([str(other_key), str(key)[:-1], "if", "then", "qwertz"])] = inside.pop(key)
            case _:
                inside.append(inside[key])
    return yaml.safe_dump(tree, sort_keys=False).encode()


def folders() -> list[tuple[dict[str, bytes], dict[str, str]]]:
    return [(files(), dict(TEXTS)), read_rules(SHOP)]


def around(body: dict[str, bytes], name: str) -> dict[str, bytes]:
    """What a file needs beside it; everything where all the others need the file."""
    if not name.startswith("rules/") or "/_" in name:
        return body
    return {other: raw for other, raw in body.items() if other == name or "/_" in other or "/" not in other}


def check_told(found: Loaded) -> None:
    """Either rules or errors; and each of them can be printed."""
    assert (found.rules is None) is bool(found.errors)
    for one in found.diagnostics:
        assert one.line >= 1
        assert one.column >= 1
        assert len(one.text) <= 500
        assert str(one).startswith(f"{one.file}:{one.line}:{one.column}: {one.code}: ")
        str(one).encode()
        assert one.to_json()["code"] == one.code


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count what loading does."""
    done: Counter[str] = Counter()

    def counted(owner: Any, name: str, what: str) -> None:
        plain = getattr(owner, name)

        def count(*given: Any, **named: Any) -> Any:
            done[what] += 1
            return plain(*given, **named)

        monkeypatch.setattr(owner, name, count)

    counted(Reader, "_node", "node")
    counted(checking.Checker, "check", "term")
    counted(shape, "get_close_matches", "near")
    counted(checking, "get_close_matches", "near")
    return done


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_two_thousand_damaged_files_load_or_are_told(chunk: int, work: Counter[str]) -> None:
    for number in range(EACH):
        chance = Random(chunk * EACH + number)
        body, texts = folders()[number % 5 == 0]
        name = chance.choice(sorted(body))
        change = damaged if number % 2 else rebuilt
        work.clear()
        check_told(load(around({**body, name: change(body[name], chance)}, name), texts, KNOWN))
        assert all(work[what] <= most for what, most in MOST.items()), work


def test_a_file_full_of_mistakes_costs_no_more_than_its_first_ones(work: Counter[str]) -> None:
    keys = ", ".join(f"descripton{number}: 1" for number in range(8000))
    found = load({"a.yaml": f"version: 1\nrules: [{{{keys}}}]\n".encode()}, {}, KNOWN)
    check_told(found)
    assert work["near"] <= shape.MAX_SUGGESTED + 1
    assert len(found.diagnostics) < 210


@pytest.mark.parametrize("seed", range(40))
def test_a_damaged_template_loads_or_is_told(seed: int) -> None:
    body, texts = read_rules(SHOP)
    chance = Random(seed)
    name = chance.choice(sorted(texts))
    text = damaged(texts[name].encode(), chance).decode("utf-8", "replace")
    check_told(load(body, {**texts, name: text}, KNOWN))


def replaced(value: Any, new: Any) -> Iterator[Any]:
    """Yield a tree with each of its parts replaced in turn."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from ({**value, key: one} for one in (new, *replaced(part, new)))
    elif isinstance(value, list):
        for at, part in enumerate(value):
            yield from ([*value[:at], one, *value[at + 1 :]] for one in (new, *replaced(part, new)))


@pytest.mark.parametrize(
    "new", [7, True, None, "x", "", [1], {"a": 1}, [["x"]], {}, 10**30, "x" * 5000], ids=lambda new: repr(new)[:20]
)
def test_a_value_of_a_wrong_kind_anywhere_is_told_and_no_rule_is_lost(new: Any) -> None:
    for tree in replaced(yaml.safe_load(GOOD), new):
        found = check(yaml.safe_dump(tree, sort_keys=False))
        check_told(found)
        if found.rules is not None:
            assert len(found.rules.rules) == 2, tree
