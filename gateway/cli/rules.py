"""`tidings rules`: check a folder of rules."""

from __future__ import annotations

import json
from argparse import Namespace

from gateway.cli.folder import example, loaded
from handlers.rules.load import Loaded


def check(arguments: Namespace) -> int:
    """`tidings rules check`."""
    folder = arguments.folder or example()
    found, files, texts = loaded(folder)
    if arguments.json:
        print(json.dumps([one.to_json() for one in found.diagnostics]))
    else:
        for one in found.diagnostics:
            print(one)
        print(f"{folder}: " + closing_line(found, len(files), len(texts)))
    return 1 if found.errors else 0


def closing_line(found: Loaded, files: int, templates: int) -> str:
    """Return what was read, and how many mistakes and warnings it has."""
    errors, warnings = (sum(one.severity == severity for one in found.diagnostics) for severity in ("error", "warning"))
    wrong = f"{_count(errors, 'error')}, {_count(warnings, 'warning')}"
    return (
        f"{_count(files, 'file')}: {_count(found.rule_count, 'rule')}, {_count(found.team_count, 'team')}, "
        f"{_count(templates, 'template')}; {wrong}"
    )


def _count(number: int, word: str) -> str:
    return f"{number or 'no'} {word}{'s' * (number != 1)}"
