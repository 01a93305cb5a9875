"""`when`: one operator, with its events, conditions and key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from handlers.operators.event import EventOperator
from handlers.operators.missing import MissingOperator
from handlers.rules import readings
from handlers.rules.conditions import KINDS, Compiled
from handlers.rules.draft import KEY_KINDS, Draft
from handlers.rules.keys import BUILT, LATER
from handlers.rules.yaml import Node
from tidings.contract import Contract
from tidings.event import MINUTE
from tidings.rule import Matcher

Named = tuple[Matcher, Contract, Node]
"""An event that a rule names: how it is met, its contract, and where it stands."""


def when(draft: Draft, node: Node) -> EventOperator | MissingOperator | None:
    """Return the operator; the draft learns of which event the rule speaks."""
    shape = draft.shape
    if node.kind != "map":
        shape.wrong(node, "R006", "'when' is a mapping: {event: …} or {missing: {…}}")
        return None
    operators = [key for key, _ in node.entries if key.text in BUILT["when"]]
    later = [key for key, _ in node.entries if key.text in LATER["when"]]
    for key in later:
        shape.later(key)
    if len(operators) > 1:
        names = " and ".join(f"'{key.text}'" for key in operators)
        shape.wrong(operators[1], "R006", f"'when' has one operator, not {names}; write a rule for each")
    if later or len(operators) > 1:
        return None
    if (body := node.get("missing")) is not None:
        shape.keys(node, "when")
        return _missing(draft, body)
    if node.get("event") is not None:
        shape.keys(node, "event")
        return _event(draft, node)
    shape.keys(node, "when")
    shape.wrong(node, "R007", "'when' needs an operator: event or missing")
    return None


def matcher(
    draft: Draft, node: Node, kind: str = "match", *, arms: bool = False
) -> tuple[Matcher | None, Contract | None]:
    """Read `name` or `{event: name, if: condition}`; `arms` says that the rule speaks of this event."""
    if node.kind == "map":
        draft.shape.keys(node, kind)
        contract, condition_node = draft.contract(node.get("event"), node), node.get("if")
    else:
        contract, condition_node = draft.contract(node, node), None
    if contract is None:
        return None, None
    if arms:
        readings.read(draft, contract)
    condition = draft.expression(condition_node, contract, ("bool",))
    if arms and condition is not None:
        draft.holds = condition.shown
    text = condition_node.text if condition_node is not None else ""
    return Matcher(contract.type, contract.topic, condition, text), contract


def matchers(draft: Draft, node: Node | None) -> list[Named]:
    """Read one matcher or a list of them."""
    if node is None:
        return []
    found = []
    for one in node.items if node.kind == "list" else (node,):
        met, contract = matcher(draft, one)
        if met is not None and contract is not None:
            found.append((met, contract, one))
    return found


def _event(draft: Draft, node: Node) -> EventOperator | None:
    lateness = node.get("allowed_lateness")
    allowed = draft.shape.duration(lateness, None)
    if lateness is not None and draft.node.get("stop_on") is None:
        text = "'allowed_lateness' has a meaning with 'stop_on' only: an event rule decides at once, on each event"
        draft.shape.wrong(lateness, "R116", text)
    # `event` is the operator and stands beside its condition, so the mapping is the matcher; its keys are checked.
    contract = draft.contract(node.get("event"), node)
    if contract is None:
        return None
    readings.read(draft, contract)
    condition = draft.expression(node.get("if"), contract, ("bool",))
    if condition is not None:
        draft.holds = condition.shown
    text = (node.get("if") or node).text
    met = Matcher(contract.type, contract.topic, condition, text)
    operator = EventOperator(met, _changed(draft, node.get("changed"), contract))
    return operator if allowed is None else replace(operator, allowed_lateness=allowed)


def _changed(draft: Draft, node: Node | None, contract: Contract) -> tuple[str, ...]:
    shape = draft.shape
    if node is None:
        return ()
    if not contract.is_change:
        shape.wrong(node, "R104", f"{contract.type} has no before and after, so nothing in it can be 'changed'")
        return ()
    fields = contract.fields["after"].type.fields
    names = []
    if node.kind == "map" or (node.kind == "list" and not node.items):
        shape.wrong(node, "R006", "'changed' is a list of fields, at least one")
    for one in node.items if node.kind == "list" else (node,):
        if one.text in fields:
            names.append(one.text)
        else:
            text = f"{contract.type} has no field '{one.text}' in after"
            shape.wrong(one, "R104", text, shape.near(one.text, fields))
    return tuple(names)


def _missing(draft: Draft, node: Node) -> MissingOperator | None:
    shape = draft.shape
    if not shape.keys(node, "missing"):
        return None
    for needed in ("after", "expect", "by", "deadline"):
        if node.get(needed) is None:
            shape.wrong(node, "R007", f"'{needed}' is missing")
    after_node = node.get("after")
    after, arming = matcher(draft, after_node, arms=True) if after_node is not None else (None, None)
    expect, cancel, moves = (matchers(draft, node.get(name)) for name in ("expect", "cancel_on", "reschedule_on"))
    if after is None or arming is None or after_node is None:
        return None
    readings.beside(draft, [named[1:] for named in (*expect, *cancel)], [named[1:] for named in moves])
    # What a reschedule brings replaces what the arming event said, so its condition no longer speaks for it.
    draft.holds -= {path for path in draft.holds for _, moved, _ in moves if path[0] in moved.fields}
    for needed, given in (("expect", node.get("expect")), ("by", node.get("by"))):
        if given is not None and given.kind == "list" and not given.items:
            shape.wrong(given, "R006", f"'{needed}' is empty: it needs at least one")
    by = _by(draft, node, [(after, arming, after_node), *expect, *cancel, *moves])
    deadline = draft.at_firing(node.get("deadline"), ("timestamp",))
    _moves(draft, moves, deadline, arming)
    once = shape.flag(node.get("once"))
    if by == arming.key and node.get("once") is None and node.get("on_repeat") is None:
        text = f"{arming.type} is keyed by {', '.join(by)}: if such a key lives once, say 'once: true'"
        shape.wrong(node.get("by") or node, "R210", text, severity="info")
    lateness = shape.duration(node.get("allowed_lateness"), MINUTE)
    if deadline is None or not by or not expect:
        return None
    return MissingOperator(
        after=after, expect=tuple(m for m, _, _ in expect), deadline=deadline, by=by,
        cancel_on=tuple(m for m, _, _ in cancel), reschedule_on=tuple(m for m, _, _ in moves),
        once=once, on_repeat=shape.choice(node.get("on_repeat"), ("keep", "restart"), "keep"),
        allowed_lateness=MINUTE if lateness is None else lateness,
    )  # fmt: skip


def _by(draft: Draft, node: Node, named: Sequence[Named]) -> tuple[str, ...]:
    """Check the key: a field of every event that the rule names."""
    keys, shape = node.get("by"), draft.shape
    if keys is None:
        return ()
    names = []
    for one in keys.items if keys.kind == "list" else (keys,):
        for met, contract, _ in named:
            found = contract.fields.get(one.text)
            if found is None:
                text = f"{met.type} has no field '{one.text}' to be a key"
                shape.wrong(one, "R105", text, shape.near(one.text, contract.fields))
            elif found.type.kind not in KEY_KINDS:
                shape.wrong(one, "R105", f"'{one.text}' of {met.type} is {found.type.kind}, which is no key")
            elif found.type.nullable:
                text = f"'{one.text}' of {met.type} may be null; then the rule does not see the event"
                shape.wrong(one, "R203", text, severity="warning")
        names.append(one.text)
    return tuple(dict.fromkeys(names))


def _moves(draft: Draft, moves: Sequence[Named], deadline: Compiled | None, arming: Contract) -> None:
    """Check that a reschedule brings a field of the deadline, of the same kind."""
    if deadline is None:
        return
    reads = {path[0] for path in deadline.reads} - set(draft.images)
    for met, contract, node in moves:
        shared = reads & set(contract.fields)
        if not shared:
            text = f"{met.type} has none of the fields that the deadline reads ({', '.join(sorted(reads))})"
            draft.shape.wrong(node, "R109", text)
        for name in sorted(shared):
            if KINDS[contract.fields[name].type.kind] != KINDS[arming.fields[name].type.kind]:
                draft.shape.wrong(node, "R109", f"'{name}' of {met.type} is of another kind than in {arming.type}")
