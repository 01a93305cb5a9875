"""Ids that everybody can derive again: uuid5 over canonical JSON, with fixed namespaces.

Nothing tunable and nothing recorded goes into an id: what is derived twice is the same row, and the primary key
refuses it. Golden vectors in `tests/kernel/test_ids.py` hold every one of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from json import encoder
from typing import Any
from uuid import UUID, uuid5

from tidings import canonical
from tidings.event import Micros

_quoted = encoder.encode_basestring

_ROOT = UUID("8a0f7c1e-3d57-5c53-9c3f-5d1f6f3b7a10")
_EVENT = uuid5(_ROOT, "event")
_EVENT_BYTES = _EVENT.bytes
_FIRING = uuid5(_ROOT, "firing")
_RUN = uuid5(_ROOT, "run")
_MESSAGE = uuid5(_ROOT, "message")
_CORRECTION = uuid5(_ROOT, "correction")
_OUTBOX = uuid5(_ROOT, "outbox")


_VARIANT = {f"{digit:x}": f"{digit & 3 | 8:x}" for digit in range(16)}
"""The two bits of RFC 4122 over a digit of the hash."""


def _derive(namespace: UUID, *parts: Any) -> str:
    return _uuid5(namespace.bytes + canonical.dumps(parts))


def _uuid5(name: bytes) -> str:
    # `uuid.uuid5` as text, without the object between, which costs as much as the hash.
    text = hashlib.sha1(name, usedforsecurity=False).hexdigest()
    return f"{text[:8]}-{text[8:12]}-5{text[13:16]}-{_VARIANT[text[16]]}{text[17:20]}-{text[20:32]}"


def event_ref(tenant: str, source: str, event_id: str, occurred_at: Micros) -> str:
    """Return the platform's id of an event; ids of the outside are unique per source only."""
    # As `canonical.dumps` has it: this one is derived for every event.
    name = f"[{_quoted(tenant)},{_quoted(source)},{_quoted(event_id)},{occurred_at}]"
    return _uuid5(_EVENT_BYTES + name.encode())


def firing_id(tenant: str, rule: str, key: Sequence[Any], episode: tuple[str, str], row: str | None = None) -> str:
    """Return the id of a firing. `episode` is (source, ref) of the first event; `row` the key of a fan-out's row."""
    return _derive(_FIRING, tenant, rule, list(key), list(episode), row)


def run_id(firing: str, n: int, recipient: str) -> str:
    """Return the id of a run; `n` is the number of the repetition, 0 first."""
    return _derive(_RUN, firing, n, recipient)


def message_id(run: str, role: str, step: int) -> str:
    """Return the id of a message, which is the delivery id and the idempotency key at the provider."""
    return _derive(_MESSAGE, run, role, step)


def correction_id(original: str, role: str, n: int) -> str:
    """Return the id of a correction of a message: an all-clear, an update; `n` is the number of the signal."""
    return _derive(_CORRECTION, original, role, n)


def outbox_id(message: str, state: str, rev: int) -> str:
    """Return the id of an outcome event."""
    return _derive(_OUTBOX, message, state, rev)


def state_key(tenant: str, kind: str, key: Sequence[Any]) -> bytes:
    """Return the 16-byte key of a row of state: the hash of (tenant, class, key)."""
    return state_key_of(tenant, kind, key_text(key))


def key_text(key: Sequence[Any]) -> str:
    """Return a key as canonical JSON; most are one text."""
    if len(key) == 1 and type(key[0]) is str:
        return f"[{_quoted(key[0])}]"
    return canonical.dumps(key).decode()


def state_key_of(tenant: str, kind: str, key: str) -> bytes:
    """Return the same of a key that is canonical JSON already, as its row holds it."""
    return hashlib.blake2b(f"[{_quoted(tenant)},{_quoted(kind)},{key}]".encode(), digest_size=16).digest()
