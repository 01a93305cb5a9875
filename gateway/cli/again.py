"""The verbs that look at history again: `verify` decides nothing anew, `repair` takes events in once more."""

from __future__ import annotations

from typing import Any

from gateway.cli.place import add_place


def add_again(verbs: Any) -> None:
    """Add the verbs."""
    verify = verbs.add_parser("verify", help="replay the journal, and compare it with what is stored, byte for byte")
    verify.set_defaults(run="gateway.cli.verify:verify")
    add_place(verify)
    verify.add_argument("--json", action="store_true", help="as JSON")
