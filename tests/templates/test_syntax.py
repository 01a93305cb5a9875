"""What a template may hold, and where it is told what it may not."""

import pytest

from handlers.templates import MAX_TEXT, BadTemplate, parse
from handlers.templates.source import MAX_TAG
from tests.templates.scope import TYPES, VALUES, refused, sms

REFUSED: list[tuple[str, int, int, str]] = [
    ("{{ a b }}", 1, 6, "cannot be read"), ("x\n\n {{ a|uper }}", 3, 7, "there is no filter 'uper'; did you mean 'upper'?"),
    ("{{ a|zzz }}", 1, 6, "there are date"), ("{{ a|attr('x') }}", 1, 6, "there is no filter 'attr'"), ("{{ a|map }}", 1, 6, "no filter"),
    ("{{ a() }}", 1, 5, "no calls"), ("{{ a.b(1) }}", 1, 7, "no calls"), ("{{ a[0] }}", 1, 5, "no brackets"), ("{{ a['b'] }}", 1, 5, "no brackets"),
    ("{{ a.0 }}", 1, 5, "no brackets"), ("{{ a[b] }}", 1, 5, "no brackets"), ("{{ a[1:2] }}", 1, 5, "no brackets"),
    ("{{ a + 1 }}", 1, 4, "no arithmetic"), ("{{ 2 ** 9 }}", 1, 4, "no arithmetic"), ("{{ 'x' * 9999 }}", 1, 4, "no arithmetic"),
    ("{{ -a }}", 1, 4, "no arithmetic"), ("{{ a ~ b }}", 1, 4, "not joined with '~'"), ("{{ a if b else c }}", 1, 4, "{% if b %}"),
    ("{{ a is defined }}", 1, 6, "no 'is'"), ("{{ a > b }}", 1, 4, "a comparison stands in"), ("{{ a and b }}", 1, 4, "'and' stands in"),
    ("{{ a or b }}", 1, 4, "default"), ("{{ not a }}", 1, 4, "'not' stands in"), ("{{ [a] }}", 1, 4, "no part of the language"),
    ("{{ {} }}", 1, 4, "no part of the language"), ("{{ a, b }}", 1, 5, "no part of the language"), ("{{ none }}", 1, 4, "no 'none'"),
    ("{{ }}", 1, 4, "cannot be read"), ("{{ a. }}", 1, 7, "cannot be read"), ("{{ .a }}", 1, 4, "cannot be read"),
    ("x {{ a", 1, 3, "'{{' is not closed"), ("x\n{{ a }\n{{ b }}", 2, 6, "unexpected '}'"), ("{{ a ] }}", 1, 6, "unexpected ']'"),
    ("{{ ? }}", 1, 4, "cannot be read"), ("{% if a %}x", 1, 1, "needs its {% endif %}"), ("{% endif %}", 1, 1, "has no {% if … %} here"), ("{% for a in b %}{% endif %}", 1, 17, "inside {% for … %}"), ("{% if a %}{% else %}{% elif b %}{% endif %}", 1, 24, "cannot be read"), ("\n\n{% if", 3, 1, "not closed"),
    ("{# a", 1, 1, "cannot be read"), ("{% raw %}{{ a }}{% endraw %}", 1, 1, "{% raw %} is not built"), ("{% set a = 1 %}", 1, 1, "no tag 'set'"),
    ("{% import 'x' as y %}", 1, 1, "no tag 'import'"), ("{% include 'x' %}", 1, 1, "no tag 'include'"), ("{% extends 'x' %}", 1, 1, "no tag 'extends'"),
    ("{% macro x() %}{% endmacro %}", 1, 1, "no tag 'macro'"), ("{% block x %}{% endblock %}", 1, 1, "no tag"), ("{% call x() %}{% endcall %}", 1, 1, "no tag"),
    ("{% filter upper %}x{% endfilter %}", 1, 1, "no tag"), ("{% with a = 1 %}{% endwith %}", 1, 1, "no tag"), ("{% do a %}", 1, 1, "no tag"),
    ("{% iff a %}{% endif %}", 1, 1, "did you mean 'if'?"), ("{% endfro %}", 1, 1, "did you mean 'endfor'?"), ("{% %}", 1, 1, "no tag ''"),
    ("{% from 'os' import path %}", 1, 1, "no tag 'from'"), ("{% autoescape false %}{% endautoescape %}", 1, 1, "no tag"),
    ("{% for a in b recursive %}{% endfor %}", 1, 4, "no condition of its own"), ("{% for a in b if a %}{% endfor %}", 1, 4, "no condition of its own"),
    ("{% for a, c in b %}{% endfor %}", 1, 4, "one name follows"), ("{% for a.b in c %}{% endfor %}", 1, 9, "cannot be read"),
    ("{% for loop in b %}{% endfor %}", 1, 4, "one name follows"), ("{% for a in [1, 2] %}{% endfor %}", 1, 13, "no part of the language"),
    ("{% for a in 'xyz' %}{% endfor %}", 1, 13, "a list that has a name"), ("{% for a in b|join %}{% endfor %}", 1, 15, "a filter stands in"),
    ("{% for a in range(9) %}{% endfor %}", 1, 18, "no calls"), ("{% for a in b %}{% for c in b %}{% endfor %}{% endfor %}", 1, 20, "a loop inside a loop"),
    ("{% for a in b %}{{ loop.parent }}{% endfor %}", 1, 20, "loop.index"), ("{{ loop.index }}", 1, 4, "inside {% for %} only"),
    ("{% if a|upper == 'X' %}{% endif %}", 1, 9, "a filter stands in"), ("{% if 1 < a < 3 %}{% endif %}", 1, 7, "one comparison at a time"),
    ("{% if a in b %}{% endif %}", 1, 14, "'in' asks a list"), ("{% if a in [b] %}{% endif %}", 1, 13, "the list after 'in'"),
    ("{{ a|truncate }}", 1, 6, "needs a value"), ("{{ a|truncate('x') }}", 1, 6, "a whole number"), ("{{ a|truncate(3) }}", 1, 6, "takes 4 to 1000"),
    ("{{ a|truncate(10, true) }}", 1, 6, "takes one value"), ("{{ a|truncate(length=9) }}", 1, 6, "plain values only"), ("{{ a|default(*b) }}", 1, 6, "plain values only"),
    ("{{ a|default }}", 1, 6, "needs a value"), ("{{ a|default('') }}", 1, 6, "takes 1 to 1000"), ("{{ a|default(b) }}", 1, 14, "in quotes, or a number"),
    ("{{ a|upper(1) }}", 1, 6, "takes no value"), ("{{ a|date('tiny') }}", 1, 6, "knows short, medium, long, full"), ("{{ a|number(true) }}", 1, 6, "whole number"),
    ("{{ a|number(7) }}", 1, 6, "takes 0 to 6"), ("{{ 'a\\nb' }}", 1, 4, "control character"), ("{{ 'a\\x00b' }}", 1, 4, "control character"),
    ("{{ '\\ud800' }}", 1, 4, "control character"), ("{{ ä }}", 1, 4, "is no name"), ("a\x00b", 1, 2, "a control character"), ("a\n\x1bb", 2, 1, "a control character"),
    ("{{ 'a'.b }}", 1, 4, "only names have parts"), ("{{ (a|upper).b }}", 1, 7, "a filter stands in"),
    ("see https://{{ a }}/x", 1, 13, "only after https://host/"), ("http://h/{{ a }}", 1, 10, "only after https://host/"), ("https://h{{ a }}", 1, 10, "only after https://host/"),
    ("https://h?x={{ a }}", 1, 13, "only after https://host/"), ("https://x@h/{{ a }}", 1, 13, "only after https://host/"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "column", "part"), REFUSED)
