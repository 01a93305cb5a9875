"""Folders of rules, templates, teams, targets and topics, as operations teams keep them."""

from __future__ import annotations

import shlex
import stat
from importlib.resources import files
from pathlib import Path

from gateway.cli.told import Told
from handlers.rules.load import BESIDE, TESTS, Loaded, load
from schemas import contracts

MAX_FILE = 1024 * 1024


def example() -> Path:
    """Return the folder of the example shop: in a wheel inside `gateway`, in a checkout at its top."""
    for folder in (Path(str(files("gateway"))) / "examples" / "shop", Path(__file__).parents[2] / "examples" / "shop"):
        if folder.is_dir():
            return folder
    raise Told("the example shop is not installed")


def read_rules(folder: Path) -> tuple[dict[str, bytes], dict[str, str]]:
    """Return the rule files and templates below a folder; teams, targets and topics are among the files."""
    if not (folder / "rules").is_dir():
        raise Told(f"{folder} has no folder 'rules'")
    rules = {}
    for path in sorted((folder / "rules").rglob("*.yaml")):
        if path.name.endswith(TESTS):
            continue  # a file of tests, beside what it tests
        rules[path.relative_to(folder).as_posix()] = _bytes(path)
    if not rules:
        raise Told(f"{folder / 'rules'} holds no *.yaml")
    for name in sorted(BESIDE):
        if (folder / name).is_file():
            rules[name] = _bytes(folder / name)
    texts = {}
    for path in sorted((folder / "templates").rglob("*.txt")):
        raw = _bytes(path)
        try:
            texts[path.relative_to(folder / "templates").with_suffix("").as_posix()] = raw.decode("utf-8")
        except UnicodeDecodeError as fault:
            raise Told(f"{path}: byte {fault.start} is not UTF-8") from fault
    return rules, texts


def _bytes(path: Path) -> bytes:
    """Return the bytes of a file; a pipe is no file, and would never end."""
    try:
        mode = path.stat().st_mode
    except OSError as fault:
        raise Told(f"{path}: {fault.strerror}") from fault
    if not stat.S_ISREG(mode):
        raise Told(f"{path} is no file; move it away, or give it another name")
    return read(path)


def read(path: Path) -> bytes:
    """Return all bytes, of `MAX_FILE` at most."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE + 1)
    except OSError as fault:
        raise Told(f"{path}: {fault.strerror}") from fault
    if len(raw) > MAX_FILE:
        raise Told(f"{path} is larger than {MAX_FILE} bytes")
    return raw


def loaded(folder: Path) -> tuple[Loaded, dict[str, bytes], dict[str, str]]:
    """Load the rules below a folder."""
    rules, texts = read_rules(folder)
    return load(rules, texts, contracts().by_type), rules, texts


def to_mend(folder: Path) -> str:
    """Return the sentence for a folder whose rules have errors, with the command that tells them."""
    return f"the rules have errors; to see them: tidings rules check {shlex.quote(str(folder))}"
