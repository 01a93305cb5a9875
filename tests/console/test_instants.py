"""What a URL says of time: anything, and the page stands, or says what it takes."""

from urllib.parse import urlencode

import pytest

from gateway.console.decisions import as_text, asked, instant
from gateway.intake.judging import LATEST
from tests.edge import edge
from tests.http.asking import run
from tidings.event import DAY

ODD = [
    "99999999999999999",
    "0001-01-01T00:00+14:00",
    "9999-12-31T23:59-14:00",
    "9999-12-31",
    "-1",
    str(LATEST),
    "0",
    "x" * 50,
]


@pytest.mark.parametrize("value", ODD)
def test_an_instant_of_a_url_is_one_that_an_event_can_have_or_none(value):
    found = instant(value)
    assert found is None or 0 <= found < LATEST
    for name in ("from", "to", "paused"):
        wanted = asked({name: value}, 20_000 * DAY)
        for at in (wanted.filter.since, wanted.filter.until, wanted.paused):
            as_text(at)


def test_no_date_in_a_url_takes_the_page_down(tmp_path):
    async def body():
        async with edge(tmp_path, started=False) as shop:
            for value in ODD:
                for name in ("from", "to", "paused", "before"):
                    answer = await shop.get(f"/decisions?{urlencode({name: value})}")
                    good = name == "before" or instant(value) is not None
                    assert answer.status == (200 if good else 400), (name, value)

    run(body())
