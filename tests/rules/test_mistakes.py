"""Mistakes of a folder: each at its place, with what was meant; and smells, which stand in nobody's way."""

import pytest

from handlers.rules.yaml import Broken, Reader
from tests.rules.sample import TEXTS, edited, files, loaded

CRM, BILLING, MORE, ORDERS = "rules/crm.yaml", "rules/billing.yaml", "rules/more.yaml", "rules/orders.yaml"
SHARED, TEAMS, TARGETS, TOPICS = "rules/_shared.yaml", "teams.yaml", "targets.yaml", "topics.yaml"

FIVE = """\
version: 1
imports: [_sahred.yaml]

rules:
  - id: trial-ends
    title: A trial ends
    owner: team-billing
    severity: high
    raise_severity:
      - { if: perishable, to: critical }
    status: live
    policy: { consent: transactional, quiet_hours: { start: "21:00", end: "8:00", timezone: Europe/Berln } }
    when: { event: sales.delivery.delayed }
    to: customer
    topic: ordres
    then:
      - send: sms
        template: shop/delivery-delayed
        with: { eta: new_eta }
      - send: slack
        template: shop/delivery-delayed
        with: { eta: new_eta }
"""
FIVE_TOLD = """\
rules/five.yaml:2:11: R008: there is no file '_sahred.yaml' beside rules/five.yaml
    imports: [_sahred.yaml]
              ^ did you mean '_shared.yaml'?
rules/five.yaml:12:75: R006: a time of day is needed here, as 21:00
        policy: { consent: transactional, quiet_hours: { start: "21:00", end: "8:00", timezone: Europe/Berln } }
                                                                              ^ did you mean '08:00'?
rules/five.yaml:12:93: R112: 'Europe/Berln' is no time zone, nor customer; as in Europe/Berlin
        policy: { consent: transactional, quiet_hours: { start: "21:00", end: "8:00", timezone: Europe/Berln } }
                                                                                                ^ did you mean 'Europe/Berlin'?
rules/five.yaml:15:12: R005: there is no topic 'ordres' in topics.yaml
        topic: ordres
               ^ did you mean 'orders'?
rules/five.yaml:20:15: R114: slack is a room of a team; customers have none
          - send: slack
                  ^"""


def test_five_mistakes_are_five_diagnostics_with_file_line_column_and_suggestion() -> None:
    found = loaded({"rules/five.yaml": FIVE.encode()})
    assert "\n".join(str(one) for one in found.diagnostics) == FIVE_TOLD


