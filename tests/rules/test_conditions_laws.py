"""Laws of conditions: generated expressions against their definition, and text that is no expression."""

from collections.abc import Callable, Mapping
from fractions import Fraction
from operator import eq, ge, gt, le, lt, ne
from time import perf_counter
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from handlers.rules.conditions import Compiled, compile_condition, compile_value
from tests.rules.scope import EVENT, NOON, SCOPE, VALUES
from tidings.event import DAY, HOUR
from tidings.money import money
from tidings.unknown import UNKNOWN

quickly = settings(deadline=None, derandomize=True, database=None, max_examples=250)

Data = Mapping[str, Any]
Term = tuple[str, Callable[[Data], Any]]
"""An expression, and what it means by the definition: three values, exact numbers, one currency."""


def known(*values: Any) -> bool:
    return all(value is not None and value is not UNKNOWN for value in values)


def path(name: str, *parts: str) -> Term:
    def mean(data: Data) -> Any:
        value = data[name]
        for part in parts:
            value = None if value is None else value[part]
        return value

    return ".".join((name, *parts)), mean


def same(source: str, value: Any) -> Term:
    return source, lambda data: value


def of_two(left: Term, op: str, right: Term) -> Term:
    """`left op right`, for numbers, times, durations, texts and money alike."""
    operations: dict[str, Callable[[Any, Any], Any]] = {
        "+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b,
        "/": lambda a, b: UNKNOWN if b == 0 else Fraction(a) / Fraction(b),
        "<": lt, "<=": le, ">": gt, ">=": ge, "==": eq, "!=": ne,
    }  # fmt: skip

    def mean(data: Data) -> Any:
        one, other = left[1](data), right[1](data)
        if not known(one, other):
            return UNKNOWN
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            if one["currency"] != other["currency"]:
                return UNKNOWN
            value = operations[op](one["amount_minor"], other["amount_minor"])
            return {**one, "amount_minor": value} if op in "+-" else value
        if isinstance(one, Mapping):
            value = operations[op](one["amount_minor"], other)
            return value if value is UNKNOWN else {**one, "amount_minor": value}
        return operations[op](one, other)

    return f"({left[0]} {op} {right[0]})", mean


def negative(term: Term) -> Term:
    def mean(data: Data) -> Any:
        value = term[1](data)
        return -value if known(value) else UNKNOWN

    return f"(-{term[0]})", mean


def opposite(term: Term) -> Term:
    def mean(data: Data) -> Any:
        value = term[1](data)
        return not value if known(value) else UNKNOWN

    return f"!({term[0]})", mean


def join(left: Term, op: str, right: Term) -> Term:
    def mean(data: Data) -> Any:
        values = [left[1](data), right[1](data)]
        if (op == "||") in [value for value in values if known(value)]:
            return op == "||"
        return op == "&&" if known(*values) else UNKNOWN

    return f"({left[0]} {op} {right[0]})", mean


def choose(condition: Term, then: Term, other: Term) -> Term:
    def mean(data: Data) -> Any:
        value = condition[1](data)
        return (then if value else other)[1](data) if known(value) else UNKNOWN

    return f"({condition[0]} ? {then[0]} : {other[0]})", mean


def has(term: Term) -> Term:
    return f"has({term[0]})", lambda data: term[1](data) is not None


def is_null(term: Term, op: str) -> Term:
    return f"({term[0]} {op} null)", lambda data: (term[1](data) is None) is (op == "==")


def one_of(term: Term, options: list[Term]) -> Term:
    def mean(data: Data) -> Any:
        value = term[1](data)
        return value in [option[1](data) for option in options] if known(value) else UNKNOWN

    return f"({term[0]} in [{', '.join(option[0] for option in options)}])", mean


def starts(term: Term, start: Term) -> Term:
    def mean(data: Data) -> Any:
        value, begin = term[1](data), start[1](data)
        return value[: len(begin)] == begin if known(value, begin) else UNKNOWN

    return f"{term[0]}.startsWith({start[0]})", mean


def length(term: Term) -> Term:
    def mean(data: Data) -> Any:
        value = term[1](data)
        return len(value) if known(value) else UNKNOWN

    return f"size({term[0]})", mean


