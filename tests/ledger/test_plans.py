"""Every question of a page walks an index, on both stores: what it costs does not grow with what there is."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from schemas import contracts
from streams.codec import Codec
from streams.ledger.asking import SqliteAsking
from streams.ledger.ledger import Ledger
from streams.ledger.lists import BUDGET, COUNTED
from streams.ledger.proof import Proof
from streams.ledger.rows import Filter, Outcome
from tests.ledger.laboratory import NOW, Kept, Stand, stands
from tidings.event import DAY

pytestmark = pytest.mark.live

FILTERS = [
    Filter(),
    Filter(since=NOW - DAY, until=NOW),
    Filter(rule="rule-00"),
    Filter(recipient="customer:c-7"),
    Filter(firing="0"),
    Filter(rule="rule-03", outcome=Outcome.SENT),
    Filter(rule="rule-03", reason="no_consent"),
    Filter(reason="no_consent", outcome=Outcome.SUPPRESSED),
    Filter(recipient="customer:c-7", channel="sms"),
    *(Filter(outcome=one) for one in Outcome),
]
SMALL = {"sources", "log_heads", "recipients"}
"""Tables of a row a topic, or of which one row is asked."""


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def stand(request: Any, tmp_path_factory: Any) -> Iterator[Stand]:
    yield from stands(request.param, tmp_path_factory.mktemp("plans"))


async def everything(ledger: Ledger) -> None:
    """Ask all that pages and the proof ask."""
    for about in FILTERS:
        first = await ledger.decisions(about, limit=5)
        await ledger.decisions(about, before=first.older, limit=5)
        if first.rows:
            await ledger.decisions(about, after=first.rows[-1].place, limit=5)
        await ledger.decision_counts(about)
        found = await ledger.messages(about, limit=5)
        await ledger.messages(about, before=found.older, limit=5)
        await ledger.message_counts(about)
    line = (await ledger.messages(limit=1)).rows[0]
    await ledger.message(line.message_id)
    await ledger.find(line.message_id[:8])
    await ledger.find("c-7")
    await ledger.events("c-7")
    await ledger.dead_letters()
    await ledger.dead_letters(before=(await ledger.decisions(limit=1)).rows[0].place)
    await ledger.dead_letter_counts()
    for who in (None, "ann"):
        for verb in (None, "kill"):
            page = await ledger.audit(who=who, verb=verb, limit=5)
            await ledger.audit(who=who, verb=verb, before=page.older)
            await ledger.audit(who=who, verb=verb, after=page.older)

    async def at_once(_: float) -> None:
        return None

    await Proof(ledger, lambda: NOW, at_once).step()


def test_every_question_walks_an_index(stand):
    kept = Kept(stand.ledger.asking)
    stand(everything(Ledger(kept, codec=Codec(contracts()))))
    assert len(kept.asked) > 40
    for statement, values in kept.asked.items():
        if isinstance(stand.ledger.asking, SqliteAsking):
            _sqlite(stand.ledger.asking, statement, values)
        else:
            _postgres(json.loads(stand(stand.ledger.asking.plan(statement, *values)))[0]["Plan"], statement)


def _sqlite(asking: SqliteAsking, statement: str, values: tuple[Any, ...]) -> None:
    for *_, step in asking.ask_now(f"EXPLAIN QUERY PLAN {statement}", values):
        scanned = re.match(r"SCAN (\w+)(?! USING COVERING INDEX \w+_by_time)", step)
        if scanned is None:
            continue
        # What is scanned is small, is what an index has given before, or is walked along an index up to a limit.
        name = scanned[1]
        assert name in {"w", "m", "part", "parts", "such", "few", "open", "some", "x", "b", "blocks"} | SMALL or (
            name == "dead_letters" and "LIMIT" in statement
        ), f"{step}: {statement}"


def _postgres(plan: Mapping[str, Any], statement: str) -> None:
    if plan["Node Type"] == "Seq Scan":
        name = plan["Relation Name"]
        # A partition that is empty, or a table of a few rows, may be read whole.
        assert name in SMALL or name.startswith(("log_", "records_")) or plan["Plan Rows"] < 100, (name, statement)
    for child in plan.get("Plans", ()):
        _postgres(child, statement)


def test_what_came_of_one_firing_is_found_by_the_firing(stand):
    """It was found once by walking everything of the tenant, which an index serves as well."""
    kept = Kept(stand.ledger.asking)
    stand(Ledger(kept).decisions(Filter(firing="0"), limit=5))
    stand(Ledger(kept).decision_counts(Filter(firing="0")))
    asked = {one: values for one, values in kept.asked.items() if "firing_id =" in one}
    assert asked
    for statement, values in asked.items():
        if isinstance(stand.ledger.asking, SqliteAsking):
            plan = str(stand.ledger.asking.ask_now(f"EXPLAIN QUERY PLAN {statement}", values))
        else:
            plan = stand(stand.ledger.asking.plan(statement, *values))
        assert "by_firing" in plan, statement
        assert "by_time" not in plan, statement


def test_no_question_reads_more_rows_than_its_bounds(stand):
    """The bounds are written into the statements, where the planner sees them."""
    kept = Kept(stand.ledger.asking)
    stand(everything(Ledger(kept, codec=Codec(contracts()))))
    for statement in kept.asked:
        assert not re.search(r"\bOFFSET\s+[\d$]", statement)
        for limit in re.findall(r"LIMIT (\d+)", statement):
            assert int(limit) <= max(BUDGET, COUNTED + 1)
