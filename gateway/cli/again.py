"""The verbs that look at history again: `verify` decides nothing anew, `repair` takes events in once more."""

from __future__ import annotations

from typing import Any

from gateway.cli.place import add_place


def add_again(verbs: Any) -> None:
    """Add the verbs."""
    verify = verbs.add_parser("verify", help="replay the journal, and compare it with what is stored, byte for byte")
    verify.set_defaults(run="gateway.cli.verify:verify")
    add_place(verify)
    verify.add_argument("--json", action="store_true", help="as JSON on one line")

    repair = verbs.add_parser("repair", help="say what would happen if events came again; --confirm does it")
    repair.set_defaults(run="gateway.cli.repair:repair")
    repair.add_argument("places", nargs="*", metavar="PLACE", help="as 'billing.invoice.paid.v1[0]@7', or '…@7-19'")
    repair.add_argument("--type", metavar="EVENT", help="only events of this type, as billing.invoice.paid")
    repair.add_argument("--from", dest="since", metavar="TIME", help="only what happened at or after it")
    repair.add_argument("--to", dest="until", metavar="TIME", help="only what happened before it")
    repair.add_argument("--confirm", action="store_true", help="append them behind the other records")
    add_place(repair)
