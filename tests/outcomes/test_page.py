"""The consumer on the page does what the page says."""

import re
from pathlib import Path

import pytest

from tidings.outcomes import TOPICS

PAGE = (Path(__file__).parents[2] / "docs" / "outcomes.md").read_text("utf-8")


def test_the_consumer_of_the_page_takes_each_outcome_once_and_tells_what_is_missing():
    code = next(block for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "class Numbers" in block)
    scope: dict[str, type] = {}
    exec(code, scope)

    def header(number: int) -> list[tuple[str, bytes]]:
        return [("ce_id", b"x"), ("tidings-number", str(number).encode())]

    one = scope["Numbers"]()
    taken = [n for n in (4, 5, 5, 4, 6, 7, 6, 8) if one.take("t", 0, header(n))]
    assert taken == [4, 5, 6, 7, 8]
    assert one.take("t", 1, header(1))
    again = scope["Numbers"](one.seen)
    assert not again.take("t", 0, header(8))
    with pytest.raises(LookupError, match="2 outcomes before 11 are missing"):
        again.take("t", 0, header(11))


def test_the_page_names_the_topics():
    assert all(topic in PAGE for topic in TOPICS)
