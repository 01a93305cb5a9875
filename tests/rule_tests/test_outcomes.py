"""What is told of a rule, and when; what a test has to expect, and what it may leave out."""

import pytest

from tests.rule_tests.play import BERLIN, EXPIRED, INVOICE, PAID, edited, fails, passes

FAILED = f"- {{ event: billing.payment.failed, data: {EXPIRED} }}"
ISSUED = f"- {{ event: billing.invoice.issued, data: {INVOICE} }}"
BOTH = "[{ outcome: fired }, { outcome: sent }]"


# -- strict both ways


@pytest.mark.parametrize(
    ("expected", "why"),
    [
        ("nothing", "nothing was expected, but: fired, sent"),
        ("[]", "nothing was expected, but: fired, sent"),
        ("[{ outcome: fired }]", "sent: happened without being expected"),
        ("[{ outcome: sent }]", "fired: happened without being expected"),
        ("[{ outcome: fired }, { outcome: sent }, { outcome: sent }]", "sent: expected, but did not happen"),
        ("[{ outcome: fired }, { outcome: sent }, { outcome: held }]", "held: expected, but did not happen"),
        ("[{ outcome: fired, severity: low }, { outcome: sent }]", "not the same: severity"),
        ("[{ outcome: fired }, { outcome: sent, channel: sms }]", "not the same: channel"),
        ('[{ outcome: fired }, { outcome: sent, to: "customer:c-2" }]', "not the same: to"),
        ("[{ outcome: fired }, { outcome: sent, template: billing/settled }]", "not the same: template"),
        ("[{ outcome: fired }, { outcome: sent, data: { amount: 80.01 EUR } }]", "not the same: data.amount"),
        ("[{ outcome: fired }, { outcome: sent, data: { amount: 80.00 USD } }]", "not the same: data.amount"),
        ("[{ outcome: fired }, { outcome: sent, data: { amount: 80 } }]", "not the same: data.amount"),
        ("[{ outcome: fired }, { outcome: sent, data: { amont: 80.00 EUR } }]", "not the same: data.amont"),
        ("[{ outcome: fired }, { outcome: sent, until: +1h }]", "not the same: until"),
        ("[{ outcome: fired }, { outcome: sent, reason: opened }]", "not the same: reason"),
        ("[{ outcome: fired }, { outcome: sent, name: collections }]", "not the same: name"),
    ],
)
def test_what_differs_fails(expected, why):
    assert why in fails("card-expired", f"{FAILED}\n- expect: {expected}", given=BERLIN)


@pytest.mark.parametrize(
    "expected",
    [
        BOTH,
        "[{ outcome: sent }, { outcome: fired }]",
        '[{ outcome: fired, to: "customer:c-1" }, { outcome: sent, data: { amount: 80 EUR } }]',
        "[{ outcome: fired }, { outcome: sent, data: { amount: { amount_minor: 8000, currency: EUR } } }]",
    ],
)
def test_order_and_spelling_are_free(expected):
    passes("card-expired", f"{FAILED}\n- expect: {expected}", given=BERLIN)


def test_what_is_visible_after_the_last_expectation_fails():
    assert "happened after the last expectation" in fails("card-expired", FAILED, given=BERLIN)


def test_what_is_due_at_the_end_of_the_timeline_counts():
    line = f"{ISSUED}\n- expect: [{{ outcome: armed }}]\n- at: 2026-03-11T10:15:00Z"
    assert "fired, sent: happened after the last expectation" in fails("invoice-overdue", line, given=BERLIN)


def test_notes_need_not_be_expected():
    passes("invoice-overdue", f"{ISSUED}\n- expect: nothing", given=BERLIN)


def test_an_expected_outcome_is_paired_so_that_all_fit():
    """The first, vague expectation could take what only the second one fits."""
    line = """
    - { event: billing.payment.failed, data: { customer_id: c-1, amount: 60.00 EUR, code: expired_card } }
    - { event: billing.payment.failed, data: { customer_id: c-1, amount: 70.00 EUR, code: expired_card } }
    - expect:
        - { outcome: fired }
        - { outcome: fired }
        - { outcome: sent }
        - { outcome: sent, data: { amount: 60.00 EUR } }
    """
    passes("card-expired", line, given=BERLIN)


# -- times


