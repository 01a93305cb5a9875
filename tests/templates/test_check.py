"""A template against the types of its values, in both directions, before anything is sent."""

import pytest

from handlers.templates import CHANNELS, Problem, parse
from tests.templates.scope import TYPES
from tidings.contract import Type

CHECKED: list[tuple[str, str, int, str, str | None]] = [
    ("{{ nme }}", "R122", 4, "the template needs 'nme', which 'with' does not give", "name"),
    ("{{ zzz|default('x') }}", "R122", 4, "which 'with' does not give", None),
    ("{% if statsu == 'open' %}x{% endif %}", "R122", 7, "needs 'statsu'", "status"),
    ("{% for x in itms %}x{% endfor %}", "R122", 13, "needs 'itms'", "items"),
    ("{{ price.curency }}", "R123", 10, "'price' is an amount and has no field 'curency'", "price.currency"),
    ("{{ plan.levle }}", "R123", 9, "'plan' is a record and has no field 'levle'", "plan.level"),
    ("{{ plan.price.x }}", "R123", 15, "'plan.price' is an amount and has no field 'x'", None),
    ("{{ name.first }}", "R123", 9, "'name' is a text and has no field 'first'", None),
    ("{{ price.amount_minor }}", "R123", 10, "has no field 'amount_minor'", None),
    ("{% for item in items %}{{ item.nam }}{% endfor %}", "R123", 32, "has no field 'nam'", "item.name"),
    ("{% for c in name %}x{% endfor %}", "R123", 13, "'name' is a text, not a list", None),
    ("{{ paid }}", "R123", 1, "'paid' is a yes or no; ask with {% if paid %}", None),
    ("{{ plan }}", "R123", 1, "name one of its fields: level, since, price", None),
    ("{{ tags }}", "R123", 1, "use a loop, or join", "tags|join"), ("{{ items|join }}", "R123", 10, "not a records", None),
    ("{{ name|money }}", "R123", 9, "'money' cannot be used on a text", None), ("{{ name|date }}", "R123", 9, "'date' cannot be used on a text", None),
    ("{{ price|date }}", "R123", 10, "'date' cannot be used on an amount", "money"), ("{{ at|upper }}", "R123", 7, "cannot be used on a time", None),
    ("{{ span|date }}", "R123", 9, "cannot be used on a duration", "duration"), ("{{ count|join }}", "R123", 10, "cannot be used on a number", None),
    ("{{ at|default('x')|date }}", "R123", 20, "'date' cannot be used on a text", None), ("{{ tags|upper }}", "R123", 9, "on a list", "join"),
    ("{% if price > 5 %}x{% endif %}", "R123", 7, "amounts are not compared here", None), ("{% if name > 'a' %}x{% endif %}", "R123", 7, "'>' compares numbers and times", None),
    ("{% if name == 5 %}x{% endif %}", "R123", 7, "a text is not compared with a number", None), ("{% if at == span %}x{% endif %}", "R123", 7, "a time is not compared with", None),
    ("{% if status == 'opne' %}x{% endif %}", "R123", 17, "'opne' is none of open, late, paid", "open"),
    ("{% if status in ['open', 'payd'] %}x{% endif %}", "R123", 17, "'payd' is none of", "paid"), ("{% if paid > false %}x{% endif %}", "R123", 7, "compares numbers", None),
    ("https://h/{{ price }}", "R123", 11, "a link may hold texts and whole numbers, not an amount", None),
    ("{% if paid.x %}x{% endif %}", "R123", 12, "'paid' is a yes or no and has no field 'x'", None),
]  # fmt: skip


@pytest.mark.parametrize(("text", "code", "column", "part", "hint"), CHECKED)
def test_a_template_that_does_not_fit_its_values_is_told(
    text: str, code: str, column: int, part: str, hint: str | None
) -> None:
    found = parse(text).check(TYPES, "sms")
    assert [(one.code, one.line, one.column, one.hint, one.severity) for one in found] == [
        (code, 1, column, hint, "error")
    ]
    assert part in found[0].text


NULLABLE: list[tuple[str, list[str]]] = [
    ("{{ note }}", ["note"]), ("{{ note|upper }}", ["note"]), ("{{ maybe.level }}", ["maybe.level"]), ("{{ plan.since }}", ["plan.since"]), ("{{ labels.a }}", ["labels.a"]),
    ("{{ note|default('x') }}", []), ("{{ note|upper|default('x') }}", []), ("{% if note %}{{ note }}{% endif %}", []), ("{% if note %}x{% else %}{{ note }}{% endif %}", ["note"]),
    ("{% if not note %}x{% else %}{{ note }}{% endif %}", []), ("{% if note and paid %}{{ note }}{% endif %}", []), ("{% if note or paid %}{{ note }}{% endif %}", ["note"]),
    ("{% if not (note and paid) %}{{ note }}{% else %}{{ note }}{% endif %}", ["note"]), ("{% if not note %}x{% elif paid %}{{ note }}{% endif %}", []),
    ("{% if maybe %}{{ maybe.level }}{% endif %}", ["maybe.level"]), ("{% if maybe.level %}{{ maybe.level }}{% endif %}", []), ("{% if note == 'x' %}{{ note }}{% endif %}", ["note"]),
    ("{% if note and note == 'x' %}y{% endif %}", []), ("{% if not note or note == 'x' %}y{% endif %}", []), ("{{ name }}", []),
    ("{% for item in items %}{{ item.note }}{% endfor %}", ["item.note"]), ("{% for item in items %}{% if item.note %}{{ item.note }}{% endif %}{% endfor %}", []),
    ("{% if note %}{% for note in items %}{{ note.note }}{% endfor %}{{ note }}{% endif %}", ["note.note"]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "names"), NULLABLE)
