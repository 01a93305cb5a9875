"""Lists of decisions and messages hold what the rows hold, page by page, on both stores."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from streams.ledger.lists import COUNTED_STATES
from streams.ledger.rows import ALL, Count, Filter, Outcome, read_key
from tests.ledger.laboratory import NOW, Kept, Stand, expected_decisions, expected_messages, stands
from tidings.correction import NOTICE
from tidings.event import HOUR

pytestmark = pytest.mark.live


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def stand(request: Any, tmp_path_factory: Any) -> Iterator[Stand]:
    yield from stands(request.param, tmp_path_factory.mktemp("ledger"))


WINDOW = Filter(since=NOW - 100 * HOUR, until=NOW - 50 * HOUR)
FILTERS = [
    ALL,
    WINDOW,
    Filter(rule="rule-00"),
    Filter(rule="rule-11"),
    Filter(recipient="customer:c-7"),
    Filter(recipient="customer:nobody"),
    *(Filter(outcome=outcome) for outcome in Outcome),
    Filter(reason="no_consent"),
    Filter(reason="rule_off"),
    Filter(rule="rule-01", outcome=Outcome.SENT),
    Filter(rule="rule-01", outcome=Outcome.FAILED),
    Filter(rule="rule-02", reason="shadow"),
    Filter(recipient="customer:c-7", outcome=Outcome.SENT, rule="rule-00"),
    Filter(since=WINDOW.since, until=WINDOW.until, outcome=Outcome.SUPPRESSED, reason="topic_off"),
]


@pytest.mark.parametrize("about", FILTERS, ids=str)
def test_the_pages_of_a_list_of_decisions_are_the_decisions_that_fit_once_each_newest_first(stand, about):
    found, before, turns = [], None, 0
    while turns < 500:
        page = stand(stand.ledger.decisions(about, before=before, limit=40))
        found += page.rows
        turns += 1
        if page.older is None:
            break
        before = read_key(str(page.older))
        assert before is not None
    assert [one.id for one in found] == expected_decisions(stand.rows, about)
    for one in found[:40]:
        assert about.outcome is None or about.outcome in one.words
        assert one.because


def test_whoever_goes_older_and_then_newer_sees_the_same_decisions_again(stand):
    for about in (ALL, Filter(outcome=Outcome.SUPPRESSED), Filter(rule="rule-01")):
        first = stand(stand.ledger.decisions(about, limit=30))
        second = stand(stand.ledger.decisions(about, before=first.older, limit=30))
        back = stand(stand.ledger.decisions(about, after=second.newer, limit=30))
        assert [one.id for one in back.rows] == [one.id for one in first.rows]
        assert first.newer is None


@pytest.mark.parametrize(
    "about", [*FILTERS, Filter(channel="sms"), Filter(channel="push", outcome=Outcome.SENT, rule="rule-00")], ids=str
)
def test_the_pages_of_a_list_of_messages_are_the_messages_that_fit_once_each(stand, about):
    if about.outcome is Outcome.NOTHING:
        return
    found, before = [], None
    for _ in range(500):
        page = stand(stand.ledger.messages(about, before=before, limit=40))
        found += [one.message_id for one in page.rows]
        before = page.older
        if before is None:
            break
    wanted = expected_messages(stand.rows, about)
    assert set(found) == wanted
    assert len(found) == len(wanted)


def test_counts_are_the_numbers_of_what_the_lists_hold_up_to_their_bound(stand):
    for about in (ALL, WINDOW, Filter(recipient="customer:c-7"), Filter(rule="rule-11")):
        counts = stand(stand.ledger.decision_counts(about))
        assert _says(counts[None], len(expected_decisions(stand.rows, about))), about
        for outcome in Outcome:
            if outcome is Outcome.NOTHING:
                continue
            wanted = len(expected_decisions(stand.rows, _with(about, outcome)))
            assert _says(counts.get(outcome, Count(0)), wanted), (about, outcome)
        messages = stand(stand.ledger.message_counts(about))
        assert _says(messages[None], len(expected_messages(stand.rows, about)))


def _says(count: Count, wanted: int) -> bool:
    """Return whether a count is a number, or says of a large one that it is at least so much."""
    return count == Count(wanted) or (count.more and COUNTED_STATES / 2 < count.number <= COUNTED_STATES < wanted)


@pytest.mark.parametrize("page", ["decisions", "messages"])
def test_a_part_of_a_list_begins_at_its_place_whatever_else_bounds_it(stand, page):
    """Of two bounds on one side the index may begin at the wider one, and walk everything up to the other."""
    kept = Kept(stand.ledger.asking)
    ask = getattr(replace(stand.ledger, asking=kept), page)
    middle = stand(ask(limit=1000)).rows[-1].place
    kept.asked.clear()
    stand(ask(Filter(since=1), after=middle, limit=5))
    stand(ask(Filter(until=NOW + 1), before=middle, limit=5))
    for statement in kept.asked:
        assert statement.count("_at >=") + statement.count("_at <") == 0, statement


def _with(about: Filter, outcome: Outcome) -> Filter:
    return Filter(about.since, about.until, about.rule, about.recipient, outcome)


def test_a_message_has_its_decision_its_attempts_and_what_was_said_later(stand):
    row = next(m for m in stand.rows.messages if m["receipt"] == "opened" and m["role"] == NOTICE)
    found = stand(stand.ledger.message(row["message_id"]))
    assert found.line.outcome is Outcome.SENT
    assert found.line.because == "It was opened."
    assert found.decision.id == row["run_id"]
    assert row["message_id"] in [one.message_id for one in found.decision.messages]
    assert [one.outcome for one in found.attempts] == ["accepted"]
    assert [one.receipt for one in found.receipts] == ["opened"]
    assert found.reference == f"ref-{row['message_id']}"


def test_another_tenant_sees_nothing(stand):
    other = type(stand.ledger)(stand.ledger.asking, tenant="other")
    row = stand.rows.messages[0]
    assert stand(other.decisions()).rows == []
    assert stand(other.messages()).rows == []
    assert stand(other.message(row["message_id"])) is None
    assert stand(other.decision(row["run_id"])) is None
    assert stand(other.decision_counts())[None].number == 0


@pytest.mark.parametrize("text", ["", "x", "1~a~b~c", "9" * 40, "-5", "٣", "1~\x00"])
def test_a_key_that_is_none_begins_the_list(text):
    assert read_key(text) is None
