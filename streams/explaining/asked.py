"""The gates of one message, in their order: what each was asked and answered, at decision and again at send.

A store keeps of a message how it ended, and of an attempt what was asked right before it. What an earlier gate said
follows from that: had it said no, no later one would have been asked. What lies behind the one that said no was never
asked; it is worked out for the reader, and labelled so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from streams.explaining.because import stale
from streams.explaining.says import brief, sentence
from streams.explaining.stops import dropped_by, held_back, named, until_of
from streams.explaining.veil import masked
from streams.wording import moment
from tidings import canonical, scopes
from tidings.correction import NOTICE
from tidings.event import Micros
from tidings.gates import GATES, NAMES, End, Go, Hold, Stage, World, address_of, quiet_of, scopes_of
from tidings.message import Message
from tidings.person import Person
from tidings.ports import Row
from tidings.reasons import Reason
from tidings.rule import CHAT, MACHINES, Rule
from tidings.stops import Stop, Stops

Mark = Literal["yes", "no", "held", "would", "none"]
"""`would`: never asked, worked out now; `none`: it asks nothing of this message."""
Origin = Literal["recorded", "follows", "worked_out"]

TITLES = {
    "stopped": "Still true", "original": "Something to correct", "deadline": "In time", "status": "Rule is live",
    "overflow": "Not flooded", "recipient": "Known", "consent": "Consent", "topic": "Topic", "address": "Address",
    "kill": "Not stopped", "quiet_hours": "Quiet hours", "text": "Text",
}  # fmt: skip

SAYS_NO: dict[Reason, str] = {
    Reason.STOPPED: "stopped", Reason.NOTHING_TO_CORRECT: "original", Reason.SUPERSEDED: "original",
    Reason.AWAITING_OUTCOME: "original", Reason.NEWER_EPISODE: "original", Reason.STALE: "deadline",
    Reason.EXPIRED: "deadline", Reason.SHADOW: "status", Reason.RULE_OFF: "status", Reason.OVERFLOW: "overflow",
    Reason.UNKNOWN_CUSTOMER: "recipient", Reason.UNKNOWN_TEAM: "recipient", Reason.NO_CONSENT: "consent",
    Reason.TOPIC_OFF: "topic", Reason.NO_ADDRESS: "address", Reason.ADDRESS_GONE: "address", Reason.KILLED: "kill",
    Reason.QUIET_HOURS: "quiet_hours", Reason.RENDER: "text",
}  # fmt: skip
"""By reason: the gate whose word it is. A provider's word is no gate's."""
AT_DECISION = frozenset({Reason.STALE, Reason.SHADOW})
"""Only ever said at decision."""
LATER = frozenset({Reason.STOPPED, Reason.EXPIRED, Reason.RULE_OFF, Reason.RENDER, Reason.KILLED})
"""Never said of a notice at decision."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What one gate said once."""

    mark: Mark
    text: str
    origin: Origin

    def to_json(self) -> dict[str, str]:
        """Return it for scripts."""
        return {"answer": self.mark, "says": self.text, "origin": self.origin}


@dataclass(frozen=True, slots=True)
class Asking:
    """One time at which all gates were asked, or would be."""

    title: str
    """`at decision`, `at send`, `afterwards`, `now`."""
    at: Micros | None
    answers: Mapping[str, Answer]
    """By the name of the gate."""


@dataclass(frozen=True)
class Asked:
    """All that the gates said of one message."""

    message: Message
    askings: Sequence[Asking]

    @property
    def gates(self) -> list[str]:
        """Names of the gates that asked something, in order."""
        names = (*NAMES, "text")
        return [
            name
            for name in names
            if any(one.answers[name].mark != "none" for one in self.askings if name in one.answers)
        ]

    @property
    def said_no(self) -> str | None:
        """The gate that ended it."""
        for asking in self.askings:
            for name, answer in asking.answers.items():
                if answer.mark == "no":
                    return name
        return None

    def to_json(self) -> dict[str, Any]:
        """Return it for scripts."""
        return {
            "message": self.message.message_id,
            "asked": [
                {
                    "when": one.title,
                    "gates": [{"gate": name, "title": TITLES[name], **answer.to_json()} for name, answer in one.answers.items()],
                }
                for one in self.askings
            ],
        }  # fmt: skip


