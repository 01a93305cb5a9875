"""What customers may switch off, in their languages: chosen as templates are, checked where it stands, missed where mails need it."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers import templates
from handlers.rules.load import Loaded, dump_sources, load_sources
from tests.rules.sample import KNOWN, TEXTS, edited, files, loaded
from tidings.rule import Topic

TOPICS = "topics.yaml"
LOCKED = "billing: { sentence: Invoices and payments, locked: true }"
OPEN = LOCKED.replace("true", "false")
GERMAN = "billing: { sentence: { en: Invoices and payments, de: Rechnungen und Zahlungen } }"
TAGS = ("de", "de-AT", "de-CH", "fr", "pt-BR", "zh-Hans-CN")


def topics(*pairs: tuple[str, str], texts: Mapping[str, str] = TEXTS) -> Loaded:
    body = files()[TOPICS].decode()
    for old, new in pairs:
        assert old in body
        body = body.replace(old, new)
    return loaded({TOPICS: body.encode()}, texts)


def test_a_sentence_is_one_text_or_one_for_each_language_whose_tags_are_read_as_locales_are():
    found = topics((LOCKED, "billing: { sentence: { en: Invoices, DE_at: Rechnungen, no: Regninger } }"))
    assert found.rules is not None
    assert found.rules.notice_topics["billing"] == Topic(
        "billing", "Invoices", sentences={"de-AT": "Rechnungen", "no": "Regninger"}
    )
    assert found.rules.notice_topics["orders"] == Topic("orders", "Where your orders are")


@given(
    st.sets(st.sampled_from(TAGS)),
    st.sampled_from([*TAGS, "de_AT", "DE", "de-DE", "en", "en-GB", "pt", "zh", "", "x" * 50, None]),
)
def test_of_a_topic_the_language_is_read_that_a_template_would_be_written_in(there, locale):
    topic = Topic("news", "plain", sentences={tag: tag for tag in there})
    texts = {"t": "plain", **{f"t.{tag}": tag for tag in there}}
    assert templates.sentence_of(topic, locale) == texts[templates.choose(texts, "t", locale)]


def test_a_set_with_languages_is_built_again_from_its_sources():
    changed = {**files(), TOPICS: files()[TOPICS].replace(LOCKED.encode(), GERMAN.encode())}
    first = loaded(changed).rules
    assert first is not None
    again = load_sources(dump_sources(changed, TEXTS), KNOWN)
    assert (again.hash, again.notice_topics) == (first.hash, first.notice_topics)
    assert again.notice_topics["billing"].sentences == {"de": "Rechnungen und Zahlungen"}


REFUSED = {
    "a language that is none": ("{ en: Invoices, xx: Invoices }", "R006", "xx", "there is no language 'xx'; tags are as de or de-AT"),
    "a word for a language": ("{ en: Invoices, german: Rechnungen }", "R006", "german", "there is no language 'german'"),
    "three letters where locales have two": ("{ en: Invoices, ger-AT: Rechnungen }", "R006", "ger", "nobody's locale says 'ger-AT'"),
    "nothing for everybody else": ("{ de: Rechnungen }", "R007", "{ de", "'en' is missing: what those read"),
    "no language": ("{}", "R007", "{}", "'en' is missing"),
    "a language twice": ("{ en: Invoices, de-AT: Rechnungen, de_AT: Rechnungen }", "R004", "de_AT", "'de_AT' is 'de-AT', which stands here already"),
    "an empty text": ("{ en: Invoices, de: ' ' }", "R006", "' '", "'de' must be a text that is not empty"),
    "a number": ("{ en: Invoices, de: 7 }", "R006", "7", "'de' must be a text that is not empty"),
    "a text without end": ("{ en: Invoices, de: " + "x" * 501 + " }", "R006", "xxx", "a sentence has at most 500 characters"),
    "a line break": ('{ en: Invoices, de: "Rech\\nnungen" }', "R006", '"Rech', "a sentence is one line"),
    "a list": ("[Invoices]", "R006", "[Inv", "'sentence' must be a text that is not empty"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_mistake_in_the_languages_of_a_topic_is_told_at_its_place(name):
    sentence, code, at, told = REFUSED[name]
    found = edited(TOPICS, (LOCKED, f"billing: {{ locked: true, sentence: {sentence} }}"))
    (error,) = found.diagnostics
    assert (error.file, error.line, error.code, error.severity) == (TOPICS, 3, code, "error")
    assert error.text.startswith(told)
    assert (files()[TOPICS].decode().replace(LOCKED, f"billing: {{ locked: true, sentence: {sentence} }}").split("\n")[2])[error.column - 1 :].startswith(at)  # fmt: skip


def test_a_language_of_the_mails_that_a_topic_does_not_speak_is_told_once_where_it_is_mended():
    texts = {
        **TEXTS,
        "billing/settled.de": TEXTS["billing/settled"],
        "billing/invoice-overdue.en-GB": TEXTS["billing/invoice-overdue"],
    }
    found = topics((LOCKED, OPEN), texts=texts)
    assert found.rules is not None
    (warning,) = found.diagnostics
    assert (warning.file, warning.code, warning.severity) == (TOPICS, "R214", "warning")
    assert warning.text.startswith("'billing' has no sentence in 'de', in which mails of it are written (billing/")
    assert warning.snippet[warning.column - 1 :].startswith("Invoices and payments")
    for new in (GERMAN, LOCKED):
        assert topics((LOCKED, new), texts=texts).diagnostics == ()


def test_only_mails_that_can_be_ended_say_what_they_are_about():
    texts = {**TEXTS, "shop/delivery-delayed.de": TEXTS["shop/delivery-delayed"]}  # text messages
    assert loaded(texts=texts).diagnostics == ()


def test_warnings_stand_in_nobodys_way_however_many_there_are(monkeypatch):
    monkeypatch.setattr("handlers.rules.load.MAX_DIAGNOSTICS", 0)
    found = topics((LOCKED, OPEN), texts={**TEXTS, "billing/settled.de": TEXTS["billing/settled"]})
    assert found.rules is not None
    assert [(one.code, one.severity) for one in found.diagnostics] == [("R002", "warning")]