FIELDS = [
    path(*names)
    for names in (
        ("maybe_count",), ("maybe_name",), ("maybe_paid",), ("maybe_at",), ("maybe_amount",), ("plan",), ("plan", "level"),
    )
]  # fmt: skip
ORDER = st.sampled_from(["<", "<=", ">", ">=", "==", "!="])
ADD = st.sampled_from(["+", "-"])
literals = st.sampled_from([same("0", 0), same("1", 1), same("7", 7), same("2.5", Fraction(5, 2))])
texts = st.sampled_from([
    path("name"), path("maybe_name"), same("'Ada'", "Ada"), same('""', ""), same("event.source", "billing"),
])  # fmt: skip
numbers = st.recursive(
    literals
    | texts.map(length)
    | st.sampled_from([path("count"), path("maybe_count"), path("plan", "level"), same("params.limit", 5)]),
    lambda inner: st.builds(of_two, inner, st.sampled_from(["+", "-", "*", "/"]), inner) | inner.map(negative),
    max_leaves=5,
)
moments = st.sampled_from([path("at"), path("maybe_at"), same("event.time", NOON)])
spans = st.sampled_from([same("1h", HOUR), same("1d12h", 36 * HOUR), same("params.grace", 2 * DAY)]) | st.builds(
    of_two, moments, st.just("-"), moments
)
times = moments | st.builds(of_two, moments, ADD, spans)
amounts = st.sampled_from([
    path("amount"), path("maybe_amount"), same("money(10, 'EUR')", money(10, "EUR")),
    same("money(0.05, 'USD')", money(Fraction(1, 20), "USD")),
])  # fmt: skip
moneys = (
    amounts
    | st.builds(of_two, amounts, ADD, amounts)
    | st.builds(of_two, amounts, st.sampled_from(["*", "/"]), literals)
)
questions = st.one_of(
    *(st.builds(of_two, kind, ORDER, kind) for kind in (numbers, texts, times, spans, moneys)),
    st.sampled_from([path("paid"), path("maybe_paid"), same("true", True), same("false", False)]),
    st.sampled_from(FIELDS).map(has),
    st.builds(is_null, st.sampled_from(FIELDS), st.sampled_from(["==", "!="])),
    st.builds(one_of, numbers, st.lists(literals, max_size=3)),
    st.builds(starts, texts, texts),
)  # fmt: skip
conditions = st.recursive(
    questions,
    lambda inner: st.one_of(
        st.builds(join, inner, st.sampled_from(["&&", "||"]), inner),
        inner.map(opposite),
        st.builds(choose, inner, inner, inner),
    ),
    max_leaves=6,
)
values = numbers | times | spans | moneys | texts | st.builds(choose, conditions, numbers, numbers)

some_money = st.fixed_dictionaries({
    "amount_minor": st.integers(-1500, 1500) | st.just(1000), "currency": st.sampled_from(["EUR", "USD"]),
})  # fmt: skip
instants = st.integers(NOON - DAY, NOON + DAY) | st.just(NOON)
events = st.fixed_dictionaries({
    "count": st.integers(-3, 9), "maybe_count": st.none() | st.integers(0, 9), "name": st.sampled_from(["", "Ada", "ad"]),
    "maybe_name": st.none() | st.sampled_from(["", "Ada"]), "paid": st.booleans(), "maybe_paid": st.none() | st.booleans(),
    "at": instants, "maybe_at": st.none() | instants, "amount": some_money, "maybe_amount": st.none() | some_money,
    "size": st.just("SMALL"), "tags": st.just(["a"]),
    "plan": st.none() | st.fixed_dictionaries({"level": st.none() | st.integers(0, 3)}),
})  # fmt: skip


def compiled(source: str) -> Compiled:
    found = compile_condition(source, SCOPE)
    assert found.ok, found.problems
    return found


def settled(value: Any) -> Any:
    """A condition that is null is not known."""
    return UNKNOWN if value is None else value


@quickly
@given(conditions, events)
def test_a_condition_means_its_definition_compiled_and_interpreted(term: Term, data: Data) -> None:
    source, mean = term
    found, expected = compiled(source), settled(mean(data))
    assert found.value(data, EVENT, VALUES) is expected
    assert settled(found.explain(data, EVENT, VALUES).value) is expected
    assert found.true(data, EVENT, VALUES) is (expected is True)
    assert found.false(data, EVENT, VALUES) is (expected is False)


@quickly
@given(values, events)
def test_a_value_means_its_definition_compiled_and_interpreted(term: Term, data: Data) -> None:
    source, mean = term
    found, expected = compile_value(source, SCOPE), mean(data)
    assert found.ok, found.problems
    for value in (found.value(data, EVENT, VALUES), found.explain(data, EVENT, VALUES).value):
        assert value is expected if expected is UNKNOWN else value == expected
        assert not isinstance(value, float)


@quickly
@given(conditions, events)
def test_no_condition_is_certainly_true_and_certainly_false(term: Term, data: Data) -> None:
    found, other = compiled(term[0]), compiled(f"!({term[0]})")
    true, false = found.true(data, EVENT, VALUES), found.false(data, EVENT, VALUES)
    assert not (true and false)
    assert (other.true(data, EVENT, VALUES), other.false(data, EVENT, VALUES)) == (false, true)