@dataclass(frozen=True)
class Circumstances:
    """What the gates of a message are asked about, beside the message."""

    rule: Rule | None
    person: Person
    since: Mapping[str, Micros]
    """By `consent:CLASS` and `topic:NAME`: when the person said so."""
    status: str | None
    """Of the rule: as it was decided; None: it is switched off now."""
    overflow: bool
    kills: frozenset[str]
    """Scopes that hold now."""
    stops: Stops
    """What was stopped at any other time."""
    now: Micros
    reveal: bool = False


def asked(message: Message, attempts: Sequence[Row], ended_at: Micros | None, about: Circumstances) -> Asked:
    """Return what the gates said of a message."""
    reason = Reason(message.reason) if message.reason in set(Reason) else None
    gate = SAYS_NO.get(reason) if reason is not None else None
    terminal = not message.is_open
    at_once = terminal and not attempts and gate is not None and _at_once(message, reason, ended_at)
    askings = [_decision(message, about, gate if at_once else None)]
    attempt = next((row for row in reversed(attempts)), None)
    if attempt is not None:
        askings.append(_at_send(message, attempt, about))
    if terminal and gate is not None and not at_once:
        askings.append(_afterwards(message, gate, ended_at, about))
    elif message.is_open and attempt is None:
        askings.append(_now(message, about))
    return Asked(message, askings)


def _at_once(message: Message, reason: Reason | None, ended_at: Micros | None) -> bool:
    if reason in AT_DECISION:
        return True
    if reason in LATER:
        return False
    return ended_at is None or ended_at <= message.created_at


def _decision(message: Message, about: Circumstances, gate: str | None) -> Asking:
    """Return what was said at decision; with `gate`, the one that ended the message then and there."""
    answers: dict[str, Answer] = {}
    stopped = False
    at = message.created_at
    kills = frozenset(one.scope for one in about.stops.at(message, at))
    for name, verdict in _verdicts(message, about, kills, at, Stage.DECISION):
        text = describe(name, message, about, at)
        if text is None:
            answers[name] = Answer("none", "nothing to ask", "follows")
        elif name == gate:
            stopped = True
            answers[name] = Answer("no", _said(message, text, None, about), "recorded")
        elif stopped:
            answers[name] = _would(verdict, text)
        elif name == "kill":
            answers[name] = _stopped_then(message, about, at, verdict, text)
        elif gate is None and isinstance(verdict, Hold):
            answers[name] = Answer("held", text, "worked_out")
        else:
            answers[name] = Answer("yes", text, "follows")
    return Asking("at decision", at, answers)


def _stopped_then(message: Message, about: Circumstances, at: Micros, verdict: object, text: str) -> Answer:
    """Return whether anything was stopped at an instant, which is written down as far back as anybody looks."""
    if isinstance(verdict, Hold):
        return Answer("held", text, "recorded")
    return Answer("yes", text, "recorded") if about.stops.knows(at) else Answer("none", text, "follows")


def _at_send(message: Message, attempt: Row, about: Circumstances) -> Asking:
    """Return what was said right before the last attempt: every gate said go, or there were none."""
    recorded = canonical.loads(attempt["asked"])
    answers = {}
    for name in NAMES:
        text = describe(name, message, about, attempt["intent_at"], recorded)
        known = {"consent": "consent", "quiet_hours": "quiet", "kill": "kills"}.get(name)
        origin: Origin = (
            "recorded" if known in recorded or (name == "address" and "address" in message.body) else "follows"
        )
        answers[name] = Answer("none", "nothing to ask", "follows") if text is None else Answer("yes", text, origin)
    answers["text"] = Answer("yes", "written", "follows")
    return Asking("at send", attempt["intent_at"], answers)


