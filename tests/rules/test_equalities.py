"""Which values a condition demands of a field: an index may ask them first, for without them it never holds."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.rules.conditions import Compiled, Named, Scope, compile_condition
from tests.rules.scope import DATA, EVENT, FIELDS, PARAMS, VALUES
from tidings.contract import Field, Type, value_at

IMAGES = {"other": Field("other", Type("record", True, "Plan", fields={"level": Field("level", Type("long"))}))}
PLAIN = compile_condition('name == "Ada" && paid', Scope(FIELDS, type="x.y"))
assert PLAIN.tree is not None
ADA = Named("ada", PLAIN.source, ("x.y",), {"x.y": PLAIN.tree})
SCOPE = Scope(FIELDS, PARAMS, IMAGES, {"ada": ADA}, "x.y")


def compiled(source: str) -> Compiled:
    found = compile_condition(source, SCOPE)
    assert found.ok, [problem.text for problem in found.problems]
    return found


TABLE: dict[str, dict[tuple[str, ...], set[object]]] = {
    'name == "Ada"': {("name",): {"Ada"}}, '"Ada" == name': {("name",): {"Ada"}}, 'name in ["a", "b"]': {("name",): {"a", "b"}},
    'name == "a" && count == 3 && paid': {("name",): {"a"}, ("count",): {3}}, "count in [1, 2] && count in [2, 3]": {("count",): {2}},
    "count == 1 && count == 2": {("count",): set()}, "count == -1.5": {("count",): {Fraction(-3, 2)}}, "paid == true": {("paid",): {True}},
    "has(plan) && plan.level == 3": {("plan", "level"): {3}}, 'size == "SMALL"': {("size",): {"SMALL"}}, "ada && count == 1": {("name",): {"Ada"}, ("count",): {1}},
    '(name == "a" && count == 1) && paid': {("name",): {"a"}, ("count",): {1}}, "maybe_count == 3": {("maybe_count",): {3}},
    # nothing is certain
    'name == "a" || paid': {}, 'name != "a"': {}, '!(name == "a")': {}, "count > 3": {}, "count == params.limit": {}, "count == maybe_count": {},
    'paid ? name == "a" : true': {}, '"a" in tags': {}, "maybe_name == null": {}, 'event.source == "billing"': {}, 'lowerAscii(name) == "a"': {},
    'amount == money(5, "EUR")': {}, "!ada": {}, "ada || paid": {}, "has(other) && other.level == 3": {}, 'name in ["a"] || name == "b"': {},
}  # fmt: skip


@pytest.mark.parametrize("source", TABLE)
def test_the_terms_at_the_top_say_which_values_are_needed(source: str) -> None:
    assert compiled(source).equalities == {path: frozenset(values) for path, values in TABLE[source].items()}


TERMS = [
    'name == "a"', 'name in ["a", "b"]', '"b" == name', "count == 1", "count in [1, 2]", "maybe_count == 2", "paid == true", "maybe_paid == false",
    "has(plan) && plan.level == 1", "count > 1", "maybe_count != 1", "ada", "!paid", 'size == "SMALL"', 'size in ["SMALL", "LARGE"]', "maybe_name == null",
]  # fmt: skip
CONDITIONS = st.recursive(
    st.sampled_from(TERMS),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(lambda two: f"({two[0]}) && ({two[1]})"),
        st.tuples(inner, inner).map(lambda two: f"({two[0]}) || ({two[1]})"),
        inner.map(lambda one: f"!({one})"),
        st.tuples(inner, inner, inner).map(lambda three: f"(({three[0]}) ? ({three[1]}) : ({three[2]}))"),
    ),
    max_leaves=8,
)
ROWS = st.fixed_dictionaries({
    "name": st.sampled_from(["a", "b", "Ada"]), "count": st.integers(0, 3), "maybe_count": st.none() | st.integers(0, 3), "paid": st.booleans(),
    "maybe_paid": st.none() | st.booleans(), "plan": st.none() | st.fixed_dictionaries({"level": st.integers(0, 2)}),
    "size": st.sampled_from(["UNKNOWN", "SMALL", "LARGE"]), "maybe_name": st.none() | st.just("a"),
})  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(CONDITIONS, ROWS)
def test_a_condition_that_holds_has_one_of_the_values_at_each_path(source, row) -> None:
    found = compile_condition(source, SCOPE)
    data = {**DATA, **row}
    if found.true(data, EVENT, VALUES):
        for path, values in found.equalities.items():
            assert value_at(data, path) in values


@settings(max_examples=200, deadline=None)
@given(CONDITIONS, ROWS)
def test_a_condition_with_names_is_explained_as_it_decides(source, row) -> None:
    found = compile_condition(source, SCOPE)
    data = {**DATA, **row}
    assert found.explain(data, EVENT, VALUES).value == found.value(data, EVENT, VALUES)
    written_out = compile_condition(found.meaning, SCOPE)
    assert written_out.value(data, EVENT, VALUES) == found.value(data, EVENT, VALUES)


def test_a_name_that_stands_for_much_is_bounded() -> None:
    long = " && ".join(f"({' || '.join(['maybe_count + maybe_count * 2 > count'] * 20)})" for _ in range(2))
    inner = compile_condition(long, Scope(FIELDS, type="x.y"))
    assert inner.tree is not None
    big = Named("big", long, ("x.y",), {"x.y": inner.tree})
    found = compile_condition(" || ".join(["big"] * 100), Scope(FIELDS, PARAMS, named={"big": big}, type="x.y"))
    assert [problem.code for problem in found.problems] == ["R102"]
