"""Detection records: what a firing, or the taking back of one, says; compared byte by byte between runs and stores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tidings import canonical, ids
from tidings.contract import value_at
from tidings.event import Event, Micros
from tidings.rule import SEVERITIES, Emission, Rule, Severity, Step
from tidings.unknown import UNKNOWN
from tidings.value import value


@value
class Record:
    """A detection record: compared byte by byte between runs, replays and stores."""

    episode_at: Micros
    firing_id: str
    kind: str
    n: int
    tenant: str
    rule: str
    recipient: str
    logical_at: Micros
    body: bytes
    """Canonical JSON of everything."""
    begun_by: str = ""
    """The event that began the episode, as the body says it: for who tells of the record, without reading it again."""


def record_of(
    rule_set: str, rule: Rule, tenant: str, key: tuple[Any, ...], said: Emission, *, overflow: bool = False
) -> Record:
    """Return the record of what an operator said of a key."""
    firing = ids.firing_id(tenant, rule.id, key, (said.episode.source, said.episode.ref))
    recipient = recipient_of(rule, said.event)
    steps = rule.on_stop if said.kind in TAKES_BACK else rule.steps
    body: dict[str, Any] = {
        "tenant": tenant,
        "rule": rule.id,
        "rule_set": rule_set,
        "firing_id": firing,
        "kind": said.kind,
        "n": said.n,
        "key": list(key),
        "episode": {"at": said.episode.at, "source": said.episode.source, "event": said.episode.ref},
        "logical_at": said.logical_at,
        "severity": severity_of(rule, said.event),
        "recipient": recipient,
        "data": [captured(step, said.event, rule.params) for step in steps],
    }
    if overflow:
        body["overflow"] = True
    return Record(
        said.episode.at, firing, said.kind, said.n, tenant, rule.id, recipient, said.logical_at, canonical.dumps(body),
        said.episode.ref,
    )  # fmt: skip


TAKES_BACK = ("stopped", "resolved")
"""Kinds of records after which nothing of the firing is true any more; they carry the data of the all-clear."""

UNKNOWN_RECIPIENT = "customer:"
"""The recipient of a firing whose event names no customer; dispatch records `unknown_customer`."""


def recipient_of(rule: Rule, event: Event) -> str:
    """Return the reference to whom the firing concerns.

    `customer:<id>` (a foreign id as the event has it), `team:<name>`, `address:<address>`; without an id or an address
    where the event does not say it.
    """
    to = rule.to
    if to.kind == "team":
        return f"team:{to.team}"
    if to.expression is not None:
        value = to.expression.value(event.data, event, rule.params)
        return f"{to.kind}:{value}" if isinstance(value, (str, int)) else f"{to.kind}:"
    if rule.customer_paths and (path := rule.customer_paths.get(event.type)) is not None:
        value = value_at(event.data, path)
        if value is not None:
            return f"customer:{value}"
    return UNKNOWN_RECIPIENT


def severity_of(rule: Rule, event: Event) -> Severity:
    """Return the rule's severity, raised to the highest whose condition certainly holds."""
    highest = rule.severity
    for condition, severity in rule.raise_severity:
        if SEVERITIES.index(severity) > SEVERITIES.index(highest) and condition.true(event.data, event, rule.params):
            highest = severity
    return highest


def captured(step: Step, event: Event, params: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the values of a step's `with`, or None where its `if` does not certainly hold: it is never due."""
    if step.condition is not None and not step.condition.true(event.data, event, params):
        return None
    return capture(step.data, event, params)


def capture(data: Mapping[str, Any], event: Event, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a step's `with`; what is unknown is null, and a template that needs it fails, visibly."""
    captured = {}
    for name, expression in data.items():
        value = expression.value(event.data, event, params)
        captured[name] = None if value is UNKNOWN else plain(value)
    return captured


def plain(value: Any) -> Any:
    """Return a value as JSON has it; an exact fraction becomes `"numerator/denominator"`."""
    if isinstance(value, Mapping):
        return {name: plain(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    if value is None or isinstance(value, (str, int)):
        return value
    return str(value)
