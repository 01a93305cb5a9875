"""What dispatch is asked in these tests: a rule, a person, what detection said; and one pass over them."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from tests.simulator.rules import CONTRACTS, Shop, Value, rule_set
from tidings.dispatch import Dispatched, Heard, Outside, dispatch
from tidings.event import HOUR, SECOND
from tidings.message import Message, Run
from tidings.person import Person
from tidings.rule import Rule, RuleSet, Step

NOW = 1_800_000_000 * SECOND
ADA = Person("t", "customer:c", known=True, profile={"email": "ada@example.org", "phone": "+491701", "timezone": "UTC"})
CHANNELS = ("email", "sms", "push")


def steps(*channels: Any) -> tuple[Step, ...]:
    return tuple(Step(channel, f"t-{number}", {"n": Value("n")}) for number, channel in enumerate(channels))


def rules(
    *, then: Sequence[Step] = steps(*CHANNELS), on_stop: Sequence[Step] = (), name: str = "set", **words: Any
) -> RuleSet:
    """A set of one rule, `declined`."""
    plain = rule_set(Shop(consent="transactional", patience=HOUR)).by_id["declined"]
    words = {"steps": tuple(then), "on_stop": tuple(on_stop), "topic": None, **words}
    return RuleSet(name, (replace(plain, **words),), CONTRACTS)


def only_rule(known: RuleSet) -> Rule:
    (rule,) = known.rules
    return rule


def fired(
    firing: str = "f", seq: int = 1, *, at: int = NOW - SECOND, of: RuleSet, key: Sequence[Any] = ("k",), **words: Any
) -> Heard:
    """A firing, with the data of its steps."""
    data = words.pop("data", tuple({"n": number} for number, _ in enumerate(only_rule(of).steps)))
    words = {"severity": "medium", **words}
    return Heard(seq, "fired", firing, 0, "declined", of.hash, at, key=key, data=data, **words)


def stopped(
    firing: str = "f",
    seq: int = 2,
    *,
    at: int = NOW - SECOND,
    of: RuleSet,
    kind: str = "stopped",
    key: Sequence[Any] = ("k",),
) -> Heard:
    """A firing that is taken back."""
    data = tuple({"n": number} for number, _ in enumerate(only_rule(of).on_stop))
    return Heard(seq, kind, firing, 0, "declined", of.hash, at, "medium", key, data)


class Life:
    """A recipient over several passes: what each one changes is there in the next."""

    def __init__(self, known: RuleSet, person: Person = ADA, older: Iterable[RuleSet] = ()) -> None:
        self.rules, self.person, self.now = known, person, NOW
        self.sets = {one.hash: one for one in (known, *older)}
        self.outside = Outside()
        self.runs: dict[str, Run] = {}
        self.messages: dict[str, Message] = {}

    def hear(self, *heard: Heard, later: int = 0) -> Dispatched:
        self.now += later
        found = dispatch(
            self.rules, self.sets.__getitem__, self.person, heard, list(self.runs.values()),
            list(self.messages.values()), self.outside, self.now,
        )  # fmt: skip
        self.runs |= found.runs
        self.messages |= found.messages
        return found

    def make(self, role: str = "notice", firing: str | None = None, channel: str | None = None, **changes: Any) -> None:
        """Let something become of messages: `make(state=…)`."""
        for message in self.of(role, firing):
            if channel in (None, message.channel):
                self.messages[message.message_id] = replace(message, **changes)

    def of(self, role: str, firing: str | None = None) -> list[Message]:
        found = [one for one in self.messages.values() if one.role == role and firing in (None, one.firing_id)]
        return sorted(found, key=lambda one: (one.created_at, one.step))

    def clears(self, firing: str | None = None) -> list[Message]:
        return self.of("all_clear", firing)
