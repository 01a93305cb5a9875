"""What people did is read newest first, by who and by verb, in parts that miss nothing; the same on both stores."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from streams.ledger.rows import Page
from streams.processors.audit import audit
from tests.ledger.laboratory import Stand, stands
from tidings.ports import Transaction

DONE = [(("ann", "ben")[at % 2], ("kill", "release", "drop")[at % 3]) for at in range(30)]


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.live)])
def stand(request: Any, tmp_path_factory: Any) -> Iterator[Stand]:
    for found in stands(request.param, tmp_path_factory.mktemp("audit")):
        for at, (who, verb) in enumerate(DONE):

            def body(who: str = who, verb: str = verb, at: int = at) -> Transaction[None]:
                yield from audit(verb, who, {"reason": f"because of {at}"})

            found(found.store.run(body))
        yield found


@pytest.mark.parametrize("who", [None, "ann", "nobody"])
@pytest.mark.parametrize("verb", [None, "drop"])
def test_parts_of_the_audit_are_the_whole_of_it_both_ways(stand: Stand, who: str | None, verb: str | None) -> None:
    expected = [f"because of {at}" for at, one in enumerate(DONE) if who in (None, one[0]) and verb in (None, one[1])]
    seen: list[Page[Any]] = [stand(stand.ledger.audit(who=who, verb=verb, limit=4))]
    while seen[-1].older is not None:
        seen.append(stand(stand.ledger.audit(who=who, verb=verb, before=seen[-1].older, limit=4)))
    assert [row.body["reason"] for page in seen for row in page.rows] == expected[::-1]
    assert seen[0].newer is None
    for page, newer in zip(seen[1:], seen, strict=False):
        again = stand(stand.ledger.audit(who=who, verb=verb, after=page.newer, limit=4))
        assert again.rows == newer.rows
