"""The generated models take what the codec takes, and refuse what it refuses."""

import importlib

import pytest
from pydantic import ValidationError

from schemas import contracts
from schemas.examples import described, examples
from schemas.generate import module_of
from streams.json_events import from_json, rfc3339
from tidings.contract import Contract, Type


def model_of(contract: Contract):
    module = importlib.import_module(f"schemas.models.{module_of(contract.full_name)}")
    return getattr(module, contract.full_name.rpartition(".")[2])


def body(contract: Contract, event):
    """The event as JSON of the model: the envelope under `meta`, the data beside it."""
    meta = {
        "event_id": event["id"], "type": contract.type, "source": event["source"], "occurred_at": event["time"],
    }  # fmt: skip
    return {"meta": meta, **event["data"]}


def as_plain(value, kind: Type):
    if value is None:
        return None
    if kind.kind == "timestamp":
        return rfc3339(value)
    if kind.kind in ("record", "money"):
        return {name: as_plain(value[name], field.type) for name, field in kind.fields.items()}
    return value


@pytest.mark.parametrize("full", [True, False], ids=["every field", "required fields"])
@pytest.mark.parametrize("name", sorted(contracts().by_type))
def test_a_model_reads_what_the_contract_describes(name, full):
    contract = contracts().by_type[name]
    event = described(contract, full=full)
    payload = from_json(contract, event)
    found = model_of(contract).model_validate(body(contract, event)).model_dump(mode="json")
    for field in contract.fields.values():
        assert found[field.name] == as_plain(payload[field.name], field.type), field.name


@pytest.mark.parametrize("example", [one for one in examples() if one.refused_at], ids=lambda one: one.file)
def test_a_model_refuses_the_invalid_examples(example):
    contract = contracts().by_full_name[example.full_name]
    strict = tuple(place for place in example.refused_at if contract_kind(contract, place) != "long")
    if not strict:
        return
    with pytest.raises(ValidationError):
        model_of(contract).model_validate(body(contract, example.event))


def contract_kind(contract: Contract, pointer: str) -> str:
    """A model reads "7" as the number 7; the intake does not. Everything else they refuse alike."""
    name = pointer.removeprefix("/data/")
    return contract.fields[name].type.kind if name in contract.fields else ""
