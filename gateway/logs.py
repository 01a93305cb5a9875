"""Structured logs: one JSON object a line on standard error, without personal data.

What an observer sees is counted and named by ids; addresses, texts and payloads never get here.
"""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

from streams.json_events import rfc3339
from streams.processors.deliverer import Sent
from streams.processors.detect import Batch, Done
from streams.processors.dispatch import Passed
from tidings.message import Message

logger = logging.getLogger("tidings.run")
PLAIN = ("msg", "args", "levelname", "name", "exc_info")


class JsonLines(logging.Formatter):
    """One JSON object a record; `extra={"fields": {…}}` adds fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        at = rfc3339(int(record.created * 1_000_000))
        body: dict[str, Any] = {
            "at": at,
            "level": record.levelname.lower(),
            "from": record.name,
            "what": record.getMessage(),
        }
        body |= getattr(record, "fields", {})
        if record.exc_info and record.exc_info[0] is not None:
            # The type only: the text of an exception may hold what a record holds.
            body["error"] = record.exc_info[0].__name__
        return json.dumps(body, ensure_ascii=False)


def configure() -> None:
    """Send everything of ours to standard error, as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger("tidings")
    root.handlers[:] = [handler]
    root.propagate = False
    root.setLevel(logging.INFO)


def observe(seen: object) -> None:
    """Log what the engine did, by ids."""
    match seen:
        case Batch():
            for refused in seen.refused:
                record = refused.record
                place = f"{record.topic}[{record.partition}]@{record.offset}"
                _log(logging.WARNING, "dead letter", place=place, reason=refused.reason)
        case Done():
            for one in seen.records:
                _log(logging.INFO, one.kind, rule=one.rule, firing=one.firing_id, tenant=one.tenant)
        case Passed():
            for message in seen.result.messages.values():
                _message(message)
        case Sent():
            _message(seen.message, attempt=seen.outgoing.attempt, outcome=seen.outcome.stage)
        case Message():
            _message(seen)


def _message(message: Message, **more: Any) -> None:
    _log(
        logging.INFO, str(message.state), message=message.message_id, rule=message.rule, channel=message.channel,
        reason=message.reason, **more,
    )  # fmt: skip


def _log(level: int, what: str, **fields: Any) -> None:
    kept = {name: value for name, value in fields.items() if value is not None}
    logger.log(level, what, extra={"fields": kept})
