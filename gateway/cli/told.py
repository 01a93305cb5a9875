"""What is said to a user who gave something that cannot be used."""

from __future__ import annotations


class Told(Exception):
    """One sentence for the user; the command ends with 1, and shows no traceback."""
