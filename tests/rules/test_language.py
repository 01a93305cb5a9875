"""The language of the road: what a folder says, and every mistake in it at its place, with what was meant."""

from dataclasses import replace

import pytest

from handlers.operators.event import EventOperator, StopMatcher
from handlers.operators.missing import MissingOperator
from handlers.rules.conditions import Compiled
from handlers.rules.load import dump_sources, load_sources
from handlers.rules.signature import refusals, signature
from tests.rules.sample import KNOWN, TEXTS, edited, files, loaded
from tidings.event import HOUR, MINUTE, SECOND, Event
from tidings.quiet_hours import QuietHours, Window
from tidings.record import captured, recipient_of, severity_of
from tidings.rule import Reading, Retry, Rule, RuleSet, Target, Team, To, Topic

CRM, BILLING, MORE, ORDERS = "rules/crm.yaml", "rules/billing.yaml", "rules/more.yaml", "rules/orders.yaml"
SHARED, TEAMS, TARGETS, TOPICS = "rules/_shared.yaml", "teams.yaml", "targets.yaml", "topics.yaml"


def rules() -> RuleSet:
    found = loaded()
    assert found.diagnostics == (), "\n".join(str(one) for one in found.diagnostics)
    assert found.rules is not None
    return found.rules


def rule(name: str) -> Rule:
    return rules().by_id[name]


def event_of(kind: str, **data: object) -> Event:
    contract = KNOWN[kind]
    return Event(
        ref="r", tenant="t", source="s", id="e", type=kind, occurred_at=0, data=data, topic=contract.topic, partition=0,
        offset=0, appended_at=0,
    )  # fmt: skip


# -- what a folder says


def test_the_rules_of_the_appendix_load_without_a_word() -> None:
    assert set(rules().by_id) >= {
        "plan-downgraded", "invoice-overdue", "delivery-delayed", "vip-complaint", "cart-abandoned", "card-expired",
    }  # fmt: skip


def test_what_stands_beside_the_rules_is_in_the_set() -> None:
    found = rules()
    assert found.teams["customer-success"] == Team(
        "customer-success", "Customer success", {"email": "success@example.org", "slack": "env:SLACK_SUCCESS"},
        "Europe/Berlin", "de_DE",
    )  # fmt: skip
    assert found.teams["care-leads"].addresses == {"sms": "+4930123456", "teams": "file:/run/secrets/care-leads"}
    assert found.targets["ticket", "care"] == Target(
        "care", "ticket", "https://tickets.example.org/care", "env:CARE_SECRET"
    )
    assert found.targets["workflow", "save-the-account"].url == "http://localhost:8099/save"
    assert found.notice_topics["billing"] == Topic("billing", "Invoices and payments", locked=True)


@pytest.mark.parametrize("name", [TEAMS, TARGETS, TOPICS, SHARED])
def test_another_file_is_another_set(name: str) -> None:
    other = loaded({name: files()[name] + b"# a word\n"})
    assert other.rules is not None
    assert other.rules.hash != rules().hash


def test_a_set_is_built_again_from_its_sources() -> None:
    again = load_sources(dump_sources(files(), TEXTS), KNOWN)
    assert (again.hash, again.teams, again.targets, again.notice_topics) == (
        rules().hash, rules().teams, rules().targets, rules().notice_topics,
    )  # fmt: skip


def test_whom_a_rule_tells() -> None:
    assert (rule("card-expired").to, rule("card-expired").topic) == (To(), "billing")
    assert (rule("plan-downgraded").to, rule("plan-downgraded").topic) == (To("team", "customer-success"), None)
    address, customer = rule("waitlist-desk").to, rule("order-for-another").to
    assert (address.kind, customer.kind) == ("address", "customer")
    assert address.expression is not None
    assert customer.expression is not None
    assert address.expression.value({}, event_of("shop.waitlist.joined"), {}) == "desk@example.org"
    assert customer.expression.value({"customer_id": "c-1"}, event_of("sales.order.cancelled"), {}) == "c-1"


