"""What is said of the events of a body."""

import json

from hypothesis import given
from hypothesis import strategies as st

from gateway.intake.judging import Fit
from gateway.intake.taking import Item, Refusal
from gateway.intake.told import counts, told, written
from streams.embedded_log import Append

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
TAKEN = st.builds(
    lambda name, known: Item(Fit(name, "shop", "x", 1, "ref", Append("x.v1", b"", b"")), known=known),
    TEXT,
    st.booleans(),
)
REFUSED = st.builds(
    lambda pointer: Item(refusal=Refusal("contract-violation", [{"pointer": pointer, "code": "x", "detail": "é"}])),
    TEXT,
)


@given(st.lists(TAKEN | REFUSED, min_size=1, max_size=6))
def test_an_answer_that_is_written_by_hand_says_what_is_told_of_each_event(items):
    status, raw = written(items, bulk=True)
    assert json.loads(raw) == {**counts(items), "items": told(items)}
    assert status == (207 if any(one.refusal for one in items) else 202)


@given(TAKEN)
def test_of_one_event_it_says_the_same_without_its_place(item):
    status, raw = written([item], bulk=False)
    assert {"index": 0, **json.loads(raw)} == told([item])[0]
    assert status == 202
