"""Everything that a loop or a person waits for walks an index."""

import asyncio
from collections.abc import Iterator

import pytest

from streams.stores.place import Place
from streams.stores.postgres_connections import SETTINGS
from tests.postgres.plans import ROWS, fill, nodes, plans
from tests.services import database

pytestmark = pytest.mark.live

QUEUES = ("state.by_due", "recipients.by_next", "messages.by_work", "records.by_unread", "outbox.by_open")


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with database() as found:
        asyncio.run(fill(found))
        yield found


@pytest.mark.parametrize("settings", [{}, SETTINGS], ids=["planner as it is", "as the store sets it"])
def test_no_statement_reads_a_whole_table_that_grows(place, settings):
    """The default partition, and those of other months, may be small enough to be read whole."""
    found = asyncio.run(plans(place, settings))
    assert len(found) > 80
    for one, plan in found:
        for node in nodes(plan):
            whole = (
                node["Node Type"] == "Seq Scan" and node["Actual Rows"] + node.get("Rows Removed by Filter", 0) > 100
            )
            assert not whole, f"{one.what}: {one.statement}"
            if "Index Name" in node and one.what.startswith(("Find", "Read", "Lock", "Put", "Delete")):
                # An index that is walked from end to end is a whole table, too. That of what waits is not.
                assert "Index Cond" in node or node["Actual Rows"] + node.get("Rows Removed by Filter", 0) < 50, (
                    f"{one.what}: {one.statement}"
                )
    assert set(ROWS) == {one.what.split()[1] for one, _ in found if one.what.startswith("Read ")}


def test_the_first_of_a_queue_are_found_without_sorting_or_reading_the_others(place):
    for one, plan in asyncio.run(plans(place, SETTINGS)):
        if one.what.startswith(tuple(f"Find {queue} " for queue in QUEUES)) and "≤" in one.what:
            assert one.what.startswith("Find records") or "Sort" not in {node["Node Type"] for node in nodes(plan)}
            read = sum(node["Actual Rows"] for node in nodes(plan) if node["Node Type"] == "Index Scan")
            assert read <= 32 + 20, one.what


def test_the_newest_of_the_audit_are_found_without_sorting_or_reading_the_others(place):
    (plan,) = [plan for one, plan in asyncio.run(plans(place, SETTINGS)) if one.what.endswith("the newest")]
    assert not any("Sort" in node["Node Type"] for node in nodes(plan))
    assert max(node["Actual Rows"] for node in nodes(plan)) == 200
