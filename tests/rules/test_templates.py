"""Texts of messages: complete or not sent at all, with no way out of the subject's line, and bounded."""

import unicodedata
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.templates import MAX_TEXT, BadTemplate, Blank, Template, parse
from tidings.contract import Field, Type
from tidings.event import DAY, HOUR, MINUTE, SECOND
from tidings.money import money

quickly = settings(deadline=None, derandomize=True, database=None, max_examples=200)

PLAN = Type("record", fields={
    "level": Field("level", Type("long")), "since": Field("since", Type("timestamp", nullable=True)),
    "price": Field("price", Type("money")),
})  # fmt: skip
TYPES = {
    "at": Type("timestamp"), "span": Type("duration"), "price": Type("money"), "plan": PLAN, "ratio": Type("double"),
    "paid": Type("boolean"),
}  # fmt: skip


def read(text: str) -> tuple[Template | None, BadTemplate | None]:
    """Return the template, or what is wrong with it."""
    try:
        return parse(text), None
    except BadTemplate as told:
        return None, told


def body(text: str, values: Mapping[str, Any]) -> str:
    return parse(f"Subject: s\n\n{text}").render(values, TYPES).text


SHOWN: list[tuple[str, Any, str]] = [
    ("name", "Ada", "Ada"), ("name", "Zoë 🙂", "Zoë 🙂"), ("count", 7, "7"), ("count", 0, "0"), ("count", -3, "-3"),
    ("paid", True, "yes"), ("paid", False, "no"),
    ("price", money(120, "EUR"), "120.00 EUR"), ("price", money(120, "JPY"), "120 JPY"),
    ("price", {"amount_minor": 5, "currency": "KWD"}, "0.005 KWD"),
    ("price", {"amount_minor": -1, "currency": "EUR"}, "-0.01 EUR"),
    ("price", {"amount_minor": 0, "currency": "EUR"}, "0.00 EUR"),
    ("at", 0, "1 January 1970, 00:00 UTC"), ("at", -1, "31 December 1969, 23:59 UTC"),
    ("at", 1_772_700_000 * SECOND, "5 March 2026, 08:40 UTC"),
    ("span", DAY, "1 day"), ("span", 3 * DAY, "3 days"), ("span", HOUR, "1 hour"), ("span", 2 * MINUTE, "2 minutes"),
    ("span", SECOND, "1 second"),
    ("ratio", "1/2", "0.5"), ("ratio", "1/3", "0.333333"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value", "shown"), SHOWN)
def test_a_value_is_shown_as_a_customer_reads_it(name: str, value: Any, shown: str) -> None:
    assert body(f"<{{{{ {name} }}}}>", {name: value}) == f"<{shown}>"


def test_subject_and_body_are_filled_and_everything_else_is_left_as_it_is() -> None:
    template = parse("Subject:  Hello {{name}}, {{ count }} times \n\n  {{ name }}\n\n{ name } } 50 % # {\n")
    rendered = template.render({"name": "Ada", "count": 2}, {})
    assert rendered.subject == "Hello Ada, 2 times"
    assert rendered.text == "  Ada\n\n{ name } } 50 % # {\n"


def test_lines_may_end_as_they_do_on_windows() -> None:
    template = parse("Subject: Hello\r\n\r\nfirst\r\nsecond")
    assert template == Template("Hello", "first\r\nsecond")


@pytest.mark.parametrize("text", ["Subject: Hello", "subject: Hello\n", "SUBJECT : Hello\n\n"])
def test_a_text_may_be_a_subject_alone(text: str) -> None:
    assert parse(text) == Template("Hello", "")


def test_parts_of_a_record_are_shown_with_their_own_types() -> None:
    plan = {"level": 3, "since": 0, "price": money(9, "EUR")}
    text = "{{ plan.level }} {{ plan.since }} {{ plan.price }}"
    assert body(text, {"plan": plan}) == "3 1 January 1970, 00:00 UTC 9.00 EUR"


def test_the_names_that_a_template_needs_are_those_of_its_values() -> None:
    template = parse("Subject: {{ name }}\n\n{{ plan.level }} {{plan.since}} {{ name }}")
    assert template.placeholders == {"name", "plan"}


MISSING: list[tuple[str, dict[str, Any]]] = [
    ("name", {}), ("name", {"name": None}), ("name", {"name": ""}), ("plan.level", {}), ("plan.level", {"plan": None}),
    ("plan.level", {"plan": {}}), ("plan.level", {"plan": {"level": None}}), ("plan.level", {"plan": 7}),
    ("plan.since.day", {"plan": {"since": 0}}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "values"), MISSING)
def test_a_value_that_is_missing_is_never_a_blank(name: str, values: dict[str, Any]) -> None:
    for text in (f"Subject: s\n\n{{{{ {name} }}}}", f"Subject: {{{{ {name} }}}}\n\n"):
        with pytest.raises(Blank, match=f"'{name}' has no value"):
            parse(text).render(values, TYPES)


MISTAKES: list[tuple[str, int, str]] = [
    ("", 1, "Subject"), ("\n", 1, "Subject"), ("Hello\n\nx", 1, "Subject"), ("Subject:\n\nx", 1, "Subject"),
    ("Subject: \n\nx", 1, "Subject"), ("Betreff: a\n\nx", 1, "Subject"), ("Subject a\n\nx", 1, "Subject"),
    ("\nSubject: a\n\nx", 1, "Subject"), ("Subject: a\nx", 2, "empty line"), ("Subject: a\nTo: b\n\nx", 2, "empty line"),
    ("Subject: {{ Name }}\n\n", 1, "{{ Name }}"), ("Subject: a\n\nx\n{{ a b }}", 4, "{{ a b }}"),
    ("Subject: a\n\n{{ a|upper }}", 3, "{{ a|upper }}"), ("Subject: a\n\n{{ a() }}", 3, "{{ a() }}"),
    ("Subject: a\n\n{{ a[0] }}", 3, "{{ a[0] }}"), ("Subject: a\n\n{{ }}", 3, "{{ }}"), ("Subject: a\n\n{{ a.  }}", 3, "{{ a.  }}"),
    ("Subject: a\n\n{{ .a }}", 3, "{{ .a }}"), ("Subject: a\n\n{{ a", 3, "{{"), ("Subject: a\n\n{{ a }\n{{ b }}", 3, "{{ a }"),
    ("Subject: a\n\n\n\n{% if a %}", 5, "{% if a %}"), ("Subject: a\n\n{% if", 3, "{%"), ("Subject: a\n\n{# a #}", 3, "{# a #}"),
    ("Subject: a\n\n{{ a.__class__.b() }}", 3, "__class__"), ("Subject: a\n\n{{ 1 }}", 3, "{{ 1 }}"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "part"), MISTAKES)
def test_a_mistake_is_told_with_its_line(text: str, line: int, part: str) -> None:
    with pytest.raises(BadTemplate) as told:
        parse(text)
    assert told.value.line == line
    assert part in told.value.text


INJECTIONS = ["\n", "\r", "\r\n", "\x00", "\x0b", "\x0c", "\x1b[2J", "\x7f"]


@pytest.mark.parametrize("bad", INJECTIONS)
def test_no_value_can_end_the_line_of_the_subject(bad: str) -> None:
    template = parse("Subject: Hello {{ name }}\n\nDear {{ name }}")
    with pytest.raises(ValueError, match="control character"):
        template.render({"name": f"Ada{bad}Bcc: everybody@example.org"}, {})


def test_a_line_break_in_the_body_is_text() -> None:
    assert body("{{ name }}", {"name": "a\nb"}) == "a\nb"


@pytest.mark.parametrize("value", ["{{ secret }}", "{{secret}}", "{% x %}", "\\1", "\\g<0>", "{0}", "%s", "{{ name }}"])
def test_a_value_is_text_and_is_not_read_again(value: str) -> None:
    rendered = parse("Subject: {{ name }}\n\n{{ name }}").render({"name": value, "secret": "x"}, {})
    assert (rendered.subject, rendered.text) == (value, value)


def test_a_name_reads_only_what_it_is_given() -> None:
    for name in ("name.__class__", "plan.__class__", "plan.items", "plan.get"):
        with pytest.raises(Blank):
            body(f"{{{{ {name} }}}}", {"name": "Ada", "plan": {"level": 1}})


def test_a_template_is_bounded() -> None:
    rest = MAX_TEXT - len("Subject: s\n\n")
    assert len(parse("Subject: s\n\n" + "x" * rest).body) == rest
    with pytest.raises(BadTemplate, match="at most") as told:
        parse("Subject: s\n\n" + "x" * (rest + 1))
    assert told.value.line == 1


HEAVY = ["{", "{{", "{%", "{{ ", "}}", "{{ a }} ", "{{ a.", "{{a", "{ {", "\n", " "]


@pytest.mark.parametrize("part", HEAVY)
def test_a_large_text_is_read_or_refused_at_once(part: str) -> None:
    """Quadratic work on 64 kB would take longer than the whole suite."""
    text = "Subject: s\n\n" + part * ((MAX_TEXT - 20) // len(part))
    template, mistake = read(text)
    if template is not None:
        assert len(template.render({"a": "1"}, {}).text) <= MAX_TEXT
    else:
        assert mistake is not None
        assert len(mistake.text) < 200


@quickly
@given(st.text(max_size=80) | st.text("Subject: {}%#ab.|_\n\r \t", max_size=60).map("Subject: ".__add__))
def test_any_text_is_a_template_or_a_mistake_in_one_of_its_lines(text: str) -> None:
    template, mistake = read(text)
    if template is None:
        assert mistake is not None
        assert 1 <= mistake.line <= max(2, text.count("\n") + 1)
        return
    try:
        rendered = template.render(dict.fromkeys(template.placeholders, "x"), {})
    except ValueError:
        return  # a part of a text, or a control character in the subject
    assert "{{" not in rendered.subject + rendered.text


@quickly
@given(st.text(min_size=1, max_size=30))
def test_a_subject_is_one_line_or_refused(name: str) -> None:
    try:
        rendered = parse("Subject: Hello {{ name }}\n\n{{ name }}").render({"name": name}, {})
    except ValueError:
        assert not name.strip() or any(unicodedata.category(letter) in ("Cc", "Zl", "Zp") for letter in name)
        return
    assert rendered.subject == f"Hello {name}"
    assert rendered.text == name
    # What this lets through is a header of one line, for the library that writes it too.
    assert len(rendered.subject.splitlines()) == 1
