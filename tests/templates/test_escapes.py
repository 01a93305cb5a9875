"""No value is ever markup: not in HTML, not in Slack, not in Teams."""

import html
import re

from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from handlers.templates import escapes, parse
from handlers.templates.faults import is_blank
from tests.templates.scope import TYPES, VALUES
from tests.templates.test_mail import page

quickly = settings(deadline=None, derandomize=True, database=None, max_examples=300)
anything = st.text(max_size=60) | st.text("*_~`<>[]()!#&:-+=.1|\\{}@/\"' \n\tab", max_size=40)
SOURCE = parse(
    "Subject: s\nTitle: t\n\n# x {{ name }}\n\n{{ name }}\n\n- a {{ name }} b **{{ name }}**\n- {{ name }}{{ name }}\n\n[{{ name }}](https://h/)"
)
PLAIN = page(SOURCE.render("email", VALUES | {"name": "Ada"}, TYPES)["html"])


@quickly
@example("<script>alert(1)</script>")
@example('" onload="x')
@example("&lt;b&gt;")
@example("**a** [x](https://h) <https://h>")
@given(anything)
def test_no_value_is_markup_in_html(name: str) -> None:
    if is_blank(name):
        return
    found = page(SOURCE.render("email", VALUES | {"name": name}, TYPES)["html"])
    assert found.tags == PLAIN.tags
    assert html.unescape(escapes.html(name)) == escapes.plain(name)


@quickly
@example("<!channel> <@U123> <https://evil.example|x>")
@example("*a* _b_ ~c~ `d` ```e```")
@example(">quote\n> quote")
@example(":tada: a:b:c 12:30:15")
@given(anything)
def test_no_value_is_markup_in_slack(name: str) -> None:
    escaped = escapes.slack(name)
    bare = re.sub("&(?:amp|lt|gt);", "", escaped)
    assert not re.search("[<>*~`&]", bare)
    assert not re.search(r"(?<![^\W_])_|_(?![^\W_])", bare)
    assert not re.search("^[ \t]*&gt;", escaped, re.MULTILINE)
    assert not re.search(r":[a-z0-9_+'-]+:", escaped, re.IGNORECASE)
    if not is_blank(name):
        assert escaped in SOURCE.render("slack", VALUES | {"name": name}, TYPES)["text"]


def test_an_identifier_can_be_copied_from_slack() -> None:
    assert escapes.slack("ord_2026_07-a.b@c") == "ord_2026_07-a.b@c"


CARD = MarkdownIt("js-default", {"html": True, "linkify": False})
"""A second opinion, with everything that Adaptive Cards read and more."""


@quickly
@example("**a** _b_ [c](https://h) ![d](https://h) `e` ~~f~~ <https://h> <b>g</b> &amp;")
@example("1. a\n2) b\n- c\n+ d\n* e\n# f\n> g\n    h\n\ti\nj\n===\nk\n---\n| l | m |\n|---|---|")
@example("{{DATE(2026-01-01T00:00:00Z,SHORT)}}")
@example("a\n\n    b")
@example("\\*a\\*")
@given(anything)
def test_no_value_is_markup_in_teams(name: str) -> None:
    escaped = escapes.teams(name)
    for before in ("", "x "):
        for token in CARD.parse(f"{before}{escaped}"):
            assert token.type in ("paragraph_open", "paragraph_close", "inline"), name
            for child in token.children or ():
                assert child.type in ("text", "softbreak", "hardbreak"), name
    shown = "".join(
        "\n" if child.type != "text" else child.content
        for token in CARD.parse(f"x{escaped}x") for child in token.children or ()
    )  # fmt: skip
    # Blanks beside line breaks are layout.
    assert re.sub(r"\s+", "", shown) == re.sub(r"\s+", "", f"x{escapes.plain(name)}x".replace("\0", ""))
    assert not re.search(r"(?<!\\)\{\{", escaped)


@quickly
@given(anything)
def test_a_plain_text_is_the_value_without_its_controls(name: str) -> None:
    kept = "".join(
        letter
        for letter in name.replace("\r\n", "\n").replace("\r", "\n")
        if letter in "\n\t" or not "\x00" <= letter <= "\x1f"
    )
    assert escapes.plain(name) == re.sub("[\x7f-\x9f]", "", kept)
