"""What support types on a customer's page stands in no URL while it may be an address."""

from tests.edge import edge
from tests.http.asking import run


def test_what_is_typed_is_looked_at_before_it_stands_in_a_url_and_an_address_never_does(tmp_path):
    async def body():
        async with edge(tmp_path, started=False) as shop:
            here = "/customers/c-1"
            asked = await shop.submit(here, here, about=" ord-1 ", rule="", window="1d")
            assert (asked.status, asked.headers["location"]) == (303, f"{here}?ask=1&rule=&about=ord-1&window=1d")
            assert (await shop.get(asked.headers["location"])).status == 200
            for word in ("about", "rule"):
                refused = await shop.submit(here, here, **{word: "ada@example.org"})
                assert refused.status == 422
                assert b"an address is no order" in refused.body
                assert "location" not in refused.headers
                seen = await shop.get(f"{here}?ask=1&{word}=ada@example.org")
                assert b"an address is no order" in seen.body
                assert b"ada@example.org" not in seen.body

    run(body())
