"""Text and HTML of a mail, Slack and Teams, from one source in light Markdown."""

from html.parser import HTMLParser
from typing import Any

import pytest

from handlers.templates import BadTemplate, Problem, parse
from tests.templates.scope import TYPES, VALUES, email, part

LINK = ' style="color:#1a66c2;text-decoration:underline"'

FORMS: list[tuple[str, str, str, str, str]] = [
    ("one\ntwo\n\nthree", "one\ntwo\n\nthree", "<p>one\ntwo</p>\n<p>three</p>", "one\ntwo\n\nthree", "one\ntwo\n\nthree"),
    ("a  \nb\\\nc", "a\nb\nc", "<p>a<br>\nb<br>\nc</p>", "a\nb\nc", "a  \nb  \nc"),
    ("**{{ name }}** and *it*", "Ada and it", "<p><strong>Ada</strong> and <em>it</em></p>", "*Ada* and _it_", "**Ada** and _it_"),
    ("# Hello {{ name }}\n\nx", "Hello Ada\n\nx", "<h1>Hello Ada</h1>\n<p>x</p>", "*Hello Ada*\n\nx", "**Hello Ada**\n\nx"),
    (
        "[pay](https://x.example/i)", "pay (https://x.example/i)", f'<p><a href="https://x.example/i"{LINK}>pay</a></p>',
        "<https://x.example/i|pay>", "[pay](https://x.example/i)",
    ),
    (
        "[pay](https://x.example/i/{{ id }}?a=1&b={{ name }})", "pay (https://x.example/i/inv-7?a=1&b=Ada)",
        f'<p><a href="https://x.example/i/inv-7?a=1&amp;b=Ada"{LINK}>pay</a></p>', "<https://x.example/i/inv-7?a=1&amp;b=Ada|pay>",
        "[pay](https://x.example/i/inv-7?a=1&b=Ada)",
    ),
    (
        "<https://x.example/{{ id }}>", "https://x.example/inv-7", f'<p><a href="https://x.example/inv-7"{LINK}>https://x.example/inv-7</a></p>',
        "<https://x.example/inv-7|https://x.example/inv-7>", "[https://x.example/inv-7](https://x.example/inv-7)",
    ),
    (
        "[write](mailto:a@b.example) [call](tel:+49-30-1)", "write (a@b.example) call (+49-30-1)",
        f'<p><a href="mailto:a@b.example"{LINK}>write</a> <a href="tel:+49-30-1"{LINK}>call</a></p>',
        "<mailto:a@b.example|write> <tel:+49-30-1|call>", "[write](mailto:a@b.example) [call](tel:+49-30-1)",
    ),
    ("- a\n- b\n\nc", "- a\n- b\n\nc", "<ul>\n<li>a</li>\n<li>b</li>\n</ul>\n<p>c</p>", "• a\n• b\n\nc", "- a\n- b\n\nc"),
    ("- a\n  - b\n- c", "- a\n  - b\n- c", "<ul>\n<li>a\n<ul>\n<li>b</li>\n</ul></li>\n<li>c</li>\n</ul>", "• a\n  • b\n• c", "- a\n  - b\n- c"),
    ("3. a\n4. b", "3. a\n4. b", '<ol start="3">\n<li>a</li>\n<li>b</li>\n</ol>', "3. a\n4. b", "3. a\n4. b"),
    ("> a\n> b", "> a\n> b", "<blockquote><p>a\nb</p></blockquote>", "> a\n> b", "> a\n> b"),
    ("a\n\n---\n\nb", f"a\n\n{'-' * 20}\n\nb", "<p>a</p>\n<hr>\n<p>b</p>", f"a\n\n{'─' * 20}\n\nb", "a\n\n\\-\\-\\-\n\nb"),
    ("<b>x</b> & `y`", "<b>x</b> & y", "<p>&lt;b&gt;x&lt;/b&gt; &amp; <code>y</code></p>", "&lt;b&gt;x&lt;/b&gt; &amp; `y`", "\\<b\\>x\\</b\\> \\& `y`"),
    ("a\n{% if paid %}\nb\n{% endif %}\nc", "a\n\nb\n\nc", "<p>a</p>\n<p>b</p>\n<p>c</p>", "a\n\nb\n\nc", "a\n\nb\n\nc"),
    ("a\n\n{% if note %}\nb\n{% endif %}\n\nc", "a\n\nc", "<p>a</p>\n<p>c</p>", "a\n\nc", "a\n\nc"),
    ("a{% if paid %} b{% endif %} c", "a b c", "<p>a b c</p>", "a b c", "a b c"),
    (
        "x:\n{% for item in items %}\n- {{ item.name }}\n{% endfor %}\ny", "x:\n\n- Tea\n- Cup\n\ny",
        "<p>x:</p>\n<ul>\n<li>Tea</li>\n<li>Cup</li>\n</ul>\n<p>y</p>", "x:\n\n• Tea\n• Cup\n\ny", "x:\n\n- Tea\n- Cup\n\ny",
    ),
    (
        "1. a\n{% for item in items %}\n1. {{ item.name }}\n{% endfor %}\n{% if note %}\n1. no\n{% endif %}\n1. b", "1. a\n2. Tea\n3. Cup\n4. b",
        "<ol>\n<li>a</li>\n<li>Tea</li>\n<li>Cup</li>\n<li>b</li>\n</ol>", "1. a\n2. Tea\n3. Cup\n4. b", "1. a\n2. Tea\n3. Cup\n4. b",
    ),
    ("{% if paid %}\n- a\n{% endif %}\n\nb", "- a\n\nb", "<ul>\n<li>a</li>\n</ul>\n<p>b</p>", "• a\n\nb", "- a\n\nb"),
    ("{# why #}\na {# b #}c", "a c", "<p>a c</p>", "a c", "a c"),
    ("{% for tag in tags %}\n## {{ tag }}\n\n1. x\n{% if paid %}\n1. y\n{% endif %}\n{% endfor %}", "new\n\n1. x\n2. y\n\nwarm\n\n1. x\n2. y",
     "<h2>new</h2>\n<ol>\n<li>x</li>\n<li>y</li>\n</ol>\n<h2>warm</h2>\n<ol>\n<li>x</li>\n<li>y</li>\n</ol>",
     "*new*\n\n1. x\n2. y\n\n*warm*\n\n1. x\n2. y", "**new**\n\n1. x\n2. y\n\n**warm**\n\n1. x\n2. y"),
]  # fmt: skip


