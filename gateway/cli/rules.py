"""`tidings rules`: check a folder of rules."""

from __future__ import annotations

import json
from argparse import Namespace

from gateway.cli.folder import example, loaded


def check(arguments: Namespace) -> int:
    """`tidings rules check`."""
    found, rules, _ = loaded(arguments.folder or example())
    if arguments.json:
        print(json.dumps([one.to_json() for one in found.diagnostics], indent=1))
    else:
        for one in found.diagnostics:
            print(one)
        count = 0 if found.rules is None else len(found.rules.rules)
        wrong = len(found.errors)
        print(f"{len(rules)} files: " + (f"{wrong} errors" if wrong else f"{count} rules, no errors"))
    return 1 if found.errors else 0