def test_what_may_be_null_and_is_not_dealt_with_is_warned_of(text: str, names: list[str]) -> None:
    found = parse(text).check(TYPES, "sms")
    assert [one.text for one in found] == [f"'{name}' may be null, and then the message is not sent" for name in names]
    for one, name in zip(found, names, strict=True):
        assert (one.code, one.severity, one.hint) == ("R125", "warning", f'{name}|default("…")')


HEADERS: list[tuple[str, str, list[tuple[str, str]]]] = [
    ("email", "x", [("R124", "email needs a 'Subject: …' line at the top")]), ("email", "Title: t\n\nx", [("R124", "email needs a 'Subject")]), ("email", "Subject: s\n\nx", []),
    ("push", "x", [("R124", "push needs a 'Title: …' line")]), ("ticket", "Subject: s\n\nx", [("R124", "ticket needs a 'Title")]), ("ticket", "Title: t\n\nx", []),
    ("sms", "x", []), ("slack", "x", []), ("teams", "Title: t\n\nx", []), ("sms", "Subject: s\n\nx", [("R124", "a text message has no subject; this line is not sent")]),
    ("sms", "", [("R120", "the text is empty")]), ("webhook", "x", [("R124", "no template is made for 'webhook'")]), ("fax", "x", [("R124", "no template is made for 'fax'")]),
]  # fmt: skip


@pytest.mark.parametrize(("channel", "text", "problems"), HEADERS)
def test_a_channel_says_which_lines_it_needs(channel: str, text: str, problems: list[tuple[str, str]]) -> None:
    found = parse(text).check(TYPES, channel)
    assert [one.code for one in found] == [code for code, _ in problems]
    for one, (_, part) in zip(found, problems, strict=True):
        assert part in one.text


def test_all_mistakes_are_told_at_once_each_once_and_in_their_order() -> None:
    text = (
        "Subject: {{ nme }}\nPreheader: {{ cuont }}\n\n**{{ nme }}** {{ paid }}\n[x](https://h/{{ price }})\n{{ note }}"
    )
    found = parse(text).check(TYPES, "email")
    assert [(one.code, one.line, one.column) for one in found] == [
        ("R122", 1, 13), ("R122", 2, 15), ("R122", 4, 6), ("R123", 4, 15), ("R123", 5, 15), ("R125", 6, 4),
    ]  # fmt: skip


def test_headers_of_other_channels_are_not_held_against_this_one() -> None:
    template = parse("Subject: {{ nme }}\nTitle: {{ name }}\n\nx")
    assert template.check(TYPES, "push") == ()
    assert [one.code for one in template.check(TYPES, "email")] == ["R122"]
    assert template.placeholders == {"nme", "name"}


def test_types_that_nobody_knows_are_not_guessed_at() -> None:
    types = {"a": Type("array"), "b": Type("record"), "c": Type("map")}
    assert (
        parse("{{ a|join }}{% for x in a %}{{ x.y.z|date }}{{ x }}{% endfor %}{{ b.c|money }}").check(types, "sms")
        == ()
    )
    assert [one.code for one in parse("{{ c.d.e }}").check(types, "sms")] == []


def test_a_checked_template_renders_wherever_nothing_is_null() -> None:
    text = "Subject: {{ name }}\nTitle: {{ count }}\n\n{{ price }} {{ at|date }} {% for item in items %}{{ item.price }}{% endfor %} {{ tags|join }}"
    values = {
        "name": "a", "count": 1, "price": {"amount_minor": 1, "currency": "EUR"}, "at": 0, "tags": ["a"],
        "items": [{"name": "a", "price": {"amount_minor": 1, "currency": "EUR"}, "note": None}],
    }  # fmt: skip
    template = parse(text)
    for channel in CHANNELS:
        assert not [one for one in template.check(TYPES, channel) if one.severity == "error"]
        assert template.render(channel, values, TYPES)


def test_a_problem_is_a_plain_value() -> None:
    assert Problem("R122", "x", 1, 2) == Problem("R122", "x", 1, 2, None, "error")
