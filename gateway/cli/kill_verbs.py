"""The verbs that stop what leaves, and end that."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from gateway.cli.place import add_place


def add_kills(verbs: Any) -> None:
    """Add the verbs."""
    kill = verbs.add_parser("kill", help="stop what leaves: everything, a tenant, a channel or a rule")
    kill.set_defaults(run="gateway.cli.kills:kill")
    release = verbs.add_parser("release", help="end a kill: what waits goes on")
    release.set_defaults(run="gateway.cli.kills:release")
    drop = verbs.add_parser("drop", help="end a kill: what waits is cancelled")
    drop.set_defaults(run="gateway.cli.kills:drop")
    listing = verbs.add_parser("kills", help="what is stopped, and how much waits")
    listing.set_defaults(run="gateway.cli.kills:listing")
    for verb in (kill, release, drop):
        _add_scope(verb)
        verb.add_argument("--reason", required=True, metavar="TEXT", help="one line, for whoever is on call next")
    kill.add_argument("--force", action="store_true", help="also a tenant of which nothing is known yet")
    for verb in (release, drop):
        verb.add_argument("--confirm", action="store_true", help="do it")
    for verb in (kill, release, drop, listing):
        add_place(verb)
        verb.add_argument("--json", action="store_true", help="as JSON")


def _add_scope(verb: ArgumentParser) -> None:
    scope = verb.add_mutually_exclusive_group()
    scope.add_argument("--tenant", metavar="NAME", help="only this tenant (default: everything)")
    scope.add_argument("--channel", metavar="NAME", help="only this channel, as email or sms")
    scope.add_argument("--rule", metavar="ID", help="only this rule")
