"""The verbs of processes that run on a cluster until they are asked to stop."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError
from pathlib import Path
from typing import Any

CONFIG = "tidings.toml"


def add_config(parser: ArgumentParser) -> None:
    """Add the option that names the configuration."""
    parser.add_argument(
        "--config", type=Path, default=Path(CONFIG), metavar="FILE", help=f"configuration (default: {CONFIG})"
    )


def port(text: str) -> int:
    """Read a port."""
    if not text.isdecimal() or not 1 <= int(text[:6]) <= 65535:  # noqa: PLR2004 - ports
        message = f"{text!r} is no port; write a number from 1 to 65535"
        raise ArgumentTypeError(message)
    return int(text)


def add_cluster(verbs: Any) -> None:
    """Add the verbs."""
    worker = verbs.add_parser("worker", help="on a cluster: read events and decide, until asked to stop")
    worker.set_defaults(run="gateway.cli.worker:worker")
    deliver = verbs.add_parser("deliver", help="on a cluster: dispatch and deliver, until asked to stop")
    deliver.set_defaults(run="gateway.cli.deliver:deliver")
    ground = verbs.add_parser("ground", help="on a cluster: what a restored database has to learn from the topics")
    actions = ground.add_subparsers(dest="action", metavar="ACTION", required=True)
    rebuild = actions.add_parser("rebuild", help="say what was sent and what nobody can know; --confirm goes on")
    rebuild.set_defaults(run="gateway.cli.ground:rebuild")
    add_config(rebuild)
    rebuild.add_argument(
        "--open",
        choices=("look-up", "send"),
        default="look-up",
        help="what may have been sent: ask its provider, else as on_unknown says (default); or send it",
    )
    rebuild.add_argument("--confirm", action="store_true", help="do it, and let messages go again")
    rebuild.add_argument("--json", action="store_true", help="for scripts, with all ids")
    archive = verbs.add_parser("archive", help="on a cluster: copy every record into the database, until asked to stop")
    archive.set_defaults(run="gateway.cli.archive:archive")
    for verb in (worker, deliver, archive):
        add_config(verb)
        verb.add_argument("--name", metavar="NAME", help="of this process, in log and attempts (default: the host's)")
        verb.add_argument(
            "--http-port", type=port, metavar="PORT", help="health and metrics here (default: as [http] says)"
        )
