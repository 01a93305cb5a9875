"""Which file a command reads: that of `--data`, of a configuration, or of the demonstration."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.config import Config

CONFIG = Path("tidings.toml")
DEMO = Path("demo")
PAST = (
    "--data FOLDER names the folder of 'tidings run' (its 'data'); of a cluster --config FILE another file, "
    "in which [kafka] and [postgres] are enough"
)


def add_place(parser: ArgumentParser) -> None:
    """Add the options that name the file."""
    places = parser.add_mutually_exclusive_group()
    places.add_argument(
        "--data", type=Path, metavar="FOLDER", help=f"folder of the file (default: as --config says; else {DEMO})"
    )
    places.add_argument(
        "--config", type=Path, metavar="FILE", help=f"configuration that names the folder (default: {CONFIG}, if there)"
    )


def settings_of(arguments: Namespace) -> Config | None:
    """Return the configuration that counts, if one does.

    Raises:
        Misconfigured: it has mistakes.
    """
    if arguments.data is not None:
        return None
    if arguments.config is None and not CONFIG.is_file():
        return None
    from gateway.config import read  # heavy, and `--help` needs the options only
    from tidings.errors import Misconfigured

    try:
        return read(arguments.config or CONFIG)
    except Misconfigured as fault:
        text = f"{fault}\nTo go past it: {PAST}"
        raise Misconfigured(text) from fault


def folder_of(arguments: Namespace) -> Path:
    """Return the folder of the file, and say on standard error which it is where nobody named it.

    Raises:
        Misconfigured: the configuration has mistakes.
    """
    if arguments.data is not None:
        return Path(arguments.data)
    settings = settings_of(arguments)
    folder, why = (DEMO, f"no {CONFIG} here") if settings is None else (settings.data, f"as {settings.path.name} says")
    print(f"reading {folder / 'tidings.db'} ({why})", file=sys.stderr)
    return folder
