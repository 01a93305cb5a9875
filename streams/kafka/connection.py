"""How Kafka is reached: one value, from which every client of the process is made."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tidings.errors import Misconfigured

SASL = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]


@dataclass(frozen=True)
class Connection:
    """Where the brokers are, and who we are to them. The password is the value, not its reference: never print it."""

    bootstrap: tuple[str, ...]
    """`host:port` each."""
    tls: bool = False
    ca: Path | None = None
    """Who signed the brokers' certificates; None: whom the system trusts."""
    certificate: Path | None = None
    """Our own, with its chain (mutual TLS)."""
    key: Path | None = None
    mechanism: SASL | None = None
    username: str | None = None
    password: str | None = None
    prefix: str = ""
    """Of every topic and group that is ours to name, so that installations can share a cluster."""

    def __repr__(self) -> str:
        """Return where, and nothing secret."""
        return f"Connection({','.join(self.bootstrap)}, tls={self.tls}, mechanism={self.mechanism})"

    @property
    def protocol(self) -> str:
        """Kafka's name for what lies between."""
        return f"{'SASL_' if self.mechanism else ''}{'SSL' if self.tls else 'PLAINTEXT'}"

    def context(self) -> ssl.SSLContext | None:
        """Return the TLS context.

        Raises:
            Misconfigured: a file of it cannot be read.
        """
        if not self.tls:
            return None
        try:
            context = ssl.create_default_context(cafile=None if self.ca is None else str(self.ca))
            if self.certificate is not None:
                context.load_cert_chain(self.certificate, self.key)
        except (OSError, ssl.SSLError) as fault:
            files = ", ".join(str(one) for one in (self.ca, self.certificate, self.key) if one is not None)
            text = f"[kafka] {files or 'the system certificates'} cannot be used: {fault}"
            raise Misconfigured(text) from fault
        return context

    def options(self) -> dict[str, Any]:
        """Return the keyword arguments that aiokafka's clients share."""
        found: dict[str, Any] = {
            "bootstrap_servers": list(self.bootstrap),
            "security_protocol": self.protocol,
            "ssl_context": self.context(),
        }
        if self.mechanism is not None:
            found |= {
                "sasl_mechanism": self.mechanism,
                "sasl_plain_username": self.username,
                "sasl_plain_password": self.password,
            }
        return found
