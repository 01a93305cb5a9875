"""`stop_on` of event rules: which events take a firing back, and by which fields they are matched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from handlers.operators.event import EventOperator, StopMatcher
from handlers.rules.conditions import KINDS, Path
from handlers.rules.draft import KEY_KINDS, Draft
from handlers.rules.operators import matcher
from handlers.rules.yaml import Node
from tidings.contract import Contract, Type
from tidings.rule import Matcher

MAX_STOPS = 50


@dataclass(frozen=True)
class _Stop:
    """One entry: the event that stops, and pairs of fields of the firing and of the stopping event."""

    matcher: Matcher
    pairs: dict[Path, Path]
    node: Node


def stopped_by(draft: Draft, operator: EventOperator, node: Node) -> EventOperator | None:
    """Return the operator with what stops it, or None where that has a mistake."""
    if node.kind == "map" and node.get("event") is None:
        draft.shape.wrong(node, "R006", "'stop_on' is a list of events, or of {event: …, match: {…}}")
        return None
    nodes = node.items if node.kind == "list" else (node,)
    if not 0 < len(nodes) <= MAX_STOPS:
        draft.shape.wrong(node, "R006", f"'stop_on' is a list of events, at least one and at most {MAX_STOPS}")
        return None
    stops = [stop for one in nodes if (stop := _stop(draft, one)) is not None]
    if len(stops) < len(nodes) or not _one_key(draft, operator, stops):
        return None
    here = tuple(stops[0].pairs)
    matchers = tuple(StopMatcher(stop.matcher, tuple(stop.pairs[path] for path in here)) for stop in stops)
    return replace(operator, stops=matchers, match_here=here)


def _stop(draft: Draft, node: Node) -> _Stop | None:
    met, contract = matcher(draft, node, "stop")
    if met is None or contract is None or draft.arming is None:
        return None
    match = node.get("match")
    pairs = _by_customer(draft, node, contract) if match is None else _pairs(draft, match, contract)
    return _Stop(met, pairs, node) if pairs else None


def _by_customer(draft: Draft, node: Node, contract: Contract) -> dict[Path, Path] | None:
    """The short form: the same customer."""
    assert draft.arming is not None
    for one in (draft.arming, contract):
        if one.customer is None:
            text = f"{one.type} names no customer to match by; write {{ event: {contract.type}, match: {{ … }} }}"
            draft.shape.wrong(node, "R109", text)
            return None
    here, there = draft.arming.customer, contract.customer
    assert here is not None
    assert there is not None
    text = (
        f"every {contract.type} of the same customer ends this; write match: {{ {'.'.join(here)}: {'.'.join(there)} }} "
        "if that is meant, or match by what the two are about"
    )
    draft.shape.wrong(node, "R211", text, severity="warning")
    return {here: there}


def _pairs(draft: Draft, match: Node, contract: Contract) -> dict[Path, Path] | None:
    assert draft.arming is not None
    shape = draft.shape
    if match.kind != "map" or not match.entries:
        text = f"'match' is a mapping: {{ field of {draft.arming.type}: field of {contract.type} }}"
        shape.wrong(match, "R006", text)
        return None
    found: dict[Path, Path] = {}
    good = True
    for key, value in match.entries:
        here = _key(draft, key, draft.arming)
        there = _key(draft, value, contract)
        if here is None or there is None:
            good = False
        elif KINDS[here[1].kind] != KINDS[there[1].kind]:
            text = f"'{key.text}' is {here[1].kind} and '{value.text}' is {there[1].kind}: they never match"
            shape.wrong(value, "R109", text)
            good = False
        else:
            found[here[0]] = there[0]
    return found if good else None


def _key(draft: Draft, node: Node, contract: Contract) -> tuple[Path, Type] | None:
    found = draft.field_at(node, contract, "R105", what=" to be a key")
    if found is None:
        return None
    if found[1].kind not in KEY_KINDS:
        draft.shape.wrong(node, "R105", f"'{node.text}' of {contract.type} is {found[1].kind}, which is no key")
        return None
    if found[1].nullable:
        text = f"'{node.text}' of {contract.type} may be null; then nothing is stopped by it"
        draft.shape.wrong(node, "R203", text, severity="warning")
    return found


def _one_key(draft: Draft, operator: EventOperator, stops: Sequence[_Stop]) -> bool:
    """Check that all entries match by the same fields: an episode lives under one key."""
    first = stops[0]
    by_type = {operator.matcher.type: {path: path for path in first.pairs}}
    good = True
    for stop in stops:
        if set(stop.pairs) != set(first.pairs):
            words = ", ".join(".".join(path) for path in first.pairs)
            text = f"one key a rule: the first event matches by {words}, so this one has to as well"
            draft.shape.wrong(stop.node, "R109", text)
            good = False
        elif by_type.setdefault(stop.matcher.type, stop.pairs) != stop.pairs:
            text = f"one key a rule: {stop.matcher.type} is matched by other fields already"
            draft.shape.wrong(stop.node, "R109", text)
            good = False
    return good
