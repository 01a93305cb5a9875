"""Values in texts: worded for a person, or the message is not sent."""

import datetime as dt
from typing import Any

import pytest

from handlers.templates import MAX_RENDERED, Blank, parse
from tests.templates.scope import TYPES, VALUES, email, sms
from tidings.contract import Type
from tidings.event import DAY, HOUR, MINUTE, SECOND
from tidings.money import money


def micros(*at: int) -> int:
    return int(dt.datetime(*at, tzinfo=dt.UTC).timestamp()) * SECOND  # type: ignore[arg-type,misc]


SHOWN: list[tuple[str, Any, str]] = [
    ("name", "Ada", "Ada"), ("name", "Zoë 🙂", "Zoë 🙂"), ("count", 7, "7"), ("count", 0, "0"), ("count", -3, "-3"),
    ("count", 2**63 - 1, "9,223,372,036,854,775,807"), ("count", 1000, "1,000"),
    ("price", money(120, "EUR"), "€120.00"), ("price", money(120, "JPY"), "JP¥120"), ("price", money(5, "CHF"), "CHF\xa05.00"),
    ("price", {"amount_minor": 5, "currency": "KWD"}, "KWD\xa00.005"), ("price", {"amount_minor": 1001, "currency": "HUF"}, "HUF\xa010.01"),
    ("price", {"amount_minor": -1, "currency": "EUR"}, "-€0.01"), ("price", {"amount_minor": 0, "currency": "EUR"}, "€0.00"),
    ("price", {"amount_minor": "100/3", "currency": "EUR"}, "€0.33"), ("price", {"amount_minor": "-1/3", "currency": "EUR"}, "€0.00"),
    ("price", {"amount_minor": "1/2", "currency": "EUR"}, "€0.01"), ("price", {"amount_minor": 2**63 - 1, "currency": "EUR"}, "€92,233,720,368,547,758.07"),
    ("at", 0, "1 January 1970, 00:00 UTC"), ("at", -1, "31 December 1969, 23:59 UTC"),
    ("at", 1_772_700_000 * SECOND, "5 March 2026, 08:40 UTC"),
    ("span", DAY, "1 day"), ("span", 3 * DAY + 5, "3 days"), ("span", HOUR, "1 hour"), ("span", 2 * MINUTE, "2 minutes"),
    ("span", SECOND, "1 second"), ("span", 2 * DAY + 3 * HOUR + MINUTE, "2 days 3 hours"), ("span", DAY + MINUTE, "1 day"),
    ("span", -90 * MINUTE, "-1 hour 30 minutes"), ("span", 20, "0 seconds"),
    ("ratio", "1/2", "0.5"), ("ratio", "1/3", "0.333"), ("ratio", "1234567", "1,234,567"), ("ratio", "1/10000", "0.0001"),
    ("ratio", 7, "7"), ("ratio", "0.1", "0.1"), ("ratio", "-2/3", "-0.667"), ("status", "late", "late"), ("plan.level", None, "2"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value", "shown"), SHOWN)
def test_a_value_is_shown_as_a_customer_reads_it(name: str, value: Any, shown: str) -> None:
    values = {} if value is None else {name: value}
    assert email(f"({{{{ {name} }}}})", values)["text"] == f"({shown})\n"


FILTERED: list[tuple[str, str]] = [
    ("at|date", "29 March 2026"), ('at|date("short")', "29/03/2026"), ('at|date("full")', "Sunday, 29 March 2026"),
    ("at|time", "00:30"), ("at|datetime", "29 March 2026, 00:30 UTC"), ('at|datetime("short")', "29/03/2026, 00:30 UTC"),
    ('price|money("code")', "EUR\xa0120.00"), ("price|money", "€120.00"), ("ratio|percent", "80%"), ("ratio|percent(1)", "80.0%"),
    ("ratio|number(2)", "0.80"), ("count|number", "3"), ("count|number(1)", "3.0"), ('span|duration("short")', "2 hrs"),
    ("name|upper", "ADA"), ("name|lower", "ada"), ("name|upper|lower", "ada"), ("name|truncate(40)", "Ada"),
    ('"A long sentence here"|truncate(12)', "A long…"), ('"Abcdefghijklmnop"|truncate(5)', "Abcd…"),
    ('"Zoe\u0301e\u0301e\u0301"|truncate(4)', "Zo…"), ('note|default("none yet")', "none yet"), ('name|default("x")', "Ada"),
    ('maybe.since|date|default("never")', "never"), ('maybe.since|default("never")', "never"), ('at|default("x")', "29 March 2026, 00:30 UTC"),
    ("tags|join", "new, warm"), ('tags|join(" / ")', "new / warm"), ("tags|join|upper", "NEW, WARM"), ('"plain"', "plain"),
    ('missing|default("x")|upper', "X"), ("at|date|upper", "29 MARCH 2026"), ("price.currency", "EUR"), ("labels.a", "x"), ("5", "5"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "shown"), FILTERED)
def test_a_filter_says_how(value: str, shown: str) -> None:
    assert email(f"{{{{ {value} }}}}")["text"] == f"{shown}\n"


NIGHT = (micros(2026, 3, 29, 0, 59), micros(2026, 3, 29, 1, 0))
EVERYTHING = "{{ at }} / {{ at|date('short') }} / {{ price }} / {{ count }} / {{ ratio|percent(1) }} / {{ span }}"
GOLDEN: list[tuple[str, str, int, str]] = [
    ("en_GB", "Europe/London", NIGHT[0], "29 March 2026, 00:59 GMT / 29/03/2026 / -€1,234,567.89 / 1,234,567 / 80.5% / 2 days 3 hours"),
    ("en_GB", "Europe/London", NIGHT[1], "29 March 2026, 02:00 BST / 29/03/2026 / -€1,234,567.89 / 1,234,567 / 80.5% / 2 days 3 hours"),
    ("de_DE", "Europe/Berlin", NIGHT[0], "29. März 2026, 01:59 MEZ / 29.03.26 / -1.234.567,89\xa0€ / 1.234.567 / 80,5\xa0% / 2 Tage 3 Stunden"),
    ("de_DE", "Europe/Berlin", NIGHT[1], "29. März 2026, 03:00 MESZ / 29.03.26 / -1.234.567,89\xa0€ / 1.234.567 / 80,5\xa0% / 2 Tage 3 Stunden"),
    (
        "fr_FR", "Europe/Paris", micros(2026, 10, 25, 0, 30),
        "25 octobre 2026, 02:30 UTC+02:00 / 25/10/2026 / -1\u202f234\u202f567,89\xa0€ / 1\u202f234\u202f567 / 80,5\xa0% / 2\xa0jours 3\xa0heures",
    ),
    (
        "fr_FR", "Europe/Paris", micros(2026, 10, 25, 1, 30),
        "25 octobre 2026, 02:30 UTC+01:00 / 25/10/2026 / -1\u202f234\u202f567,89\xa0€ / 1\u202f234\u202f567 / 80,5\xa0% / 2\xa0jours 3\xa0heures",
    ),
    ("ja_JP", "Asia/Tokyo", NIGHT[0], "2026年3月29日 9:59 JST / 2026/03/29 / -€1,234,567.89 / 1,234,567 / 80.5% / 2 日 3 時間"),
    ("ja_JP", "Asia/Tokyo", NIGHT[1], "2026年3月29日 10:00 JST / 2026/03/29 / -€1,234,567.89 / 1,234,567 / 80.5% / 2 日 3 時間"),
    (
        "ar_EG", "Africa/Cairo", micros(2026, 4, 23, 21, 59),
        "23 أبريل 2026، 11:59 م غرينتش+02:00 / 23\u200f/4\u200f/2026 / \u200f-1,234,567.89\xa0€ / 1,234,567 / 80.5% / يومان 3 ساعات",
    ),
    (
        "ar_EG", "Africa/Cairo", micros(2026, 4, 23, 22, 0),
        "24 أبريل 2026، 1:00 ص غرينتش+03:00 / 24\u200f/4\u200f/2026 / \u200f-1,234,567.89\xa0€ / 1,234,567 / 80.5% / يومان 3 ساعات",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("locale", "zone", "at", "shown"), GOLDEN)
def test_values_are_worded_by_locale_and_zone_across_a_change_of_the_clocks(
    locale: str, zone: str, at: int, shown: str
) -> None:
    values = {
        "at": at, "price": {"amount_minor": -123_456_789, "currency": "EUR"}, "count": 1_234_567, "ratio": "8051/10000",
        "span": 2 * DAY + 3 * HOUR + 5,
    }  # fmt: skip
    assert email(EVERYTHING, values, locale, zone)["text"] == f"{shown}\n"


@pytest.mark.parametrize("locale", [None, "", "xx", "tlh-AQ", "../../etc/passwd", "de" * 40, "\x00", "-", "en_ZZ"])
def test_an_unknown_locale_is_english(locale: str | None) -> None:
    assert email("{{ at|date }}", locale=locale)["text"] in ("March 29, 2026\n", "29 March 2026\n")


@pytest.mark.parametrize("locale", ["de-AT", "de_at", "de_XX", "de-Latn-DE", "DE"])
def test_the_language_of_an_unknown_region_is_kept(locale: str) -> None:
    assert email("{{ at|date }}", locale=locale)["text"] == "29. März 2026\n"


def test_an_unknown_zone_is_the_fallback_and_else_utc() -> None:
    template = parse("{{ at|datetime }}")
    for zone in (None, "", "Mars/Base", "../../etc/passwd", "/etc/passwd", "\x00", "Europe"):
        assert template.render("sms", VALUES, TYPES, "en_GB", zone)["text"] == "29 March 2026, 00:30 UTC"
        told = template.render("sms", VALUES, TYPES, "en_GB", zone, fallback_zone="Asia/Tokyo")["text"]
        assert told.startswith("29 March 2026, 09:30 ")


MISSING: list[tuple[str, dict[str, Any]]] = [
    ("other", {}), ("name", {"name": None}), ("name", {"name": ""}), ("name", {"name": " \t\n"}), ("name", {"name": "\u200b\x00"}),
    ("plan.level", {"plan": None}), ("plan.level", {"plan": {}}), ("plan.level", {"plan": {"level": None}}),
    ("plan.level", {"plan": 7}), ("plan.since.day", {"plan": {"since": 0}}), ("name|upper", {"name": None}),
    ("at|date", {"at": None}), ("tags|join", {"tags": []}), ("name.items", {}), ("plan.get", {}), ("plan.values", {}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "values"), MISSING)
def test_a_value_that_is_missing_is_never_a_blank(name: str, values: dict[str, Any]) -> None:
    for text in (f"Subject: s\n\n{{{{ {name} }}}}", f"Subject: {{{{ {name} }}}}\n\n"):
        with pytest.raises(Blank, match=f"'{name.partition('|')[0]}' has no value"):
            parse(text).render("email", VALUES | values, TYPES)


def test_a_message_that_says_nothing_is_not_sent() -> None:
    with pytest.raises(Blank, match="the text says nothing"):
        sms("{% if note %}{{ note }}{% endif %}")
    with pytest.raises(Blank, match="the text says nothing"):
        email("{% if note %}\nA note.\n{% endif %}")
    with pytest.raises(Blank, match="the subject says nothing"):
        parse("Subject: {% if note %}x{% endif %}\n\nx").render("email", VALUES, TYPES)
    with pytest.raises(Blank, match="the template has no title"):
        parse("x").render("push", VALUES, TYPES)
    assert parse("Subject: all there is").render("email", VALUES, TYPES)["text"] == "\n"


ASKED: list[tuple[str, str]] = [
    ("name", "yes"), ("note", "no"), ("maybe.since", "no"), ("paid", "yes"), ("not paid", "no"), ("items", "yes"),
    ("count > 2", "yes"), ("count >= 4", "no"), ("count == 3", "yes"), ("count < 3.5", "yes"), ("ratio == 0.8", "yes"),
    ("status == 'open'", "yes"), ("status != 'open'", "no"), ("status in ['late', 'open']", "yes"), ("status not in ('late',)", "yes"),
    ("count in [1, 2]", "no"), ("paid == true", "yes"), ("note or name", "yes"), ("note and note == 'x'", "no"),
    ("not note and count", "yes"), ("(note or paid) and count == 3", "yes"), ("plan.price", "yes"), ("count == ratio", "no"), ("at", "yes"),
    ("true", "yes"), ("at == at", "yes"), ("span <= span", "yes"),
]  # fmt: skip


@pytest.mark.parametrize(("condition", "said"), ASKED)
def test_a_question_may_be_asked(condition: str, said: str) -> None:
    assert sms(f"{{% if {condition} %}}yes{{% else %}}no{{% endif %}}") == said


@pytest.mark.parametrize(("name", "value"), [
    ("count", 0), ("ratio", "0"), ("ratio", "0/1"), ("span", 0), ("price", {"amount_minor": 0, "currency": "EUR"}), ("items", []),
    ("name", " "), ("paid", False), ("count", None),
])  # fmt: skip
def test_nothing_zero_and_no_are_not_there(name: str, value: Any) -> None:
    assert sms(f"{{% if {name} %}}yes{{% else %}}no{{% endif %}}", {name: value}) == "no"
    assert sms("{% if at %}yes{% endif %}", {"at": 0}) == "yes"


def test_what_is_missing_is_not_compared() -> None:
    with pytest.raises(Blank, match="'note' has no value"):
        sms("{% if note == 'x' %}a{% else %}b{% endif %}")


def test_the_first_branch_that_holds_is_written() -> None:
    text = "{% if count == 1 %}one{% elif count == 3 %}three{% elif count == 3 %}again{% else %}many{% endif %}"
    assert [sms(text, {"count": number}) for number in (1, 3, 9)] == ["one", "three", "many"]


def test_a_loop_goes_over_a_list() -> None:
    text = "{% for item in items %}{{ loop.index }}. {{ item.name }} {{ item.price }}{% if not loop.last %}; {% endif %}{% endfor %}"
    assert sms(text) == "1. Tea €4.50; 2. Cup €12.50"


def test_the_name_in_a_loop_hides_one_outside_and_gives_it_back() -> None:
    assert sms("{{ name }} {% for name in tags %}{{ name }} {% endfor %}{{ name }}") == "Ada new warm Ada"


def test_a_loop_over_nothing_is_a_blank_unless_it_says_what_then() -> None:
    nothing: tuple[Any, ...] = ([], None)
    for value in nothing:
        with pytest.raises(Blank, match="'tags' has no value"):
            sms("x{% for tag in tags %}{{ tag }}{% endfor %}", {"tags": value})
        assert sms("{% for tag in tags %}{{ tag }}{% else %}none{% endfor %}", {"tags": value}) == "none"


def test_a_list_is_bounded() -> None:
    text = "{% for tag in tags %}{{ tag }}{% endfor %}"
    assert sms(text, {"tags": ["a"] * 100}) == "a" * 100
    for body in (text, "{{ tags|join }}"):
        with pytest.raises(ValueError, match="101 items; at most 100"):
            sms(body, {"tags": ["a"] * 101})


def test_what_is_written_is_bounded() -> None:
    with pytest.raises(ValueError, match=f"more than {MAX_RENDERED}"):
        email("{{ name }} " * 500, {"name": "x" * 10_000})
    with pytest.raises(ValueError, match=f"more than {MAX_RENDERED}"):
        email("{% for tag in tags %}{{ name }}{% endfor %}", {"name": "x" * 10_000, "tags": ["a"] * 100})
    with pytest.raises(ValueError, match="more than 900"):
        parse("Subject: {{ name }}\n\nx").render("email", {"name": "x" * 901}, TYPES)


def test_a_line_of_tags_alone_leaves_no_line_behind() -> None:
    text = "a\n{% if paid %}\n  {# why #}\nb {# here #}\n{% endif %}{% if note %}\nc\n{% endif %}\nd"
    assert sms(text) == "a\nb \nd"


@pytest.mark.parametrize(
    "bad", ["\n", "\r", "\r\n", "\x00", "\x0b", "\x0c", "\x1b[2J", "\x7f", "\u2028", "\u2029", "\x85"]
)
def test_no_value_can_end_the_line_of_a_header(bad: str) -> None:
    values = VALUES | {"name": f"Ada{bad}Bcc: everybody@example.org"}
    for channel, head in (
        ("email", "Subject"),
        ("push", "Title"),
        ("slack", "Title"),
        ("teams", "Title"),
        ("ticket", "Title"),
    ):
        with pytest.raises(ValueError, match="control character"):
            parse(f"{head}: Hello {{{{ name }}}}\n\nDear").render(channel, values, TYPES)
    with pytest.raises(ValueError, match="control character"):
        parse("Subject: x\nPreheader: {{ name }}\n\nDear").render("email", values, TYPES)


def test_a_text_keeps_its_lines_and_loses_its_controls() -> None:
    assert sms("{{ name }}", {"name": "a\r\nb\tc\x1b[2J\x00\x9b\rd"}) == "a\nb\tc[2J\nd"


@pytest.mark.parametrize(
    "value", ["{{ secret }}", "{{secret}}", "{% x %}", "\\1", "\\g<0>", "{0}", "%s", "{{ name }}", "zq0zs0x", "{#"]
)
def test_a_value_is_text_and_is_not_read_again(value: str) -> None:
    values = {"name": value, "secret": "x"}
    rendered = parse("Subject: {{ name }}\n\n{{ name }}").render("email", values, TYPES)
    assert (rendered["subject"], rendered["text"]) == (value, f"{value}\n")


WRONG: list[tuple[str, dict[str, Any]]] = [
    ("at", {"at": 10**30}), ("price", {"price": {"currency": "EUR"}}), ("price", {"price": {"amount_minor": 1, "currency": "secret!"}}),
    ("price", {"price": {"amount_minor": "secret", "currency": "EUR"}}), ("price", {"price": {"amount_minor": 10**40, "currency": "EUR"}}),
    ("ratio", {"ratio": "secret"}), ("ratio", {"ratio": "1/0"}), ("ratio", {"ratio": "1e999999999"}), ("name", {"name": object()}),
    ("paid", {}), ("plan", {}), ("tags", {}), ("name", {"name": b"secret"}), ("name|date", {}), ("at|upper", {}), ("tags|upper", {}),
    ("name", {"name": {"secret": 1}}), ("name", {"name": ["secret"]}), ("span", {"span": "secret"}), ("count", {"count": 10**30}),
    ("items|join", {}), ("count", {"count": 1.5}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "values"), WRONG)
def test_whatever_a_value_is_the_message_fails_with_a_value_error_that_does_not_quote_it(
    name: str, values: dict[str, Any]
) -> None:
    if name == "span":
        assert sms("{{ span }}", values) == "secret"  # a text is a text
        return
    with pytest.raises(ValueError, match=r"cannot|currency") as told:
        email(f"{{{{ {name} }}}}", values)
    assert "secret" not in str(told.value)
    assert told.value.__context__ is None
    assert told.value.__cause__ is None


class Loud(str):
    """A text that would have something to say."""

    __slots__ = ()

    def __html__(self) -> str:
        return "<b>markup</b>"

    def __str__(self) -> str:
        return "<b>markup</b>"

    def translate(self, table: Any, /) -> str:
        return "<b>markup</b>"

    def __format__(self, spec: str, /) -> str:
        return "<b>markup</b>"


def test_no_method_of_a_value_is_called() -> None:
    for value in ("{{ name }}", "{{ name|upper }}", "[x](https://h/{{ name }})", "{{ name|truncate(9) }}"):
        assert "markup" not in email(value, {"name": Loud("quiet")})["html"]


def test_types_may_be_unknown() -> None:
    values = {"a": "x", "b": 7, "c": {"amount_minor": 1, "currency": "EUR"}, "d": [1, 2], "e": {"f": "y"}}
    assert (
        parse("{{ a }} {{ b }} {{ c }} {{ d|join }} {{ e.f }}").render("sms", values, {}, "en")["text"]
        == "x 7 €0.01 1, 2 y"
    )


def test_a_render_changes_nothing_of_what_it_is_given() -> None:
    values, types = dict(VALUES), dict(TYPES)
    sms("{% for item in items %}{{ item.name }}{% endfor %}", values)
    assert (values, types) == (VALUES, TYPES)
    assert isinstance(types["at"], Type)


def test_a_channel_that_takes_no_template_is_refused() -> None:
    with pytest.raises(ValueError, match="'webhook'"):
        parse("x").render("webhook", {}, {})