@settings(quickly, max_examples=120)
@given(conditions, conditions, events)
def test_the_order_of_terms_does_not_matter(one: Term, other: Term, data: Data) -> None:
    for op in ("&&", "||"):
        there, back = compiled(f"{one[0]} {op} {other[0]}"), compiled(f"{other[0]} {op} {one[0]}")
        assert there.value(data, EVENT, VALUES) is back.value(data, EVENT, VALUES)


@quickly
@given(conditions, events)
def test_an_explanation_is_made_of_the_text_that_it_explains(term: Term, data: Data) -> None:
    source = term[0]
    waiting = [compiled(source).explain(data, EVENT, VALUES)]
    while waiting:
        trace = waiting.pop()
        waiting += trace.parts
        assert trace.source in source
        assert trace.shown
        assert bool(trace.because) is (trace.value is UNKNOWN)


def check_told(source: str) -> Compiled:
    """What is compiled is usable or says why not, at places of the text; and its cost has a bound."""
    began = perf_counter()
    found = compile_value(source, SCOPE)
    assert perf_counter() - began < 2, "far above what the largest expression needs"
    assert found.ok is not any(problem.severity == "error" for problem in found.problems)
    for problem in found.problems:
        assert problem.text
        assert problem.code in {"R101", "R102", "R203", "R204"}
        assert 0 <= problem.offset <= len(source)
        assert problem.length >= 1
    return found


@quickly
@given(st.text(max_size=80))
@example("\x00")
@example("\ud800")
@example("'\ud800'")
@example("count\u00a0>\u20281")
@example("١ < count")
@example("'" + "\\" * 79)
def test_any_text_ends_in_problems_and_never_in_an_exception(text: str) -> None:
    check_told(text)


WORDS = [
    "count", "maybe_count", "name", "paid", "at", "amount", "plan", "level", "tags", "params", "event", "limit", "time",
    "has", "size", "money", "duration", "timestamp", "startsWith", "contains", "true", "null", "in", "0", "2.5", "1h",
    "'x'", '"EUR"', "'2026-03-05T08:40:00Z'", "(", ")", "[", "]", ".", ",", "?", ":", "!", "-", "+", "*", "/", "%", "<",
    "<=", "==", "!=", "&&", "||", "\n",
]  # fmt: skip


@quickly
@given(st.lists(st.sampled_from(WORDS), max_size=14).map(" ".join))
def test_any_row_of_words_ends_in_problems_and_never_in_an_exception(source: str) -> None:
    found = check_told(source)
    if found.ok:
        found.value({}, EVENT, VALUES)


@quickly
@given(conditions, st.data())
def test_a_damaged_condition_is_told_or_means_something(term: Term, draw: st.DataObject) -> None:
    source = term[0]
    for _ in range(draw.draw(st.integers(1, 3))):
        at = draw.draw(st.integers(0, len(source)))
        to = draw.draw(st.integers(at, min(len(source), at + 6)))
        new = draw.draw(st.sampled_from(["", *WORDS, source[at:to] * 2, "\x00", "\ud800", "ß", '"', "\\", "&", "="]))
        source = source[:at] + new + source[to:]
    found = check_told(source)
    if found.ok:
        found.true({}, EVENT, VALUES)


NESTS: dict[str, tuple[str, str, str]] = {
    "brackets": ("(", "paid", ")"), "nots": ("!", "paid", ""), "bracketed nots": ("!(", "paid", ")"),
    "minus": ("-", "count", ""), "lists": ("[", "1", "]"), "calls": ("size(", "name", ")"),
    "methods": ("", "name", ".lowerAscii()"), "paths": ("plan.", "level", ""), "ands": ("paid && ", "paid", ""),
    "sums": ("count + ", "count", ""), "comparisons": ("(paid == ", "paid", ")"), "divisions": ("(count / ", "count", ")"),
    "choices by then": ("(paid ? ", "paid", " : paid)"), "choices by else": ("paid ? paid : ", "paid", ""),
    "choices by condition": ("(", "paid", " ? paid : paid)"), "both ways": ("(maybe_paid == (", "paid", " ? paid : !paid))"),
    "open brackets": ("(", "", ""), "open texts": ("'", "", ""), "open choices": ("paid ? ", "", ""), "digits": ("9", "d > 1h", ""),
    "escapes": (r"\'", "", ""), "spaces": (" ", "paid", " "),
}  # fmt: skip


@pytest.mark.parametrize("depth", [1, 2, 5, 14, 29, 30, 31, 100, 1000, 100_000])
@pytest.mark.parametrize("name", NESTS)
def test_depth_and_length_have_a_bound(name: str, depth: int) -> None:
    before, middle, after = NESTS[name]
    found = check_told(before * depth + middle + after * depth)
    if found.ok:
        found.value({"paid": True, "maybe_paid": None, "count": 2, "name": "x", "plan": None}, EVENT, VALUES)
    if depth > 4096:
        assert [problem.code for problem in found.problems] == ["R102"]
