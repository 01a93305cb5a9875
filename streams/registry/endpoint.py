"""Where the registry is: one value, from which its client is made."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from tidings.errors import Misconfigured


@dataclass(frozen=True)
class Endpoint:
    """A registry and who we are to it. The password is the value, not its reference: never print it."""

    url: str
    """Before `/schemas` and `/subjects`, without a `/` at its end."""
    username: str | None = None
    password: str | None = None
    ca: Path | None = None
    """Who signed its certificate; None: whom the system trusts. Name and chain are always checked."""
    prefix: str = ""
    """Of our topics in Kafka: subjects are named after them."""

    def __repr__(self) -> str:
        """Return where, and nothing secret."""
        return f"Endpoint({self.url}, username={self.username})"

    def context(self) -> ssl.SSLContext:
        """Return the TLS context, which plain http leaves alone.

        Raises:
            Misconfigured: the certificate file cannot be read.
        """
        try:
            return ssl.create_default_context(cafile=None if self.ca is None else str(self.ca))
        except (OSError, ssl.SSLError) as fault:
            text = f"[registry] ca: {self.ca} cannot be used: {fault}"
            raise Misconfigured(text) from fault