def test_policies_stand_in_a_rule_or_by_their_name() -> None:
    night = QuietHours((Window(21 * 60, 8 * 60),), "customer", "Europe/Berlin")
    assert (rule("invoice-overdue").consent, rule("invoice-overdue").quiet_hours) == ("transactional", night)
    assert rule("cart-abandoned").consent == "marketing"
    assert rule("payment-at-risk").quiet_hours == QuietHours(
        (Window(18 * 60, 24 * 60, frozenset(range(5))), Window(0, 24 * 60, frozenset({5, 6}))),
        "Europe/Berlin",
        "Europe/Berlin",
    )
    assert (rule("order-for-another").consent, rule("order-for-another").quiet_hours) == ("transactional", None)


def test_steps_go_to_people_and_to_other_systems() -> None:
    ticket, webhook, workflow = rule("vip-complaint").steps
    assert (ticket.channel, ticket.target, ticket.template) == ("ticket", "care", "internal/complaint-case")
    assert (webhook.channel, webhook.target, webhook.template) == ("webhook", "crm-health-score", "")
    assert (webhook.retry, webhook.alert) == (Retry(6, 30 * SECOND, HOUR), True)
    assert (workflow.channel, workflow.target, set(workflow.data)) == (
        "workflow", "save-the-account", {"customer", "complaint"},
    )  # fmt: skip
    push, email = rule("payment-at-risk").steps
    assert (push.channel, push.condition, push.retry, push.alert) == ("push", None, None, False)
    assert isinstance(email.condition, Compiled)
    assert (email.condition.meaning, email.retry) == ('(amount >= money(500, "EUR"))', Retry(3))


def test_an_event_rule_knows_what_takes_it_back() -> None:
    found = rule("payment-at-risk")
    operator = found.operator
    assert isinstance(operator, EventOperator)
    assert operator.match_here == (("customer_id",), ("payment_id",))
    (stop,) = operator.stops
    assert isinstance(stop, StopMatcher)
    assert (stop.matcher.type, stop.paths) == ("billing.payment.succeeded", (("customer_id",), ("payment_id",)))
    assert operator.allowed_lateness == 5 * MINUTE
    assert operator.keep == {"amount", "customer_id", "account"}, "what the all-clear, the recipient, the severity read"
    assert [step.channel for step in found.on_stop] == ["push", "email"]
    assert found.types == {"billing.payment.failed", "billing.payment.succeeded"}


def test_what_fired_is_taken_back_with_what_was_kept_of_it() -> None:
    found = rule("payment-at-risk")
    operator = found.operator
    assert isinstance(operator, EventOperator)
    large = {"amount_minor": 60_000, "currency": "EUR"}
    names = {"customer_id": "c-1", "payment_id": "p-1", "amount": large}
    account = {"plan": "pro", "tier": "vip"}
    failed = event_of(
        "billing.payment.failed", **names, code="expired_card", attempt=2, invoice_id=None, account=account
    )
    paid = event_of("billing.payment.succeeded", **names, invoice_id=None)
    (said,) = operator.fires(failed, found.params)
    assert operator.key(failed) == operator.key(paid) == ("c-1", "p-1")
    assert severity_of(found, said.event) == "critical"
    assert [captured(step, said.event, found.params) for step in found.steps] == [{"amount": large, "plan": "pro"}] * 2
    opened, stopped = operator.item(failed, found.params), operator.item(replace(paid, occurred_at=1), found.params)
    assert opened is not None
    assert stopped is not None
    state, _ = operator.apply(None, opened, found)
    _, (taken_back,) = operator.apply(state, stopped, found)
    assert taken_back.kind == "stopped"
    assert recipient_of(found, taken_back.event) == "customer:c-1"
    assert severity_of(found, taken_back.event) == "critical", "as it was told"
    assert [captured(step, taken_back.event, found.params) for step in found.on_stop] == [{"amount": large}] * 2
    small = replace(paid, data={**paid.data, "amount": {"amount_minor": 5, "currency": "EUR"}})
    assert operator.item(small, found.params) is None, "its 'if' does not hold"