@pytest.mark.parametrize(("source", "text", "html", "slack", "teams"), FORMS)
def test_one_source_is_written_for_each_channel(source: str, text: str, html: str, slack: str, teams: str) -> None:
    mail = email(source)
    template = parse(source)
    assert mail["text"] == f"{text}\n"
    assert part(mail["html"]) == html
    assert template.render("slack", VALUES, TYPES, "en_GB") == {"text": slack}
    assert template.render("teams", VALUES, TYPES, "en_GB") == {"title": "", "text": teams}


def test_the_title_of_a_chat_stands_above_it() -> None:
    template = parse("Title: *{{ name }}*\n\nx")
    assert template.render("slack", VALUES, TYPES)["text"] == "*\u2217Ada\u2217*\nx"
    assert template.render("teams", VALUES, TYPES) == {"title": "\\*Ada\\*", "text": "x"}


LINKS: list[tuple[str, int, int, str]] = [
    ("[x](http://h/)", 3, 1, "not to 'http://h/'"), ("[x](javascript:alert(1))", 3, 1, "https://host/"), ("[x](data:text/html,x)", 3, 1, "https://host/"),
    ("[x](ftp://h)", 3, 1, "https://host/"), ("[x](//h/)", 3, 1, "https://host/"), ("[x](/path)", 3, 1, "https://host/"), ("[x]()", 3, 1, "https://host/"),
    ("[x](https://a@h/)", 3, 1, "https://host/"), ("[x](https://)", 3, 1, "https://host/"), ("a\n\nb [x](vbscript:y)", 5, 1, "https://host/"),
    ("[x]({{ id }})", 3, 1, "not to '{{…}}'"), ("[x](https://{{ id }}/)", 3, 13, "only after https://host/"), ("[x](https://h{{ id }}/)", 3, 14, "only after"),
    ("[x](https://h.{{ id }})", 3, 15, "only after"), ("[x](mailto:{{ id }}@h.example)", 3, 12, "only after"), ("[x](tel:{{ count }})", 3, 1, "https://host/"),
    ("[x](https://h/{% if paid %}a{% endif %})", 3, 15, "values only"), ("[x](https://h/ 'title')", 3, 1, "no title"), ("![x](https://h/a.png)", 3, 1, "no pictures"),
    ("<javascript:alert(1)>", 3, 1, "https://host/"), ("**a {% if paid %}b** c{% endif %}", 3, 23, "stands inside other markup"),
    ("{% if paid %}*a{% endif %}*", 3, 16, "stands inside other markup"), ("[a {% if paid %}b](https://h/){% endif %}", 3, 31, "other markup"),
    ("- a {% if paid %}\n- b {% endif %}", 4, 5, "other markup"), ("{% if paid %}a\n\nb{% endif %}", 5, 2, "other markup"),
    ("{# a\nb #}\n\n[x](http://h)", 6, 1, "https://host/"), ("{{ name }}\n{# a #}\nb\n\n[x](http://h)", 7, 1, "https://host/"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "line", "column", "part"), LINKS)
def test_markup_that_may_not_be_is_told_at_load_with_its_place(body: str, line: int, column: int, part: str) -> None:
    bad = told(f"Subject: s\n\n{body}")
    assert (bad.line, bad.column, part in bad.text) == (line, column, True)


