"""Matching: what the index leaves out would not have matched, and what is left comes in the order of the rules."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.operators.event import EventOperator, StopMatcher
from handlers.operators.missing import MissingOperator
from handlers.rules.conditions import Scope, compile_condition
from tidings import canonical, ids
from tidings.contract import Contract, Field, Type
from tidings.detection import decide, look, refs_of
from tidings.event import SECOND, Event
from tidings.matching import Asking, Equalities, Index
from tidings.rule import Matcher, Reading, Rule, RuleSet, Step
from tidings.state import KeyState, StateRef

VALUES = st.sampled_from(["x", "y", 1, 2, None])
PATHS = st.sampled_from([("a",), ("b",), ("r", "c")])
CONDITIONS = st.dictionaries(
    PATHS, st.frozensets(VALUES.filter(lambda value: value is not None), max_size=2), max_size=3
)


def holds(condition: Any, data: dict[str, Any]) -> bool:
    flat = {("a",): data["a"], ("b",): data["b"], ("r", "c"): data["r"] and data["r"]["c"]}
    return all(flat[path] in values for path, values in condition.items())


@given(
    asking=st.lists(st.lists(CONDITIONS, min_size=1, max_size=2), max_size=12),
    data=st.fixed_dictionaries(
        {"a": VALUES, "b": VALUES, "r": st.none() | st.fixed_dictionaries({"c": VALUES})},
    ),
)
def test_whoever_may_be_concerned_is_asked_in_the_order_given(asking, data):
    index = Index([Asking(number, conditions) for number, conditions in enumerate(asking)])
    found = list(index.candidates(data))
    assert found == sorted(found)
    assert len(set(found)) == len(found)
    concerned = {n for n, conditions in enumerate(asking) if any(holds(one, data) for one in conditions)}
    assert concerned <= set(found)


def test_a_thousand_who_ask_for_other_values_are_not_asked():
    index = Index([Asking(f"rule-{n}", [{("sku",): frozenset({f"s-{n}"})}]) for n in range(1000)])
    assert list(index.candidates({"sku": "s-7"})) == ["rule-7"]
    assert list(index.candidates({"sku": None})) == []


def test_a_path_that_tells_little_apart_is_not_the_one_that_is_asked():
    asking: list[Equalities] = [{("status",): frozenset({"open"}), ("sku",): frozenset({f"s-{n}"})} for n in range(10)]
    index = Index([Asking(n, [condition]) for n, condition in enumerate(asking)])
    assert list(index.candidates({"status": "open", "sku": "s-3"})) == [3]


def test_one_whose_conditions_share_no_path_is_always_asked():
    index = Index([Asking("both", [{("a",): frozenset({"x"})}, {("b",): frozenset({"y"})}])])
    assert list(index.candidates({"a": "z", "b": "z"})) == ["both"]


def test_a_record_where_a_value_is_expected_leaves_nobody_out():
    index = Index([Asking("one", [{("a",): frozenset({"x"})}]), Asking("rest", [{}])])
    assert list(index.candidates({"a": {"not": "a value"}})) == ["one", "rest"]


# -- rule sets

TEXT, NUMBER = Type("string", nullable=True), Type("long")
ROW = Type("record", nullable=True, name="Row", fields={"plan": Field("plan", TEXT), "seats": Field("seats", NUMBER)})
COVERAGE = Type("enum", name="Coverage", symbols=("FULL", "ABSENT", "UNKNOWN", "CHANGED_FIELDS_ONLY", "KEY_ONLY"))
PLACED, SHIPPED, CHANGED = "sales.order.placed", "sales.order.shipped", "crm.account.changed"
OF_ORDERS = {"order": TEXT, "account": TEXT, "kind": TEXT, "size": NUMBER, "express": Type("boolean")}
OF_ACCOUNTS = {
    "account": TEXT, "region": TEXT, "before": ROW, "after": ROW, "before_coverage": COVERAGE, "after_coverage": COVERAGE,
}  # fmt: skip


def contract(kind: str, types: dict[str, Type], **words: Any) -> Contract:
    fields = {name: Field(name, one) for name, one in types.items()}
    return Contract(kind, kind, f"{kind}.v1", 1, 1, "o", "", ("account",), fields, ("account",), **words)


CONTRACTS = {
    PLACED: contract(PLACED, OF_ORDERS),
    SHIPPED: contract(SHIPPED, OF_ORDERS),
    CHANGED: contract(CHANGED, OF_ACCOUNTS, entity="crm.account", entity_key=(("account",),)),
}
ORDER_TERMS = (
    'kind == "a"', 'kind == "b"', 'kind in ["a", "b"]', '"c" == kind', "size == 1", "size in [1, 2]", "size > 1", "express",
    "express == true", 'kind != "a"', '(kind == "a" || size == 2)', '!(kind == "a")', 'order == "o1"', "kind == account",
)  # fmt: skip
READ_TERMS = (*ORDER_TERMS, 'acc.plan == "pro"', "has(acc) && acc.seats == 1")
ACCOUNT_TERMS = (
    'region == "north"', 'region in ["north", "south"]', 'after.plan == "pro"', 'before.plan == "pro"', "after.seats == 1",
    'after_coverage == "ABSENT"', 'before_coverage in ["FULL", "UNKNOWN"]', "after.seats > 1", "has(before)",
)  # fmt: skip


@st.composite
def matcher(draw: Any, kind: str, reads: bool = False) -> Matcher:
    terms = ACCOUNT_TERMS if kind == CHANGED else READ_TERMS if reads else ORDER_TERMS
    chosen = draw(st.lists(st.sampled_from(terms), max_size=3))
    if not chosen:
        return Matcher(kind, f"{kind}.v1")
    images = {"acc": Field("acc", ROW)} if reads else {}
    compiled = compile_condition(" && ".join(chosen), Scope(CONTRACTS[kind].fields, {}, images))
    assert compiled.ok, compiled.problems
    return Matcher(kind, f"{kind}.v1", compiled)


@st.composite
def rule(draw: Any, name: str) -> Rule:
    shape = draw(
        st.sampled_from(["event", "read", "changed", "stopped", "stopped change", "missing", "missing change"])
    )
    operator: Any
    stops: tuple[StopMatcher, ...]
    reads: tuple[Reading, ...] = ()
    account = (("account",),)
    match shape:
        case "event":
            operator = EventOperator(draw(matcher(PLACED)))
        case "read":
            operator = EventOperator(draw(matcher(PLACED, reads=True)))
            reads = (Reading("acc", "crm.account", account),)
        case "changed":
            operator = EventOperator(draw(matcher(CHANGED)), draw(st.sampled_from([(), ("plan",)])))
        case "stopped":
            stops = (StopMatcher(draw(matcher(SHIPPED)), account), StopMatcher(draw(matcher(PLACED)), account))
            operator = EventOperator(draw(matcher(PLACED)), (), stops, account, frozenset({"account"}))
        case "stopped change":
            stops = (StopMatcher(draw(matcher(CHANGED)), account),)
            operator = EventOperator(draw(matcher(PLACED)), (), stops, account, frozenset({"account"}))
        case _:
            first = PLACED if shape == "missing" else CHANGED
            operator = MissingOperator(
                draw(matcher(first)), (draw(matcher(SHIPPED)), draw(matcher(first))), Soon(), ("account",),
                allowed_lateness=0, keep=frozenset({"account"}),
            )  # fmt: skip
    return Rule(
        name, "o", operator, reads=reads, steps=(Step("email", "t"),),
        customer_paths=dict.fromkeys(CONTRACTS, ("account",)),
    )  # fmt: skip


class Soon:
    """A deadline two seconds after the event."""

    def true(self, data: Any, event: Event, params: Any) -> bool:
        return False

    def value(self, data: Any, event: Event, params: Any) -> Any:
        return event.occurred_at + 2 * SECOND


SMALL = st.sampled_from
ROWS = st.none() | st.fixed_dictionaries({"plan": SMALL(["pro", "free", None]), "seats": SMALL([1, 2])})
ORDERS = st.fixed_dictionaries({
    "order": SMALL(["o1", "o2", None]), "account": SMALL(["a1", "a2", None]), "kind": SMALL(["a", "b", "c", None]),
    "size": SMALL([1, 2]), "express": st.booleans(),
})  # fmt: skip
ACCOUNTS = st.fixed_dictionaries({
    "account": SMALL(["a1", "a2", None]), "region": SMALL(["north", "south", "west"]), "before": ROWS, "after": ROWS,
    "before_coverage": SMALL(["FULL", "ABSENT", "UNKNOWN"]), "after_coverage": SMALL(["FULL", "ABSENT", "UNKNOWN"]),
})  # fmt: skip
EVENTS = st.one_of(
    st.tuples(st.just(PLACED), ORDERS), st.tuples(st.just(SHIPPED), ORDERS), st.tuples(st.just(CHANGED), ACCOUNTS)
)


def event(number: int, kind: str, data: dict[str, Any]) -> Event:
    at = number * SECOND
    return Event(
        ids.event_ref("t", "s", f"e{number}", at), "t", "s", f"e{number}", kind, at, data, f"{kind}.v1", 0, number, at
    )


def decided(rules: RuleSet, batches: list[list[Event]], *, ticking: bool = False) -> list[list[bytes]]:
    """The records of each batch, in the order in which they are written; every watermark follows at once.

    With `ticking` also those of the tick behind it, in the order of their bytes: an event that concerns nobody touches
    no key, so that a deadline of that key passes in the tick instead.
    """
    values: dict[bytes, bytes | None] = {}
    rows: dict[bytes, StateRef] = {}
    found = []
    for batch in batches:
        looked = [look(rules, one) for one in batch]
        states = {k: KeyState(ref, values.get(k)) for k, ref in refs_of(looked).items()}
        w = {f"{kind}.v1": max(one.occurred_at for one in batch) for kind in CONTRACTS}
        result = decide(rules, looked, states, {}, w, {})
        values |= {k: value for k, (_, value, _) in result.state.items()}
        if not ticking:
            found.append([record.body for record in result.records])
            continue
        rows |= {k: ref for k, (ref, _, _) in result.state.items() if ref.kind.startswith("rule:")}
        live = {k: KeyState(ref, values[k]) for k, ref in rows.items() if values[k] is not None}
        ticked = decide(rules, (), live, w, w, {})
        values |= {k: value for k, (_, value, _) in ticked.state.items()}
        found.append(sorted(record.body for record in (*result.records, *ticked.records)))
    return found


def blind(one: Rule) -> Rule:
    """The same rule, whose conditions do not say which values they need."""

    def without(matcher: Matcher) -> Matcher:
        condition: Any = matcher.condition
        return matcher if condition is None else replace(matcher, condition=replace(condition, equalities={}))

    operator: Any = one.operator
    if isinstance(operator, MissingOperator):
        operator = replace(operator, after=without(operator.after), expect=tuple(map(without, operator.expect)))
    else:
        stops = tuple(replace(stop, matcher=without(stop.matcher)) for stop in operator.stops)
        operator = replace(operator, matcher=without(operator.matcher), stops=stops)
    return replace(one, operator=operator)


@given(st.data())
def test_rules_behind_the_index_say_what_rules_without_it_say_byte_for_byte(data):
    rules = tuple(data.draw(rule(f"rule-{number}")) for number in range(data.draw(st.integers(1, 8))))
    drawn = data.draw(st.lists(EVENTS, min_size=1, max_size=12))
    events = [event(number, *one) for number, one in enumerate(drawn)]
    size = data.draw(st.integers(1, 6))
    batches = [events[at : at + size] for at in range(0, len(events), size)]
    indexed = RuleSet("h", rules, CONTRACTS)
    naive = RuleSet("h", tuple(map(blind, rules)), CONTRACTS)
    assert decided(indexed, batches, ticking=True) == decided(naive, batches, ticking=True)


ORDER: dict[str, Any] = {"order": "o1", "account": "a1", "kind": "b", "size": 1, "express": False}
ACCOUNT: dict[str, Any] = {
    "account": "a1", "region": "north", "before": None, "after": {"plan": "free", "seats": 1},
    "before_coverage": "UNKNOWN", "after_coverage": "FULL",
}  # fmt: skip


def condition(kind: str, text: str) -> Matcher:
    compiled = compile_condition(text, Scope(CONTRACTS[kind].fields))
    assert compiled.ok
    assert compiled.equalities
    return Matcher(kind, f"{kind}.v1", compiled)


def test_a_value_that_only_the_image_knows_is_not_missed_in_the_payload_as_it_was_sent():
    was_pro = condition(CHANGED, 'before.plan == "pro"')
    never = Matcher(SHIPPED, f"{SHIPPED}.v1")
    left = Rule("left", "o", MissingOperator(was_pro, (never,), Soon(), ("account",), allowed_lateness=0))
    stops = (StopMatcher(was_pro, (("account",),)),)
    told = EventOperator(Matcher(PLACED, f"{PLACED}.v1"), (), stops, (("account",),), frozenset({"account"}))
    rules = RuleSet("h", (left, Rule("told", "o", told)), CONTRACTS)
    pro = {**ACCOUNT, "after": {"plan": "pro", "seats": 1}}
    batches = [
        [event(1, CHANGED, pro)], [event(2, PLACED, ORDER)], [event(3, CHANGED, ACCOUNT)],
        [event(6, CHANGED, {**ACCOUNT, "account": "a2"})],
    ]  # fmt: skip
    said = [[(one["rule"], one["kind"]) for one in map(canonical.loads, batch)] for batch in decided(rules, batches)]
    assert said == [[], [("told", "fired")], [("told", "stopped")], []]
    arms = look(rules, batches[2][0])
    assert {one.rule for one in arms.refs()} == {None, "left", "told"}


def test_what_rules_say_of_an_event_stands_in_the_order_of_the_rules_whatever_they_need_for_it():
    orders = Matcher(PLACED, f"{PLACED}.v1")
    stops = (StopMatcher(Matcher(SHIPPED, f"{SHIPPED}.v1"), (("account",),)),)
    kinds: list[tuple[Any, tuple[Reading, ...]]] = [
        (EventOperator(orders, (), stops, (("account",),)), ()),
        (EventOperator(condition(PLACED, 'kind == "b"')), ()),
        (EventOperator(orders), (Reading("acc", "crm.account", (("account",),)),)),
        (EventOperator(orders), ()),
    ]
    for turn in range(len(kinds)):
        rules = tuple(
            Rule(f"r{n}", "o", operator, reads=reads) for n, (operator, reads) in enumerate(kinds[turn:] + kinds[:turn])
        )
        (records,) = decided(RuleSet("h", rules, CONTRACTS), [[event(1, PLACED, ORDER)]])
        assert [canonical.loads(one)["rule"] for one in records] == ["r0", "r1", "r2", "r3"]


class Counting:
    """A condition that says which value it needs, and counts how often it is asked."""

    def __init__(self, value: str) -> None:
        self.equalities = {("kind",): frozenset({value})}
        self.wanted = value
        self.asked = 0

    def true(self, data: Any, event: Event, params: Any) -> bool:
        self.asked += 1
        return bool(data["kind"] == self.wanted)

    def value(self, data: Any, event: Event, params: Any) -> Any:
        return self.true(data, event, params)


@pytest.mark.parametrize("stateful", [False, True])
def test_a_condition_is_asked_once_of_an_event_that_it_may_concern_and_never_of_another(stateful):
    conditions = [Counting(value) for value in ("a", "b", "c")]
    stops = (StopMatcher(Matcher(SHIPPED, f"{SHIPPED}.v1"), (("account",),)),) if stateful else ()
    rules = tuple(
        Rule(f"r-{one.wanted}", "o", EventOperator(Matcher(PLACED, f"{PLACED}.v1", one), (), stops, (("account",),)))
        for one in conditions
    )
    (records,) = decided(RuleSet("h", rules, CONTRACTS), [[event(1, PLACED, ORDER)]])
    assert len(records) == 1
    assert [one.asked for one in conditions] == [0, 1, 0]


def test_an_event_that_concerns_nobody_locks_no_key():
    """A thousand rules with state that name a type are a thousand rows, if every one of them is locked."""
    operator = MissingOperator(
        Matcher(PLACED, f"{PLACED}.v1", Counting("a")), (Matcher(SHIPPED, f"{SHIPPED}.v1", Counting("a")),), Soon(),
        ("account",),
    )  # fmt: skip
    rules = RuleSet("h", (Rule("r", "o", operator),), CONTRACTS)
    assert refs_of([look(rules, event(1, PLACED, ORDER))]) == {}
    assert len(refs_of([look(rules, event(1, PLACED, {**ORDER, "kind": "a"}))])) == 1
