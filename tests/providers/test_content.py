"""What a message says: the pinned text in the reader's language, where it goes, and how to switch it off."""

from dataclasses import replace
from typing import Any

import pytest

from handlers.channels.content import Contents
from handlers.channels.unsubscribe import LASTS, read
from tests.kernel.test_gates import MESSAGE, NOW
from tests.simulator.rules import CONTRACTS, Shop, Value, rule_set
from tidings.contract import Type
from tidings.message import Message
from tidings.person import Person
from tidings.rule import Rule, RuleSet, Step, Target, Topic

KEY = b"0123456789abcdef"
"""Of a test."""
TEXTS = {
    "due": "Subject: Due\nTitle: Due\n\n{{ due }} is due.\n",
    "due.de": "Subject: Fällig\nTitle: Fällig\n\n{{ due }} ist fällig.\n",
}
STEPS = (
    Step("email", "due", {"due": Value("due")}, {"due": Type("timestamp")}),
    Step("ticket", "due", {"due": Value("due")}, {"due": Type("timestamp")}, target="care"),
    Step("workflow", "", {"due": Value("due")}, target="rescue"),
)
OVER = (Step("email", "due", {"due": Value("due")}, {"due": Type("timestamp")}),)
RULES = RuleSet(
    "set", (Rule("overdue", "o", rule_set(Shop()).rules[0].operator, steps=STEPS, on_stop=OVER),), CONTRACTS, TEXTS,
    targets={
        ("ticket", "care"): Target("care", "ticket", "env:CARE_URL", "env:CARE_SECRET"),
        ("workflow", "rescue"): Target("rescue", "workflow", "https://flows.example.org/rescue"),
    },
)  # fmt: skip
ADA = Person(
    "t", "customer:c", known=True, profile={"email": "ada@example.org", "locale": "de-DE", "timezone": "Europe/Berlin"}
)


def message(step: int = 0, role: str = "notice", **body: Any) -> Message:
    words = {"template": STEPS[step].template, "data": {"due": NOW}, "rule_set": "set", "topic": "billing", **body}
    return Message(
        "m", "t", "customer:c", "r", "f", "overdue", role, step, STEPS[step].channel, MESSAGE.state, NOW, NOW * 2,
        "unresolved", {**MESSAGE.body, **words},
    )  # fmt: skip


def test_a_text_is_in_the_language_of_its_reader_and_its_times_are_in_their_zone():
    german = Contents()(RULES, message(), ADA)
    assert german["subject"] == "Fällig"
    assert "ist fällig" in german["text"]
    assert "<html" in german["html"]
    plain = Contents()(RULES, message(), Person("t", "customer:c", known=True))
    assert plain["subject"] == "Due"
    assert "UTC" in plain["text"]


def test_an_all_clear_has_the_text_of_its_own_step():
    assert Contents()(RULES, message(role="all_clear"), ADA)["subject"] == "Fällig"


def test_other_systems_get_data_and_references_never_a_secret(monkeypatch):
    monkeypatch.setenv("CARE_SECRET", "whsec_hidden")
    ticket = Contents()(RULES, message(1), ADA)
    assert ticket["target"] == {"name": "care", "url": "env:CARE_URL", "secret": "env:CARE_SECRET"}
    assert (ticket["title"], ticket["data"]) == ("Fällig", {"due": NOW})
    flow = Contents()(RULES, message(2), ADA)
    assert flow == {
        "target": {"name": "rescue", "url": "https://flows.example.org/rescue", "secret": None},
        "data": {"due": NOW},
    }


def test_a_mail_that_can_be_switched_off_says_how_the_same_way_on_every_attempt():
    contents = Contents("https://shop.example.org", KEY)
    link = contents(RULES, message(), ADA)["unsubscribe"]
    assert link == contents(RULES, message(), ADA)["unsubscribe"]
    assert contents(RULES, message(), ADA)["footer"]["why"].endswith("von uns erhalten: „billing“.")
    found = read(link.removeprefix("https://shop.example.org/u/"), KEY, NOW)
    assert (found.tenant, found.customer, found.topic, found.expires_at) == ("t", "c", "billing", NOW + LASTS)


def test_a_mail_ends_in_the_language_in_which_it_is_written():
    billing = Topic("billing", "Invoices", sentences={"de": "Wo Ihre Rechnungen sind.", "fr": "Factures"})
    rules, contents = replace(RULES, notice_topics={"billing": billing}), Contents("https://shop.example.org", KEY)
    french = replace(ADA, profile={**ADA.profile, "locale": "fr-FR"})
    assert contents(rules, message(), ADA)["footer"]["why"].endswith("von uns erhalten: „Wo Ihre Rechnungen sind“.")
    # Without a French text the mail is English, and so is its end.
    assert contents(rules, message(), french)["footer"]["why"].endswith("messages of this kind from us: “Invoices”.")


@pytest.mark.parametrize("case", ["locked", "no url", "a team"])
def test_what_cannot_be_switched_off_has_no_link(case):
    contents = Contents(None if case == "no url" else "https://shop.example.org", KEY)
    body: dict[str, Any] = {"topic": None} if case == "locked" else {}
    person = Person("t", "team:care", known=True) if case == "a team" else ADA
    assert "unsubscribe" not in contents(RULES, message(**body), person)
