"""`tidings rules check`: what is wrong, and a closing line that counts."""

import json
import os
import shutil
from argparse import Namespace
from pathlib import Path

import pytest

from gateway.cli.folder import example, read_rules
from gateway.cli.rules import check
from gateway.cli.told import Told
from tests.rules.sample import FOLDER, TEXTS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "shop"
    shutil.copytree(FOLDER, place)
    for name, text in TEXTS.items():
        file = place / "templates" / f"{name}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return place


def run(folder: Path | None, capsys: pytest.CaptureFixture[str], *, as_json: bool = False) -> tuple[int, str]:
    code = check(Namespace(folder=folder, json=as_json))
    return code, capsys.readouterr().out


def test_a_good_folder_is_counted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, capsys) == (0, f"{folder}: 8 files: 9 rules, 2 teams, 14 templates; no errors, no warnings\n")


def test_mistakes_end_with_1_and_stand_above_the_count(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    teams = folder / "teams.yaml"
    teams.write_text(teams.read_text().replace("env:SLACK_SUCCESS", "https://hooks.example.org/x"))
    rules = folder / "rules" / "orders.yaml"
    rules.write_text(rules.read_text().replace("    policy: service\n", ""))
    code, said = run(folder, capsys)
    assert code == 1
    assert said.splitlines() == [
        "rules/orders.yaml:5:5: R207: warning: customers are told without a 'policy': no class of consent is named, and no quiet hours",
        "      - id: delivery-delayed",
        "        ^",
        "teams.yaml:6:12: R011: a secret stands here by reference only: env:NAME or file:/path",
        f"{folder}: 8 files: 9 rules, 2 teams, 14 templates; 1 error, 1 warning",
    ]
    code, said = run(folder, capsys, as_json=True)
    assert code == 1
    assert [(one["code"], one["severity"], one["file"]) for one in json.loads(said)] == [
        ("R207", "warning", "rules/orders.yaml"), ("R011", "error", "teams.yaml"),
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["pipe", "folder", "link"])
@pytest.mark.parametrize("name", ["rules/x.yaml", "templates/x.txt"])
def test_what_is_no_file_is_told_and_never_waited_for(kind: str, name: str, folder: Path) -> None:
    path = folder / name
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(folder / "nowhere")
    with pytest.raises(Told, match=path.name):
        read_rules(folder)


def test_the_example_has_no_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    code, said = run(None, capsys)
    assert code == 0
    assert said.splitlines()[-1].endswith("; no errors, no warnings")


def test_what_stands_beside_the_rules_is_read_with_them() -> None:
    files, _ = read_rules(example())
    assert "topics.yaml" in files