def test_a_held_message_leaves_at_the_end_of_quiet_hours_in_the_hour_that_is_skipped():
    """01:30 does not exist in Berlin on the last Sunday of March; an end of 02:30 opens at 03:00."""
    files = edited("rules/_shared.yaml", ('end: "08:00"', 'end: "02:30"'))
    line = f"""
    {FAILED}
    - expect: [{{ outcome: fired }}, {{ outcome: held, until: 2026-03-29T01:00:00Z }}]
    - at: 2026-03-29T00:59:59Z
      expect: nothing
    - at: +1s
      expect: [{{ outcome: sent }}]
    """
    passes("card-expired", line, given=BERLIN, now="2026-03-28T21:00:00Z", files=files)


def test_the_hour_that_comes_twice_is_quiet_twice():
    files = edited("rules/_shared.yaml", ('end: "08:00"', 'end: "02:30"'))
    line = f"""
    {FAILED}
    - expect: [{{ outcome: fired }}, {{ outcome: held, until: 2026-10-25T00:30:00Z }}]
    - at: 2026-10-25T00:30:00Z
      expect: [{{ outcome: sent }}]
    - at: 2026-10-25T01:10:00Z
      event: billing.payment.failed
      data: {EXPIRED}
      expect: [{{ outcome: fired }}, {{ outcome: held, until: 2026-10-25T01:30:00Z }}]
    """
    passes("card-expired", line, given=BERLIN, now="2026-10-24T21:00:00Z", files=files)


def test_everything_that_is_due_on_the_way_happens_at_its_own_time():
    line = f"""
    {ISSUED}
    - at: +60d
      expect:
        - {{ outcome: fired }}
        - {{ outcome: sent }}
    """
    passes("invoice-overdue", line, given=BERLIN)


def test_an_event_at_the_deadline_wins_without_any_lateness():
    files = edited("rules/billing.yaml", ("allowed_lateness: 15m", "allowed_lateness: 0s"))
    line = f"""
    {ISSUED}
    - at: 2026-03-11T10:00:00Z
      event: billing.invoice.paid
      data: {PAID}
      expect: [{{ outcome: armed, until: 2026-03-11T10:00:00Z }}, {{ outcome: disarmed }}]
    - at: +30d
      expect: nothing
    """
    passes("invoice-overdue", line, given=BERLIN, files=files)


def test_the_deadline_comes_first_where_the_test_looks_before_the_event():
    files = edited("rules/billing.yaml", ("allowed_lateness: 15m", "allowed_lateness: 0s"))
    line = f"""
    {ISSUED}
    - at: 2026-03-11T10:00:00Z
      expect: [{{ outcome: fired }}, {{ outcome: sent }}]
    - event: billing.invoice.paid
      data: {PAID}
      expect: [{{ outcome: late }}, {{ outcome: stopped }}, {{ outcome: sent, template: billing/settled }}]
    """
    passes("invoice-overdue", line, given=BERLIN, files=files)


def test_what_comes_too_late_disarms_all_the_same_and_arms_nothing():
    line = f"""
    {ISSUED}
    - at: 2026-03-06T10:00:00Z
      event: billing.invoice.paid
      data: {PAID}
      arrives: +20m
      expect: [{{ outcome: armed }}, {{ outcome: late }}, {{ outcome: disarmed, reason: billing.invoice.paid arrived }}]
    - event: billing.invoice.issued
      data: {{ invoice_id: i-2, customer_id: c-1, amount_due: 10.00 EUR, due_date: 2026-03-08T10:00:00Z }}
      at: 2026-03-06T10:00:00Z
      arrives: +20m
      expect: [{{ outcome: late }}]
    - at: +60d
      expect: nothing
    """
    passes("invoice-overdue", line, given=BERLIN)


def test_out_of_order_within_the_lateness_the_payment_still_counts():
    line = f"""
    - at: 2026-03-05T10:02:00Z
      event: billing.invoice.paid
      data: {PAID}
    - at: 2026-03-05T10:01:00Z
      event: billing.invoice.issued
      data: {INVOICE}
      arrives: +5m
    - at: +60d
      expect: nothing
    """
    passes("invoice-overdue", line, given=BERLIN)


def test_until_may_be_relative():
    passes("invoice-overdue", f"{ISSUED}\n- expect: [{{ outcome: armed, until: +6d }}]", given=BERLIN)


# -- repetition


def test_a_redelivered_event_is_told_as_a_duplicate():
    again = f"{{ event: billing.payment.failed, id: p-1, data: {EXPIRED} }}"
    line = f"- {again}\n- {again}\n- expect: [{{ outcome: fired }}, {{ outcome: sent }}, {{ outcome: duplicate }}]"
    passes("card-expired", line, given=BERLIN)
    line = line.replace(", { outcome: duplicate }", "")
    assert "duplicate: happened without being expected" in fails("card-expired", line, given=BERLIN)


