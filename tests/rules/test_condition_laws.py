"""Laws of conditions, over generated expressions and data."""

from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from handlers.rules.conditions import compile_condition, compile_value
from tests.rules.scope import EVENT, NOON, SCOPE, VALUES
from tidings.event import DAY, HOUR
from tidings.unknown import UNKNOWN

quickly = settings(deadline=None, derandomize=True, database=None, max_examples=300)

NUMBERS = st.sampled_from(["count", "maybe_count", "params.limit", "plan.level", "0", "1", "7", "2.5", "size(name)"])
TEXTS = st.sampled_from(["name", "maybe_name", "event.source", "'Ada'", "''", "name.lowerAscii()"])
TIMES = st.sampled_from(["at", "maybe_at", "event.time", "timestamp('2026-03-05T10:00:00Z')"])
SPANS = st.sampled_from(["1h", "params.grace", "2d", "(at - event.time)", "(maybe_at - at)"])
MONEYS = st.sampled_from(["amount", "maybe_amount", "money(10, 'EUR')", "money(3, 'USD')", "(amount * count)"])
ORDER = st.sampled_from(["<", "<=", ">", ">=", "==", "!="])


def _join(part: str, op: str, other: str) -> str:
    return f"({part} {op} {other})"


numbers = st.recursive(
    NUMBERS, lambda inner: st.builds(_join, inner, st.sampled_from(["+", "-", "*", "/", "%"]), inner), max_leaves=4
)
times = TIMES | st.builds(_join, TIMES, st.sampled_from(["+", "-"]), SPANS)
moneys = MONEYS | st.builds(_join, MONEYS, st.sampled_from(["+", "-"]), MONEYS)
simple = st.one_of(
    *(st.builds(_join, one, ORDER, one) for one in (numbers, TEXTS, times, SPANS, moneys)),
    st.sampled_from([
        "paid", "maybe_paid", "has(maybe_count)", "has(plan.level)", "maybe_name == null", "plan != null",
        "size in ['SMALL', 'LARGE']", "maybe_count in [1, 2]", "name.startsWith('A')", "maybe_name.contains('d')",
        "maybe_paid == true", "size != 'LARGE'",
    ]),
)  # fmt: skip
conditions = st.recursive(
    simple,
    lambda inner: st.one_of(
        st.builds(_join, inner, st.sampled_from(["&&", "||"]), inner),
        inner.map(lambda part: f"!({part})"),
        st.builds("({} ? {} : {})".format, inner, inner, inner),
    ),
    max_leaves=6,
)
money = st.fixed_dictionaries({
    "amount_minor": st.integers(-2000, 2000), "currency": st.sampled_from(["EUR", "USD"]),
})  # fmt: skip
moments = st.integers(NOON - DAY, NOON + DAY) | st.just(NOON)
events = st.fixed_dictionaries({
    "count": st.integers(-3, 9), "maybe_count": st.none() | st.integers(0, 9), "name": st.sampled_from(["", "Ada", "ada"]),
    "maybe_name": st.none() | st.just("Ada"), "paid": st.booleans(), "maybe_paid": st.none() | st.booleans(),
    "at": moments, "maybe_at": st.none() | st.integers(NOON - HOUR, NOON + HOUR), "amount": money,
    "maybe_amount": st.none() | money, "size": st.sampled_from(["UNKNOWN", "SMALL", "LARGE"]), "tags": st.just(["a"]),
    "plan": st.none() | st.fixed_dictionaries({"level": st.integers(0, 3)}),
})  # fmt: skip


@quickly
@given(conditions, events)
def test_the_compiled_condition_equals_its_explanation(source: str, data: Any):
    found = compile_condition(source, SCOPE)
    assert found.ok, [str(problem) for problem in found.problems]
    explained = found.explain(data, EVENT, VALUES).value
    expected = UNKNOWN if explained is None else explained
    value = found.value(data, EVENT, VALUES)
    assert (UNKNOWN if value is None else value) is expected
    assert found.true(data, EVENT, VALUES) is (expected is True)
    assert found.false(data, EVENT, VALUES) is (expected is False)


@quickly
@given(numbers | times | moneys, events)
def test_the_compiled_value_equals_its_explanation(source: str, data: Any):
    found = compile_value(source, SCOPE)
    assert found.ok, [str(problem) for problem in found.problems]
    assert found.value(data, EVENT, VALUES) == found.explain(data, EVENT, VALUES).value


@quickly
@given(conditions, events)
def test_no_condition_holds_together_with_its_opposite(source: str, data: Any):
    found, opposite = compile_condition(source, SCOPE), compile_condition(f"!({source})", SCOPE)
    assert not (found.true(data, EVENT, VALUES) and found.false(data, EVENT, VALUES))
    assert found.true(data, EVENT, VALUES) is opposite.false(data, EVENT, VALUES)
    assert found.false(data, EVENT, VALUES) is opposite.true(data, EVENT, VALUES)


@quickly
@given(conditions, events, events)
def test_what_is_known_stays_so_when_more_is_known(source: str, data: Any, other: Any):
    """Three values are a promise: a true or a false does not depend on what is null."""
    found = compile_condition(source, SCOPE)
    if "null" in source or "has(" in source:
        return  # a question for null is about what is null
    value = found.value(data, EVENT, VALUES)
    if value in (True, False):
        filled = {name: other[name] if part is None else part for name, part in data.items()}
        assert found.value(filled, EVENT, VALUES) is value


@quickly
@given(st.text(max_size=60) | st.text("count namepid&|!=<>()[]'\"+-*/%?:., 0123456789\\", max_size=60))
@example("\x00")
@example("\ud800")
@example("count\u00a0> 1")
@example("1" * 400 + "d > 1h")
def test_rubbish_ends_in_problems_and_never_in_an_exception(text: str):
    found = compile_value(text, SCOPE)
    assert found.ok or any(problem.severity == "error" for problem in found.problems)
    for problem in found.problems:
        assert 0 <= problem.offset <= len(text)


@quickly
@given(conditions, st.data())
def test_a_damaged_condition_is_told_or_still_means_something(source: str, data: Any):
    at = data.draw(st.integers(0, len(source) - 1))
    damaged = (
        source[:at] + data.draw(st.sampled_from(["", "(", ")", "'", "&", "x", ".", "9d", "null"])) + source[at + 1 :]
    )
    found = compile_condition(damaged, SCOPE)
    assert found.ok or any(problem.severity == "error" for problem in found.problems)
