"""Links with which a customer switches a topic off, without a login: `public_url/u/{token}` (RFC 8058).

A token names tenant, customer, topic and expiry, under a MAC over those and its purpose: nobody can make one for
somebody else, or for more than switching off. It holds ids, never an address or a name.
"""

from __future__ import annotations

import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from hashlib import sha256

from tidings import canonical
from tidings.event import DAY, Micros

LASTS: Micros = 365 * DAY
"""How long a link is good for: customers unsubscribe from old mail too."""
PURPOSE = "tidings/unsubscribe/1"
LONGEST = 2048
WITHOUT = "not-shown"
LEAST_KEY = 16
"""Bytes; shorter keys can be guessed."""


class BadLink(ValueError):
    """A token that cannot be used. `reason`: `forged` (damaged, or never ours), `expired`."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the link is {reason}")
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """What a token says."""

    tenant: str
    customer: str
    topic: str
    expires_at: Micros


def link(public_url: str, key: bytes, tenant: str, customer: str, topic: str, expires_at: Micros) -> str:
    """Return the URL. `public_url` without a slash at its end.

    Raises:
        ValueError: the key is too short.
    """
    body = _coded(canonical.dumps([tenant, customer, topic, expires_at]))
    return f"{public_url}/u/{body}.{_coded(_mac(key, body))}"


def without_right(url: str) -> str:
    """Return a link in which no right is: for those who look at a message that is somebody else's."""
    return f"{url.rpartition('/u/')[0]}/u/{WITHOUT}"


def read(token: str, key: bytes, now: Micros) -> Unsubscribe:
    """Return what a token says.

    Raises:
        BadLink: it was not made with this key, or its time is over.
    """
    body, dot, proof = token.partition(".")
    if len(token) > LONGEST or not dot or not token.isascii():
        raise BadLink("forged")
    # The proof is compared before anything of the body is read, in constant time.
    if not hmac.compare_digest(proof, _coded(_mac(key, body))):
        raise BadLink("forged")
    tenant, customer, topic, expires_at = json.loads(urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    if now >= expires_at:
        raise BadLink("expired")
    return Unsubscribe(tenant, customer, topic, expires_at)


def _mac(key: bytes, body: str) -> bytes:
    if len(key) < LEAST_KEY:
        text = f"the key of links has {len(key)} bytes; at least {LEAST_KEY} are needed"
        raise ValueError(text)
    return hmac.digest(key, f"{PURPOSE}:{body}".encode("ascii"), sha256)


def _coded(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")