def test_a_redelivery_of_hours_later_is_one_too():
    line = f"""
    - {{ event: billing.payment.failed, id: p-1, data: {EXPIRED} }}
    - expect: {BOTH}
    - {{ at: "2026-03-05T10:00:00Z", arrives: +3h, event: billing.payment.failed, id: p-1, data: {EXPIRED} }}
    - expect: [{{ outcome: duplicate }}]
    """
    passes("card-expired", line, given=BERLIN)


def test_a_repeat_of_what_the_rule_ignores_is_no_duplicate():
    again = (
        "{ event: billing.payment.failed, id: p-1, data: { customer_id: c-1, amount: 1.00 EUR, code: expired_card } }"
    )
    passes("card-expired", f"- {again}\n- {again}\n- expect: nothing", given=BERLIN)


# -- people, receipts, texts


def test_who_is_not_given_is_not_known():
    line = f"{FAILED}\n- expect: [{{ outcome: fired }}, {{ outcome: suppressed, reason: unknown_customer }}]"
    passes("card-expired", line)


def test_a_foreign_id_reaches_the_customer_to_whom_it_is_linked():
    line = """
    - event: billing.payment.failed
      data: { customer_id: "stripe:cus_1", amount: 80.00 EUR, code: expired_card }
      expect: [{ outcome: fired, to: "customer:stripe:cus_1" }, { outcome: sent, to: "customer:c-1" }]
    """
    passes("card-expired", line, given='customers: { c-1: { foreign_ids: ["stripe:cus_1"] } }')


def test_an_unknown_zone_is_read_in_the_zone_of_the_policy():
    line = f"{FAILED}\n- expect: [{{ outcome: fired }}, {{ outcome: held, reason: quiet hours in Europe/Berlin }}]"
    passes("card-expired", line, given="customers: { c-1: { timezone: null } }", now="2026-03-05T23:00:00Z")


def test_a_withdrawal_during_the_test_is_heard():
    line = f"""
    {FAILED}
    - expect: [{{ outcome: fired }}, {{ outcome: held }}]
    - event: customer.consent.withdrawn
      data: {{ customer_id: c-1, consent_class: transactional }}
      expect: [{{ outcome: suppressed, reason: no_consent }}]
    - at: +2d
      expect: nothing
    """
    passes("card-expired", line, given=BERLIN, now="2026-03-05T23:00:00Z")


def test_what_bounced_needs_no_all_clear():
    line = f"""
    {ISSUED}
    - at: 2026-03-11T10:15:00Z
      expect: {BOTH}
    - receipt: bounced
      to: "customer:c-1"
      expect: [{{ outcome: receipt, reason: bounced, channel: email }}]
    - at: +1h
      event: billing.invoice.paid
      data: {PAID}
    - at: +15m
      expect: [{{ outcome: stopped }}, {{ outcome: cancelled, reason: nothing to correct, template: billing/settled }}]
    """
    passes("invoice-overdue", line, given=BERLIN)


def test_a_receipt_for_nothing_fails():
    line = '- { receipt: opened, to: "customer:c-1" }'
    assert "nothing was handed over to customer:c-1" in fails("card-expired", line, given=BERLIN)


def test_a_blank_in_a_text_fails_the_test_by_its_name():
    files = edited(
        "rules/billing.yaml", ("with: { amount: amount }\n\n  - id: payment-failure", "with: { amount: amount, invoice: invoice_id }\n\n  - id: payment-failure"),
        texts={"billing/card-expired": "Subject: Your card\n\n{{ amount }} of {{ invoice }}\n"},
    )  # fmt: skip
    found = fails("card-expired", f"{FAILED}\n- expect: {BOTH}", given=BERLIN, files=files)
    assert "the message by email from template billing/card-expired failed; the text cannot be written: " in found
    assert "invoice" in found


def test_a_step_whose_condition_does_not_hold_is_not_due():
    line = """
    - event: billing.payment.failed
      data: { customer_id: c-1, amount: 1.00 EUR, code: x, attempt: 2 }
      expect: [{ outcome: fired }, { outcome: sent, channel: slack }]
    """
    passes("payment-failure", line)


# -- fields that are left out


def test_a_field_that_is_left_out_and_read_fails_by_its_name():
    line = "- { event: billing.payment.failed, data: { customer_id: c-1, code: expired_card } }\n- expect: nothing"
    found = fails("card-expired", line, given=BERLIN)
    assert "the rule 'card-expired' reads 'amount' of billing.payment.failed, which the test leaves out" in found