def test_a_rule_reads_another_entity_by_an_alias() -> None:
    found = rule("payment-at-risk")
    assert found.reads == (Reading("account", "crm.customer", (("customer_id",),)),)
    (_, high), (vip, critical) = found.raise_severity
    assert (high, critical) == ("high", "critical")
    event = event_of("billing.payment.failed")
    assert vip.true({"account": {"tier": "vip"}}, event, {})
    assert not vip.true({"account": {"tier": None}}, event, {})
    assert not vip.true({"account": None}, event, {}), "an entity that nobody knows"
    assert found.steps[0].types["plan"].nullable


def test_the_key_of_an_entity_may_have_several_parts() -> None:
    more = """version: 1
rules:
  - id: moved
    owner: o
    status: live
    when: { event: inventory.stock.changed, if: has(stock) && stock.on_hand > 3 }
    reads: { stock: { entity: inventory.stock, id: [sku, warehouse] } }
    to: { team: care-leads }
    then: [{ send: sms, template: internal/waitlist-sms, with: { sku: sku } }]
"""
    found = loaded({"rules/a.yaml": more.encode()})
    assert found.diagnostics == ()
    assert found.rules is not None
    assert found.rules.by_id["moved"].reads == (Reading("stock", "inventory.stock", (("sku",), ("warehouse",))),)


def test_an_absence_keeps_what_it_reads_of_another_entity() -> None:
    more = (
        "    reads: { account: { entity: crm.customer, id: customer_id } }\n"
        "    raise_severity: [{ if: 'has(account.tier) && account.tier == \"vip\"', to: critical }]\n"
    )
    place = "    params:\n      grace: {"
    found = edited(BILLING, (place, more + place))
    assert found.diagnostics == ()
    assert found.rules is not None
    operator = found.rules.by_id["invoice-overdue"].operator
    assert isinstance(operator, MissingOperator)
    assert operator.keep == {"account", "amount_due", "customer_id", "due_date"}


def test_what_the_condition_asked_is_there_when_the_rule_speaks() -> None:
    assert not rule("cart-abandoned").steps[0].types["value"].nullable, "has(cart_value) stands in its condition"
    assert rule("plan-downgraded").steps[0].types["mrr_lost"].nullable


# -- named conditions


def test_a_named_condition_is_one_term_with_its_own_terms_inside() -> None:
    operator = rule("plan-downgraded").operator
    assert isinstance(operator, EventOperator)
    condition = operator.matcher.condition
    assert isinstance(condition, Compiled)
    data = {"before": {"plan": "pro"}, "after": {"plan": "free"}}
    event = event_of("crm.customer.changed", **data)
    assert condition.true(data, event, {})
    assert not condition.true({**data, "before": {"plan": "free"}}, event, {})
    assert condition.false({**data, "before": {"plan": "free"}}, event, {})

    def find(trace, source):  # depth first
        return trace if trace.source == source else next((t for p in trace.parts if (t := find(p, source))), None)

    term = find(condition.explain(data, event, {}), "paying_customer")
    assert term.value is True
    (inside,) = term.parts
    assert inside.source == 'has(before.plan) && before.plan != "free"'
    assert [part.source for part in inside.parts] == ["has(before.plan)", 'before.plan != "free"']


def test_what_a_named_condition_has_shown_is_known_behind_it() -> None:
    text = 'if: paying_customer && before.plan == "pro"'
    old = 'if: paying_customer && has(after.plan) && after.plan == "free"'
    assert edited(CRM, (old, text)).diagnostics == ()
    (warning,) = edited(CRM, (old, 'if: before.plan == "pro"')).diagnostics
    assert (warning.code, warning.hint) == ("R203", "has(before.plan) && …")


def test_a_mistake_in_a_shared_condition_is_told_once_where_it_stands() -> None:
    found = edited(SHARED, ("has(before.plan) && before.plan", "has(before.plan) && before.paln"))
    assert [(one.code, one.file, one.line, one.column, one.hint) for one in found.errors] == [
        ("R101", SHARED, 6, 29, "before.plan")
    ]


