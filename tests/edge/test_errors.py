"""Errors keep the console's frame: what failed, what still holds, what to do, and the number that the log has."""

from tests.edge import edge
from tests.http.asking import run
from tidings.ports import StoreUnavailable

PAGE = {"accept": "text/html"}


def test_a_store_that_is_away_or_silent_is_said_in_the_frame_and_a_fault_of_ours_as_well(tmp_path, monkeypatch, caplog):
    async def body() -> None:
        async with edge(tmp_path) as shop:
            faults: dict[int, list[BaseException]] = {
                503: [StoreUnavailable("the disk is full"), TimeoutError()],
                500: [RuntimeError("c-1 has the address ada@example.org")],
            }
            for status, raised in faults.items():
                for fault in raised:

                    async def ask(*_: object, fault: BaseException = fault, **__: object) -> None:
                        raise fault

                    monkeypatch.setattr("streams.ledger.ledger.Ledger.decisions", ask)
                    answer = await shop.get("/decisions", **PAGE)
                    assert answer.status == status
                    assert answer.headers["content-type"].startswith("text/html")
                    text = answer.body.decode()
                    assert 'aria-label="Main"' in text
                    assert answer.headers["request-id"] in text
                    assert "ada@example.org" not in text
                    asked = await shop.get("/v1/decisions")
                    assert asked.headers["content-type"].startswith("application/problem+json")

    run(body())
    assert "ada@example.org" not in "".join(record.getMessage() for record in caplog.records)
