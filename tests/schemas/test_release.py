"""A release is for good: it is shown first, and it never freezes what the gate refuses."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from schemas import gate, generate, release

SOURCE = "tidings/billing/v1/InvoiceIssued.avsc"
NEXT = "released/tidings.billing.v1.InvoiceIssued/2.avsc"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return shutil.copytree(release.FOLDER, tmp_path / "avro")


def edit(folder: Path, change: Callable[[list[Any]], Any], file: str = SOURCE) -> None:
    schema = json.loads((folder / file).read_text())
    change(schema["fields"])
    (folder / file).write_text(json.dumps(schema))


def new_field(fields: list[Any]) -> None:
    words = {"doc": "A note.", "pii": "none", "default": None, "example": "x"}
    fields.append({"name": "note", "type": ["null", "string"], **words})


def files(folder: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_release_is_shown_first_and_done_when_it_is_confirmed(folder, capsys):
    edit(folder, new_field)
    before = files(folder)
    assert release.main([], folder) == 0
    assert "tidings.billing.v1.InvoiceIssued: version 2" in capsys.readouterr().out
    assert files(folder) == before
    assert release.main(["--confirm"], folder) == 0
    catalogue = gate.read(folder)
    assert gate.frozen(catalogue) == gate.unreleased(catalogue) == []
    assert (folder / NEXT).is_file()
    assert {file: body for file, body in files(folder).items() if file in before and file.name != "lock.json"} == {
        file: body for file, body in before.items() if file.name != "lock.json"
    }
    assert release.main(["--confirm"], folder) == 0
    assert "nothing to release" in capsys.readouterr().out


@pytest.mark.parametrize(("change", "file", "code"), [
    (lambda fields: fields.pop(), SOURCE, "C204"), (lambda fields: fields[1].pop("doc"), SOURCE, "C103"),
    (lambda fields: fields[1].update(doc="Other."), NEXT.replace("2", "1"), "C302"),
], ids=["breaks readers", "has no shape", "stands on a version that was changed"])  # fmt: skip
def test_what_the_gate_refuses_is_never_released(folder, capsys, change, file, code):
    edit(folder, new_field, SOURCE)
    edit(folder, change, file)
    if code == "C204":
        edit(folder, lambda fields: fields.pop())
    before = files(folder)
    assert release.main(["--confirm"], folder) == 1
    assert code in capsys.readouterr().out
    assert files(folder) == before


@pytest.mark.parametrize("body", [b"{", b"[" * 100_000, b"\xff", b"", b"7"])
@pytest.mark.parametrize("file", [SOURCE, "lock.json", NEXT.replace("2", "1")])
def test_a_file_that_is_no_json_is_named_with_its_place(folder, capsys, body, file):
    (folder / file).write_bytes(body)
    assert release.main(["--confirm"], folder) == 1
    told = capsys.readouterr().out
    assert told.startswith(f"{file}:1:2: C100 this is no JSON object: " if body == b"{" else file)
    assert "C100" in told


@pytest.mark.parametrize("command", [release.main, generate.main], ids=["release", "generate"])
def test_asking_for_help_does_nothing_else(command, capsys, monkeypatch):
    monkeypatch.setattr(release, "freeze", None)
    monkeypatch.setattr(generate, "models", None)
    with pytest.raises(SystemExit) as ended:
        command(["--help"])
    assert ended.value.code == 0
    assert "usage: python -m schemas." in capsys.readouterr().out
