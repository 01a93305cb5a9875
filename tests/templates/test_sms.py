"""Parts of a text message, at every boundary where a wrong count has cost somebody money."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.templates import parse, sms
from handlers.templates.sms import Segments, segments
from tidings.contract import Type

G, U = "GSM-7", "UCS-2"
TABLE: list[tuple[str, str, int, int]] = [
    ("", G, 0, 0), ("a", G, 1, 1), ("a" * 159, G, 159, 1), ("a" * 160, G, 160, 1), ("a" * 161, G, 161, 2), ("a" * 306, G, 306, 2), ("a" * 307, G, 307, 3),
    ("a" * 459, G, 459, 3), ("a" * 460, G, 460, 4), ("a" * 1530, G, 1530, 10), ("a" * 1531, G, 1531, 11),
    ("€", G, 2, 1), ("€" * 80, G, 160, 1), ("€" * 80 + "a", G, 161, 2), ("€" * 81, G, 162, 2), ("a" * 158 + "€", G, 160, 1), ("a" * 159 + "€", G, 161, 2),
    # The pair of an escape is not split: 76 euro signs and one septet that stays empty.
    ("€" * 152, G, 304, 2), ("€" * 153, G, 306, 3), ("a" * 152 + "€" + "a" * 152, G, 306, 3), ("a" * 151 + "€" + "a" * 153, G, 306, 2),
    ("^{}\\[~]|€\f", G, 20, 1), ("@£$¥èéùìòÇØøÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ¤¡ÄÖÑÜ§¿äöñüà\n\r", G, 44, 1),
    ("ç", U, 1, 1), ("`", U, 1, 1), ("\t", U, 1, 1), ("…", U, 1, 1), ("\xa0", U, 1, 1), ("я" * 70, U, 70, 1), ("я" * 71, U, 71, 2), ("я" * 134, U, 134, 2), ("я" * 135, U, 135, 3),
    ("a" * 70 + "я", U, 71, 2), ("🙂", U, 2, 1), ("🙂" * 35, U, 70, 1), ("🙂" * 36, U, 72, 2), ("a" * 69 + "🙂", U, 71, 2),
    # Nor is a pair of surrogates: 33 of them and one unit that stays empty.
    ("🙂" * 66, U, 132, 2), ("🙂" * 67, U, 134, 3), ("я" * 66 + "🙂" + "я" * 66, U, 134, 3), ("я" * 65 + "🙂" + "я" * 67, U, 134, 2), ("я" * 670, U, 670, 10),
]  # fmt: skip


@pytest.mark.parametrize(("text", "encoding", "characters", "count"), TABLE)
def test_parts_are_counted(text: str, encoding: str, characters: int, count: int) -> None:
    assert segments(text) == Segments(encoding, characters, count)  # type: ignore[arg-type]


@settings(deadline=None, derandomize=True, database=None, max_examples=300)
@given(st.text(st.sampled_from("a€🙂я\n["), max_size=400) | st.text(max_size=200))
def test_parts_filled_by_hand_are_as_many(text: str) -> None:
    """Cut the text as a phone network does, and look at every part."""
    found = segments(text)
    if found.encoding == "GSM-7":
        units = [[0] * (1 + (letter in sms.EXTENSION)) for letter in text]
    else:
        units = [[0] * (len(letter.encode("utf-16-be", "surrogatepass")) // 2) for letter in text]
    total = sum(map(len, units))
    assert found.characters == total
    if total <= sms.SINGLE[found.encoding]:
        assert found.count == (total > 0)
        return
    parts: list[int] = [0]
    for unit in units:
        if parts[-1] + len(unit) > sms.JOINED[found.encoding]:
            parts.append(0)
        parts[-1] += len(unit)
    assert found.count == len(parts)
    assert sum(parts) == total


def test_a_message_says_what_it_costs() -> None:
    assert parse("a{{ x }}").render("sms", {"x": "b€"}, {}) == {"text": "ab€", "segments": 1, "encoding": "GSM-7"}
    assert parse("{{ x }}").render("sms", {"x": "🙂" * 36}, {})["segments"] == 2


def test_more_than_ten_parts_are_no_text_message() -> None:
    assert parse("{{ x }}").render("sms", {"x": "a" * 1530}, {})["segments"] == 10
    with pytest.raises(ValueError, match="would be 11 text messages; at most 10"):
        parse("{{ x }}").render("sms", {"x": "a" * 1531}, {})


def test_nothing_that_we_word_makes_a_text_message_dearer() -> None:
    values = {
        "price": {"amount_minor": 123_456_700, "currency": "EUR"},
        "at": 1_774_744_200_000_000,
        "n": 1_234_567,
        "name": "x" * 40,
    }
    types = {"price": Type("money"), "at": Type("timestamp"), "n": Type("long")}
    text = "{{ price }} {{ at|date }} {{ at|time }} {{ n }} {{ name|truncate(12) }}"
    for locale in ("de_DE", "fr_FR", "en_GB", "en_US", "it_IT", "sv_SE"):
        content = parse(text).render("sms", values, types, locale, "Europe/Paris")
        assert not set(content["text"]) & {"\xa0", "\u202f", "…"}
    assert (
        parse(text).render("sms", values, types, "de_DE", "Europe/Berlin")["text"]
        == "1.234.567,00 € 29. März 2026 01:30 1.234.567 xxxxxxxxx..."
    )


def test_what_a_person_wrote_is_not_changed_to_be_cheaper() -> None:
    assert parse("{{ x }}").render("sms", {"x": "a\xa0b…ç"}, {}) == {
        "text": "a\xa0b…ç",
        "segments": 1,
        "encoding": "UCS-2",
    }


def test_a_text_that_is_long_without_its_values_is_told() -> None:
    found = parse("a" * 460).check({}, "sms")
    assert [(one.code, one.severity, one.text) for one in found] == [
        ("R126", "warning", "without its values this is 4 text messages already (GSM-7)")
    ]
    assert parse("a" * 459).check({}, "sms") == ()
    assert (
        parse("{% if a %}" + "b" * 300 + "{% else %}" + "c" * 300 + "{% endif %}").check({"a": Type("string")}, "sms")
        == ()
    )