def told(text: str) -> Problem | BadTemplate:
    """Return why a text cannot be used, be it by the parser or by every check."""
    try:
        template = parse(text)
    except BadTemplate as bad:
        return bad
    found = [
        [one for one in template.check(TYPES, channel) if one.severity == "error"]
        for channel in ("email", "slack", "teams")
    ]
    assert found[0] == found[1] == found[2]
    assert [one.code for one in found[0]] == ["R120"]
    with pytest.raises(ValueError, match=r".+"):
        template.render("email", VALUES, TYPES)
    # Channels without markup do not read any.
    assert not [one for one in template.check(TYPES, "sms") if one.severity == "error"]
    return found[0][0]


ADDRESSES: list[tuple[str, str]] = [
    ("a/b", "a%2Fb"), ("a b", "a%20b"), ("ä", "%C3%A4"), ('"><b>', "%22%3E%3Cb%3E"), ("?x=1&y#z", "%3Fx%3D1%26y%23z"), ("@evil.example", "%40evil.example"),
    ("../../x", "..%2F..%2Fx"), ("a\\b", "a%5Cb"), ("a\r\nb", "a%0D%0Ab"), ("%2e", "%252e"), ("_a_b_", "%5Fa_b%5F"), ("~", "%7E"), (")", "%29"), ("|", "%7C"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "encoded"), ADDRESSES)
def test_a_value_cannot_leave_its_place_in_a_link(value: str, encoded: str) -> None:
    values = VALUES | {"id": value}
    mail = email("[x](https://h.example/a/{{ id }}/b) https://h.example/{{ id }}", values)
    assert f'href="https://h.example/a/{encoded}/b"' in mail["html"]
    assert mail["text"] == f"x (https://h.example/a/{encoded}/b) https://h.example/{encoded}\n"
    for channel in ("sms", "push", "slack", "teams"):
        content = parse("Title: t\n\nsee https://h.example/{{ id }} now").render(channel, values, TYPES)
        assert f"see https://h.example/{encoded} now" in str(content.get("text", content.get("body"))).splitlines()


@pytest.mark.parametrize("value", [".", ".."])
def test_no_value_walks_up_a_path(value: str) -> None:
    with pytest.raises(ValueError, match="where a link leads"):
        email("[x](https://h.example/a/{{ id }}/b)", {"id": value})


def test_a_link_holds_texts_and_whole_numbers_as_they_are() -> None:
    assert "https://h.example/1234567" in email("[x](https://h.example/{{ count }})", {"count": 1_234_567})["text"]
    with pytest.raises(ValueError, match="a link may hold"):
        email("[x](https://h.example/{{ price }})")


class Page(HTMLParser):
    """Reads a page: its tags with their attributes, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, tuple[tuple[str, str | None], ...]]] = []
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, tuple(attrs)))
        if tag not in ("meta", "hr", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def page(html: str) -> Page:
    read = Page()
    read.feed(html)
    read.close()
    assert read.open == []
    return read


def test_the_page_is_complete_and_fetches_nothing() -> None:
    mail = parse("Subject: A & B\nPreheader: {{ name }} <x>\n\nhello").render("email", VALUES, TYPES, "de-DE")
    read = page(mail["html"])
    assert ("html", (("lang", "de-DE"), ("dir", "ltr"))) in read.tags
    assert not [tag for tag, _ in read.tags if tag in ("img", "link", "script", "iframe", "object")]
    assert "url(" not in mail["html"]
    assert "src=" not in mail["html"]
    assert "prefers-color-scheme:dark" in mail["html"]
    assert "<title>A &amp; B</title>" in mail["html"]
    assert "Ada &lt;x&gt;</div>" in mail["html"]
    assert "Ada" not in mail["text"]
    assert 'lang="ar-EG" dir="rtl"' in parse("Subject: s\n\nx").render("email", {}, {}, "ar-EG")["html"]


def test_html_is_whole_whichever_way_a_question_goes() -> None:
    source = (
        "# {{ name }}\n\n{% if paid %}\n**a** [b](https://h/)\n\n- c\n{% for tag in tags %}\n- *{{ tag }}*\n  {% if loop.first %}\n"
        "  more\n  {% endif %}\n{% endfor %}\n{% elif note %}\n> d\n{% else %}\ne {% if count %}**f**{% endif %}\n{% endif %}\n"
    )
    for values in (
        {"paid": True},
        {"paid": False},
        {"paid": False, "note": "x"},
        {"paid": None, "count": 0},
        {"tags": ["<", "b"]},
    ):
        page(email(source, values)["html"])


def test_a_subject_holds_no_markdown() -> None:
    rendered = parse("Subject: **{{ name }}** # _x_\n\ny").render("email", VALUES, TYPES)
    assert rendered["subject"] == "**Ada** # _x_"


def test_the_text_of_a_mail_has_the_values_as_they_are() -> None:
    value = "*a* _b_ [c](d) <e> & `f`\n- g\n    h # i"
    mail: Any = email("- x {{ name }}", {"name": value})
    assert mail["text"] == f"- x {value}\n"
