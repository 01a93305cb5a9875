"""The gates: what ends a message, what only holds it, and at which of the three moments."""

from dataclasses import replace
from typing import Any

import pytest

from tidings.correction import Correcting
from tidings.event import HOUR, MINUTE
from tidings.gates import End, Go, Hold, Stage, World, address_of, gates, quiet_of, scopes_of
from tidings.message import Message
from tidings.person import Person, as_team
from tidings.quiet_hours import QuietHours, Window
from tidings.reasons import SENTENCES, MessageState, Reason
from tidings.rule import CHAT, MACHINES, PERSONAL, Team

NOW = 10 * HOUR
MESSAGE = Message(
    message_id="m", tenant="t", recipient="customer:c", run_id="r", firing_id="f", rule="overdue", role="notice", step=0,
    channel="email", state=MessageState.PENDING, created_at=0, deadline=NOW + HOUR, on_unknown="unresolved",
    body={"consent": "transactional", "logical_at": NOW - HOUR}, due_at=0,
)  # fmt: skip
ADA = Person("t", "customer:c", known=True, profile={"email": "ada@example.org"})
AFTER = (Stage.WAKE, Stage.INTENT)
SUPPRESSED, CANCELLED, EXPIRED = MessageState.SUPPRESSED, MessageState.CANCELLED, MessageState.EXPIRED

QUIET = QuietHours((Window(9 * 60, 10 * 60 + 30),), "customer", "UTC")
"""In UTC quiet at `NOW`, which is 10:00; it opens half an hour later. In Berlin it is eleven, and not quiet."""


def quiet(policy: QuietHours = QUIET, **words: Any) -> Message:
    return replace(MESSAGE, body={**MESSAGE.body, "quiet": policy.to_json(), **words})


def on(channel: str, message: Message = MESSAGE, **words: Any) -> Message:
    return replace(message, channel=channel, body={**message.body, **words})


