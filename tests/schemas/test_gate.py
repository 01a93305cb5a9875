"""The gate lets nothing pass that a reader of a released version would not survive."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import contracts, gate
from schemas.gate import Catalogue
from schemas.generate import stale
from streams.contract_proofs import prove

FILE = "tidings/billing/v1/InvoiceIssued.avsc"
NAME = "tidings.billing.v1.InvoiceIssued"
CONSENT = "tidings/customer/v1/ConsentClass.avsc"
STOCK = "tidings/inventory/v1/StockChanged.avsc"
TEXT = {"type": "string", "doc": "A text.", "pii": "none", "example": "x"}


def changed(change: Callable[[dict[str, Any]], Any], file: str = FILE) -> Catalogue:
    known = gate.read()
    sources = copy.deepcopy(dict(known.sources))
    change(sources[file])
    return Catalogue(sources, known.released, known.lock)


def field(schema: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in schema["fields"] if one["name"] == name)
    return found


def added(**words: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda schema: schema["fields"].append({"name": "extra", **TEXT, **words})


SHAPE = {
    "a doc is missing": ("C103", lambda s: s.pop("doc")),
    "a field's doc is missing": ("C103", lambda s: field(s, "number").pop("doc")),
    "a name is not the file's": ("C101", lambda s: s.update(name="InvoiceWritten")),
    "a namespace has no version": ("C102", lambda s: s.update(namespace="tidings.billing")),
    "no field": ("C104", lambda s: s.update(fields=[])),
    "a field in camel case": ("C111", added(name="extraField")),
    "no class of personal data": ("C112", added(pii=None)),
    "nullable without default": ("C113", added(type=["null", "string"])),
    "a default on a time": ("C114", added(type={"type": "long", "logicalType": "timestamp-micros"}, default=0)),
    "no example": ("C115", lambda s: field(s, "number").pop("example")),
    "an example of another kind": ("C126", lambda s: field(s, "number").update(example=7)),
    "a time without its form": ("C126", lambda s: field(s, "due_date").update(example=1_772_704_800)),
    "a list of other things": ("C126", added(type={"type": "array", "items": "string"}, default=[], example=[7])),
    "a symbol that is none": ("C126", added(type="tidings.common.v1.SnapshotCoverage", default="UNKNOWN", example="x")),
    "a union of two types": ("C116", added(type=["string", "long"])),
    "a float": ("C117", added(type="double")),
    "a decimal on bytes": ("C117", added(type={"type": "bytes", "logicalType": "decimal", "precision": 4})),
    "milliseconds": ("C117", added(type={"type": "long", "logicalType": "timestamp-millis"})),
    "items without width": ("C117", added(type={"type": "array", "items": "null"})),
    "a type in place": ("C118", added(type={"type": "enum", "name": "Size", "symbols": ["UNKNOWN"]})),
    "a type that contains itself": ("C110", added(type=["null", NAME], default=None)),
    "a type that nobody defines": ("C110", added(type="tidings.common.v1.Colour")),
    "meta is not first": ("C120", lambda s: s["fields"].reverse()),
    "an event type of its own": ("C121", lambda s: s.update(event_type="billing.invoice.written")),
    "no owner": ("C122", lambda s: s.pop("owner")),
    "a topic of its own": ("C123", lambda s: s.update(topic="invoices")),
    "a key that may be null": ("C124", lambda s: s.update(key="number")),
    "a customer that is no field": ("C124", lambda s: s.update(customer="customer.id")),
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPE)
def test_a_schema_of_the_wrong_shape_is_refused_with_its_place(name):
    code, change = SHAPE[name]
    found = gate.lint(changed(change))
    assert code in {one.code for one in found}, [str(one) for one in found]
    assert all(one.where.startswith("tidings/") and one.mend for one in found)


@pytest.mark.parametrize("change", [
    lambda s: s.update(symbols=["transactional", "unknown"]),
    lambda s: s.pop("default"),
], ids=["unknown is not first", "no default"])  # fmt: skip
def test_an_enum_that_an_old_reader_could_not_read_is_refused(change):
    assert "C106" in {one.code for one in gate.lint(changed(change, CONSENT))}


@pytest.mark.parametrize("name", ["before", "before_coverage", "changed_fields"])
def test_a_change_event_says_how_much_it_knows(name):
    found = gate.lint(changed(lambda s: s["fields"].remove(field(s, name)), STOCK))
    assert "C125" in {one.code for one in found}


BREAKING = {
    "a field without default": ("C202", added()),
    "a field is gone": ("C204", lambda s: s["fields"].remove(field(s, "number"))),
    "text became a number": ("C202", lambda s: field(s, "invoice_id").update(type="long")),
    "a number became wider": ("C206", lambda s: field(s, "number").update(type=["null", "long"])),
    "personal data became none": ("C206", lambda s: field(s, "customer_id").update(pii="none")),
    "a time lost its meaning": ("C206", lambda s: field(s, "due_date").update(type="long")),
    "a field may be null now": ("C206", lambda s: field(s, "due_date").update(
        type=["null", {"type": "long", "logicalType": "timestamp-micros"}], default=None)),
    "another owner": ("C203", lambda s: s.update(owner="team-crm")),
    "another key": ("C203", lambda s: s.update(key="customer_id")),
    "another customer": ("C203", lambda s: s.update(customer="invoice_id")),
}  # fmt: skip


@pytest.mark.parametrize("name", BREAKING)
def test_a_breaking_change_is_refused_against_the_version_that_it_breaks(name):
    code, change = BREAKING[name]
    found = [one for one in gate.breaking(changed(change)) if one.code == code]
    assert found
    assert all("version 1" in one.where for one in found)


@pytest.mark.parametrize("symbols", [
    ["unknown", "marketing", "transactional"],
    ["unknown", "transactional"],
], ids=["moved", "removed"])  # fmt: skip
def test_symbols_are_only_appended(symbols):
    assert "C205" in {one.code for one in gate.breaking(changed(lambda s: s.update(symbols=symbols), CONSENT))}


@pytest.mark.parametrize(("change", "file"), [
    (added(type=["null", "string"], default=None), FILE),
    (lambda s: s["symbols"].append("research"), CONSENT),
    (lambda s: field(s, "number").update(doc="Another sentence."), FILE),
], ids=["a nullable field", "a symbol at the end", "a doc"])  # fmt: skip
def test_what_only_adds_passes_and_wants_a_release(change, file):
    known = changed(change, file)
    assert gate.lint(known) == []
    assert gate.breaking(known) == []
    assert {one.code for one in gate.unreleased(known)} == {"C307"}


def test_a_released_event_does_not_vanish():
    known = gate.read()
    sources = {file: schema for file, schema in known.sources.items() if file != FILE}
    assert "C201" in {one.code for one in gate.breaking(Catalogue(sources, known.released, known.lock))}


def test_a_released_file_never_changes():
    known = gate.read()
    released = copy.deepcopy({name: dict(versions) for name, versions in known.released.items()})
    released[NAME][1]["doc"] = "Something else."
    assert "C302" in {one.code for one in gate.frozen(Catalogue(known.sources, released, known.lock))}
    del released[NAME][1]
    assert "C301" in {one.code for one in gate.frozen(Catalogue(known.sources, released, known.lock))}


def test_an_event_that_was_never_released_is_named():
    known = gate.read()
    lock = {name: entry for name, entry in known.lock.items() if name != NAME}
    catalogue = Catalogue(known.sources, known.released, lock)
    assert {"C305"} == {one.code for one in gate.frozen(catalogue)}
    assert {"C306"} == {one.code for one in gate.unreleased(catalogue)}


def test_a_key_that_is_no_field_names_the_field_that_was_meant():
    known = changed(lambda s: field(s, "invoice_id").update(name="invoice_ref"))
    (found,) = [one for one in gate.lint(known) if one.code == "C124"]
    assert (found.text, found.mend) == ("the key 'invoice_id' is no field", "did you mean 'invoice_ref'?")


def places(part: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(part, dict | list):
        for name, inner in part.items() if isinstance(part, dict) else enumerate(part):
            yield from places(inner, (*path, name))


RUBBISH: list[Any] = [None, True, 5, "", "x", [], {}, [[]], [{}], {"type": {}}, {"type": "record", "fields": [{}]}]


@given(st.data())
@settings(derandomize=True, database=None, max_examples=300, deadline=None)
def test_whatever_stands_in_a_source_is_told_and_never_breaks_the_gate(data):
    file = data.draw(st.sampled_from([FILE, CONSENT, STOCK]))
    known = gate.read()
    source = copy.deepcopy(known.sources[file])
    *before, last = data.draw(st.sampled_from([path for path in places(source) if path]))
    inner = source
    for step in before:
        inner = inner[step]
    inner[last] = data.draw(st.sampled_from(RUBBISH))
    catalogue = Catalogue({**known.sources, file: source}, known.released, known.lock)
    found = gate.lint(catalogue) or [*gate.breaking(catalogue), *gate.unreleased(catalogue)]
    assert all(str(one) for one in found)


def test_the_contracts_of_this_package_pass():
    known = gate.read()
    found = [
        *gate.lint(known),
        *gate.breaking(known),
        *gate.frozen(known),
        *gate.unreleased(known),
        *prove(contracts()),
        *stale(known),
    ]
    assert [str(one) for one in found] == []


def test_a_generated_model_that_was_edited_is_noticed(tmp_path):
    found = stale(gate.read(), tmp_path)
    assert {one.text for one in found} == {"is missing"}
    (tmp_path / "mine.py").write_text("")
    assert any(one.where == "models/mine.py" and one.text == "has no contract" for one in stale(gate.read(), tmp_path))
