"""Who sits at the command line, for the audit."""

from __future__ import annotations

import getpass
import os


def operator() -> str:
    """Return the name of the user, or the number where it has none, as in many containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
