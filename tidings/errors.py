"""What can go wrong, by what to do next; each error carries a reason that is also metric label and dead-letter field."""

from __future__ import annotations

from enum import StrEnum


class Refusal(StrEnum):
    """Why a record went to the dead letters."""

    TRUNCATED = "truncated"
    TRAILING_BYTES = "trailing_bytes"
    WRONG_SCHEMA = "wrong_schema"
    UNKNOWN_SCHEMA = "unknown_schema"
    OVERSIZE = "oversize"
    NULL_KEY = "null_key"
    KEY_TOO_LONG = "key_too_long"
    BAD_TEXT = "bad_text"
    TIME_IN_FUTURE = "time_in_future"
    TOO_DEEP = "too_deep"
    NOT_AVRO = "not_avro"
    BAD_VALUE = "bad_value"
    TENANT_MISMATCH = "tenant_mismatch"
    BUFFER_FULL = "buffer_full"
    UNMAPPED = "unmapped"
    INTERNAL_ERROR = "internal_error"


class BadContract(Exception):
    """A record that cannot be read: park it with its reason and its bytes, and go on."""

    def __init__(self, reason: Refusal, detail: str, schema_id: int | None = None) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.schema_id = schema_id


class Misconfigured(Exception):
    """Something that a person has to set right; the text says what and how."""
