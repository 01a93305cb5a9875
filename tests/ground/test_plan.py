"""What is to be done about topics, as a pure comparison: of what the contracts want, and of what there is."""

from dataclasses import replace

import pytest

from schemas import contracts
from streams.kafka.cluster import Topic
from streams.kafka.topics import CLOCK, Kind, Known, Line, Wanted, is_read, plan, wanted
from streams.processors import detect, people
from streams.processors.ground import ARCHIVE
from tests.simulator.rules import ISSUED, TOPICS, Shop, rule_set

ALL = wanted(contracts(), partitions=3, replicas=1, brokers=2)
PAID = next(one for one in ALL if one.name == "billing.invoice.paid.v1")


def rows(one: Wanted, count: int | None = None):
    return {(reader, one.name, p) for reader in one.readers for p in range(count or one.partitions)}


def topic(one: Wanted, **words):
    return replace(Topic(one.partitions, one.replicas, {}, one.settings, one.settings), **words)


WELL = Known({one.name: topic(one) for one in ALL}, frozenset(), frozenset().union(*(rows(one) for one in ALL)))


def told(known: Known, one: Wanted = PAID) -> list[Line]:
    return plan([one], known)


def with_paid(known: Known = WELL, **words) -> Known:
    return replace(known, topics={**known.topics, PAID.name: topic(PAID, **words)})


def test_where_all_is_as_wanted_nothing_is_to_be_done():
    assert plan(ALL, WELL) == []


def test_on_an_empty_cluster_every_topic_is_made_after_the_rows_of_its_readers():
    lines = plan(ALL, Known({}, frozenset(), frozenset()))
    assert {line.topic for line in lines if line.kind is Kind.CREATE} == {one.name for one in ALL}
    for one in ALL:
        kinds = [line.kind for line in lines if line.topic == one.name]
        assert kinds == ([Kind.CONNECT, Kind.CREATE] if one.readers else [Kind.CREATE])


def test_who_reads_what():
    by_name = {one.name: set(one.readers) for one in ALL}
    assert by_name["customer.profile.changed.v1"] == {detect.READER, people.READER, ARCHIVE}
    assert by_name["billing.invoice.paid.v1"] == {detect.READER, ARCHIVE}
    for name in ("decision.firing.recorded.v1", "notification.message.ended.v1", CLOCK):
        assert by_name[name] == set()
    assert "ops.dead.letter.v1" not in by_name, "a topic that nobody writes to"
    assert all(is_read(one.name) == bool(one.readers) for one in ALL if one.name != CLOCK)


def test_a_topic_is_made_as_its_contract_says_and_loses_nothing_by_itself():
    settings = PAID.settings
    assert settings["retention.ms"] == str(30 * 86_400_000)
    assert settings["message.timestamp.type"] == "LogAppendTime"
    assert (settings["cleanup.policy"], settings["retention.bytes"]) == ("delete", "-1")
    assert {one.partitions for one in ALL} == {3, 2}  # the clock topic has one for each broker


@pytest.mark.parametrize(("replicas", "least"), [(1, "1"), (2, "1"), (3, "2"), (5, "4")])
def test_a_write_waits_for_all_copies_but_one(replicas, least):
    (first, *_) = wanted(contracts(), partitions=3, replicas=replicas, brokers=5)
    assert first.settings["min.insync.replicas"] == least


def test_more_partitions_are_made_and_fewer_are_not():
    assert [line.kind for line in told(with_paid(partitions=2))] == [Kind.GROW]
    many = told(replace(with_paid(partitions=5), sources=WELL.sources | rows(PAID, 5)))
    assert [line.kind for line in many] == [Kind.NOTE]


def test_partitions_that_readers_know_are_made_again():
    (line,) = told(replace(with_paid(partitions=3), sources=WELL.sources | rows(PAID, 6)))
    assert line.kind is Kind.GROW
    assert line.says == "from 3 partitions to 6"


def test_the_rows_of_partitions_that_somebody_else_made_are_missing():
    (grown, *_) = told(with_paid(partitions=5))
    assert grown.kind is Kind.CONNECT
    assert grown.says.startswith("4 rows")


def test_settings_that_differ_are_told_with_both_values():
    (line,) = told(with_paid(settings={**PAID.settings, "retention.ms": "1000", "other": "x"}))
    assert (line.kind, line.says) == (Kind.SET, f"retention.ms: 1000 → {30 * 86_400_000}")


def test_producers_times_are_mended_while_a_topic_is_empty_and_never_under_records():
    known = with_paid(settings={**PAID.settings, "message.timestamp.type": "CreateTime"})
    assert [line.kind for line in told(known)] == [Kind.SET]
    (line,) = told(replace(known, filled=frozenset({PAID.name})))
    assert line.kind is Kind.CANNOT
    assert not line.is_to_do
    assert line.mend


def test_fewer_copies_cannot_be_mended_here_and_more_do_no_harm():
    three = replace(PAID, replicas=3)
    assert [line.kind for line in told(with_paid(replicas=1), three)] == [Kind.CANNOT]
    assert [line.kind for line in told(with_paid(replicas=2))] == [Kind.NOTE]


def test_topics_of_others_are_left_alone():
    assert plan(ALL, replace(WELL, topics={**WELL.topics, "theirs": Topic(7, 1)})) == []


def test_a_rule_whose_topics_have_different_counts_is_named():
    rules = rule_set(Shop())
    aims = [Wanted(name, 3, 1, PAID.settings, (detect.READER,)) for name in sorted(TOPICS.values())]
    there = {one.name: topic(one, partitions=6 if one.name == TOPICS[ISSUED] else 3) for one in aims}
    sources = frozenset().union(*(rows(one, there[one.name].partitions) for one in aims))
    notes = [line for line in plan(aims, Known(there, frozenset(), sources), rules) if "reads together" in line.says]
    assert notes
    assert all(line.kind is Kind.NOTE for line in notes)
    assert any("overdue" in line.says for line in notes)
    even = {one.name: topic(one) for one in aims}
    assert plan(aims, Known(even, frozenset(), frozenset().union(*map(rows, aims))), rules) == []
