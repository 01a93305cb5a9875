"""Golden vectors: an id that changes is a message sent twice. These values never change."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidings import canonical, ids

EVENT = "e981d14f-7eea-5139-9e5b-d1ecf24bac76"
FIRING = "10c1d685-f59f-5a48-b747-9edee6705018"
RUN = "96646efa-5de1-5801-92a9-42d177e4ea79"
MESSAGE = "afb75419-4615-5d5a-8312-826a055bcfda"


def test_golden_vectors():
    assert ids.event_ref("default", "billing", "inv-1", 1_772_704_800_000_000) == EVENT
    assert ids.firing_id("default", "invoice-overdue", ("i-1", 7), ("billing", EVENT)) == FIRING
    assert (
        ids.firing_id("default", "invoice-overdue", ("i-1", 7), ("billing", EVENT), "row")
        == "7584897c-1104-5260-b673-b3e5b0d1b0a3"
    )
    assert ids.run_id(FIRING, 0, "customer:c-1") == RUN
    assert ids.message_id(RUN, "notice", 0) == MESSAGE
    assert ids.correction_id(MESSAGE, "all_clear", 0) == "5f16ce5a-3efa-505c-a79b-68115e740352"
    assert ids.correction_id(MESSAGE, "update", 3) == "bf841598-ba3d-5bd1-a5fa-98def2b30b28"
    assert ids.outbox_id(MESSAGE, "accepted", 3) == "b16f85eb-99e5-56d0-816d-5af766d00c66"
    assert ids.state_key("default", "rule:invoice-overdue", ("i-1", 7)).hex() == "dd533d10363fe44dbe0893cbcc472093"


@given(
    st.tuples(st.text(max_size=4), st.text(max_size=4), st.text(max_size=4)),
    st.tuples(st.text(max_size=4), st.text(max_size=4), st.text(max_size=4)),
)
@settings(derandomize=True, database=None)
def test_different_parts_give_different_ids_however_they_are_joined(one, other):
    (a, b, c), (d, e, f) = one, other
    assert (ids.event_ref(a, b, c, 0) == ids.event_ref(d, e, f, 0)) is (one == other)
    assert (ids.state_key(a, b, [c]) == ids.state_key(d, e, [f])) is (one == other)


def test_the_tenant_is_part_of_every_key():
    assert ids.event_ref("a", "s", "e", 0) != ids.event_ref("b", "s", "e", 0)
    assert ids.firing_id("a", "r", (), ("s", "e")) != ids.firing_id("b", "r", (), ("s", "e"))
    assert ids.state_key("a", "c", ()) != ids.state_key("b", "c", ())


CANONICAL = {
    # examples of RFC 8785, as far as contracts have such values
    '{"b":1,"a":2}': b'{"a":2,"b":1}',
    '{"\\u20ac":1,"\\r":2,"1":3,"\\u00f6":4,"\\ud83d\\ude02":5,"\\ufb33":6}': '{"\\r":2,"1":3,"\u00f6":4,"\u20ac":1,"\U0001f602":5,"\ufb33":6}'.encode(),
    '["\\u20ac$\\u000F\\u000aA\'\\u0042\\u0022\\u005c\\\\\\"\\/"]': b'["\xe2\x82\xac$\\u000f\\nA\'B\\"\\\\\\\\\\"/"]',
    "[null,true,false,-7,9007199254740993]": b"[null,true,false,-7,9007199254740993]",
    '{"a":{"z":[],"y":{}}}': b'{"a":{"y":{},"z":[]}}',
}


@pytest.mark.parametrize("text", CANONICAL)
def test_canonical_json(text):
    assert canonical.dumps(canonical.loads(text.encode())) == CANONICAL[text]


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


@given(values)
@settings(derandomize=True, database=None)
def test_canonical_json_comes_back_and_stays(value):
    raw = canonical.dumps(value)
    assert canonical.loads(raw) == value
    assert canonical.dumps(canonical.loads(raw)) == raw


@pytest.mark.parametrize("value", [1.5, {1: 2}, {"a": b"x"}, object()])
def test_what_is_not_exact_has_no_canonical_form(value):
    with pytest.raises(TypeError):
        canonical.dumps(value)
