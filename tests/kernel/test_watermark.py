"""W: how far a partition, a topic, a rule is complete; and that it never goes back."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.simulator.rules import ISSUED, MOVED, PAID, TOPICS, Shop, rule_set
from tidings import watermark
from tidings.event import SECOND
from tidings.rule import NEVER

RULES = rule_set(Shop(lateness=5 * SECOND))
OVERDUE = RULES.by_id["overdue"]


def source(newest: int | None, idle: int | None) -> dict[str, int | None]:
    return {"max_time": newest, "caught_up_at": idle}


def test_of_a_partition():
    assert watermark.of_partition(source(None, None), 0) == NEVER
    assert watermark.of_partition(source(10, None), 0) == 9
    assert watermark.of_partition(source(None, 30), 5) == 25
    assert watermark.of_partition(source(10, 30), 5) == 25
    assert watermark.of_partition(source(40, 30), 5) == 39


def test_of_a_topic_it_is_the_least_and_one_that_nobody_has_read_holds_it():
    assert watermark.of_topic([source(10, None), source(5, None)], 0) == 4
    assert watermark.of_topic([source(10, None), source(None, None)], 0) == NEVER
    assert watermark.of_topic([], 0) == NEVER


def test_of_a_rule_it_is_the_least_of_its_topics_less_its_lateness():
    topics = {TOPICS[ISSUED]: 60 * SECOND, TOPICS[PAID]: 50 * SECOND, TOPICS[MOVED]: 70 * SECOND}
    assert watermark.of_rule(OVERDUE, topics, {}) == 45 * SECOND
    assert watermark.of_rule(OVERDUE, {**topics, TOPICS[PAID]: NEVER}, {}) == NEVER
    assert watermark.of_rule(OVERDUE, {}, {}) == NEVER
    assert watermark.of_rule(OVERDUE, topics, {"overdue": 48 * SECOND}) == 48 * SECOND


marks = st.none() | st.integers(0, 10**6)


@given(marks, marks, st.integers(0, 10**6), st.integers(0, 10**6))
@settings(derandomize=True, database=None)
def test_what_is_read_and_what_is_idle_move_it_forward_only(newest, idle, more, later):
    before = watermark.of_partition(source(newest, idle), 5)
    assert watermark.of_partition(source(max(newest or 0, more), idle), 5) >= before
    assert watermark.of_partition(source(newest, max(idle or 0, later)), 5) >= before
