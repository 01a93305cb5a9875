"""Texts: exact, complete or not sent at all, and no way out of the subject's line."""

import pytest

from handlers.templates import BadTemplate, Blank, parse
from tests.rules.scope import MONEY
from tidings.contract import Field, Type
from tidings.event import DAY, HOUR, SECOND

TYPES = {
    "amount": MONEY, "at": Type("timestamp"), "span": Type("duration"), "ok": Type("boolean"), "rate": Type("double"),
    "plan": Type("record", fields={"since": Field("since", Type("timestamp"))}),
}  # fmt: skip


def rendered(text: str, **values) -> str:
    return parse(f"Subject: s\n\n{text}").render(values, TYPES).text


@pytest.mark.parametrize(("name", "value", "shown"), [
    ("amount", {"amount_minor": 1050, "currency": "EUR"}, "10.50 EUR"),
    ("amount", {"amount_minor": 1050, "currency": "JPY"}, "1050 JPY"),
    ("amount", {"amount_minor": -5, "currency": "BHD"}, "-0.005 BHD"),
    ("at", 1_772_700_000 * SECOND, "5 March 2026, 08:40 UTC"),
    ("span", 2 * DAY, "2 days"), ("span", HOUR, "1 hour"), ("ok", True, "yes"), ("rate", "7/2", "3.5"),
    ("name", "Ada", "Ada"), ("count", 0, "0"),
])  # fmt: skip
def test_a_value_is_shown_as_a_customer_reads_it(name, value, shown):
    assert rendered(f"[{{{{ {name} }}}}]", **{name: value}) == f"[{shown}]"


def test_a_part_of_a_record_is_shown():
    assert rendered("{{ plan.since }}", plan={"since": 0}) == "1 January 1970, 00:00 UTC"


@pytest.mark.parametrize("values", [{}, {"name": None}, {"name": ""}])
def test_a_blank_is_never_sent(values):
    with pytest.raises(Blank, match="'name' has no value"):
        rendered("Hello {{ name }}", **values)


def test_what_a_customer_is_called_cannot_add_a_header():
    template = parse("Subject: Hello {{ name }}\n\nx")
    with pytest.raises(ValueError, match="control character"):
        template.render({"name": "Ada\r\nBcc: everybody@example.org"}, {})


def test_a_value_is_text_and_never_a_template():
    assert rendered("{{ name }}", name="{{ secret }}", secret="x") == "{{ secret }}"


@pytest.mark.parametrize("text", ["{% for x in y %}", "{{ a | upper }}", "{{ a.b() }}", "{{", "{# note #}", "{{ A }}"])
def test_more_than_placeholders_is_refused_with_its_line(text):
    with pytest.raises(BadTemplate) as told:
        parse(f"Subject: s\n\nfine\n{text}\n")
    assert told.value.line == 4


def test_a_template_is_bounded():
    with pytest.raises(BadTemplate, match="at most"):
        parse("Subject: s\n\n" + "x" * 100_000)
