"""Which variant of a template speaks to a person, and in which language its values are worded."""

import pytest

from handlers.templates import choose, spoken

TEXTS = dict.fromkeys(["a/b", "a/b.de", "a/b.de-AT", "a/b.pt_BR", "a/b.zh-Hant", "a/b.fr", "c", "c.d"], "")

CHOSEN: list[tuple[str, str | None, str]] = [
    ("a/b", "de-AT", "a/b.de-AT"), ("a/b", "de_AT", "a/b.de-AT"), ("a/b", "DE-at", "a/b.de-AT"), ("a/b", "de-CH", "a/b.de"), ("a/b", "de", "a/b.de"),
    ("a/b", "pt-BR", "a/b.pt_BR"), ("a/b", "pt-PT", "a/b"), ("a/b", "zh-Hant-TW", "a/b.zh-Hant"), ("a/b", "en-GB", "a/b"), ("a/b", None, "a/b"),
    ("a/b", "", "a/b"), ("a/b", "../x", "a/b"), ("a/b", "d", "a/b"), ("a/b", "fr_FR", "a/b.fr"), ("c", "d", "c"), ("missing", "de", "missing"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "locale", "chosen"), CHOSEN)
def test_the_nearest_variant_is_chosen(name: str, locale: str | None, chosen: str) -> None:
    assert choose(TEXTS, name, locale) == chosen


SPOKEN: list[tuple[str, str | None, str]] = [
    ("a/b", "de-CH", "de-CH"), ("a/b", "de-AT", "de-AT"), ("a/b", "en-GB", "en-GB"), ("a/b", None, "en"), ("c", "de-DE", "en"), ("c", "en-US", "en-US"),
    ("a/b", "ja-JP", "en"), ("a/b", "???", "en"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "locale", "language"), SPOKEN)
def test_a_text_and_its_dates_are_in_one_language(name: str, locale: str | None, language: str) -> None:
    assert spoken(TEXTS, name, locale) == language


def test_the_plain_template_may_be_in_another_language_than_english() -> None:
    assert spoken(TEXTS, "c", "de-DE", default="de") == "de-DE"
    assert spoken(TEXTS, "c", "fr-FR", default="de") == "de"
