"""The verbs of the HTTP edge: `tidings keys …`, `tidings gateway`. Without imports of what they stand on, for `--help`."""

from __future__ import annotations

from typing import Any

from gateway.cli.cluster_verbs import add_config, port

SCOPES = ("events", "decisions", "customers:reveal", "kill", "deliveries", "jobs", "admin")
ROLES = ("publisher", "viewer", "support", "operator", "admin")
"""As `gateway.access.keys` has them; a test compares."""


def add_edge(verbs: Any) -> None:
    """Add the verbs."""
    gateway = verbs.add_parser("gateway", help="on a cluster: serve intake, console and links, until asked to stop")
    gateway.set_defaults(run="gateway.cli.gateway:gateway")
    add_config(gateway)
    gateway.add_argument("--name", metavar="NAME", help="of this process, in its log (default: the host's)")
    gateway.add_argument("--http-port", type=port, metavar="PORT", help="serve here (default: as [http] says)")

    keys = verbs.add_parser("keys", help="who may come in over HTTP: make keys, list them, end them")
    actions = keys.add_subparsers(dest="action", metavar="ACTION", required=True)
    create = actions.add_parser("create", help="make a key, and show it this once")
    create.set_defaults(run="gateway.cli.keys:create")
    create.add_argument("name", metavar="NAME", help="of the system or person, as billing-system; two keys may be live")
    create.add_argument(
        "--role", action="append", choices=ROLES, metavar="ROLE", help=f"what it may do, as a set: {', '.join(ROLES)}"
    )
    create.add_argument(
        "--scope",
        action="append",
        choices=SCOPES,
        metavar="SCOPE",
        help=f"what it may do, one by one: {', '.join(SCOPES)}",
    )
    create.add_argument(
        "--source",
        action="append",
        metavar="SOURCE",
        help="as which source its events may come, as shop/billing or 'shop/*'",
    )
    create.add_argument("--expires", metavar="TIME", help="when it ends, as 90d or 12h (default: never)")
    listing = actions.add_parser("list", help="every key: what it may do, when it was used")
    listing.set_defaults(run="gateway.cli.keys:listing")
    listing.add_argument("--json", action="store_true", help="as JSON")
    revoke = actions.add_parser("revoke", help="end a key for good")
    revoke.set_defaults(run="gateway.cli.keys:revoke")
    revoke.add_argument("id", metavar="ID", help="as list shows it")
    for action in (create, listing, revoke):
        action.add_argument("--tenant", default="default", metavar="NAME", help="whose key (default: default)")
        add_config(action)