def test_what_is_no_part_of_the_language_is_told_with_its_place(text: str, line: int, column: int, part: str) -> None:
    bad = refused(text)
    assert part in bad.text
    assert bad.line == line
    assert bad.column == column
    assert len(bad.text) < 250


ATTACKS = [
    "{{ ''.__class__ }}", "{{ name.__class__ }}", "{{ name.__class__.__mro__[1].__subclasses__() }}", "{{ name|attr('__class__') }}", "{{ _x }}",
    "{{ lipsum() }}", "{{ lipsum.__globals__ }}", "{{ lipsum(n=9999) }}", "{{ cycler('a') }}", "{{ cycler.__init__.__globals__ }}", "{{ joiner() }}",
    "{{ namespace() }}", "{{ dict(a=1) }}", "{{ range(10**9) }}", "{% for a in range(10**9) %}x{% endfor %}", "{{ self.__dict__ }}", "{{ name.format() }}",
    "{{ name.__init__.__globals__['os'].popen('id').read() }}", "{{ 'a' * 10**9 }}", "{{ ('a'|upper) * 99999 }}", "{{ 9**9**9**9 }}", "{{ name|format('x') }}",
    "{{ request.__class__ }}", "{{ config.items() }}", "{{ ().__class__.__base__ }}", "{{ [].append(1) }}", "{{ {}.update() }}", "{{ name|pprint }}",
    "{{ name|map('attr', '__class__') }}", "{{ name|safe }}", "{{ name|e }}", "{{ name|tojson }}", "{{ name|xmlattr }}", "{{ name|groupby('x') }}",
    "{{ name|center(99999999) }}", "{{ name|indent(99999999) }}", "{{ name|wordwrap(1) }}", "{{ name|replace('a', 'aaaaaa') }}", "{{ name|list }}",
    "{% set x = name %}", "{% for a in items %}{% for b in items %}x{% endfor %}{% endfor %}", "{% for a in tags %}{% if a %}{% for b in tags %}{% endfor %}{% endif %}{% endfor %}",
    "{% for c in loop %}{% endfor %}", "{% for a in items recursive %}{{ loop(a) }}{% endfor %}", "{% import 'os' as os %}", "{% include '/etc/passwd' %}",
    "{% extends 'x' %}", "{% macro m() %}{{ m() }}{% endmacro %}", "{{ caller() }}", "{{ super() }}", "{{ varargs[0] }}", "{{ name['__class__'] }}",
    "{{ name[::-1] }}", "{{ 1.0.__class__ }}", "{{ true.__class__ }}", "{% debug %}", "{% trans %}{% endtrans %}", "{% break %}", '{{ "%c" % 65 }}',
    "{{ items.__len__() }}", "{{ items|sum(attribute='__class__') }}", "{{ gettext('x') }}", "{{ _('x') }}", "{{ url_for.__globals__ }}", "{{ plan._private }}",
]  # fmt: skip


