"""Mistakes that once loaded, and values that once stopped a message: each is told, or bounded, or exact."""

import pytest

from handlers.rules.conditions import compile_condition, compile_value
from handlers.rules.load import load
from schemas import contracts
from tests.rules.scope import DATA, EVENT, SCOPE, VALUES, compiled
from tidings.unknown import UNKNOWN as U

KNOWN = contracts().by_type
TOPICS = {"topics.yaml": b"topics: { news: { sentence: News } }"}
RULE = """version: 1
rules:
  - id: overdue
    title: Overdue
    owner: team-billing
    status: live
    tags: [money]
    when:
      missing:
        after: { event: billing.invoice.issued }
        expect: { event: billing.invoice.paid }
        by: [invoice_id]
        once: true
        deadline: due_date + 3d
    to: customer
    topic: news
    then: [{ send: email, template: t, with: { name: invoice_id } }]
"""
CHANGED = """version: 1
rules:
  - id: changed
    title: Changed
    owner: team-crm
    status: live
    when: { event: crm.customer.changed, changed: [email] }
    to: customer
    topic: news
    then: [{ send: email, template: t, with: { name: customer_id } }]
"""

SILENT: dict[str, tuple[str, str, str, str]] = {
    "nothing is expected": (RULE, "expect: { event: billing.invoice.paid }", "expect: []", "'expect' is empty"),
    "no key": (RULE, "by: [invoice_id]", "by: []", "'by' is empty"),
    "two operators": (RULE, "      missing:", "      event: billing.invoice.paid\n      missing:", "one operator"),
    "an operator and a later one": (RULE, "      missing:", "      count: {}\n      missing:", "not built yet"),
    "nothing may change": (CHANGED, "changed: [email]", "changed: []", "at least one"),
    "no recipient": (RULE, "    to: customer\n", "", "'to' is missing"),
    "tags that are none": (RULE, "tags: [money]", "tags: { money: true }", "'tags' is a list"),
    "a version that is a flag": (RULE, "version: 1", "version: true", "'version: 1' is needed"),
    "a duration of ages": (RULE, "due_date + 3d", "due_date + 99999999999999999999w", "longer than a century"),
    "an expiry of ages": (RULE, "    tags: [money]", "    expires: 99999999999999w", "a duration is needed"),
}  # fmt: skip


@pytest.mark.parametrize("name", SILENT)
def test_no_rule_vanishes_and_no_key_is_ignored(name):
    rule, old, new, text = SILENT[name]
    assert old in rule
    assert load({"a.yaml": rule.encode(), **TOPICS}, {"t": "Subject: x\n\n{{ name }}"}, KNOWN).rules is not None
    found = load({"a.yaml": rule.replace(old, new).encode(), **TOPICS}, {"t": "Subject: x\n\n{{ name }}"}, KNOWN)
    assert found.rules is None
    assert any(text in one.text for one in found.errors), [str(one) for one in found.errors]


REFUSED = {
    "name.money()": "no method", "name.timestamp() && paid": "no method", "name.has()": "no method",
    "money(1h, 'EUR') < amount": "money takes", "count in tags": "cannot be compared",
    "9" * 39 + " > count": "too large", "count > 999999999999999999999999999999d": "cannot be compared",
    " || ".join(["paid"] * 120): "in a row", "٣ < count": "means nothing", "at > timestamp('20260305T100000Z')": "is no timestamp",
}  # fmt: skip


@pytest.mark.parametrize("source", REFUSED)
def test_what_means_something_else_is_refused(source):
    found = compile_value(source, SCOPE)
    assert not found.ok
    texts = [problem.text for problem in found.problems]
    assert any(REFUSED[source] in text or "century" in text for text in texts), texts


@pytest.mark.parametrize(("source", "expected"), [
    ("(paid ? maybe_paid : true) == null", True), ("(paid ? maybe_count : 1) == null", True), ("-count % 3", -1), ("count % -3", 1),
    ("name in tags", False), (" || ".join(["maybe_paid"] * 90 + ["paid"]), True),
])  # fmt: skip
def test_compiled_and_explained_agree(source, expected):
    found = compiled(source)
    assert found.value(DATA, EVENT, VALUES) == expected
    assert found.explain(DATA, EVENT, VALUES).value == expected


@pytest.mark.parametrize(
    "source", ["has(event.subject) && event.subject == 'x'", "null != maybe_count && maybe_count > 3"]
)
def test_a_guard_is_seen_on_either_side(source):
    assert compile_condition(source, SCOPE).problems == ()


def test_an_explanation_never_fails():
    assert compiled("count > 1").explain({"count": "7"}, EVENT, VALUES).value is U
    assert compiled("event.time + 36500d").explain(DATA, EVENT, VALUES).shown.startswith("21")
    assert compiled("amount / 4").explain(DATA, EVENT, VALUES).shown == "about 2.62 EUR"
    trace = compiled("paid ? maybe_count > 1 : maybe_name == 'x'").explain(DATA, EVENT, VALUES)
    assert trace.because == "maybe_count is null"


def test_what_is_printed_is_bounded():
    line = "{" + ", ".join(f"k{number}: 1" for number in range(9000)) + "}"
    found = load({"a.yaml": f"version: 1\nrules: [{line}]\n".encode()}, {}, KNOWN)
    assert len("\n".join(str(one) for one in found.diagnostics)) < 200_000
    many = load({f"{number}.yaml": b"version: 1\nrules: []\n" for number in range(1001)}, {}, KNOWN)
    assert many.rules is None
    assert "at most 1000" in str(many.errors[0])
