"""The gates: what ends a message, what only holds it, and at which of the three moments."""

from dataclasses import replace
from typing import Any

import pytest

from tidings.event import HOUR
from tidings.gates import End, Go, Hold, Stage, World, gates
from tidings.message import Message
from tidings.person import Person
from tidings.reasons import SENTENCES, MessageState, Reason

NOW = 10 * HOUR
MESSAGE = Message(
    message_id="m", tenant="t", recipient="customer:c", run_id="r", firing_id="f", rule="overdue", role="notice", step=0,
    channel="email", state=MessageState.PENDING, created_at=0, deadline=NOW + HOUR, on_unknown="unresolved",
    body={"consent": "transactional", "logical_at": NOW - HOUR}, due_at=0,
)  # fmt: skip
ADA = Person("t", "customer:c", known=True, profile={"email": "ada@example.org"})
AFTER = (Stage.WAKE, Stage.INTENT)
SUPPRESSED, CANCELLED, EXPIRED = MessageState.SUPPRESSED, MessageState.CANCELLED, MessageState.EXPIRED

CASES: dict[str, tuple[dict[str, Any], dict[Stage, Any]]] = {
    # name: what differs from a message that may go, verdict by stage
    "nothing": ({}, dict.fromkeys(Stage, Go())),
    "stopped": ({"world": World(stopped=True)}, dict.fromkeys(Stage, End(CANCELLED, Reason.STOPPED))),
    "too old": ({"message": replace(MESSAGE, deadline=NOW)}, {
        Stage.DECISION: End(SUPPRESSED, Reason.STALE), **dict.fromkeys(AFTER, End(EXPIRED, Reason.EXPIRED))}),
    "just in time": ({"message": replace(MESSAGE, deadline=NOW + 1)}, dict.fromkeys(Stage, Go())),
    "before its source was connected": ({"world": World(connected_at=NOW)}, {
        Stage.DECISION: End(SUPPRESSED, Reason.STALE), **dict.fromkeys(AFTER, Go())}),
    "on trial": ({"world": World(status="shadow")}, {
        Stage.DECISION: End(SUPPRESSED, Reason.SHADOW), **dict.fromkeys(AFTER, Go())}),
    "switched off": ({"world": World(status=None)}, {
        Stage.DECISION: Go(), **dict.fromkeys(AFTER, End(CANCELLED, Reason.RULE_OFF))}),
    "a key that overflowed": ({"world": World(overflow=True)}, dict.fromkeys(Stage, End(SUPPRESSED, Reason.OVERFLOW))),
    "nobody we know": ({"person": Person("t", "customer:x")}, dict.fromkeys(Stage, End(SUPPRESSED, Reason.UNKNOWN_CUSTOMER))),
    "consent taken back": ({"person": replace(ADA, consent={"transactional": False})},
                           dict.fromkeys(Stage, End(SUPPRESSED, Reason.NO_CONSENT))),
    "marketing without a yes": ({"message": replace(MESSAGE, body={**MESSAGE.body, "consent": "marketing"})},
                                dict.fromkeys(Stage, End(SUPPRESSED, Reason.NO_CONSENT))),
    "marketing with a yes": ({"message": replace(MESSAGE, body={**MESSAGE.body, "consent": "marketing"}),
                              "person": replace(ADA, consent={"marketing": True})}, dict.fromkeys(Stage, Go())),
    "no address": ({"person": replace(ADA, profile={})}, dict.fromkeys(Stage, End(SUPPRESSED, Reason.NO_ADDRESS))),
    **{f"killed by {scope}": ({"world": World(kills=frozenset({scope}))}, dict.fromkeys(Stage, Hold(Reason.KILLED, NOW + HOUR)))
       for scope in ("all", "tenant:t", "rule:overdue", "channel:email")},
    **{f"not killed by {scope}": ({"world": World(kills=frozenset({scope}))}, dict.fromkeys(Stage, Go()))
       for scope in ("tenant:u", "rule:other", "channel:sms")},
}  # fmt: skip


@pytest.mark.parametrize("stage", Stage)
@pytest.mark.parametrize("name", CASES)
def test_a_gate(name, stage):
    words, verdicts = CASES[name]
    found = gates(words.get("message", MESSAGE), words.get("person", ADA), words.get("world", World()), NOW, stage)
    assert found == verdicts[stage]


ORDER: list[tuple[Reason, dict[str, dict[str, Any]]]] = [
    (Reason.STOPPED, {"world": {"stopped": True}}),
    (Reason.EXPIRED, {"message": {"deadline": 0}}),
    (Reason.RULE_OFF, {"world": {"status": None}}),
    (Reason.OVERFLOW, {"world": {"overflow": True}}),
    (Reason.UNKNOWN_CUSTOMER, {"person": {"known": False}}),
    (Reason.NO_CONSENT, {"person": {"consent": {"transactional": False}}}),
    (Reason.NO_ADDRESS, {"person": {"profile": {}}}),
    (Reason.KILLED, {"world": {"kills": frozenset({"all"})}}),
]


@pytest.mark.parametrize("first", range(len(ORDER)))
def test_the_reason_is_that_of_the_first_gate_and_an_end_beats_a_hold(first):
    words: dict[str, dict[str, Any]] = {"message": {}, "person": {}, "world": {}}
    for _, changes in ORDER[first:]:
        for name, values in changes.items():
            words[name] |= values
    found = gates(
        replace(MESSAGE, **words["message"]),
        replace(ADA, **words["person"]),
        replace(World(), **words["world"]),
        NOW,
        Stage.WAKE,
    )
    assert not isinstance(found, Go)
    assert found.reason is ORDER[first][0]


def test_every_reason_has_a_sentence_that_support_can_paste():
    assert set(SENTENCES) == set(Reason)
    assert all(text.endswith(".") for text in SENTENCES.values())
