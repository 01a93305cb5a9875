"""The kernel under attack on a real server: fewer histories, the same invariants at rest."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator

import pytest

from streams.stores import postgres_sql
from streams.stores.migrate import migrate
from streams.stores.place import Place
from tests.services import database, empty
from tests.simulator.drawn import TROUBLES, plan
from tests.simulator.server import check

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with database() as found:
        asyncio.run(migrate(found))
        yield found


async def run(place: Place, seeds: range, theme: str | None = None) -> Counter[str]:
    seen: Counter[str] = Counter()
    for seed in seeds:
        await empty(place)
        faults, history = await check(plan(seed, theme), place)
        assert not faults, f"seed {seed} ({history.plan.theme})\n" + "\n".join(faults[:10])
        seen["crashes"] += history.crashes
        seen["records"] += len(history.store.rows("records"))
        seen["messages"] += len(history.store.rows("messages"))
        seen.update(history.store.repeats)
    return seen


def test_a_history_of_every_theme_keeps_every_promise_on_a_server(place: Place) -> None:
    seen = asyncio.run(run(place, range(len(TROUBLES) + 1)))
    assert min(seen["crashes"], seen["records"], seen["messages"]) > 20


def test_a_lock_that_does_not_lock_is_seen(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The invariants mean something here as well: without locks two workers take the same records, and worse."""

    def unlocked(name: str, *, skip_locked: bool = False) -> str:
        return postgres_sql.read(name)

    monkeypatch.setattr(postgres_sql, "lock", unlocked)
    monkeypatch.setattr("streams.stores.postgres_transaction.MADE_BY_LOCKS", frozenset())
    with pytest.raises(AssertionError, match=r"seed \d+ \(doubt\)"):
        asyncio.run(run(place, range(30), "doubt"))


@pytest.mark.proofs
def test_three_hundred_histories_keep_every_promise_on_a_server(place: Place) -> None:
    print(dict(asyncio.run(run(place, range(300)))))
