"""Whatever stands in a file or in an event: a message, or a sentence that says why not; with bounded work."""

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.templates import CHANNELS, MAX_TEXT, BadTemplate, Template, parse
from tests.templates.scope import TYPES, VALUES

quickly = settings(deadline=None, derandomize=True, database=None, max_examples=300)

PARTS = [
    "{{ name }}", "{{ price|money('code') }}", "{% if paid %}", "{% endif %}", "{% else %}", "{% for item in items %}", "{% endfor %}", "{{ item.name }}", "{{ loop.index }}",
    "{# a #}", "{{", "}}", "{%", "%}", "{#", "#}", "{%-", "-%}", "[x](https://h/{{ id }})", "[", "](", ")", "**", "*", "_", "`", "> ", "- ", "1. ", "# ", "\n", "\n\n", "  ",
    "<https://h/{{ id }}>", "\\", "<b>", "&amp;", "https://h/", "|", "default('x')", "Subject: ", "Title: ", ":", "é", "🙂", "\u202e", "\x00", "\u2028", "zq0zs0x", "zq0zb1x",
]  # fmt: skip
SOURCES = [
    ("Subject: Hello {{ name }}\nPreheader: {{ count }}\nTitle: {{ name }}\n\n# Hi {{ name }}\n\n{% if paid %}\nPaid **{{ price }}** on {{ at|date }}.\n{% else %}\n"
    "[Pay](https://h.example/i/{{ id }}) until {{ at }}.\n{% endif %}\n\n{% for item in items %}\n- {{ item.name }}: {{ item.price }}\n{% endfor %}\n\n> {{ note|default('none') }}\n"),
    "{{ name }}, your code is {{ id }}. {% if count > 2 and status in ['open', 'late'] %}{{ tags|join(', ') }}{% endif %} https://h.example/{{ id }}",
    "Title: {{ status }}\n\n1. a\n{% for tag in tags %}\n1. {{ tag|upper|truncate(9) }}{% if not loop.last %};{% endif %}\n{% else %}\nnone\n{% endfor %}\n{{ ratio|percent(1) }} {{ span }}",
]  # fmt: skip


def read(text: str) -> tuple[Template | None, BadTemplate | None]:
    """Return the template, or what is wrong with it."""
    try:
        return parse(text), None
    except BadTemplate as told:
        return None, told


def used(text: str) -> str:
    """Return what became of a template: every step either works, or says why not where it stands."""
    template, bad = read(text)
    if template is None:
        assert bad is not None
        lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        assert 1 <= bad.line <= len(lines)
        assert 1 <= bad.column <= len(lines[bad.line - 1]) + 2
        assert len(bad.text) < 300
        return "bad"
    for channel in CHANNELS:
        for one in template.check(TYPES, channel):
            assert 1 <= one.line <= text.count("\n") + text.count("\r") + 1
            assert one.column >= 1
        assert len(rendered(template, channel, VALUES)) < 600_000
    return "read"


def rendered(template: Template, channel: str, values: dict[str, Any]) -> str:
    """Return all that a message says, or why it is none."""
    try:
        content = template.render(channel, values, TYPES, "de_DE", "Europe/Berlin")
    except ValueError as fault:
        return str(fault)
    return "".join(value for value in content.values() if isinstance(value, str))


def mutated(chance: random.Random, text: str) -> str:
    for _ in range(chance.randint(1, 6)):
        at = chance.randint(0, len(text))
        end = min(len(text), at + chance.randint(0, 12))
        match chance.randint(0, 5):
            case 0:
                text = text[:at] + text[end:]
            case 1:
                text = text[:at] + chance.choice(PARTS) + text[at:]
            case 2:
                text = text[:at] + chance.choice(PARTS) + text[end:]
            case 3:
                text = text[:at] + text[at:end] * 3 + text[end:]
            case 4:
                text = text[:at] + chr(chance.choice([chance.randint(0, 0x7F), chance.randint(0, 0x2FFF)])) + text[at:]
            case _:
                other = chance.randint(0, len(text))
                text = text[:at] + text[other : other + 15] + text[at:]
    return text


@pytest.mark.parametrize("seed", range(20))
def test_a_mutated_template_is_used_or_told_with_its_place(seed: int) -> None:
    """100 templates a seed, 2,000 in all."""
    chance = random.Random(seed)
    ends = {used(mutated(chance, chance.choice(SOURCES))) for _ in range(100)}
    assert ends == {"bad", "read"}


@quickly
@given(st.text(max_size=80) | st.lists(st.sampled_from(PARTS), max_size=14).map("".join))
def test_any_text_is_a_template_or_a_mistake_with_its_place(text: str) -> None:
    used(text)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.floats() | st.binary(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*VALUES, "currency", "amount_minor"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@quickly
@given(st.dictionaries(st.sampled_from(sorted(VALUES)), ANYTHING, max_size=6))
def test_any_value_is_shown_or_told(values: dict[str, Any]) -> None:
    for source in SOURCES:
        for channel in CHANNELS:
            assert len(rendered(parse(source), channel, VALUES | values)) < 600_000


HEAVY = [
    "{", "{{", "{%", "{{ ", "}}", "{{ a }} ", "{{ a.", "{ {", "\n", " ", "[", "*", "**", "_", "`", "![", "<", "\\", "- ", "> ", "1. ", "&", "[a](", "*a *a", "a**b", "<a", "[](", "- a\n",
    "> a\n", "{% if a %}", "{% if a %}{% endif %}", "{# #}", "{# ", "{%- if a -%}{%- endif -%}", "https://", "https://h/{{ a }}", "<https://h/{{ a }}>", "[{{ a }}](https://h/{{ a }}) ",
    "- {{ a }}\n", "{% for x in a %}\n- {{ x }}\n{% endfor %}\n", "  - a\n", "***a", "{{ ((((((a)))))) }}",
]  # fmt: skip


@pytest.mark.parametrize("part", HEAVY)
def test_a_large_text_is_read_or_refused_at_once(part: str) -> None:
    """Quadratic work on 64 kB would take longer than the whole suite."""
    text = part * ((MAX_TEXT - 20) // len(part))
    template, bad = read(text)
    if template is None:
        assert len(str(bad)) < 300
        return
    for channel in ("email", "slack", "teams", "sms"):
        template.check({}, channel)


def test_the_placeholders_of_another_template_are_not_found_in_this_one() -> None:
    """Words that stand for tags while Markdown is read are none that the text holds itself."""
    text = "zq0zs0x zq1zb0x zq0zu1x {{ name }} [zq0zs0x](https://h/zq0zu0x)"
    content = parse(f"Subject: s\n\n{text}").render("email", VALUES, TYPES)
    assert content["text"] == "zq0zs0x zq1zb0x zq0zu1x Ada zq0zs0x (https://h/zq0zu0x)\n"
