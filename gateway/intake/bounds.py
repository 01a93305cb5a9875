"""What one request to publish may be."""

from __future__ import annotations

EVENTS = "/v1/events"
MOST_EVENT = 256 * 1024
"""Bytes of one event."""
MOST_BODY = 4 * 1024 * 1024
"""Bytes of a batch, before it is inflated and after."""
MOST_EVENTS = 500
"""In one batch."""
MOST_DEPTH = 32
"""Of an event."""
MOST_TEXT = 512
"""Bytes of id, source, subject and key: they are parts of keys of the store."""
MOST_ERRORS = 100
"""Mistakes that one answer names; behind them each refused event of a batch still has one."""
MOST_SAID = 300
"""Characters of a pointer and of a detail in an answer."""
MOST_UNKNOWN = 64
"""Attributes of a CloudEvent that mean nothing here."""
AT_ONCE = 100
"""Events that are worked on before others have their turn: about a millisecond."""
