"""An event and its contract, as conditions see them."""

from typing import Any

from handlers.rules.conditions import Compiled, Scope, compile_value
from tidings.contract import Field, Type
from tidings.event import DAY, SECOND, Event

MONEY = Type("money", name="Money", fields={
    "amount_minor": Field("amount_minor", Type("long")), "currency": Field("currency", Type("string")),
})  # fmt: skip
NOON = 1_772_700_000 * SECOND


def _nullable(kind: Type) -> Type:
    return Type(kind.kind, True, kind.name, kind.symbols, kind.fields, kind.item)


FIELDS = {
    name: Field(name, kind)
    for name, kind in {
        "count": Type("long"),
        "maybe_count": Type("long", nullable=True),
        "name": Type("string"),
        "maybe_name": Type("string", nullable=True),
        "paid": Type("boolean"),
        "maybe_paid": Type("boolean", nullable=True),
        "at": Type("timestamp"),
        "maybe_at": Type("timestamp", nullable=True),
        "amount": MONEY,
        "maybe_amount": _nullable(MONEY),
        "size": Type("enum", symbols=("UNKNOWN", "SMALL", "LARGE")),
        "tags": Type("array", item=Type("string")),
        "plan": Type("record", True, "Plan", fields={"level": Field("level", Type("long"))}),
    }.items()
}
PARAMS = {"limit": Type("long"), "grace": Type("duration")}
SCOPE = Scope(FIELDS, PARAMS)
EVENT = Event(
    ref="r", tenant="t", source="billing", id="e-1", type="x.y", occurred_at=NOON, data={}, topic="x.y.v1", partition=0,
    offset=0, appended_at=NOON, subject=None,
)  # fmt: skip
DATA: dict[str, Any] = {
    "count": 7, "maybe_count": None, "name": "Ada", "maybe_name": None, "paid": True, "maybe_paid": None, "at": NOON,
    "maybe_at": None, "amount": {"amount_minor": 1050, "currency": "EUR"}, "maybe_amount": None, "size": "SMALL",
    "tags": ["a", "b"], "plan": None,
}  # fmt: skip
VALUES: dict[str, Any] = {"limit": 5, "grace": 2 * DAY}


def compiled(source: str) -> Compiled:
    found = compile_value(source, SCOPE)
    assert found.ok, [str(problem) for problem in found.problems]
    return found


def value(source: str, **data: Any) -> Any:
    return compiled(source).value({**DATA, **data}, EVENT, VALUES)
