"""Certificates for servers on loopback, made for the occasion."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import trustme
from cryptography.hazmat.primitives import serialization


@dataclass(frozen=True)
class Certificates:
    """PEM files: an authority, and what it signed for 127.0.0.1 and localhost."""

    authority: Path
    certificate: Path
    key: Path
    """PKCS #8, which is what Kafka reads."""

    @classmethod
    def make(cls, folder: Path, *names: str) -> Certificates:
        """Make an authority of its own, and a certificate of it; `names` instead of the loopback's."""
        folder.mkdir(parents=True, exist_ok=True)
        authority = trustme.CA()
        issued = authority.issue_cert(*(names or ("127.0.0.1", "localhost")))
        private = serialization.load_pem_private_key(issued.private_key_pem.bytes(), None)
        made = cls(folder / "authority.pem", folder / "certificate.pem", folder / "key.pem")
        authority.cert_pem.write_to_path(made.authority)
        made.certificate.write_bytes(b"".join(one.bytes() for one in issued.cert_chain_pems))
        made.key.write_bytes(
            private.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return made