@pytest.mark.parametrize("text", ATTACKS)
def test_every_way_out_of_the_sandbox_is_refused_at_load(text: str) -> None:
    for template in (text, f"Subject: {text}\n\nx", f"Subject: x\n\n{text}"):
        with pytest.raises(BadTemplate):
            parse(template)


@pytest.mark.parametrize(
    "name", ["lipsum", "cycler", "range", "dict", "namespace", "joiner", "self", "request", "config", "g", "session"]
)
def test_there_are_no_globals(name: str) -> None:
    found = parse(f"{{{{ {name} }}}}").check(TYPES, "sms")
    assert [one.code for one in found] == ["R122"]
    with pytest.raises(ValueError, match=f"'{name}' has no value"):
        sms(f"{{{{ {name} }}}}")


HEADS: list[tuple[str, int, str]] = [
    ("Subject: a\nx", 2, "an empty line follows"), ("Subject: a\nTo: b\n\nx", 2, "there is no header 'To'"), ("Subject:\n\nx", 1, "says nothing"),
    ("Subject: \n\nx", 1, "says nothing"), ("Subject: a\nSubject: b\n\nx", 2, "said twice"), ("Subject: a\nsubject: b\n\nx", 2, "said twice"),
    ("Subjet: a\n\nx", 1, "did you mean 'Subject'?"), ("Titel: a\n\nx", 1, "did you mean 'Title'?"), ("Subject: a\u2028b\n\nx", 1, "control character"),
    ("Subject: a\rb\n\nx", 2, "an empty line follows"), ("Title: {{ a\n\n}}", 1, "not closed"), ("Title: {% if a %}\n\n{% endif %}", 1, "needs its"),
    ("Subject: a\nTitle: {{ b() }}\n\nx", 2, "no calls"), ("Subject: a\nBcc: everybody@example.org\n\nx", 2, "there is no header 'Bcc'"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "part"), HEADS)
