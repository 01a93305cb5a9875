"""What a contract says about an event, as values: types, fields, keys, the path to the customer.

`schemas` builds these from the Avro files; conditions, rules and the kernel read only these. Values inside the
platform are what Avro's plain types give: an instant is an `int` of microseconds since the epoch (UTC), a duration
an `int` of microseconds, money a dict `{"amount_minor": int, "currency": str}`, an enum its symbol.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

NO_DEFAULT: Any = ...
"""A field that every producer must give."""

Kind = Literal[
    "string", "long", "boolean", "double", "enum", "timestamp", "duration", "money", "record", "array", "map"
]


@dataclass(frozen=True, slots=True)
class Type:
    """One type of the contracts; `nullable` is the union with null."""

    kind: Kind
    nullable: bool = False
    name: str | None = None
    """Full name of a record or an enum."""
    symbols: tuple[str, ...] = ()
    fields: Mapping[str, Field] = field(default_factory=dict)
    item: Type | None = None
    """Element type of an array, value type of a map."""


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a record."""

    name: str
    type: Type
    doc: str = ""
    pii: Literal["none", "pseudonymous", "personal", "sensitive"] = "none"
    deprecated: bool = False
    default: Any = NO_DEFAULT
    """What stands for the field where a producer leaves it out."""
    example: Any = None
    """A value as producers write it in JSON."""


@dataclass(frozen=True, slots=True)
class Contract:
    """An event contract of one major version."""

    type: str
    """The name that rules use: `billing.invoice.issued`."""
    full_name: str
    """Avro full name: `tidings.billing.v1.InvoiceIssued`."""
    topic: str
    """`billing.invoice.issued.v1`."""
    version: int
    """Released revision inside the major version, 1, 2, …"""
    schema_id: int
    owner: str
    doc: str
    key: tuple[str, ...]
    """Path of the record key inside the payload, for example `("invoice_id",)`."""
    fields: Mapping[str, Field]
    """Payload fields without `meta`, in the order of the schema."""
    customer: tuple[str, ...] | None = None
    """Path to the customer's id, or None where the event names no customer."""
    entity: str | None = None
    """The entity that a change event describes: `inventory.stock`."""
    entity_key: tuple[tuple[str, ...], ...] = ()
    """Paths that together identify the entity."""
    retention_days: int = 30

    @property
    def is_change(self) -> bool:
        """Whether the event carries `before` and `after`."""
        return "before" in self.fields and "after" in self.fields


def value_at(data: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    """Return the value at `path`, or None where any part of it is missing or null."""
    value: Any = data
    for part in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(part)
    return value
