"""What conditions mean, in a table; and how mistakes are told."""

from fractions import Fraction

import pytest

from handlers.rules.conditions import compile_condition, compile_value
from tests.rules.scope import DATA, EVENT, NOON, SCOPE, VALUES, compiled, value
from tidings.event import DAY, HOUR
from tidings.unknown import UNKNOWN as U

TABLE = {
    # comparison
    "count == 7": True, "count != 7": False, "count < 8": True, "count >= 8": False, "7 <= count": True,
    "name == 'Ada'": True, 'name < "Bob"': True, "paid == true": True, "size == 'SMALL'": True, "size != 'LARGE'": True,
    # null: an order with null is unknown, a question for null is not
    "maybe_count > 3": U, "maybe_count == 3": U, "maybe_count != 3": U, "maybe_count == null": True,
    "maybe_count != null": False, "null == count": False, "has(maybe_count)": False, "!has(maybe_count)": True,
    "has(count)": True, "plan.level > 1": U, "has(plan.level)": False, "plan == null": True,
    # logic of Kleene: what decides, decides
    "maybe_paid && count == 0": False, "count == 0 && maybe_paid": False, "maybe_paid && count == 7": U,
    "maybe_paid || count == 7": True, "count == 7 || maybe_paid": True, "maybe_paid || count == 0": U,
    "!maybe_paid": U, "!(count == 7)": False, "!(maybe_count > 3 && paid)": U, "has(maybe_count) && maybe_count > 3": False,
    "paid ? count > 1 : maybe_paid": True, "maybe_paid ? true : true": U, "paid ? maybe_paid : false": U,
    # arithmetic is exact
    "count / 2": Fraction(7, 2), "count % 4": 3, "count * 2 - 1": 13, "-count": -7, "0.1 + 0.2 == 0.3": True,
    "count / 0": U, "count % 0": U, "count / 0 > 1": U, "maybe_count + 1": U, "count / 7 * 7 == count": True,
    "2 + 3 * 4": 14, "(2 + 3) * 4": 20, "10 - 3 - 2": 5,
    # lists
    "count in [1, 7]": True, "count in [1, 2]": False, "maybe_count in [1]": U, "name in ['Ada', 'Bob']": True,
    "size in ['LARGE']": False, "count in []": False, "money(10.50, 'EUR') in []": False,
    # texts
    "name.startsWith('A')": True, "name.endsWith('x')": False, "name.contains('d')": True, "maybe_name.contains('d')": U,
    "size(name)": 3, "name.size() == 3": True, "name.lowerAscii() == 'ada'": True, "name + '!'": "Ada!", "size(tags) == 2": True,
    r"name == 'A\'da'": False, r'"\n" == "\t"': False,
    # times and durations
    "at == event.time": True, "at + 1h": NOON + HOUR, "event.time + params.grace": NOON + 2 * DAY, "at - event.time": 0,
    "1h30m == 90m": True, "2d / 1h": 48, "1d * 2 == 48h": True, "1d / 2 == 12h": True, "duration('90m') == 1h30m": True,
    "at > timestamp('2026-01-01T00:00:00Z')": True, "at < timestamp('2026-01-01T00:00:00+01:00')": False,
    "maybe_at + 1h": U, "maybe_at < at": U,
    # money: exact, one currency
    "amount == money(10.50, 'EUR')": True, "amount > money(10, 'EUR')": True, "amount > money(10, 'USD')": U,
    "amount == money(10.50, 'USD')": U, "amount + amount == money(21, 'EUR')": True, "amount * 2 > money(20, 'EUR')": True,
    "amount / money(1, 'EUR')": Fraction(21, 2), "amount / 3 * 3 == amount": True, "money(1, 'EUR') / amount > 1": False,
    "money(100, 'JPY') / money(1, 'JPY')": 100, "maybe_amount > money(1, 'EUR')": U, "-amount < money(0, 'EUR')": True,
    # params and the event itself
    "count > params.limit": True, "event.source == 'billing'": True, "event.subject == null": True,
    "event.subject == 'x'": U, "event.id + event.type": "e-1x.y",
}  # fmt: skip


@pytest.mark.parametrize("source", TABLE)
def test_an_expression_means(source):
    expected = TABLE[source]
    found = value(source)
    assert found is expected if isinstance(expected, bool) or expected is U else found == expected


@pytest.mark.parametrize("source", [one for one, result in TABLE.items() if isinstance(result, bool) or result is U])
def test_certainly_true_certainly_false_and_the_value_agree(source):
    found = compiled(source)
    if found.kind != "bool":
        return
    expected = TABLE[source]
    assert found.true(DATA, EVENT, VALUES) is (expected is True)
    assert found.false(DATA, EVENT, VALUES) is (expected is False)