def test_a_mistake_in_the_head_is_told_with_its_line(text: str, line: int, part: str) -> None:
    bad = refused(text)
    assert (bad.line, part in bad.text) == (line, True)


def test_the_head_ends_at_the_first_empty_line() -> None:
    template = parse("subject :  Hello {{ name }} \nTITLE: t\nPreheader: p\n  \nTo: x\n\ny")
    assert template.headers == {"Subject": "Hello {{ name }}", "Title": "t", "Preheader": "p"}
    assert template.render("ticket", VALUES, TYPES) == {"title": "t", "body": "To: x\n\ny"}
    assert parse("\ufeffSubject: a\r\n\r\nfirst\r\nsecond").render("email", {}, {})["text"] == "first\nsecond\n"


@pytest.mark.parametrize(
    "text", ["Hello: x\n\ny", "To: x\n\ny", "12:30 is the time", "x", "", "\nSubject: a\n\nx", "Betreff: a\n\nx"]
)
def test_a_text_without_a_head_is_body_alone(text: str) -> None:
    template = parse(text)
    assert not template.headers
    if text:
        assert template.render("sms", {}, {})["text"] == text.strip()


def test_the_names_that_a_template_needs_are_those_from_outside() -> None:
    text = "Subject: {{ a.b }}\nTitle: {{ t }}\n\n{{ c|default('x') }}{% if d and e.f > g %}{{ h }}{% elif i %}{% else %}{{ j }}{% endif %}"
    loop = "{% for k in l.m %}{{ k.n }}{{ loop.index }}{{ o }}{% else %}{{ p }}{% endfor %}"
    assert parse(text + loop).placeholders == set("atcdeghijlop")


def test_a_template_is_read_once() -> None:
    assert parse("Subject: once\n\nx") is parse("Subject: once\n\nx")


def test_a_template_is_bounded() -> None:
    assert len(parse("x" * MAX_TEXT).render("slack", {}, {})["text"]) == MAX_TEXT
    for text, part in (
        ("x" * (MAX_TEXT + 1), "at most"), ("{% if a %}" * 11 + "{% endif %}" * 11, "more than 10 tags"), ("{{ " + "(" * 11 + "a" + ")" * 11 + " }}", "more than 10 parentheses"),
        ("{{ '" + "x" * MAX_TAG + "' }}", "too long"), ("{{ " + "not " * 200 + "a }}", "too long"), ("{{ a" + "|upper" * 200 + " }}", "too long"),
        ("{{ " + "9" * 5000 + " }}", "too long"), ("{{ a }}" * 1001, "more than 1000 tags"), ("{% if " + "a and " * 200 + "a %}{% endif %}", "too long"),
    ):  # fmt: skip
        assert part in refused(text).text
    assert parse("{% if a %}" * 10 + "x" + "{% endif %}" * 10).placeholders == {"a"}


def test_braces_and_signs_that_are_no_tags_are_text() -> None:
    assert sms('{ name } } 50 % # { }} %} {{ "{{" }}') == "{ name } } 50 % # { }} %} {{"
