"""Where the database server is: one value, from which every connection of the process is made."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from tidings.errors import Misconfigured


@dataclass(frozen=True)
class Place:
    """A PostgreSQL database and who we are to it. The password is the value, not its reference: never print it."""

    host: str
    port: int
    database: str
    user: str
    password: str | None = None
    tls: bool = False
    ca: Path | None = None
    """Who signed the server's certificate; None: whom the system trusts. Name and chain are always checked."""
    schema: str = "tidings"
    """PostgreSQL schema of our tables."""
    who: str = "tidings"
    """How the server names our connections (`application_name`): verb and name of a process that runs for long."""

    def __str__(self) -> str:
        """Return where, in words, and nothing secret."""
        return f"PostgreSQL {self.host}:{self.port}, database {self.database}, user {self.user}"

    def __repr__(self) -> str:
        """Return where, and nothing secret."""
        return f"Place({self.user}@{self.host}:{self.port}/{self.database}, tls={self.tls})"

    def context(self) -> ssl.SSLContext | None:
        """Return the TLS context.

        Raises:
            Misconfigured: the certificate file cannot be read.
        """
        if not self.tls:
            return None
        try:
            return ssl.create_default_context(cafile=None if self.ca is None else str(self.ca))
        except (OSError, ssl.SSLError) as fault:
            text = f"[postgres] ca: {self.ca} cannot be used: {fault}"
            raise Misconfigured(text) from fault