def test_a_condition_about_several_events_is_typed_against_each() -> None:
    found = edited(MORE, ("if: 'amount >= money(500, \"EUR\")'", 'if: code == "x"'))
    assert [(one.code, one.file, one.text) for one in found.errors] == [("R101", MORE, "the event has no field 'code'")]


def test_a_condition_is_used_on_its_events_only() -> None:
    (error,) = edited(ORDERS, ("if: new_eta > event.time + 2h", "if: paying_customer")).errors
    assert (error.code, error.text) == (
        "R110", "the condition 'paying_customer' is about crm.customer.changed, not about sales.delivery.delayed",
    )  # fmt: skip
    assert (error.line, error.column) == (15, 11)


def test_a_file_sees_only_what_it_imports() -> None:
    found = edited(CRM, ("imports: [_shared.yaml]\n", ""))
    assert [(one.code, one.text.partition(";")[0]) for one in found.errors] == [
        ("R101", "the event has no field 'paying_customer'"), ("R005", "there is no policy 'marketing'"),
    ]  # fmt: skip


def test_a_shared_file_hands_on_what_it_imports() -> None:
    body = files()
    changed = {"rules/_base.yaml": body[SHARED], SHARED: b"version: 1\nimports: [_base.yaml]\n"}
    assert loaded(changed).diagnostics == ()


def test_files_that_import_each_other_are_told() -> None:
    body = files()[SHARED].replace(b"version: 1\n", b"version: 1\nimports: [_other.yaml]\n")
    found = loaded({SHARED: body, "rules/_other.yaml": b"version: 1\nimports: [_shared.yaml]\n"})
    assert [(one.code, one.file, one.text) for one in found.errors] == [
        ("R008", SHARED, "these files import each other: rules/_other.yaml → rules/_shared.yaml → rules/_other.yaml")
    ]


def test_a_long_row_of_imports_ends() -> None:
    row = {
        f"rules/_{number}.yaml": f"version: 1\nimports: [_{number + 1}.yaml]\n".encode() for number in range(900)
    } | {"rules/_900.yaml": b"version: 1\n"}
    found = loaded(row)
    assert {one.code for one in found.errors} == {"R002"}


def test_one_name_means_one_thing() -> None:
    found = edited(MORE, ("  office:\n", "  service: { consent: marketing }\n  office:\n"))
    assert [(one.code, one.line, one.column) for one in found.errors] == [("R009", 2, 11)]
    assert "rules/more.yaml:8 and rules/_shared.yaml:12" in found.errors[0].text


def test_an_edit_of_a_shared_condition_is_an_edit_of_every_rule_that_uses_it() -> None:
    before = rules()
    after = edited(SHARED, ('code == "card_declined"', 'code == "lost_card"')).rules
    assert after is not None
    assert refusals(before, before, ["payment-at-risk"]) == []
    (why,) = refusals(before, after, ["payment-at-risk"])
    assert "rule 'payment-at-risk' has live state, and 'event' would change what it means" in why
    written_out = edited(
        MORE, ("if: declined_card &&", 'if: (code == "expired_card" || code == "card_declined") &&')
    ).rules
    assert written_out is not None
    assert refusals(before, written_out, ["payment-at-risk"]) == [], "it means the same"


@pytest.mark.parametrize(("old", "new", "part"), [
    ("payment_id: payment_id }", "payment_id: customer_id }", "'match'"), ("if: large }\n    on_stop", "if: amount > amount }\n    on_stop", "'stop_on'"),
    ("account: { entity: crm.customer, id: customer_id }", "account: { entity: crm.customer, id: payment_id }", "'reads'"),
])  # fmt: skip
def test_what_stops_a_rule_and_what_it_reads_is_what_its_state_means(old: str, new: str, part: str) -> None:
    after = edited(MORE, (old, new)).rules
    assert after is not None
    (why,) = refusals(rules(), after, ["payment-at-risk"])
    assert f"and {part} would change what it means" in why
    assert signature(rule("waitlist-desk")) == {}, "a rule without state may be edited freely"
