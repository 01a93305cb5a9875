"""`GET /v1/decisions`: the console's list for other systems, newest first; its cursor is signed and bound to its filter."""

from __future__ import annotations

import hmac
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from gateway.explaining.models import DecisionLine, DecisionList, MessageOfDecision
from gateway.http.problems import Refused
from streams.explaining.veil import recipient_shown
from streams.json_events import TIME, micros, rfc3339
from streams.ledger.rows import Decision, Filter, Key, Page, read_key
from tidings.event import Micros

INSTANT = f"^{TIME.pattern}$"
CURSOR = r"^[A-Za-z0-9_-]{8,400}\.[0-9a-f]{32}$"
MOST = 200


@dataclass(frozen=True)
class Cursors:
    """Places in lists, as those who ask carry them: nobody makes one up, or takes it to another list."""

    secret: bytes
    of: str = "decisions"
    """What is listed."""

    def write(self, key: Key, about: object, tenant: str) -> str:
        """Return the text of a place."""
        coded = urlsafe_b64encode(str(key).encode()).decode().rstrip("=")
        return f"{coded}.{self._proof(coded, about, tenant)}"

    def read(self, cursor: str, about: object, tenant: str) -> Key:
        """Return the place of a text.

        Raises:
            Refused: it is not ours, or of a list with another filter.
        """
        coded, _, proof = cursor.partition(".")
        if cursor.isascii() and hmac.compare_digest(proof, self._proof(coded, about, tenant)):
            try:
                found = read_key(urlsafe_b64decode(coded + "=" * (-len(coded) % 4)).decode())
            except (ValueError, NotBase64):
                found = None
            if found is not None:
                return found
        raise Refused("invalid", "'cursor' is the 'next' of an answer to the same question; begin without it")

    def _proof(self, coded: str, about: object, tenant: str) -> str:
        said = "\0".join([self.of, tenant, repr(about), coded])
        return hmac.new(self.secret, said.encode(), sha256).hexdigest()[:32]


def instant(name: str, value: str | None) -> Micros | None:
    """Return the instant of a parameter.

    Raises:
        Refused: there is no such instant.
    """
    if value is None:
        return None
    try:
        if re.fullmatch(TIME, value) is not None and (found := micros(datetime.fromisoformat(value))) >= 0:
            return found
    except (ValueError, OverflowError):
        pass
    raise Refused("invalid", f"'{name}' is an instant of RFC 3339 with its zone, as 2026-11-12T14:32:00Z")


def listed(page: Page[Decision], cursors: Cursors, about: Filter, tenant: str) -> DecisionList:
    """Return a part of the list."""
    following = None if page.older is None else cursors.write(page.older, about, tenant)
    looked = None if page.looked_to is None else rfc3339(page.looked_to)
    return DecisionList(items=[_line(one) for one in page.rows], next=following, looked_to=looked)


def _line(one: Decision) -> DecisionLine:
    told = [
        MessageOfDecision(
            id=m.message_id, role=m.role, channel=m.channel, state=str(m.state), reason=m.reason, receipt=m.receipt
        )
        for m in one.messages
    ]  # fmt: skip
    whom = f"address:{recipient_shown(one.recipient)}" if one.recipient.startswith("address:") else one.recipient
    return DecisionLine(
        id=one.id, firing_id=one.firing_id, n=one.n, rule=one.rule, title=one.title, about=one.about, recipient=whom, outcome=one.outcome,
        reason=one.reason, because=one.because, logical_at=rfc3339(one.logical_at), decided_at=rfc3339(one.decided_at),
        rule_set=one.rule_set, messages=told,
    )  # fmt: skip