MISTAKES = {
    # expression: offset of the mistake, part of the text, suggestion
    "": (0, "", None),
    "cuont > 1": (0, "no field 'cuont'", "count"),
    "count > params.limt": (8, "no parameter 'limt'", "params.limit"),
    "event.tiem > at": (0, "not 'tiem'", "event.time"),
    "count = 7": (6, "'=' means nothing", "=="),
    "count == 7 and paid": (11, "", "&&"),
    "paid & paid": (5, "'&' means nothing", "&&"),
    "count == 'x'": (0, "cannot be compared", None),
    "amount > 50": (0, "cannot be compared", 'money(50, "EUR")'),
    "size == 'SMAL'": (8, "is none of UNKNOWN, SMALL, LARGE", "'SMALL'"),
    "at + 1": (0, "has no meaning", None),
    "at + at": (0, "has no meaning", None),
    "count < null": (0, "null has no order", None),
    "paid < true": (0, "has no order", None),
    "plan == plan": (0, "are not compared", None),
    "!count": (1, "true or false is needed", None),
    "count && paid": (0, "is needed", None),
    "name.beginsWith('A')": (0, "no function 'beginsWith'", None),
    "count in 7": (9, "'in' needs a list", None),
    "count in [1, 'x']": (0, "cannot be compared", None),
    "1 < count < 9": (10, "do not chain", None),
    "name == 'Ada": (8, "the text has no end", None),
    "(count > 1": (10, "", None),
    "count >": (7, "", None),
    "count > 1)": (9, "", None),
    "plan.levle > 1": (0, "plan has no field 'levle'", "plan.level"),
    "money(50)": (0, "money takes", None),
    "money(50, 'euro')": (0, "no ISO 4217 currency", None),
    "money(0.001, 'EUR') < amount": (0, "", None),
    "duration('soon')": (0, "is no duration", None),
    "timestamp('tomorrow')": (0, "is no timestamp", None),
    "has(count + 1)": (0, "has(…) takes one field", None),
    "paid ? 1 : 'x'": (0, "the branches are", None),
    "name.contains()": (0, "takes", None),
    "count > 1 ? paid": (16, "", None),
}


@pytest.mark.parametrize("source", MISTAKES)
def test_a_mistake_is_told_with_its_place_and_what_was_meant(source):
    offset, text, hint = MISTAKES[source]
    found = compile_value(source, SCOPE)
    assert not found.ok
    (first, *_) = [problem for problem in found.problems if problem.severity == "error"]
    assert first.offset == offset
    assert text in first.text
    if hint is not None:
        assert hint in {problem.hint for problem in found.problems}


def test_several_mistakes_are_told_at_once():
    found = compile_condition("cuont > 1 && nmae == 'x' && size == 'HUGE'", SCOPE)
    assert [problem.offset for problem in found.problems] == [0, 13, 36]


def test_a_condition_is_a_question():
    found = compile_condition("count + 1", SCOPE)
    assert not found.ok
    assert "is needed" in found.problems[0].text


@pytest.mark.parametrize("source", ["maybe_count > 3", "plan.level > 1", "maybe_name.contains('x')"])
def test_a_field_that_may_be_null_is_warned_of_and_a_question_before_it_helps(source):
    (warning,) = compile_condition(source, SCOPE).problems
    assert (warning.code, warning.severity) == ("R203", "warning")
    name = source.split(" ")[0].removesuffix(".contains('x')")
    assert compile_condition(f"has({name}) && {source}", SCOPE).problems == ()
    assert compile_condition(f"!has({name}) || {source}", SCOPE).problems == ()


@pytest.mark.parametrize("source", ["1 < 2", "true", "has(count)"])
def test_what_never_changes_is_warned_of(source):
    assert {problem.code for problem in compile_condition(source, SCOPE).problems} == {"R204"}


@pytest.mark.parametrize("source", [
    "(" * 10_000, "!" * 4000 + "paid", "-" * 4000 + "count", "count" + " + count" * 3000, "paid ? " * 500 + "1",
    "[" * 3000, "count in [" + "1, " * 2000 + "1]", "'" + "x" * 5000 + "'", "a." * 2000 + "a", "9" * 4000 + " > count",
    "(paid ? paid : " * 25 + "paid" + ")" * 25,
])  # fmt: skip
def test_what_is_too_large_or_too_deep_is_refused_quickly(source):
    found = compile_value(source, SCOPE)
    assert not found.ok or found.value(DATA, EVENT, VALUES) is not None


def test_data_that_no_contract_has_checked_is_unknown_and_never_an_error():
    found = compiled("count > 1 && name.contains('x') || amount > money(1, 'EUR')")
    for wrong in ({}, {"count": "7"}, {"count": None, "name": 7, "amount": {"currency": "EUR"}}):
        assert found.value(wrong, EVENT, VALUES) in (U, True, False)


def test_numbers_that_grow_without_end_are_unknown():
    assert value("count * count * count", count=2**100) is U
    assert value(" * ".join(["count"] * 20), count=2**63 - 1) is U


def terms(trace):
    yield trace
    for part in trace.parts:
        yield from terms(part)


def test_an_explanation_names_every_term_with_its_value():
    trace = compiled("amount > money(10, 'EUR') && maybe_count > 3").explain(DATA, EVENT, VALUES)
    shown = {part.source: part.shown for part in terms(trace)}
    assert shown == {
        "amount > money(10, 'EUR') && maybe_count > 3": "unknown", "amount > money(10, 'EUR')": "true",
        "amount": "10.50 EUR", "money(10, 'EUR')": "10.00 EUR", "maybe_count > 3": "unknown", "maybe_count": "null", "3": "3",
    }  # fmt: skip
    assert trace.because == "maybe_count is null"


WHY = {
    "count / 0 > 1": "0 is zero",
    "amount > money(1, 'USD')": "EUR and USD are not compared",
    "maybe_at < at": "maybe_at is null",
}


@pytest.mark.parametrize("source", WHY)
def test_an_explanation_says_why_something_cannot_be_known(source):
    assert compiled(source).explain(DATA, EVENT, VALUES).because == WHY[source]
