"""Links that switch a topic off: only ours, only for whom they were made, only for a year."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.channels.unsubscribe import LASTS, BadLink, Unsubscribe, link, read
from tidings.event import DAY, SECOND

KEY = b"0123456789abcdef0123456789abcdef"
NOW = 1_772_704_800 * SECOND
UNTIL = NOW + LASTS


def token(
    tenant: str = "default", customer: str = "c-1", topic: str = "orders", until: int = UNTIL, key: bytes = KEY
) -> str:
    return link("https://news.example.org", key, tenant, customer, topic, until).rpartition("/u/")[2]


@settings(deadline=None)
@given(st.text(max_size=50), st.text(max_size=50), st.text(max_size=50), st.integers(NOW + 1, UNTIL))
def test_what_was_put_in_comes_back(tenant, customer, topic, until):
    try:
        made = token(tenant, customer, topic, until)
    except UnicodeEncodeError:
        return
    assert read(made, KEY, NOW) == Unsubscribe(tenant, customer, topic, until)
    assert made.replace("-", "").replace("_", "").replace(".", "").isalnum()


def test_a_link_ends_after_a_year():
    assert read(token(), KEY, UNTIL - 1).customer == "c-1"
    with pytest.raises(BadLink, match="expired"):
        read(token(), KEY, UNTIL)
    assert LASTS == 365 * DAY


@settings(deadline=None)
@given(st.data())
def test_a_damaged_link_is_forged(data):
    made = token()
    place = data.draw(st.integers(0, len(made) - 1))
    other = data.draw(st.characters(max_codepoint=0x2FF).filter(lambda one: one != made[place]))
    with pytest.raises(BadLink, match="forged"):
        read(made[:place] + other + made[place + 1 :], KEY, NOW)


@pytest.mark.parametrize(
    "text", ["", ".", "a.b", "x" * 5000, "ü.ü", token(key=b"another key of many bytes"), token() + "A", token()[:-1]]
)
def test_what_was_never_ours_is_forged(text):
    with pytest.raises(BadLink, match="forged"):
        read(text, KEY, NOW)


def test_a_short_key_is_refused():
    with pytest.raises(ValueError, match="at least 16"):
        token(key=b"short")
