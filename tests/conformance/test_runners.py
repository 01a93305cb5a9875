"""One suite over both runners: the same records in, the same detection records, dead letters and people out."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest

from streams.embedded import wall_clock
from tests import services
from tests.conformance import runners
from tests.conformance.runners import Hurt, Runner, letters, raw, said
from tests.live import kill_rules
from tests.live.engines import customer, failed
from tests.live.test_poison import TOPIC, broken, good
from tidings.event import MINUTE

pytestmark = pytest.mark.live

NEVER_QUIET = kill_rules.rules(10 * MINUTE)
MORE = (
    NEVER_QUIET
    + b"""  - id: every-failure
    title: Another one
    owner: team-billing
    status: live
    when: { event: billing.payment.failed }
    to: customer
    topic: news
    then: [{ send: email, template: failed, with: { name: payment_id } }]
"""
)
Story = Callable[[Runner], Awaitable[None]]


@pytest.fixture
def place():
    with services.database() as found:
        yield found


def both(tmp_path, place, story: Story, **words) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Play a story on each runner; return what each has in the end."""

    async def one(runner) -> Mapping[str, Any]:
        async with runner as running:
            await story(running)
            return {name: await running.rows(name) for name in ("records", "dead_letters", "recipients", "journal")}

    async def play() -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        first = await one(runners.embedded(tmp_path / "t.db", NEVER_QUIET, kill_rules.TEMPLATES, **words))
        second = await one(runners.on_cluster(place, NEVER_QUIET, kill_rules.TEMPLATES, **words))
        return first, second

    return asyncio.run(play())


def test_absences_and_stops_out_of_order_repeated_and_interrupted_are_decided_alike(tmp_path, place):
    log = raw(kill_rules.workload(wall_clock(), 3000))
    people = raw(("customer.profile.changed", customer(f"c-{n}")) for n in range(kill_rules.CUSTOMERS))

    async def story(runner: Runner):
        await runner.append([*people, *log])
        await runner.start()
        await asyncio.sleep(0.5)  # somewhere in the middle
        await runner.stop()
        await runner.start()
        await runner.rest()
        await runner.append(log)  # the whole log again, by producers that did not know better
        await runner.rest()

    embedded, cluster = both(tmp_path, place, story)
    assert len(embedded["records"]) > 2000
    assert {row["kind"] for row in embedded["records"]} == {"fired", "stopped"}
    assert said(cluster["records"]) == said(embedded["records"])
    assert len([row for row in cluster["journal"] if row["kind"] == "batch"]) > 1
    assert letters(cluster["dead_letters"]) == letters(embedded["dead_letters"]) == []
    assert told(cluster["recipients"]) == told(embedded["recipients"])
    assert len(embedded["recipients"]) == kill_rules.CUSTOMERS


def told(rows):
    """Of people what is known of them, without when they are looked at next."""
    return sorted((row["tenant"], row["recipient"], row["linked_to"], row["profile"]) for row in rows)


def test_what_nobody_can_read_is_kept_alike_and_its_neighbours_decided(tmp_path, place):
    bombs = list(broken().values())
    culprit = good("culprit")
    records: list[runners.Raw] = [(TOPIC, *good("first"))]
    for number, (key, value, _) in enumerate(bombs):
        records += [(TOPIC, key, value), (TOPIC, *good(f"after-{number}"))]
    records += [(TOPIC, *culprit), (TOPIC, *good("last")), ("customer.profile.changed.v1", b"c-1", b"rubbish")]
    records += raw([("customer.profile.changed", customer("c-1"))])

    async def story(runner: Runner):
        await runner.append(records)
        await runner.start()
        await runner.rest()

    embedded, cluster = both(tmp_path, place, story, decode=Hurt(culprit[1]))
    reasons = sorted([*(reason for _, _, reason in bombs), "internal_error", "not_avro", "not_avro"])
    assert sorted(row["reason"] for row in embedded["dead_letters"]) == reasons
    assert letters(cluster["dead_letters"]) == letters(embedded["dead_letters"])
    assert len(embedded["records"]) == len(bombs) + 2
    assert said(cluster["records"]) == said(embedded["records"])
    assert told(cluster["recipients"]) == told(embedded["recipients"])


def test_a_switch_of_rules_while_it_runs_holds_for_what_comes_afterwards(tmp_path, place):
    before = raw(("billing.payment.failed", failed(f"before-{n}")) for n in range(50))
    after = raw(("billing.payment.failed", failed(f"after-{n}")) for n in range(50))

    async def story(runner: Runner):
        await runner.start()
        await runner.append(before)
        await runner.rest()
        await runner.apply(MORE, kill_rules.TEMPLATES)
        await runner.append(after)
        await runner.rest()

    embedded, cluster = both(tmp_path, place, story)
    fired = [row["rule"] for row in embedded["records"]]
    assert (fired.count("payment-failed"), fired.count("every-failure")) == (100, 50)
    assert said(cluster["records"]) == said(embedded["records"])