TEAM = as_team(
    Person("t", "team:billing"), Team("billing", addresses={"email": "b@example.org", "slack": "env:S"}, timezone="UTC")
)
DESK = Person("t", "address:desk@example.org", known=True)


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
    "a topic switched off": ({"message": on("email", topic="news"), "person": replace(ADA, preferences={"news": False})},
                             dict.fromkeys(Stage, End(SUPPRESSED, Reason.TOPIC_OFF))),
    "a topic switched off for this channel": (
        {"message": on("email", topic="news"), "person": replace(ADA, preferences={"news/email": False})},
        dict.fromkeys(Stage, End(SUPPRESSED, Reason.TOPIC_OFF))),
    "a topic switched off for another channel": (
        {"message": on("email", topic="news"), "person": replace(ADA, preferences={"news/sms": False})},
        dict.fromkeys(Stage, Go())),
    "a topic switched off but for this channel": (
        {"message": on("email", topic="news"), "person": replace(ADA, preferences={"news": False, "news/email": True})},
        dict.fromkeys(Stage, Go())),
    "another topic switched off": (
        {"message": on("email", topic="news"), "person": replace(ADA, preferences={"offers": False})},
        dict.fromkeys(Stage, Go())),
    "no topic": ({"person": replace(ADA, preferences={"news": False})}, dict.fromkeys(Stage, Go())),
    "a team that is not in the directory": ({"person": as_team(Person("t", "team:x", known=True), None)},
                                            dict.fromkeys(Stage, End(SUPPRESSED, Reason.UNKNOWN_TEAM))),
    "a team": ({"person": TEAM}, dict.fromkeys(Stage, Go())),
    "a team without this channel": ({"person": TEAM, "message": on("sms")}, dict.fromkeys(Stage, End(SUPPRESSED, Reason.NO_ADDRESS))),
    "an address of its own": ({"person": DESK}, dict.fromkeys(Stage, Go())),
    "marketing to an address of its own": ({"person": DESK, "message": on("email", consent="marketing")},
                                           dict.fromkeys(Stage, End(SUPPRESSED, Reason.NO_CONSENT))),
    "an address that is gone": ({"person": replace(ADA, gone={"email": "ada@example.org"})},
                                dict.fromkeys(Stage, End(SUPPRESSED, Reason.ADDRESS_GONE))),
    "another address than the one that is gone": ({"person": replace(ADA, gone={"email": "old@example.org"})},
                                                  dict.fromkeys(Stage, Go())),
    "an address that is gone for another channel": ({"person": replace(ADA, gone={"sms": "ada@example.org"})},
                                                    dict.fromkeys(Stage, Go())),
    "quiet": ({"message": quiet()}, dict.fromkeys(Stage, Hold(Reason.QUIET_HOURS, NOW + 30 * MINUTE))),
    "quiet elsewhere": ({"message": quiet(), "person": replace(ADA, profile={**ADA.profile, "timezone": "Europe/Berlin"})},
                        dict.fromkeys(Stage, Go())),
    "quiet in a zone that nobody knows": (
        {"message": quiet(), "person": replace(ADA, profile={**ADA.profile, "timezone": "Moon/Base"})},
        dict.fromkeys(Stage, Hold(Reason.QUIET_HOURS, NOW + 30 * MINUTE))),
    "quiet and critical": ({"message": quiet(severity="critical")}, dict.fromkeys(Stage, Go())),
    "quiet and high": ({"message": quiet(severity="high")}, dict.fromkeys(Stage, Hold(Reason.QUIET_HOURS, NOW + 30 * MINUTE))),
    "quiet until the deadline": ({"message": replace(quiet(), deadline=NOW + 30 * MINUTE)},
                                 dict.fromkeys(Stage, End(EXPIRED, Reason.QUIET_HOURS))),
    "quiet until just before the deadline": ({"message": replace(quiet(), deadline=NOW + 30 * MINUTE + 1)},
                                             dict.fromkeys(Stage, Hold(Reason.QUIET_HOURS, NOW + 30 * MINUTE))),
    "always quiet": ({"message": quiet(QuietHours((Window(0, 1440),)))}, dict.fromkeys(Stage, End(EXPIRED, Reason.QUIET_HOURS))),
    "quiet for a team": ({"message": quiet(), "person": TEAM}, dict.fromkeys(Stage, Hold(Reason.QUIET_HOURS, NOW + 30 * MINUTE))),
    "too old to be begun, with room for a hold": (
        {"message": replace(MESSAGE, deadline=NOW + 1), "world": World(stale_at=NOW)},
        {Stage.DECISION: End(SUPPRESSED, Reason.STALE), **dict.fromkeys(AFTER, Go())}),
    "an original that nobody was told of": (
        {"message": replace(MESSAGE, role="all_clear"), "world": World(stopped=True, correcting=Correcting("untold"))},
        dict.fromkeys(Stage, End(CANCELLED, Reason.NOTHING_TO_CORRECT))),
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


ORDER: list[tuple[Reason, Stage, dict[str, dict[str, Any]]]] = [
    (Reason.STOPPED, Stage.WAKE, {"world": {"stopped": True}}),
    (Reason.EXPIRED, Stage.WAKE, {"message": {"deadline": 0}}),
    (Reason.STALE, Stage.DECISION, {"world": {"connected_at": NOW}}),
    (Reason.RULE_OFF, Stage.WAKE, {"world": {"status": None}}),
    (Reason.SHADOW, Stage.DECISION, {"world": {"status": "shadow"}}),
    (Reason.OVERFLOW, Stage.WAKE, {"world": {"overflow": True}}),
    (Reason.UNKNOWN_CUSTOMER, Stage.WAKE, {"person": {"known": False}}),
    (Reason.NO_CONSENT, Stage.WAKE, {"person": {"consent": {"transactional": False}}}),
    (Reason.TOPIC_OFF, Stage.WAKE, {"person": {"preferences": {"news": False}}}),
    (Reason.NO_ADDRESS, Stage.WAKE, {"person": {"profile": {"timezone": "UTC"}}}),
    (Reason.ADDRESS_GONE, Stage.WAKE, {"person": {"gone": {"email": "ada@example.org"}, "profile": ADA.profile}}),
    (Reason.QUIET_HOURS, Stage.WAKE, {"message": {"deadline": NOW + 1}}),
    (Reason.KILLED, Stage.WAKE, {"world": {"kills": frozenset({"all"})}, "message": {"deadline": NOW + HOUR}}),
]
"""In the order of `dispatch.md`: what ends, and last what only holds; each with how to bring it about."""