def _afterwards(message: Message, gate: str, ended_at: Micros | None, about: Circumstances) -> Asking:
    answers: dict[str, Answer] = {}
    at = ended_at if ended_at is not None else about.now
    for name in (*NAMES, "text"):
        text = describe(name, message, about, at)
        if name == gate:
            answers[name] = Answer("no", _afterwards_no(message, text or "", ended_at, about), "recorded")
            break
        if text is not None:
            answers[name] = Answer("yes", text, "follows")
    return Asking("afterwards", ended_at, answers)


def _afterwards_no(message: Message, text: str, ended_at: Micros | None, about: Circumstances) -> str:
    """Return what the gate said that ended it; where stops did so, with which."""
    zone = about.person.timezone
    if message.reason == Reason.KILLED:
        stop = dropped_by(message, ended_at, about.stops, about.now)
        return _said(message, "" if stop is None else f"stopped: {named(stop, zone)}", ended_at, about)
    met = about.stops.at(message, min(message.deadline, until_of(message, ended_at, about.now)))
    if message.reason == Reason.EXPIRED and met:
        text += f"; stopped then: {'; '.join(named(one, zone) for one in met)}"
    return _said(message, text, ended_at, about)


def _now(message: Message, about: Circumstances) -> Asking:
    answers: dict[str, Answer] = {}
    for name, verdict in _verdicts(message, about, about.kills, about.now, Stage.WAKE):
        text = describe(name, message, about, about.now, {"kills": about.kills})
        if text is None:
            answers[name] = Answer("none", "nothing to ask", "worked_out")
        elif isinstance(verdict, Hold) or (name == SAYS_NO.get(_reason(message)) and message.due_at is not None):
            until = verdict.until if isinstance(verdict, Hold) else message.due_at
            # What is stopped waits for a person; until when it would be sent is said by another gate.
            said = until is None or name in ("quiet_hours", "kill")
            shown = "" if said or until is None else f", until {moment(until, about.person.timezone)}"
            answers[name] = Answer("held", f"{text}{shown}", "worked_out")
        else:
            passes = Answer("yes", text, "worked_out")
            answers[name] = passes if isinstance(verdict, Go) else _would(verdict, text)
    return Asking("now", about.now, answers)


def _reason(message: Message) -> Reason:
    return Reason(message.reason) if message.reason in set(Reason) else Reason.RULE_OFF


def _said(message: Message, text: str, ended_at: Micros | None, about: Circumstances) -> str:
    stopped = held_back(message, ended_at, about.stops, about.now, about.person.timezone)
    said = sentence(message.reason, message.state) if stopped is None else stopped
    return f"{text[:1].upper()}{text[1:]}. {said}" if text else said


def _would(verdict: object, text: str) -> Answer:
    if isinstance(verdict, End):
        return Answer("would", f"would say no as well: {brief(verdict.reason)} ({text})", "worked_out")
    if isinstance(verdict, Hold):
        return Answer("would", f"would hold: {text}", "worked_out")
    return Answer("would", f"would pass: {text}", "worked_out")


def _verdicts(
    message: Message, about: Circumstances, kills: frozenset[str], now: Micros, stage: Stage
) -> Iterator[tuple[str, Go | Hold | End]]:
    stale_at = None
    if about.rule is not None and message.role == NOTICE:
        stale_at = message.body["logical_at"] + about.rule.patience
    world = World(stale_at=stale_at, status=about.status, overflow=about.overflow, kills=kills)
    for name, gate in zip(NAMES, GATES, strict=True):
        yield name, gate(message, about.person, world, now, stage)


def describe(
    name: str, message: Message, about: Circumstances, at: Micros, recorded: Mapping[str, Any] | None = None
) -> str | None:
    """Return what a gate asks of a message, with what it found; None where it asks nothing of it."""
    found: str | None = getattr(_Words(message, about, at, recorded or {}), name)()
    return found


