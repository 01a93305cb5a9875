"""Terms: what must hold, what failed and by how much, and what is shown of a value that is personal."""

import pytest
from hypothesis import given

from handlers.rules.conditions import Trace
from schemas import contracts
from streams.explaining import veil
from streams.explaining.terms import alternatives, conjuncts, short_by
from tests.rules.scope import DATA, EVENT, VALUES
from tests.rules.test_conditions_laws import Data, Term, compiled, conditions, events, quickly


def explained(source: str) -> Trace:
    return compiled(source).explain(DATA, EVENT, VALUES)


@quickly
@given(conditions, events)
def test_a_condition_holds_exactly_where_each_of_its_parts_does(term: Term, data: Data) -> None:
    trace = compiled(term[0]).explain(data, EVENT, VALUES)
    assert (trace.value is True) is all(part.value is True for part in conjuncts(trace))
    assert (trace.value is True) is any(part.value is True for part in alternatives(trace))


SHORT = {
    "count >= 10": "3",
    "count < 5": "2",
    "count == 9": "2",
    "count / 2 > 5": "1.5",
    "amount >= money(50, 'EUR')": "39.50 EUR",
    "amount >= money(50, 'USD')": "",
    "at - event.time > 2h": "2h",
    "at > event.time + 90m": "1h 30m",
    "maybe_count > 3": "",
    "name == 'Eve'": "",
    "paid == false": "",
    "count > 5": "",
}
"""By condition over the sample event: by how much it failed; what holds, or is no number, says nothing."""


@pytest.mark.parametrize("source", SHORT)
def test_what_failed_says_by_how_much_where_that_is_a_number(source: str) -> None:
    assert short_by(explained(source)) == SHORT[source]


ADDRESSES = {
    "jonas@wald.de": "j•••@w•••.de",
    "j@x.co.uk": "j•••@x•••.uk",
    "root@localhost": "r•••@l•••",
    "+4915112345618": "+49 ••• ••• 18",
    "+49151": "+•••",
    "U123": "U•••",
    "": "",
}


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_is_known_to_its_owner_and_to_nobody_else(address: str) -> None:
    assert veil.masked(address) == ADDRESSES[address]


def test_what_a_contract_marks_personal_is_hidden_wherever_an_event_has_it() -> None:
    known = contracts().by_type
    over = veil.over(known, known["crm.customer.changed"])
    for path in (("before", "email"), ("after", "first_name"), ("after",)):
        assert over.hides(path), path
    for path in (("after", "plan"), ("customer_id",), ("before_coverage",)):
        assert not over.hides(path), path
    assert veil.shape("jonas@wald.de") == "••• (13 letters)"
    assert veil.recipient_shown("address:jonas@wald.de") == "j•••@w•••.de"