@pytest.mark.parametrize("first", range(len(ORDER)), ids=lambda at: str(ORDER[at][0]))
def test_the_reason_is_that_of_the_first_gate_and_an_end_beats_a_hold(first):
    reason, stage, _ = ORDER[first]
    words: dict[str, dict[str, Any]] = {"message": {}, "person": {}, "world": {}}
    for _, _, changes in reversed(ORDER[first:]):
        for name, values in changes.items():
            words[name] |= values
    found = gates(
        replace(quiet(topic="news"), **words["message"]),
        replace(ADA, **words["person"]),
        replace(World(), **words["world"]),
        NOW,
        stage,
    )
    assert not isinstance(found, Go)
    assert found.reason is reason


def test_of_several_holds_the_latest_counts():
    both = quiet()
    killed = World(kills=frozenset({"all"}))
    assert gates(both, ADA, killed, NOW, Stage.WAKE) == Hold(Reason.KILLED, both.deadline)
    waits = replace(both, role="all_clear")
    awaiting = World(correcting=Correcting("open"))
    assert gates(waits, ADA, awaiting, NOW, Stage.WAKE) == Hold(Reason.AWAITING_OUTCOME, waits.deadline)
    told = World(correcting=Correcting("told"))
    assert gates(waits, ADA, told, NOW, Stage.WAKE) == Hold(Reason.QUIET_HOURS, NOW + 30 * MINUTE)


@pytest.mark.parametrize("channel", MACHINES)
def test_another_system_is_asked_neither_for_consent_nor_topic_nor_quiet_hours_and_needs_no_customer(channel):
    message = on(channel, quiet(), topic="news", consent="marketing", target="desk")
    nobody = Person("t", "customer:", preferences={"news": False}, consent={"marketing": False})
    for stage in Stage:
        assert gates(message, nobody, World(), NOW, stage) == Go()
    assert address_of(message, nobody) == f"{channel}:desk"
    killed = World(kills=frozenset({f"channel:{channel}"}))
    assert gates(message, nobody, killed, NOW, Stage.INTENT) == Hold(Reason.KILLED, message.deadline)
    assert gates(message, nobody, World(stopped=True), NOW, Stage.WAKE) == End(CANCELLED, Reason.STOPPED)


@pytest.mark.parametrize("channel", [*CHAT, "email"])
def test_teams_are_asked_neither_for_consent_nor_topic_but_have_their_quiet_hours(channel):
    team = replace(TEAM, addresses=dict.fromkeys((*CHAT, "email"), "somewhere"), preferences={"news": False})
    message = on(channel, topic="news", consent="marketing")
    assert gates(message, team, World(), NOW, Stage.INTENT) == Go()
    asked = on(channel, quiet(), topic="news", consent="marketing")
    assert gates(asked, team, World(), NOW, Stage.INTENT) == Hold(Reason.QUIET_HOURS, NOW + 30 * MINUTE)


CRITICAL: list[tuple[dict[str, Any], dict[str, Any]]] = [
    # person, world
    ({"consent": {"transactional": False}}, {}), ({"preferences": {"news": False}}, {}), ({"profile": {}}, {}),
    ({"gone": {"email": "ada@example.org"}}, {}), ({"known": False}, {}), ({}, {"stopped": True}), ({}, {"status": None}),
    ({}, {"overflow": True}), ({}, {"kills": frozenset({"all"})}),
]  # fmt: skip


@pytest.mark.parametrize("words", CRITICAL, ids=str)
def test_critical_bypasses_quiet_hours_and_nothing_else(words):
    person, world = words
    message = quiet(severity="critical", topic="news")
    assert gates(message, ADA, World(), NOW, Stage.INTENT) == Go()
    assert quiet_of(message, ADA) is None
    plain = gates(on("email", topic="news"), replace(ADA, **person), World(**world), NOW, Stage.INTENT)
    assert gates(message, replace(ADA, **person), World(**world), NOW, Stage.INTENT) == plain != Go()


@pytest.mark.parametrize("channel", [*PERSONAL, *CHAT, *MACHINES])
def test_every_channel_can_be_killed_alone(channel):
    assert scopes_of(on(channel)) == {"all", "ground", "tenant:t", "rule:overdue", f"channel:{channel}"}


def test_every_reason_has_a_sentence_that_support_can_paste():
    assert set(SENTENCES) == set(Reason)
    assert all(text.endswith(".") for text in SENTENCES.values())