def test_a_field_that_is_left_out_and_not_read_does_not_matter():
    line = "- { event: billing.payment.failed, data: { customer_id: c-1, code: do_not_honor } }\n- expect: nothing"
    passes("card-expired", line, given=BERLIN)


def test_what_only_the_text_needs_is_read_where_the_rule_arms():
    line = "- { event: billing.invoice.issued, data: { invoice_id: i-1, amount_due: %s } }\n- expect: nothing"
    passes("invoice-overdue", line % "0.00 EUR")
    found = fails("invoice-overdue", line % "1.00 EUR")
    assert "reads 'customer_id' and 'due_date' of billing.invoice.issued" in found


def test_a_key_that_is_left_out_is_read():
    line = "- { event: billing.invoice.paid, data: { customer_id: c-1 } }\n- expect: nothing"
    assert "reads 'invoice_id' of billing.invoice.paid" in fails("invoice-overdue", line)


def test_a_part_of_a_record_that_is_left_out_is_read():
    files = edited(
        "rules/billing.yaml",
        ('event: billing.payment.failed\n      if: code == "expired_card" && amount >= money(50, "EUR")',
         "event: inventory.stock.changed\n      if: has(after) && after.reserved > 1 && after.on_hand > 0"),
        ("to: customer\n    stop_on: [{ event: billing.payment.succeeded, match: { customer_id: customer_id } }]", "to: { team: collections }"),
        ("with: { amount: amount }\n\n  - id: payment-failure", "with: { amount: sku }\n\n  - id: payment-failure"),
        ("topic: billing\n    policy: service\n    when:\n      event:", "policy: service\n    when:\n      event:"),
    )  # fmt: skip
    line = """
    - event: inventory.stock.changed
      data: { sku: A, warehouse: W, after: { reserved: %s } }
    - expect: nothing
    """
    found = fails("card-expired", line % 2, files=files)
    assert "reads 'after.on_hand' of inventory.stock.changed" in found
    passes("card-expired", line % 1, files=files)


def test_a_bare_address_and_a_push_are_reached_too():
    address = edited(
        "rules/billing.yaml",
        ("to: customer\n    stop_on:", "to: { address: '\"someone@example.org\"' }\n    stop_on:"),
    )
    line = f'{FAILED}\n- expect: [{{ outcome: fired }}, {{ outcome: sent, to: "address:someone@example.org" }}]'
    passes("card-expired", line, files=address)
    push = edited(
        "rules/billing.yaml",
        (
            "- send: email\n        template: billing/card-expired",
            "- send: push\n        template: billing/card-expired",
        ),
        texts={"billing/card-expired": "Title: Your card\n\nWe could not collect {{ amount }}.\n"},
    )
    line = f'{FAILED}\n- expect: [{{ outcome: fired }}, {{ outcome: sent, channel: push, to: "customer:c-1" }}]'
    passes("card-expired", line, given=BERLIN, files=push)


# -- what a message says

GERMAN = "customers: { c-1: { locale: de-AT } }"
TEXTS = {
    "billing/card-expired.de": "Subject: Ihre Karte ist abgelaufen\n\nGuten Tag,\n\nüber **{{ amount }}** konnten\nwir nichts buchen.\n",
}  # fmt: skip


def german(said: str) -> tuple[str, str]:
    return "card-expired", f"{FAILED}\n- expect: [{{ outcome: fired }}, {{ outcome: sent, {said} }}]"


@pytest.mark.parametrize("said", [
    "template: billing/card-expired.de", "template: billing/card-expired", "subject: Ihre Karte", "text: konnten wir nichts",
    "subject: Ihre Karte ist abgelaufen, text: über € 80",
])  # fmt: skip
def test_a_part_of_what_the_reader_is_told_is_enough(said):
    passes(*german(said), given=GERMAN, files=edited("rules/billing.yaml", texts=TEXTS))


@pytest.mark.parametrize(("said", "why"), [
    ("subject: Your card", "its subject: Ihre Karte ist abgelaufen"), ("text: refused", "its text: Guten Tag, über € 80,00 konnten wir"),
    ("title: x", "its title: none"), ("template: billing/settled", "not the same: template"),
])  # fmt: skip
def test_another_text_fails_and_is_shown(said, why):
    out = fails(*german(said), given=GERMAN, files=edited("rules/billing.yaml", texts=TEXTS))
    assert why in out
    assert "template billing/card-expired.de" in out


def test_the_variant_of_another_language_is_not_the_one_that_was_read():
    files = edited("rules/billing.yaml", texts=TEXTS)
    assert "not the same: template" in fails(*german("template: billing/card-expired.de"), given=BERLIN, files=files)
