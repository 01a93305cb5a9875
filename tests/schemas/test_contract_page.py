"""What `contracts show` says of a contract is all of it."""

import json
from collections.abc import Iterator, Mapping

import pytest

from gateway.cli import contract_page
from schemas import contracts
from tidings.contract import Field

KNOWN = contracts().by_type
NAMED = contract_page.named(KNOWN.values())


def leaves(fields: Mapping[str, Field]) -> Iterator[str]:
    for one in fields.values():
        inner = one.type if one.type.item is None else one.type.item
        yield from (one.name, *inner.symbols)
        yield from leaves(inner.fields)


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_every_field_symbol_and_path_of_an_event_is_shown(name):
    contract = KNOWN[name]
    text = "\n".join(contract_page.event_lines(contract))
    as_json = json.dumps(contract_page.event(contract))
    for word in (*leaves(contract.fields), contract.topic, *(contract.customer or ())):
        assert word in text
        assert word in as_json


@pytest.mark.parametrize("full_name", sorted(NAMED))
def test_every_type_is_found_by_its_name_however_it_is_written(full_name):
    one = NAMED[full_name]
    for name in (full_name, one.short, one.short.lower()):
        assert contract_page.find(name, NAMED) == full_name
    text = "\n".join(contract_page.type_lines(one))
    assert all(word in text for word in (one.doc, *one.used_by, *one.type.symbols, *leaves(one.type.fields)))


def test_a_type_that_nobody_has_is_not_found():
    assert contract_page.find("colour", NAMED) is None