@dataclass(frozen=True)
class _Words:
    message: Message
    about: Circumstances
    at: Micros
    recorded: Mapping[str, Any]

    @property
    def machine(self) -> bool:
        return self.message.channel in MACHINES

    def stopped(self) -> str | None:
        return "nothing has taken it back" if self.message.reason != Reason.STOPPED else "it was taken back"

    def original(self) -> str | None:
        if self.message.role == NOTICE:
            return None
        return (
            "the message that it corrects reached them" if self.message.attempt else "what became of the first message"
        )

    def deadline(self) -> str | None:
        if self.message.reason == Reason.STALE:
            return stale(self.message, self.about.rule)
        return f"worth sending until {moment(self.message.deadline, self.about.person.timezone)}"

    def status(self) -> str | None:
        status = self.about.status
        return "switched off" if status is None else "live, for everyone" if status == "live" else status

    def overflow(self) -> str | None:
        return "too many events for one key" if self.about.overflow else None

    def recipient(self) -> str | None:
        person = self.about.person
        if self.machine:
            return None
        kind = {"team": "a team of ours", "address": "an address"}.get(person.kind, "a customer")
        return f"{kind} that we know" if person.known else f"{kind} that nobody has told us of"

    def consent(self) -> str | None:
        person, name = self.about.person, self.message.body["consent"]
        if self.machine or self.message.channel in CHAT or person.kind == "team":
            return None
        word = "service message" if name == "transactional" else name
        if "consent" in self.recorded:
            return f"{word}: {'agreed to, or not withdrawn' if self.recorded['consent'] else 'not agreed to'}"
        given = person.consent.get(name)
        since = self.about.since.get(f"consent:{name}")
        on = "" if since is None else f" {moment(since)}"
        if given is None:
            return f"{word}: goes unless it is withdrawn" if name == "transactional" else f"{word}: never given"
        return f"{word}: {'given' if given else 'withdrawn'}{on}"

    def topic(self) -> str | None:
        topic, person = self.message.body.get("topic"), self.about.person
        if topic is None or person.kind != "customer" or self.machine or self.message.channel in CHAT:
            return None
        since = self.about.since.get(f"topic:{topic}/{self.message.channel}", self.about.since.get(f"topic:{topic}"))
        on = "" if since is None else f" since {moment(since)}"
        return f"'{topic}' not switched off" if person.wants(topic, self.message.channel) else f"'{topic}' off{on}"

    def address(self) -> str | None:
        kept = self.message.body.get("address")
        found = kept if isinstance(kept, str) else address_of(self.message, self.about.person)
        if not found:
            return "none for this channel"
        if self.machine:
            return found.partition(":")[2]
        if self.message.channel in CHAT or (self.message.channel == "push" and "@" not in found):
            return "known" if self.message.channel in CHAT else f"the app of {found}"
        gone = self.about.person.gone.get(self.message.channel) == found
        return (found if self.about.reveal else masked(found)) + (", which takes nothing any more" if gone else "")

    def kill(self) -> str | None:
        if "kills" in self.recorded:
            mine = sorted(scopes_of(self.message) & frozenset(self.recorded["kills"]))
            return f"stopped: {'; '.join(map(self._stopped, mine))}" if mine else "nobody has stopped it"
        if not self.about.stops.knows(self.at):
            return "not known any more: later stops are so many that it is not looked so far back"
        then = self.about.stops.at(self.message, self.at)
        return f"stopped: {'; '.join(map(self._named, then))}" if then else "nobody had stopped it"

    def _stopped(self, scope: str) -> str:
        stands = next((one for one in self.about.stops.all if one.scope == scope and one.until is None), None)
        return f"{scopes.said(scope)}, being dropped" if stands is None else self._named(stands)

    def _named(self, stop: Stop) -> str:
        return named(stop, self.about.person.timezone)

    def quiet_hours(self) -> str | None:
        asked = quiet_of(self.message, self.about.person)
        if asked is None:
            if self.message.body.get("quiet") is None or self.machine:
                return None
            return "critical: at any hour"
        policy, zone = asked
        if "quiet" in self.recorded:
            quiet = self.recorded["quiet"]
            return f"{moment(quiet['at'], quiet['zone'])}, not quiet"
        if not policy.is_quiet(self.at, zone):
            return f"{moment(self.at, zone)}, not quiet"
        opening = policy.opening(self.at, zone)
        return f"{moment(self.at, zone)} is quiet" + ("" if opening is None else f"; until {moment(opening, zone)}")

    def text(self) -> str | None:
        fault = self.message.body.get("fault")
        return str(fault) if fault else "as the template says"
