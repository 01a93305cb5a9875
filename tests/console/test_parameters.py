"""What a URL asks of a page that the page does not know is said, and never left out: it would show everything."""

from __future__ import annotations

import html
import re
from pathlib import Path
from urllib.parse import urlencode

from gateway.console.decisions import instant
from tests.explaining.laboratory import NOON, Shop, browsing, opened, run

REFUSED = [
    ("/decisions?rul=x", "“rul” is no filter of this page, did you mean rule?; its filters are time, from, to, rule"),
    ("/decisions?outcome=snt", "“outcome” has a word that it does not know, did you mean sent?"),
    ("/decisions?from=yesterday", "“from” has no time that can be read; an instant is written as the pages show it"),
    ("/decisions?rule=a&rule=b", "“rule” is given twice"),
    ("/messages?chanel=sms", "did you mean channel?"),
    ("/messages?channel=fax", "it knows email, sms"),
    ("/?windw=1h", "did you mean window?"),
    ("/dead-letters?tab=lost", "it knows all, deliveries"),
    ("/audit?verbs=kill", "did you mean verb?"),
    ("/customers/c-1?windows=7d", "did you mean window?"),
    ("/rules/payment-failed?outcome=sent", "is no filter of this page; it has none"),
    ("/messages/m-1?part=nonsense", "“part” has a word that it does not know; it knows text, headers, source"),
    ("/keys?q=1", "is no filter of this page; it has none"),
]


def test_what_a_page_does_not_know_is_refused_with_what_was_meant_and_what_it_knows(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(tmp_path, Shop()) as shop, browsing(shop) as client:
            for path, said in REFUSED:
                answer = await client.get(path)
                text = html.unescape(re.sub(r"<[^>]+>", "", answer.text))
                assert answer.status_code == 400, path
                assert said in text, path
                assert "Nothing was changed." in text
            for path in ("/decisions?rule=&outcome=", "/decisions?times=utc", "/?window=1h", "/audit?who=&verb="):
                assert (await client.get(path)).status_code == 200, path
            # Whatever else stands there is not told back: it may be somebody's address.
            assert "jonas@wald.de" not in (await client.get("/messages?outcome=jonas@wald.de")).text

    run(story())


def test_a_rule_that_nobody_knows_is_said_with_the_one_that_was_meant(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(tmp_path, Shop()) as shop, browsing(shop) as client:
            for path in ("/decisions", "/messages", "/near-misses"):
                answer = await client.get(f"{path}?rule=slip")
                assert "There is no rule slip; there is price-slip" in answer.text, path
                nix = (await client.get(f"{path}?rule=nix")).text
                assert "There is no rule nix." in nix, path
            assert "No decision fits." in (await client.get("/decisions?rule=price-slip")).text

    run(story())


def test_an_instant_is_taken_as_a_page_shows_it(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(tmp_path, Shop()) as shop, browsing(shop) as client:
            (shown,) = re.findall(r"As of ([^<]+)<", (await client.get("/decisions")).text)
            assert instant(shown) == NOON
            paused = await client.get(f"/decisions?{urlencode({'paused': shown, 'from': shown})}")
            assert f"Paused at {shown}" in paused.text

    run(story())
