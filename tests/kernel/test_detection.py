"""What a firing carries: severity, recipient, captured values; and images that are read beside the event."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest

from handlers.operators.event import EventOperator, StopMatcher
from handlers.operators.missing import MissingOperator
from tests.histories.detector import Detector
from tests.simulator.rules import CONTRACTS, DECLINED, ISSUED, PAID, PING, TOPICS, Value
from tidings import canonical
from tidings.contract import Contract, Field, Type, value_at
from tidings.event import SECOND, Event
from tidings.journal import Span, canonical_records, read_entry
from tidings.replay import Replay
from tidings.rule import Matcher, Reading, Rule, RuleSet, Step, To
from tidings.unknown import UNKNOWN

RECORD = Type("record", True, fields={"plan": Field("plan", Type("string"))})
ACCOUNT = Contract(
    PING, PING, TOPICS[PING], 1, 1, "sim", "", ("customer_id",),
    {"customer_id": Field("customer_id", Type("string")), "before": Field("before", RECORD), "after": Field("after", RECORD)},
    ("customer_id",), "crm.customer", (("customer_id",),),
)  # fmt: skip


@dataclass(frozen=True)
class At:
    """What stands at a path; as a condition: whether it is `want`."""

    path: str
    want: Any = True

    def true(self, data: Mapping[str, Any], event: Event, params: Mapping[str, Any]) -> bool:
        return bool(self.value(data, event, params) == self.want)

    def value(self, data: Mapping[str, Any], event: Event, params: Mapping[str, Any]) -> Any:
        found = value_at(data, tuple(self.path.split(".")))
        return UNKNOWN if found is None else found


def matcher(kind: str, condition: Any = None) -> Matcher:
    return Matcher(kind, TOPICS[kind], condition)


def detector(rule: Rule) -> Detector:
    return Detector(RuleSet(f"set of {rule.id}", (rule,), {**CONTRACTS, PING: ACCOUNT}))


def declined(**words: Any) -> Rule:
    words = {"steps": (Step("email", "t"),), "customer_paths": {DECLINED: ("customer_id",)}, **words}
    return Rule("declined", owner="o", operator=words.pop("operator", EventOperator(matcher(DECLINED))), **words)


def bodies(d: Detector) -> list[dict[str, Any]]:
    rows = sorted(d.store.rows("records"), key=lambda row: (row["seq"], row["logical_at"], row["kind"]))
    return [canonical.loads(row["body"]) for row in rows]


def fired(rule: Rule, **data: Any) -> dict[str, Any]:
    d = detector(rule)
    d.append(DECLINED, "d", 1, **data)
    d.batch()
    (body,) = bodies(d)
    return body


RAISED = ((At("large"), "high"), (At("vip"), "critical"), (At("small"), "low"), (At("unknown.of.all"), "critical"))


@pytest.mark.parametrize(("data", "severity"), [
    ({}, "medium"), ({"large": True}, "high"), ({"vip": True}, "critical"), ({"large": True, "vip": True}, "critical"),
    ({"small": True}, "medium"), ({"large": True, "small": True}, "high"), ({"large": None}, "medium"), ({"large": False}, "medium"),
])  # fmt: skip
def test_severity_is_the_highest_that_certainly_holds_and_never_below_the_rules_own(data, severity):
    assert fired(declined(raise_severity=RAISED), **data)["severity"] == severity


def test_the_values_of_a_step_are_captured_and_one_whose_condition_does_not_hold_has_none():
    steps = (
        Step("email", "a", {"code": At("code"), "gone": At("nowhere")}), Step("sms", "b", {}, condition=At("large")),
        Step("push", "c", {"all": At("parts")}, condition=At("small")),
    )  # fmt: skip
    body = fired(declined(steps=steps), code="x", small=True, parts={"n": 1, "m": [True, None]})
    assert body["data"] == [{"code": "x", "gone": None}, None, {"all": {"n": 1, "m": [True, None]}}]


WHOM: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "the customer of the event": ({}, {}, "customer:c"),
    "an event that names none": ({}, {"customer_id": None}, "customer:"),
    "a rule that knows no path": ({"customer_paths": {}}, {}, "customer:"),
    "a customer that the rule names": ({"to": To("customer", expression=At("owner"))}, {"owner": "c-9"}, "customer:c-9"),
    "a customer whose id is a number": ({"to": To("customer", expression=At("owner"))}, {"owner": 9}, "customer:9"),
    "a customer that nobody knows": ({"to": To("customer", expression=At("owner"))}, {}, "customer:"),
    "a team": ({"to": To("team", "billing")}, {"customer_id": None}, "team:billing"),
    "an address": ({"to": To("address", expression=At("mail"))}, {"mail": "a@example.org"}, "address:a@example.org"),
    "an address that is not there": ({"to": To("address", expression=At("mail"))}, {"mail": None}, "address:"),
}  # fmt: skip


@pytest.mark.parametrize("name", WHOM)
def test_a_firing_names_whom_it_concerns(name):
    words, data, recipient = WHOM[name]
    assert fired(declined(**words), **data)["recipient"] == recipient


def test_what_is_taken_back_carries_the_values_of_the_all_clear_and_the_same_recipient():
    stops = (StopMatcher(matcher(PAID), (("customer_id",),)),)
    operator = EventOperator(
        matcher(DECLINED), stops=stops, match_here=(("customer_id",),), keep=frozenset({"customer_id", "code", "large"})
    )
    rule = declined(
        operator=operator, raise_severity=RAISED, steps=(Step("email", "t", {"secret": At("secret")}),),
        on_stop=(Step("email", "over", {"code": At("code"), "secret": At("secret")}), Step("sms", "over", {}, condition=At("vip"))),
    )  # fmt: skip
    d = detector(rule)
    d.append(DECLINED, "d", 1, code="x", secret="s", large=True, vip=True)
    d.append(PAID, "p", 2, code="other")
    d.batch()
    first, last = bodies(d)
    assert (first["kind"], first["data"], first["severity"]) == ("fired", [{"secret": "s"}], "critical")
    assert (last["kind"], last["data"], last["severity"]) == ("stopped", [{"code": "x", "secret": None}, None], "high")
    for name in ("firing_id", "recipient", "key", "episode", "n"):
        assert first[name] == last[name]
    (row,) = d.store.rows("state")
    assert b"secret" not in row["value"], "only what the all-clear needs is kept"


# -- images beside an event


READS = (Reading("account", "crm.customer", (("customer_id",),)),)
PRO = declined(
    operator=EventOperator(matcher(DECLINED, At("account.plan", "pro"))), reads=READS,
    raise_severity=((At("account.tier", "vip"), "high"),), steps=(Step("email", "t", {"plan": At("account.plan")}),),
)  # fmt: skip


def changed(d: Detector, at: float, name: str = "", **after: Any) -> None:
    body: Any = after or None
    coverage = "FULL" if after else "ABSENT"
    d.append(PING, name or f"a{at}", at, before=None, before_coverage="UNKNOWN", after=body, after_coverage=coverage)


def test_what_is_not_known_is_unknown_and_what_is_known_is_read():
    d = detector(PRO)
    d.append(DECLINED, "before", 1)
    d.batch()
    assert bodies(d) == []
    changed(d, 2, plan="pro", tier="vip")
    d.batch()
    d.append(DECLINED, "after", 3)
    d.append(DECLINED, "of another", 3, customer_id="d")
    d.append(DECLINED, "of nobody", 3, customer_id=None)
    d.batch()
    (body,) = bodies(d)
    assert (body["data"], body["severity"], body["recipient"]) == ([{"plan": "pro"}], "high", "customer:c")


def test_an_image_that_the_same_batch_has_updated_is_read_as_it_is_then():
    d = detector(PRO)
    changed(d, 1, plan="free")
    d.batch()
    changed(d, 2, plan="pro")  # its topic comes first in the batch
    d.append(DECLINED, "d", 3)
    d.batch()
    assert [body["data"] for body in bodies(d)] == [[{"plan": "pro"}]]


def test_a_stale_change_does_not_turn_the_image_back_and_a_deletion_leaves_none():
    d = detector(PRO)
    changed(d, 5, plan="pro")
    changed(d, 4, "late", plan="free")
    d.append(DECLINED, "d", 6)
    d.batch()
    changed(d, 7)
    d.append(DECLINED, "gone", 8)
    d.batch()
    assert [body["episode"]["at"] for body in bodies(d)] == [6 * SECOND]


def test_reading_leaves_no_row_of_an_entity_that_nobody_knows():
    d = detector(PRO)
    d.append(DECLINED, "d", 1)
    d.batch()
    assert d.store.rows("state") == []


def replayed(d: Detector) -> bytes:
    entries = [read_entry(row) for row in d.store.rows("journal")]

    def events_of(span: Span) -> list[Event]:
        return d.partitions[span.topic, span.partition][span.start : span.end]

    again = Replay(lambda _: d.rules).run(entries, events_of)
    return canonical_records([(*key, record.body) for key, record in again.items()])


@pytest.mark.parametrize("most", [1, 2, 5])
def test_what_was_read_beside_events_is_read_again_byte_for_byte(most):
    d = detector(PRO)
    for number in range(12):
        changed(d, number, plan=("pro", "free")[number % 3 == 0], tier=("vip", None)[number % 2])
        d.append(DECLINED, f"d{number}", number + 0.5)
    while (batch := d.poll(PING, DECLINED, most=most)).spans:
        d.apply(batch)
    rows = d.store.rows("records")
    assert len(rows) > 3
    assert replayed(d) == canonical_records([(r["firing_id"], r["kind"], r["n"], r["body"]) for r in rows])


def test_an_all_clear_says_what_was_read_when_it_fired():
    stops = (StopMatcher(matcher(PAID), (("customer_id",),)),)
    operator = EventOperator(
        matcher(DECLINED), stops=stops, match_here=(("customer_id",),), keep=frozenset({"customer_id", "account"})
    )
    d = detector(replace(PRO, operator=operator, on_stop=(Step("email", "over", {"plan": At("account.plan")}),)))
    changed(d, 1, plan="pro")
    d.append(DECLINED, "d", 2)
    d.batch()
    changed(d, 3, plan="free")
    d.append(PAID, "p", 4)
    d.batch()
    assert [(body["kind"], body["data"]) for body in bodies(d)] == [
        ("fired", [{"plan": "pro"}]),
        ("stopped", [{"plan": "pro"}]),
    ]


def test_an_absence_reads_what_was_known_when_it_was_armed():
    operator = MissingOperator(
        after=matcher(ISSUED, At("account.plan", "pro")), expect=(matcher(PAID),), deadline=Value("due"), by=("invoice_id",),
        allowed_lateness=0, keep=frozenset({"customer_id", "due", "account"}),
    )  # fmt: skip
    rule = Rule("overdue", owner="o", operator=operator, reads=READS, customer_paths={ISSUED: ("customer_id",)},
                steps=(Step("email", "t", {"plan": At("account.plan")}),))  # fmt: skip
    d = detector(rule)
    changed(d, 1, plan="pro")
    d.batch()
    d.append(ISSUED, "i", 2, invoice_id="i", due=10 * SECOND)
    d.batch()
    changed(d, 3, plan="free")
    d.batch()
    d.append(ISSUED, "j", 4, invoice_id="j", due=10 * SECOND)
    d.batch()
    d.idle(60)
    d.tick()
    assert [(body["key"], body["data"]) for body in bodies(d)] == [(["i"], [{"plan": "pro"}])]


def test_a_repeat_of_what_waits_in_the_buffer_counts_once_where_its_condition_reads_an_image():
    operator = MissingOperator(
        after=matcher(ISSUED, At("account.plan", "pro")), expect=(matcher(PAID),), deadline=Value("due"), by=("invoice_id",),
        allowed_lateness=0, keep=frozenset({"customer_id", "due", "account"}),
    )  # fmt: skip
    rule = Rule("overdue", owner="o", operator=operator, reads=READS, customer_paths={ISSUED: ("customer_id",)})
    d = detector(rule)
    changed(d, 1, plan="pro")
    d.batch()
    issued = d.append(ISSUED, "i", 2, invoice_id="i", due=10 * SECOND)
    d.batch()
    d.repeat(issued)
    d.batch()
    (row,) = [row for row in d.store.rows("state") if row["class"] == "rule:overdue"]
    assert canonical.loads(row["value"])["waits"] == len(d.store.rows("buffer")) == 1
    d.append(PAID, "p", 5, invoice_id="i")
    d.batch()
    d.idle(60)
    d.tick()
    assert [row["class"] for row in d.store.rows("state")] == ["image:crm.customer"]
