"""What a message says is shown only once it is written down that somebody looked."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from starlette.requests import Request

from gateway.access.keys import local
from gateway.console import preview
from gateway.console.message import One
from gateway.console.session import Session
from tidings.ports import StoreUnavailable


def test_a_body_is_not_shown_before_the_audit_has_its_row_and_the_row_is_written_once(monkeypatch):
    outcomes: list[Exception | None] = [StoreUnavailable("away"), TimeoutError(), None]
    written = []

    async def store(body: Any) -> None:
        fault = outcomes.pop(0)
        if fault is not None:
            raise fault
        written.append(body)

    site = SimpleNamespace(store=SimpleNamespace(run=store), now=lambda: 0)
    one = One(cast(Any, site), cast(Any, None), cast(Any, None))
    found = SimpleNamespace(message=None, line=SimpleNamespace(message_id="m-1"))
    monkeypatch.setattr(preview, "shown", lambda *_: "what it says")
    request = Request({"type": "http", "headers": []})
    request.state.session = Session(local("default"), "one session")

    async def read() -> Any:
        return await one.read(request, cast(Any, found), cast(Any, None))

    for fault in (StoreUnavailable, TimeoutError):
        with pytest.raises(fault):
            asyncio.run(read())
    for _ in range(2):
        assert asyncio.run(read()) == "what it says"
    assert len(written) == 1
