"""What each expression of the condition language means for which values, and how each mistake is told."""

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import pytest

from handlers.rules.conditions import compile_condition, compile_value, parse_duration, render_value
from tests.rules.scope import DATA, EVENT, NOON, SCOPE, VALUES
from tidings.event import DAY, HOUR, MINUTE, SECOND
from tidings.money import money
from tidings.unknown import UNKNOWN as U

N = None


def eur(minor: int) -> dict[str, Any]:
    return {"amount_minor": minor, "currency": "EUR"}


def usd(minor: int) -> dict[str, Any]:
    return {"amount_minor": minor, "currency": "USD"}


Row = tuple[str, list[tuple[Mapping[str, Any], Any]]]


def each(source: str, name: str, *cases: tuple[Any, Any]) -> Row:
    """One expression over several values of one field."""
    return source, [({name: value}, expected) for value, expected in cases]


def both(source: str, names: tuple[str, str], *cases: tuple[Any, Any, Any]) -> Row:
    """One expression over several values of two fields."""
    return source, [({names[0]: one, names[1]: two}, expected) for one, two, expected in cases]


def plain(source: str, expected: Any) -> Row:
    return source, [({}, expected)]


LOGIC = ("maybe_paid", "paid")
TABLE: list[Row] = [
    # comparison, at the boundary and on both sides of it; null is unknown
    each("maybe_count < 3", "maybe_count", (2, True), (3, False), (4, False), (N, U)),
    each("maybe_count <= 3", "maybe_count", (2, True), (3, True), (4, False), (N, U)),
    each("maybe_count > 3", "maybe_count", (2, False), (3, False), (4, True), (N, U)),
    each("maybe_count >= 3", "maybe_count", (2, False), (3, True), (4, True), (N, U)),
    each("maybe_count == 3", "maybe_count", (2, False), (3, True), (N, U)),
    each("maybe_count != 3", "maybe_count", (2, True), (3, False), (N, U)),
    each("3 > maybe_count", "maybe_count", (2, True), (3, False), (N, U)),
    each("!(maybe_count > 3)", "maybe_count", (2, True), (4, False), (N, U)),
    each("count > params.limit", "count", (5, False), (6, True)),
    each("size == 'SMALL'", "size", ("SMALL", True), ("LARGE", False), ("UNKNOWN", False)),
    each("maybe_paid == true", "maybe_paid", (True, True), (False, False), (N, U)),
    each("maybe_paid != paid", "maybe_paid", (True, False), (False, True), (N, U)),
    # questions for null are never unknown
    each("maybe_count == null", "maybe_count", (0, False), (N, True)),
    each("maybe_count != null", "maybe_count", (0, True), (N, False)),
    each("null == maybe_name", "maybe_name", ("", False), (N, True)),
    each("has(maybe_count)", "maybe_count", (0, True), (N, False)),
    each("!has(maybe_paid)", "maybe_paid", (False, False), (N, True)),
    each("has(plan) && plan.level > 1", "plan", ({"level": 2}, True), ({"level": 1}, False), (N, False)),
    each("has(plan.level)", "plan", ({"level": 0}, True), ({"level": N}, False), ({}, False), (N, False)),
    each("plan.level > 1", "plan", ({"level": 2}, True), ({"level": N}, U), (N, U)),
    each("maybe_count == null || maybe_count > 3", "maybe_count", (N, True), (3, False), (4, True)),
    # logic of Kleene
    both("maybe_paid && paid", LOGIC, (True, True, True), (True, False, False), (False, True, False),
         (N, True, U), (N, False, False)),
    both("paid && maybe_paid", LOGIC, (N, True, U), (N, False, False)),
    both("maybe_paid || paid", LOGIC, (False, False, False), (True, False, True), (N, True, True), (N, False, U)),
    both("paid || maybe_paid", LOGIC, (N, True, True), (N, False, U)),
    each("!maybe_paid", "maybe_paid", (True, False), (False, True), (N, U)),
    each("!!maybe_paid", "maybe_paid", (True, True), (False, False), (N, U)),
    each("maybe_paid && !maybe_paid", "maybe_paid", (True, False), (False, False), (N, U)),
    both("maybe_paid ? paid : !paid", LOGIC, (True, True, True), (False, True, False), (N, True, U), (N, False, U)),
    each("maybe_count > 1 ? 'many' : 'few'", "maybe_count", (2, "many"), (1, "few"), (N, U)),
    each("paid ? count / 0 : 1", "paid", (True, U), (False, 1)),
    # && binds closer than ||, both looser than comparison; ? : last, from the right
    plain("true || false && false", True),
    plain("(true || false) && false", False),
    plain("false ? 1 : false ? 2 : 3", 3),
    plain("2 + 3 * 4 == 14 && !false", True),
    plain("!false == true", True),
    # arithmetic: exact, and unknown where there is no answer
    each("count + 1", "count", (0, 1), (-1, 0), (2**63 - 1, 2**63)),
    each("count - 10", "count", (3, -7)),
    each("-count", "count", (3, -3), (-3, 3), (0, 0)),
    each("count * 0.1", "count", (3, Fraction(3, 10)), (10, 1)),
    each("count / 2", "count", (7, Fraction(7, 2)), (8, 4), (-7, Fraction(-7, 2))),
    each("count % 4", "count", (7, 3), (8, 0), (0, 0)),
    each("10 / count", "count", (0, U), (4, Fraction(5, 2))),
    each("10 % count", "count", (0, U), (4, 2)),
    each("10 / count > 1", "count", (0, U), (4, True)),
    each("count != 0 && 10 / count > 1", "count", (0, False), (4, True), (10, False)),
    each("10 / (count - count) > 1 || count > 3", "count", (0, U), (4, True)),
    each("maybe_count + 1", "maybe_count", (1, 2), (N, U)),
    each("maybe_count / 0", "maybe_count", (1, U), (N, U)),
    each("count * count * count * count", "count", (2, 16), (2**60, U), (-(2**60), U)),
    plain("0.1 + 0.2 == 0.3", True),
    plain("1 / 3 * 3 == 1", True),
    plain("10 - 3 - 2", 5),
    plain("100 / 10 / 5", 2),
    plain("- 2 - -3", 1),
    # in
    each("maybe_count in [1, 3]", "maybe_count", (1, True), (2, False), (3, True), (N, U)),
    each("!(maybe_count in [1, 3])", "maybe_count", (1, False), (2, True), (N, U)),
    each("count in []", "count", (1, False)),
    each("count in [-1, 0.5, 2]", "count", (-1, True), (2, True), (1, False)),
    each("size in ['SMALL', 'LARGE']", "size", ("LARGE", True), ("UNKNOWN", False)),
    each("'a' in tags", "tags", (["a"], True), (["b"], False), ([], False)),
    each("maybe_name in tags", "maybe_name", ("a", True), ("x", False), (N, U)),
    each("paid in [true]", "paid", (True, True), (False, False)),
    each("amount in [money(1, 'EUR'), money(2, 'EUR')]", "amount", (eur(200), True), (eur(300), False), (usd(200), U)),
    each("at in [timestamp('2026-03-05T08:40:00Z')]", "at", (NOON, True), (NOON + 1, False)),
    # texts
    each("maybe_name.startsWith('A')", "maybe_name", ("Ada", True), ("ada", False), ("", False), (N, U)),
    each("maybe_name.endsWith('a')", "maybe_name", ("Ada", True), ("Ad", False), (N, U)),
    each("maybe_name.contains('d')", "maybe_name", ("Ada", True), ("", False), (N, U)),
    each("name.contains('')", "name", ("", True), ("x", True)),
    each("name.contains(maybe_name)", "maybe_name", ("da", True), (N, U)),
    each("maybe_name.size()", "maybe_name", ("", 0), ("Zoë", 3), ("🙂", 1), (N, U)),
    each("size(tags)", "tags", ([], 0), (["a", "b"], 2)),
    each("name.lowerAscii()", "name", ("ADA", "ada"), ("ÄB", "Äb"), ("", "")),
    each("name.lowerAscii().startsWith('ad')", "name", ("ADA", True), ("BOB", False)),
    each("name + '-' + maybe_name", "maybe_name", ("x", "Ada-x"), (N, U)),
    each("name < 'B'", "name", ("Ada", True), ("B", False), ("a", False)),
    plain(r"'it\'s' == " + '"it\'s"', True),
    plain(r"'a\\b'.size()", 3),
    plain(r"'\n'.size()", 1),
    # times and durations
    each("at > event.time", "at", (NOON, False), (NOON + 1, True)),
    each("maybe_at + 1h", "maybe_at", (NOON, NOON + HOUR), (N, U)),
    each("1h + at", "at", (NOON, NOON + HOUR)),
    each("at - 1d", "at", (NOON, NOON - DAY)),
    each("at - event.time", "at", (NOON + 5, 5), (NOON - 5, -5)),
    each("at - event.time > params.grace", "at", (NOON + 2 * DAY, False), (NOON + 2 * DAY + 1, True)),
    each("at >= timestamp('2026-03-05T08:40:00Z')", "at", (NOON, True), (NOON - 1, False)),
    each("at == timestamp('2026-03-05T09:40:00+01:00')", "at", (NOON, True)),
    each("at == timestamp('2026-03-05T08:40:00.000001Z')", "at", (NOON + 1, True), (NOON, False)),
    each("at + 1d / count", "count", (3, NOON + 8 * HOUR), (7, NOON + DAY // 7), (0, U)),
    plain("1h30m == 90m", True),
    plain("1w", 7 * DAY),
    plain("2d3h4m5s6ms", 2 * DAY + 3 * HOUR + 4 * MINUTE + 5 * SECOND + 6000),
    plain("duration('1h30m')", 90 * MINUTE),
    plain("90m / 1h", Fraction(3, 2)),
    plain("1d * 1.5", 36 * HOUR),
    plain("2 * 12h == 1d", True),
    plain("1d - 36h", -12 * HOUR),
    plain("-1h < 0s", True),
    plain("params.grace / 1d", 2),
    # money: exact, in one currency
    each("amount >= money(50, 'EUR')", "amount", (eur(4999), False), (eur(5000), True), (usd(5000), U)),
    each("!(amount >= money(50, 'EUR'))", "amount", (eur(4999), True), (eur(5000), False), (usd(1), U)),
    each("amount == money(10.50, 'EUR')", "amount", (eur(1050), True), (usd(1050), U)),
    each("amount != money(10.50, 'EUR')", "amount", (eur(1050), False), (eur(1051), True), (usd(1), U)),
    each("maybe_amount > money(0, 'EUR')", "maybe_amount", (eur(1), True), (N, U)),
    each("amount + amount == money(21, 'EUR')", "amount", (eur(1050), True)),
    each("amount - money(1, 'EUR')", "amount", (eur(50), eur(-50)), (usd(50), U)),
    each("amount * 2", "amount", (eur(5), eur(10))),
    each("2 * amount", "amount", (usd(5), usd(10))),
    each("amount / 3 * 3 == amount", "amount", (eur(100), True)),
    each("amount / 3 < money(0.34, 'EUR')", "amount", (eur(100), True), (eur(102), False)),
    each("amount / money(1, 'EUR')", "amount", (eur(250), Fraction(5, 2)), (usd(250), U)),
    each("amount / money(0, 'EUR')", "amount", (eur(250), U)),
    each("amount / 0", "amount", (eur(250), U)),
    each("-amount", "amount", (eur(250), eur(-250))),
    plain("money(1, 'JPY')", money(1, "JPY")),
    plain("money(0.001, 'KWD')", {"amount_minor": 1, "currency": "KWD"}),
    # the event itself
    plain("event.type + '/' + event.id + '/' + event.tenant", "x.y/e-1/t"),
    plain("event.time == timestamp('2026-03-05T08:40:00Z')", True),
    plain("event.subject == null", True),
    plain("has(event.subject)", False),
    plain("event.subject == 'x'", U),
]  # fmt: skip
ROWS = [(source, data, expected) for source, cases in TABLE for data, expected in cases]


@pytest.mark.parametrize(("source", "data", "expected"), ROWS)
def test_an_expression_means(source: str, data: dict[str, Any], expected: Any) -> None:
    """Compiled and interpreted alike; a condition is certainly true, certainly false, or neither."""
    found = compile_value(source, SCOPE)
    assert found.ok, found.problems
    values = {**DATA, **data}
    for result in (found.value(values, EVENT, VALUES), found.explain(values, EVENT, VALUES).value):
        if expected is U or isinstance(expected, bool):
            assert result is expected
        else:
            assert result == expected
            assert not isinstance(result, float)
    if found.kind == "bool":
        assert found.true(values, EVENT, VALUES) is (expected is True)
        assert found.false(values, EVENT, VALUES) is (expected is False)


KINDS = {
    "count": "number", "count / 2": "number", "name": "string", "size": "string", "paid": "bool", "count > 1": "bool",
    "at": "timestamp", "at + 1h": "timestamp", "at - at": "duration", "1h * 2": "duration", "1h / 1m": "number",
    "amount": "money", "amount / 2": "money", "amount / amount": "number", "plan": "record", "tags": "list",
    "maybe_paid ? 1h : null": "duration",
}  # fmt: skip


@pytest.mark.parametrize("source", KINDS)
def test_an_expression_has_one_kind(source: str) -> None:
    assert compile_value(source, SCOPE).kind == KINDS[source]


def test_an_expression_names_what_it_reads() -> None:
    found = compile_value("has(plan.level) && count > params.limit && event.time > at", SCOPE)
    assert found.reads == {("plan", "level"), ("count",), ("at",)}
    assert found.params == {"limit"}


Told = list[tuple[str, int, int, str | None]]
"""(code, offset, length, suggestion)"""

MISTAKES: dict[str, Told] = {
    # names
    "cuont > 1": [("R101", 0, 5, "count")],
    "count > params.limti": [("R101", 8, 12, "params.limit")],
    "paid && evnt.time > at": [("R101", 8, 9, "event")],
    "event.tme > at": [("R101", 0, 9, "event.time")],
    "plan.lvel > 1": [("R101", 0, 9, "plan.level")],
    "qwertz > 1": [("R101", 0, 6, None)],
    "count.x > 1": [("R101", 0, 7, None)],
    "name.startWith('A')": [("R101", 0, 19, "startsWith")],
    "hsa(count)": [("R101", 0, 10, "has")],
    "size == 'SMAL'": [("R101", 8, 6, "'SMALL'")],
    "size in ['SMALL', 'LAGRE']": [("R101", 18, 7, "'LARGE'")],
    # words of other languages
    "count = 7": [("R101", 6, 1, "==")],
    "paid & paid": [("R101", 5, 1, "&&")],
    "paid | paid": [("R101", 5, 1, "||")],
    "paid and paid": [("R101", 5, 3, "&&")],
    "paid OR paid": [("R101", 5, 2, "||")],
    "count === 7": [("R101", 8, 1, "==")],
    "count ~ 7": [("R101", 6, 1, None)],
    "count; 7": [("R101", 5, 1, None)],
    # syntax
    "": [("R101", 0, 1, None)],
    "   ": [("R101", 3, 1, None)],
    "count >": [("R101", 7, 1, None)],
    "> 1": [("R101", 0, 1, None)],
    "(count > 1": [("R101", 10, 1, None)],
    "count > 1)": [("R101", 9, 1, None)],
    "count in [1, 2": [("R101", 14, 1, None)],
    "count in [1 2]": [("R101", 12, 1, None)],
    "count 7": [("R101", 6, 1, None)],
    "name == 'Ada": [("R101", 8, 1, None)],
    r"name == 'A\da'": [("R101", 10, 2, None)],
    "paid ? 1": [("R101", 8, 1, None)],
    "1 < count < 9": [("R101", 10, 1, None)],
    "plan.": [("R101", 5, 1, None)],
    "plan.7": [("R101", 5, 1, None)],
    "'a'.b": [("R101", 4, 1, None)],
    # kinds
    "count == 'x'": [("R101", 0, 12, None)],
    "amount > 50": [("R101", 0, 11, 'money(50, "EUR")')],
    "amount > 0": [("R101", 0, 10, 'money(0, "EUR")')],
    "12.5 < amount": [("R101", 0, 13, 'money(12.5, "EUR")')],
    "amount > 12.345": [("R101", 0, 15, None)],
    "amount == '20.00 GBP'": [("R101", 0, 21, 'money(20, "GBP")')],
    "amount == 'much'": [("R101", 0, 16, None)],
    "at > '2026-03-05T08:40:00Z'": [("R101", 0, 27, None)],
    "at > 1h": [("R101", 0, 7, None)],
    "count + 'x' > 1": [("R101", 0, 11, None)],
    "at + at > at": [("R101", 0, 7, None)],
    "amount * amount > amount": [("R101", 0, 15, None)],
    "amount + 1 > amount": [("R101", 0, 10, None)],
    "!count": [("R101", 1, 5, None)],
    "paid && count": [("R101", 8, 5, None)],
    "paid || 'x'": [("R101", 8, 3, None)],
    "count ? 1 : 2": [("R101", 0, 5, None)],
    "paid ? 1 : 'x'": [("R101", 0, 14, None)],
    "-name == name": [("R101", 1, 4, None)],
    "paid < true": [("R101", 0, 11, None)],
    "plan == plan": [("R101", 0, 12, None)],
    "count < null": [("R101", 0, 12, None)],
    "count in 7": [("R101", 9, 1, None)],
    "count in ['x']": [("R101", 0, 14, None)],
    "count in [1, 'x']": [("R101", 0, 17, None), ("R101", 9, 8, None)],
    "count in [count]": [("R101", 10, 5, None)],
    "count.startsWith('7')": [("R101", 0, 5, None)],
    "name.startsWith()": [("R101", 0, 17, None)],
    "name.size(1)": [("R101", 0, 12, None)],
    "has(count + 1)": [("R101", 0, 14, None)],
    "has()": [("R101", 0, 5, None)],
    # constants
    "duration('soon') > 1h": [("R101", 0, 16, None)],
    "duration(7) > 1h": [("R101", 0, 11, None)],
    "at > timestamp('tomorrow')": [("R101", 5, 21, None)],
    "at > timestamp('2026-03-05T08:40:00')": [("R101", 5, 32, None)],
    "at > timestamp('2026-02-30T08:40:00Z')": [("R101", 5, 33, None)],
    "amount > money(50)": [("R101", 9, 9, None)],
    "amount > money('EUR', 50)": [("R101", 9, 16, None)],
    "amount > money(50, 'euro')": [("R101", 9, 17, None)],
    "amount > money(0.001, 'EUR')": [("R101", 9, 19, None)],
    "amount > money(count, 'EUR')": [("R101", 9, 19, None)],
    # too much
    "x" * 4097: [("R102", 0, 1, None)],
    "(" * 31 + "paid" + ")" * 31: [("R102", 30, 1, None)],
    "!" * 31 + "paid": [("R102", 30, 1, None)],
}


@pytest.mark.parametrize("source", MISTAKES, ids=lambda source: source[:40])
def test_a_mistake_is_told_with_code_place_and_what_was_meant(source: str) -> None:
    found = compile_value(source, SCOPE)
    errors = [one for one in found.problems if one.severity == "error"]
    assert [(one.code, one.offset, one.length, one.hint) for one in errors] == MISTAKES[source]
    assert all(one.text for one in errors)
    assert not found.ok


def test_all_mistakes_are_told_at_once_in_their_order() -> None:
    source = "cuont > 1 && (nmae == 'x' || size == 'HUGE') && params.limti > 1"
    assert [problem.offset for problem in compile_condition(source, SCOPE).problems] == [0, 14, 37, 48]


@pytest.mark.parametrize("source", ["count", "name", "at - at", "amount", "plan", "tags", "1h", "null"])
def test_a_condition_is_true_or_false(source: str) -> None:
    (problem, *_) = compile_condition(source, SCOPE).problems
    assert (problem.code, problem.offset, problem.severity) == ("R101", 0, "error")
    assert "true or false" in problem.text


def test_what_has_mistakes_is_never_evaluated() -> None:
    found = compile_condition("cuont > 1", SCOPE)
    for ask in (found.true, found.false, found.value):
        with pytest.raises(ValueError, match="no field 'cuont'"):
            ask(DATA, EVENT, VALUES)


GUARDS: dict[str, list[str]] = {
    # expression: the fields of which it is warned that they may be null
    "maybe_count > 3": ["maybe_count"], "maybe_count == 3": ["maybe_count"], "maybe_count in [3]": ["maybe_count"],
    "maybe_count + 1 > count": ["maybe_count"], "plan.level > 1": ["plan.level"],
    "maybe_name.contains('x')": ["maybe_name"], "maybe_at < maybe_at + 1h": ["maybe_at", "maybe_at"],
    "has(maybe_name) && maybe_count > 3": ["maybe_count"], "has(maybe_count) || maybe_count > 3": ["maybe_count"],
    "has(plan.level) ? 1 > 0 : plan.level > 1": ["plan.level"],
    "has(maybe_count) && maybe_count > 3": [], "maybe_count > 3 && has(maybe_count)": [],
    "maybe_count != null && maybe_count > 3": [], "!(maybe_count == null) && maybe_count > 3": [],
    "maybe_count == null || maybe_count > 3": [], "!has(maybe_count) || maybe_count > 3": [],
    "has(maybe_count) ? maybe_count > 3 : paid": [], "maybe_count == null ? paid : maybe_count > 3": [],
    "has(maybe_count) && has(maybe_name) && maybe_count > maybe_name.size()": [],
    "has(plan.level) && plan.level > 1": [], "has(plan) && plan.level > 1": [],
    "has(maybe_count) && (paid || maybe_count > 3)": [], "maybe_paid": [], "maybe_count == null": [], "count > 3": [],
}  # fmt: skip


@pytest.mark.parametrize("source", GUARDS)
def test_an_order_that_can_meet_null_is_warned_of_unless_it_is_guarded(source: str) -> None:
    found = compile_condition(source, SCOPE)
    assert found.ok
    told = [one for one in found.problems if one.code == "R203"]
    assert [source[one.offset : one.offset + one.length] for one in told] == GUARDS[source]
    for one, name in zip(told, GUARDS[source], strict=True):
        assert one.severity == "warning"
        assert one.hint is not None
        assert f"has({name})" in one.hint


@pytest.mark.parametrize("source", ["true", "1 < 2", "'a' == 'b'", "has(count)", "has(params.limit)"])
def test_what_is_always_the_same_is_warned_of(source: str) -> None:
    (problem,) = compile_condition(source, SCOPE).problems
    assert (problem.code, problem.severity) == ("R204", "warning")


WHY: dict[str, str] = {
    "maybe_count > 3": "maybe_count is null",
    "paid && plan.level > 1": "plan.level is null",
    "count / 0 > 1": "0 is zero",
    "count / (count - 7) > 1": "count - 7 is zero",
    "amount > money(1, 'USD')": "EUR and USD are not compared",
}


@pytest.mark.parametrize("source", WHY)
def test_an_explanation_says_why_nothing_is_known(source: str) -> None:
    trace = compile_condition(source, SCOPE).explain(DATA, EVENT, VALUES)
    assert trace.value is U
    assert trace.shown == "unknown"
    assert trace.because == WHY[source].replace("(", "").replace(")", "")


def test_an_explanation_shows_each_term_with_its_operands() -> None:
    trace = compile_condition("amount > money(10, 'EUR') && at - event.time < 1h30m", SCOPE).explain(
        DATA, EVENT, VALUES
    )
    left, right = trace.parts
    assert [(part.source, part.shown) for part in left.parts] == [
        ("amount", "10.50 EUR"), ("money(10, 'EUR')", "10.00 EUR"),
    ]  # fmt: skip
    assert [(part.source, part.shown) for part in right.parts] == [("at - event.time", "0s"), ("1h30m", "1h 30m")]
    assert [(part.source, part.shown) for part in right.parts[0].parts] == [
        ("at", "2026-03-05T08:40:00Z"), ("event.time", "2026-03-05T08:40:00Z"),
    ]  # fmt: skip


SHOWN: list[tuple[Any, str, str]] = [
    (N, "", "null"), (U, "", "unknown"), (True, "", "true"), (False, "", "false"), (7, "", "7"), ("a'b", "", '"a\'b"'),
    (Fraction(7, 2), "", "3.5"), (eur(5), "", "0.05 EUR"), ([1, "a"], "", "[1, 'a']"), (0, "duration", "0s"),
    (DAY + 2 * HOUR + 7, "duration", "1d 2h 7µs"), (-90 * MINUTE, "duration", "-1h 30m"),
    (NOON, "timestamp", "2026-03-05T08:40:00Z"), (NOON + 1500, "timestamp", "2026-03-05T08:40:00.0015Z"),
    (-1, "timestamp", "1969-12-31T23:59:59.999999Z"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "kind", "shown"), SHOWN)
def test_a_value_is_shown_as_a_person_reads_it(value: Any, kind: str, shown: str) -> None:
    assert render_value(value, kind) == shown


@pytest.mark.parametrize(("text", "expected"), [
    ("90m", 90 * MINUTE), ("1h30m", 90 * MINUTE), ("3d", 3 * DAY), ("0s", 0), ("250ms", 250_000), ("2w", 14 * DAY),
    ("", None), ("90", None), ("m", None), ("-1h", None), ("1.5h", None), ("1 h", None), ("1h ", None), ("1y", None),
])  # fmt: skip
def test_a_duration_is_read_whole_or_not_at_all(text: str, expected: int | None) -> None:
    assert parse_duration(text) == expected


WRONG: list[dict[str, Any]] = [
    {}, {"count": "7"}, {"count": 8, "name": 7}, {"count": 8, "name": N}, {"count": N, "amount": N},
    {"count": N, "name": "y", "amount": {}}, {"count": N, "amount": 7}, {"count": [8], "name": ["x"], "amount": "1"},
]  # fmt: skip


@pytest.mark.parametrize("data", WRONG, ids=repr)
def test_data_that_no_contract_has_checked_is_unknown_and_never_an_error(data: dict[str, Any]) -> None:
    for source in ("count > 7", "name.contains('x')", "amount > money(1, 'EUR')", "count > 7 && plan.level > 1"):
        found = compile_condition(source, SCOPE)
        value = found.value(data, EVENT, VALUES)
        assert value is U or isinstance(value, bool)
        assert found.true(data, EVENT, VALUES) is (value is True)