REFUSED: dict[str, tuple[str, str, str, str, str, str | None]] = {
    # what is wrong: file, old text, new text, code, what stands at the place, suggestion
    "an import of rules": (MORE, "imports: [_shared.yaml]", "imports: [crm.yaml]", "R008", "crm.yaml", None),
    "an import from above": (MORE, "imports: [_shared.yaml]", "imports: [../../etc/_shared.yaml]", "R008", "../../etc", "_shared.yaml"),
    "an import twice": (MORE, "imports: [_shared.yaml]", "imports: [_shared.yaml, _shared.yaml]", "R004", "_shared.yaml]", None),
    "imports as text": (MORE, "imports: [_shared.yaml]", "imports: _shared.yaml", "R006", "_shared", None),
    "rules in a shared file": (SHARED, "version: 1\n", "version: 1\nrules: []\n", "R005", "rules: []", None),
    # conditions
    "a condition without events": (SHARED, "    on: crm.customer.changed\n", "", "R007", "if: has", None),
    "a condition about an event that is none": (SHARED, "on: crm.customer.changed", "on: crm.custmer.changed", "R005", "crm.custmer", "crm.customer.changed"),
    "a condition about nothing": (SHARED, "on: crm.customer.changed", "on: []", "R006", "[]", None),
    "a condition that is no condition": (SHARED, 'if: has(before.plan) && before.plan != "free"', "if: before", "R101", "before", None),
    "a condition with a parameter": (MORE, '\'amount >= money(500, "EUR")\'', "'attempt > params.attempts'", "R101", "params", None),
    "a condition by a field's name": (SHARED, "  declined_card:", "  code:", "R009", "code:", None),
    "a condition by a word": (SHARED, "  declined_card:", "  event:", "R009", "event:", None),
    "a condition in another": (SHARED, 'code == "expired_card" ||', "paying_customer ||", "R101", "paying_customer", None),
    "a name that is near": (CRM, "paying_customer", "paying_custmer", "R101", "paying_custmer", "paying_customer"),
    "has() of a condition": (CRM, "paying_customer &&", "has(paying_customer) &&", "R101", "has(paying", None),
    # reads
    "an entity that is none": (MORE, "entity: crm.customer,", "entity: crm.custmer,", "R005", "crm.custmer", "crm.customer"),
    "a key that is none": (MORE, "id: customer_id }", "id: customr_id }", "R105", "customr_id", "customer_id"),
    "a key of another kind": (MORE, "id: customer_id }", "id: attempt }", "R111", "attempt }", None),
    "a key of too many parts": (MORE, "id: customer_id }", "id: [customer_id, code] }", "R111", "[customer_id", None),
    "an entity without a key": (MORE, "entity: crm.customer, id: customer_id }", "entity: crm.customer }", "R007", "{ entity", None),
    "an alias that is a field": (MORE, "      account: {", "      code: {", "R009", "code: {", None),
    "an alias that is a condition": (MORE, "      account: {", "      large: {", "R009", "large: {", None),
    "a field of an entity that is none": (MORE, "has(account.tier) &&", "has(account.teir) &&", "R101", "account.teir", "account.tier"),
    "an entity beside another event": (MORE, "payment_id: payment_id }, if: large }", "payment_id: payment_id }, if: has(account) }", "R101", "account)", None),
    # policies
    "a policy that is none": (BILLING, "    policy: service\n    params", "    policy: servce\n    params", "R005", "servce", "service"),
    "a zone that is none": (SHARED, '  marketing:\n    consent: marketing\n    quiet_hours:\n      start: "20:00"\n      end: "09:00"\n      timezone: customer', '  marketing:\n    consent: marketing\n    quiet_hours:\n      start: "20:00"\n      end: "09:00"\n      timezone: custmer', "R112", "custmer", "customer"),
    "no zone for unknown zones": (SHARED, "      if_unknown: Europe/Berlin\n      on_quiet: hold\n      bypass: critical\n", "", "R007", 'start: "21', None),
    "a zone for unknown zones that is none": (SHARED, "      if_unknown: Europe/Berlin\n      on_quiet: hold\n      bypass: critical\n", "      if_unknown: customer\n", "R112", "customer", None),
    "a zone for unknown zones that are known": (MORE, "      timezone: Europe/Berlin", "      timezone: Europe/Berlin\n      if_unknown: UTC", "R112", "UTC", None),
    "a window of nothing": (SHARED, 'end: "08:00"', 'end: "21:00"', "R112", '"21:00"', None),
    "a window that starts at its end": (SHARED, 'start: "21:00"', 'start: "24:00"', "R112", '"24:00"', None),
    "a window without end": (SHARED, '      end: "08:00"\n', "", "R007", 'start: "21', None),
    "a time that is none": (SHARED, 'end: "08:00"', 'end: "25:00"', "R006", '"25:00"', None),
    "a time beyond the day": (SHARED, 'end: "08:00"', 'end: "24:01"', "R006", '"24:01"', None),
    "a time as number": (SHARED, 'end: "08:00"', "end: 8", "R006", "8", None),
    "a day that is none": (MORE, "days: weekdays", "days: [weekday]", "R006", "weekday]", "weekdays"),
    "a holiday": (MORE, "days: weekdays", "days: [mon, holiday]", "R010", "holiday", None),
    "no days": (MORE, "days: weekdays", "days: []", "R006", "[]", None),
    "a window beside windows": (MORE, "      timezone: Europe/Berlin", '      timezone: Europe/Berlin\n      start: "21:00"', "R112", '"21:00"', None),
    "no windows": (MORE, 'windows:\n        - { start: "18:00", end: "24:00", days: weekdays }\n        - { start: "00:00", end: "24:00", days: [sat, sun] }\n', "windows: []\n", "R006", "[]", None),
    "quiet hours that drop": (SHARED, "      on_quiet: hold\n      bypass: critical\n", "      on_quiet: drop\n", "R006", "drop", None),
    "quiet hours that let much through": (SHARED, "bypass: critical", "bypass: high", "R006", "high", None),
    # severity
    "a severity that is not raised": (ORDERS, "to: critical", "to: medium", "R113", "medium", None),
    "a severity without condition": (ORDERS, "{ if: perishable, to: critical }", "{ to: critical }", "R007", "{ to", None),
    "a severity by a text": (ORDERS, "if: perishable", "if: order_id", "R101", "order_id", None),
    # to
    "a team that is none": (CRM, "{ team: care-leads }", "{ team: care-laeds }", "R005", "care-laeds", "care-leads"),
    "a team as a word": (CRM, "to: { team: care-leads }", "to: care-leads", "R006", "care-leads", "{ team: care-leads }"),
    "two recipients": (CRM, "{ team: care-leads }", "{ team: care-leads, customer: customer_id }", "R006", "{ team", None),
    "nobody": (CRM, "{ team: care-leads }", "{}", "R006", "{}", None),
    "a customer that is a number": (MORE, "{ customer: customer_id }", "{ customer: event.time }", "R101", "event.time", None),
    "marketing to an address": (MORE, "    to: { address:", "    policy: marketing\n    to: { address:", "R114", "{ address", None),
    "push to an address": (MORE, "      - send: email\n        template: internal/waitlist", "      - send: push\n        template: internal/waitlist", "R114", "push", None),
    "push to a team": (CRM, "send: slack", "send: push", "R114", "push", None),
    "a channel that the team has not": (CRM, "send: slack", "send: sms", "R114", "sms", None),
    # topics
    "no topic": (ORDERS, "    topic: orders\n", "", "R007", "id: delivery-delayed", None),
    "a topic that is none": (ORDERS, "topic: orders", "topic: order", "R005", "order", "orders"),
    "a topic without sentence": (TOPICS, "orders: { sentence: Where your orders are }", "orders: {}", "R007", "{}", None),
    "a topic in capitals": (TOPICS, "  offers:", "  Offers:", "R006", "Offers", None),
    "a lock that is none": (TOPICS, "locked: true", "locked: yes", "R006", "yes", None),
    # steps
    "two ways in one step": (CRM, "      - ticket: care\n", "      - ticket: care\n        webhook: crm-health-score\n", "R006", "webhook", None),
    "a ticket for nobody": (CRM, "ticket: care\n", "ticket: caer\n", "R005", "caer", "care"),
    "a webhook among the tickets": (CRM, "webhook: crm-health-score", "webhook: care", "R005", "care", None),
    "a workflow that is none": (CRM, "workflow: save-the-account", "workflow: save-an-account", "R005", "save-an", "save-the-account"),
    "a text for a machine": (CRM, "workflow: save-the-account\n", "workflow: save-the-account\n        template: shop/cancelled\n", "R006", "shop/cancelled", None),
    "a ticket without text": (CRM, "        template: internal/complaint-case\n", "", "R007", "ticket: care", None),
    "a channel that is none": (CRM, "send: slack", "send: slakc", "R006", "slakc", "slack"),
    "a step's condition by a text": (MORE, "        if: large\n", "        if: code\n", "R101", "code", None),
    "attempts without end": (CRM, "max: 6", "max: 1000", "R006", "1000", None),
    "attempts as text": (CRM, "max: 6", 'max: "6"', "R006", '"6"', None),
    "a backoff without unit": (CRM, "backoff: 30s", "backoff: 30", "R006", "30,", None),
    "a backoff beyond its bound": (CRM, "max_backoff: 1h", "max_backoff: 1s", "R108", "1s", None),
    "a failure that is shouted": (CRM, "on_failure: alert", "on_failure: alarm", "R006", "alarm", "alert"),
    "a language that needs more": (CRM, "template: shop/cart-plain", "template: billing/at-risk", "R122", "billing/at-risk", None),
    # stop_on
    "a stop that is none": (MORE, "- { event: billing.payment.succeeded, match", "- { event: billing.payment.succeded, match", "R005", "billing.payment.succeded", "billing.payment.succeeded"),
    "a stop by a field that is none": (MORE, "payment_id: payment_id }", "payment_id: paymnt_id }", "R105", "paymnt_id", "payment_id"),
    "a stop by a field that is none here": (MORE, "payment_id: payment_id }", "paymnt_id: payment_id }", "R105", "paymnt_id", "payment_id"),
    "a stop by what is no key": (MORE, "payment_id: payment_id }", "amount: payment_id }", "R105", "amount:", None),
    "a stop by two kinds": (MORE, "payment_id: payment_id }", "attempt: payment_id }", "R109", "payment_id }", None),
    "a stop by nothing": (MORE, "match: { customer_id: customer_id, payment_id: payment_id }", "match: {}", "R006", "{}", None),
    "a stop where nobody is named": (MORE, "{ event: billing.payment.succeeded, match: { customer_id: customer_id, payment_id: payment_id }, if: large }", "inventory.stock.changed", "R109", "inventory", None),
    "stops by two keys": (MORE, "    on_stop:\n      - send: push", "      - { event: billing.invoice.paid, match: { customer_id: customer_id } }\n    on_stop:\n      - send: push", "R109", "{ event: billing.invoice.paid", None),
    "no stops": (BILLING, "stop_on: [{ event: billing.payment.succeeded, match: { customer_id: customer_id } }]", "stop_on: []", "R006", "[]", None),
    "a stop of an absence": (CRM, "    to: customer\n", "    to: customer\n    stop_on: [sales.order.placed]\n", "R116", "[sales", None),
    "an all-clear without a stop": (ORDERS, "    topic: orders\n", "    topic: orders\n    on_stop: [{ send: sms, template: shop/delivery-delayed, with: { eta: new_eta } }]\n", "R116", "[{ send", None),
    "an all-clear over another channel": (MORE, "    on_stop:\n      - send: push", "    on_stop:\n      - send: sms", "R116", "sms", None),
    "two all-clears over one channel": (MORE, "    on_stop:\n      - send: push", "    on_stop:\n      - send: email", "R116", "email", None),
    "an all-clear by ticket": (MORE, "    on_stop:\n      - send: push", "    on_stop:\n      - ticket: care", "R005", "ticket", None),
    "lateness of what decides at once": (ORDERS, "      if: new_eta", "      allowed_lateness: 1m\n      if: new_eta", "R116", "1m", None),
    "a function of later": (ORDERS, "event.time + 2h", 'event.time + business_days(3, "DE")', "R010", "business_days", None),
    # teams and targets
    "a room written out": (TEAMS, "slack: env:SLACK_SUCCESS", "slack: https://hooks.slack.com/services/T0/B0/x", "R011", "https", None),
    "an address that is none": (TEAMS, "email: success@example.org", "email: success", "R006", "success", None),
    "a number without country": (TEAMS, '"+4930123456"', '"030123456"', "R006", '"030', None),
    "a team's zone that is none": (TEAMS, "timezone: Europe/Berlin", "timezone: Europe/Brelin", "R112", "Europe/Brelin", "Europe/Berlin"),
    "a team's language that is none": (TEAMS, "locale: de_DE", "locale: German", "R006", "German", None),
    "a team in capitals": (TEAMS, "  care-leads:", "  Care-leads:", "R006", "Care", None),
    "teams as a list": (TEAMS, "teams:\n  customer-success:", "teams: [a]\nteamz:\n  customer-success:", "R006", "[a]", None),
    "a secret written out": (TARGETS, "secret: env:CARE_SECRET", "secret: whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "R011", "whsec", None),
    "a secret in an address": (TARGETS, "https://tickets.example.org/care", "https://me:word@tickets.example.org/care", "R011", "https", None),
    "an address without TLS": (TARGETS, "https://tickets.example.org/care", "http://tickets.example.org/care", "R011", "http", "https://…"),
    "an address that is a word": (TARGETS, "https://tickets.example.org/care", "tickets", "R006", "tickets", None),
    "an address without host": (TARGETS, "https://tickets.example.org/care", "https://:80/care", "R006", "https", None),
    "an address of a file": (TARGETS, "https://tickets.example.org/care", "ftp://tickets.example.org/care", "R006", "ftp", None),
    "no address": (TARGETS, "{ url: env:COLLECTIONS_URL }", "{ secret: env:X }", "R007", "{ secret", None),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_folder_is_refused_at_its_mistake(name: str) -> None:
    file, old, new, code, at, hint = REFUSED[name]
    found = edited(file, (old, new))
    assert found.rules is None
    lines = files()[file].decode().replace(old, new).split("\n")
    told = [
        (one.code, one.hint)
        for one in found.errors
        if one.file == file and lines[one.line - 1][one.column - 1 :].startswith(at)
    ]
    assert (code, hint) in told, "\n".join(str(one) for one in found.diagnostics)


SECRETS = ("a room written out", "a secret written out", "a secret in an address")


@pytest.mark.parametrize("name", SECRETS)
def test_what_may_be_a_secret_is_not_printed(name: str) -> None:
    file, old, new, *_ = REFUSED[name]
    said = "\n".join(str(one) for one in edited(file, (old, new)).diagnostics)
    assert "a secret stands here by reference only" in said
    assert not any(word in said for word in ("hooks.slack.com", "whsec", "me:word"))


def test_a_team_without_the_room_is_named_with_its_line() -> None:
    (error,) = edited(CRM, ("send: slack", "send: sms")).errors
    assert error.text == "the team 'customer-success' has no 'sms': teams.yaml:3"


def test_a_template_is_checked_in_every_language_that_it_has() -> None:
    (error,) = loaded(texts={**TEXTS, "billing/invoice-overdue.de": "Subject: x\n\n{{ amout }} {{ due }}\n"}).errors
    assert (error.code, error.text, error.hint) == (
        "R122", "the template 'billing/invoice-overdue.de' needs 'amout', which 'with' does not give", "amount",
    )  # fmt: skip
    (warning,) = loaded(texts={**TEXTS, "shop/cancelled": "x\n"}).diagnostics
    assert (warning.code, warning.text) == ("R209", "the template 'shop/cancelled' does not use 'order'")


WARNED: dict[str, tuple[str, str, str, str, str]] = {
    "customers told without policy": (MORE, "    policy: { consent: transactional }\n", "", "R207", "id: order-for-another"),
    "a topic where no customer is told": (CRM, "    to: { team: care-leads }\n", "    to: { team: care-leads }\n    topic: offers\n", "R213", "offers"),
    "a stop by the customer": (BILLING, "[{ event: billing.payment.succeeded, match: { customer_id: customer_id } }]", "[billing.payment.succeeded]", "R211", "billing.payment.succeeded"),
    "a stop by what may be null": (BILLING, "match: { customer_id: customer_id }", "match: { invoice_id: payment_id }", "R203", "invoice_id"),
    "somebody who never hears of the end": (MORE, "      - send: email\n        template: billing/settled\n        with: { amount: amount }\n        on_failure: alert\n", "", "R212", "- send: push"),
    "a recipient who may be missing": (MORE, "{ customer: customer_id }", "{ customer: reason }", "R203", "reason"),
    "an entity compared without asking": (MORE, "has(account.tier) && account.tier", "account.tier", "R203", "account.tier"),
}  # fmt: skip


@pytest.mark.parametrize("name", WARNED)
def test_a_smell_is_told_and_stands_in_nobodys_way(name: str) -> None:
    file, old, new, code, at = WARNED[name]
    found = edited(file, (old, new))
    assert found.rules is not None
    (warning,) = found.diagnostics
    assert (warning.code, warning.severity) == (code, "warning")
    assert warning.snippet[warning.column - 1 :].startswith(at)


def test_an_entity_that_nobody_reads_is_told() -> None:
    text = (
        "version: 1\nrules:\n  - id: a\n    owner: o\n    status: live\n    when: { event: shop.waitlist.joined }\n"
        "    reads: { who: { entity: crm.customer, id: customer_id } }\n    to: { team: care-leads }\n"
        "    then: [{ send: sms, template: internal/waitlist-sms, with: { sku: sku } }]\n"
    )
    found = loaded({"rules/a.yaml": text.encode()})
    assert [(one.code, one.line, one.severity) for one in found.diagnostics] == [("R208", 7, "warning")]


def test_a_reschedule_that_would_lose_another_entity_is_refused() -> None:
    text = (
        "version: 1\nrules:\n  - id: a\n    owner: o\n    status: live\n    reads: { who: { entity: crm.customer, id: payment_id } }\n"
        "    when:\n      missing:\n        after: { event: billing.payment.failed }\n        expect: billing.payment.succeeded\n"
        '        by: [customer_id]\n        deadline: "event.time + (has(who) ? 1h : 2h)"\n'
        "        reschedule_on: [billing.invoice.rescheduled]\n    to: { team: care-leads }\n"
        "    then: [{ send: sms, template: billing/card-expired-sms }]\n"
    )
    found = loaded({"rules/a.yaml": text.encode()})
    assert [(one.code, one.line) for one in found.errors] == [("R109", 13), ("R111", 13)]


def test_every_file_of_a_folder_is_told_its_mistake_at_once() -> None:
    broken = {name: raw + b"qwertz: 1\n" for name, raw in files().items()}
    found = loaded(broken)
    assert [(one.code, one.file) for one in found.errors] == [("R005", name) for name in sorted(broken)]


SHIFTED = """version: 1
rules:
  - id: a
    description: |
        then: this is text
    to: customer
    then:
      - send: email
        template: t
      - send: sms
        template: t
"""


@pytest.mark.parametrize(("old", "new", "told"), [
    ("    then:\n      -", "   then:\n      -", "7:4: R001: this is no YAML: 'then' stands in column 4, its neighbours in column 5"),
    ("    then:\n      -", "     then:\n      -", "7:6: R001: this is no YAML: 'then' stands in column 6, its neighbours in column 5"),
    ("      - send: sms", "     - send: sms", "10:6: R001: this is no YAML: '-' stands in column 6, its neighbours in column 7"),
    ("        template: t\n      - send: sms", "         template: t\n      - send: sms", "9:10: R001: this is no YAML: 'template' stands in column 10, its neighbours in column 9"),
    ("to: customer", "to: a: b", "6:10: R001: this is no YAML: mapping values are not allowed in this context"),
])  # fmt: skip
def test_a_line_beside_its_neighbours_is_told_by_its_column(old, new, told):
    assert SHIFTED.count(old) == 1
    reader = Reader("rules/a.yaml", SHIFTED.replace(old, new).encode())
    with pytest.raises(Broken) as broken:
        reader.read()
    assert str(broken.value.diagnostic).startswith(f"rules/a.yaml:{told}")


@pytest.mark.parametrize(("file", "old", "new", "told", "hint"), [
    (BILLING, "    owner:", "    throttle: 1h\n    owner:", "there is no key 'throttle' here; there are id, title,", None),
    (BILLING, "    owner:", "    titel: x\n    owner:", "there is no key 'titel' here", "title"),
    (SHARED, "on_quiet: hold", "on_quiet: drop", "only 'hold' is built so far", None),
])  # fmt: skip
def test_what_is_near_to_nothing_gets_the_list_of_what_there_is(file, old, new, told, hint):
    text = files()[file].decode()
    found = loaded({**files(), file: text.replace(old, new, 1).encode()}).errors
    assert any(one.text.startswith(told) and one.hint == hint for one in found), [str(one) for one in found]


OUTCOME = "is an outcome that is published for others, and no rule reads it; name the event that led to it"


@pytest.mark.parametrize("kind", ["notification.message.ended", "decision.firing.recorded", "ops.dead.letter"])
def test_a_rule_upon_our_own_outcomes_is_refused_by_name_wherever_it_names_one(kind: str) -> None:
    """No worker reads them, so it would load and never fire."""
    rule = f"""version: 1
conditions:
  ours: {{ on: {kind}, if: 'recipient == "x"' }}
rules:
  - id: echo
    title: An echo
    owner: team-billing
    severity: high
    status: live
    policy: {{ consent: transactional }}
    when: {{ event: {kind} }}
    to: customer
    topic: orders
    then:
      - {{ send: sms, template: shop/delivery-delayed, with: {{ eta: recipient }} }}
"""
    found = loaded({"rules/echo.yaml": rule.encode()})
    assert found.rules is None
    told = [str(one) for one in found.errors if one.file == "rules/echo.yaml"]
    assert [line.partition(": ")[2].splitlines()[0] for line in told] == [f"R005: '{kind}' {OUTCOME}"] * 2


def test_an_outcome_is_never_what_was_meant() -> None:
    found = edited(CRM, ("crm.complaint.opened", "notification.message.endet"))
    assert [one.code for one in found.errors if "did you mean" not in str(one)][:1] == ["R005"]
