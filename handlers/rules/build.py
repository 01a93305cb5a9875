"""Builds the rules of a file from its tree; collects every mistake on the way, and goes on."""

from __future__ import annotations

import re
from dataclasses import replace

from handlers.operators.event import EventOperator
from handlers.operators.missing import MissingOperator
from handlers.rules import params
from handlers.rules.conditions import Scope
from handlers.rules.directory import TOPICS
from handlers.rules.draft import Draft, Known
from handlers.rules.keys import LATER_STATUSES, SEVERITIES, STATUSES
from handlers.rules.names import Sight
from handlers.rules.operators import when
from handlers.rules.policies import Policy, policy_of
from handlers.rules.recipients import recipient
from handlers.rules.shape import Shape
from handlers.rules.steps import all_clears, steps_of
from handlers.rules.stops import stopped_by
from handlers.rules.yaml import Node, Reader
from tidings.rule import PERSONAL, Expression, Rule, Severity, Step

RULE_ID = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
MAX_ID = 100
MAX_RAISES = 20


def rules_of(reader: Reader, root: Node, known: Known, sight: Sight) -> list[Rule]:
    """Return the rules of a file; those with mistakes are told and left out."""
    shape = Shape(reader)
    if not shape.keys(root, "file"):
        return []
    shape.version(root, needed=True)
    rules = root.get("rules")
    if rules is None or rules.kind != "list":
        shape.wrong(rules or root, "R007", "'rules:' with a list of rules is needed")
        return []
    scope = Scope({}, named=sight.named(), blind=sight.blind)
    found = []
    for node in rules.items:
        if shape.keys(node, "rule"):
            rule = _rule(Draft(shape, known, sight, scope, node))
            found += [rule] if rule is not None else []
    return found


def shared(reader: Reader, root: Node) -> None:
    """Check the shape of a file that others import; what it defines is read where names are."""
    shape = Shape(reader)
    if shape.keys(root, "shared"):
        shape.version(root, needed=True)


def _rule(draft: Draft) -> Rule | None:
    shape, node = draft.shape, draft.node
    before = len(shape.reader.diagnostics)
    name, owner = _about(draft)
    params.read(draft, node.get("params"))
    when_node = node.get("when")
    operator = when(draft, when_node) if when_node is not None else None
    if when_node is None:
        shape.wrong(node, "R007", "'when' is missing")
    policy = _policy(draft)
    draft.consent = policy.consent
    to = node.get("to")
    if to is None:
        shape.wrong(node, "R007", "'to' is missing: customer, {team: …} or {address: …}")
    else:
        draft.to = recipient(draft, to)
    severity = shape.choice(node.get("severity"), SEVERITIES, "medium")
    raises = _raises(draft, severity)
    steps = steps_of(draft, node.get("then"), node)
    operator = _stops(draft, operator)
    on_stop = all_clears(draft, node.get("on_stop"), steps)
    topic = _told(draft, (*steps, *on_stop))
    if operator is not None:
        params.unused(draft)
        _unused_images(draft)
    expires = shape.duration(node.get("expires"), None)
    status = shape.choice(node.get("status"), STATUSES, "draft", LATER_STATUSES)
    if node.get("status") is None:
        shape.wrong(node, "R007", "'status' is missing: draft, shadow or live")
    on_unknown = shape.choice(node.get("on_unknown"), ("resend", "unresolved"), "unresolved")
    found = shape.reader.diagnostics[before:]
    if operator is None or draft.arming is None or any(one.severity == "error" for one in found):
        return None
    arming = draft.arming
    return Rule(
        id=name, owner=owner, operator=_keeping(draft, operator), title=(node.get("title") or node).text,
        severity=severity, raise_severity=raises, status=status, params=draft.params, to=draft.to,
        customer_paths={arming.type: arming.customer} if arming.customer is not None else {}, reads=draft.readings,
        topic=topic, steps=steps, on_stop=on_stop, consent=policy.consent, quiet_hours=policy.quiet_hours,
        expires=expires, on_unknown=on_unknown, file=shape.reader.file, line=node.line,
    )  # fmt: skip


def _about(draft: Draft) -> tuple[str, str]:
    """Check what a rule says about itself; return its id and its owner."""
    shape, node = draft.shape, draft.node
    name = shape.text(node.get("id"), "id", node)
    if name and (RULE_ID.fullmatch(name) is None or len(name) > MAX_ID):
        text = f"an id is lower-case words joined by '-', at most {MAX_ID} characters"
        shape.wrong(node.get("id") or node, "R006", text)
    owner = shape.text(node.get("owner"), "owner", node)
    for optional in ("title", "description", "runbook"):
        if (part := node.get(optional)) is not None:
            shape.text(part, optional, node)
    tags = node.get("tags")
    if tags is not None and (tags.kind != "list" or any(tag.kind != "scalar" for tag in tags.items)):
        shape.wrong(tags, "R006", "'tags' is a list of words")
    return name, owner


def _policy(draft: Draft) -> Policy:
    """Return the policy: written out, or by the name that a file gave it."""
    node = draft.node.get("policy")
    if node is None:
        return Policy()
    if node.kind != "scalar":
        return policy_of(draft.shape, node)
    known = draft.sight.policies
    if node.text not in known and not draft.sight.blind:
        near = draft.shape.near(node.text, known)
        imports = "" if known else "; a file sees the policies that it defines or imports"
        draft.shape.wrong(node, "R005", f"there is no policy '{node.text}'{imports}", near)
    return known[node.text][0] if node.text in known else Policy()


def _raises(draft: Draft, severity: Severity) -> tuple[tuple[Expression, Severity], ...]:
    shape, node = draft.shape, draft.node.get("raise_severity")
    if node is None:
        return ()
    if node.kind != "list" or not 0 < len(node.items) <= MAX_RAISES:
        shape.wrong(node, "R006", f"'raise_severity' is a list of {{if: …, to: …}}, at least one, at most {MAX_RAISES}")
        return ()
    found: list[tuple[Expression, Severity]] = []
    for one in node.items:
        if not shape.keys(one, "raise"):
            continue
        for needed in ("if", "to"):
            if one.get(needed) is None:
                shape.wrong(one, "R007", f"'{needed}' is missing")
        condition = draft.at_firing(one.get("if"), ("bool",), lasting=True)
        to = shape.choice(one.get("to"), SEVERITIES, "")
        if to and SEVERITIES.index(to) <= SEVERITIES.index(severity):
            text = f"{to} is not above {severity}, which the rule has anyway"
            shape.wrong(one.get("to") or one, "R113", text)
        if condition is not None and to:
            found.append((condition, to))
    return tuple(found)


def _stops(draft: Draft, operator: EventOperator | MissingOperator | None) -> EventOperator | MissingOperator | None:
    """Return the operator with what takes its firings back."""
    shape = draft.shape
    node, all_clear = draft.node.get("stop_on"), draft.node.get("on_stop")
    if node is not None and isinstance(operator, MissingOperator):
        text = "a missing rule is stopped by what it waits for: 'expect' and 'cancel_on' take a firing back already"
        shape.wrong(node, "R116", text)
    elif node is not None and isinstance(operator, EventOperator):
        return stopped_by(draft, operator, node)
    elif node is None and all_clear is not None and isinstance(operator, EventOperator):
        shape.wrong(all_clear, "R116", "'on_stop' needs 'stop_on': without it nothing takes this rule's firings back")
    return operator


def _told(draft: Draft, steps: tuple[Step, ...]) -> str | None:
    """Check what a rule owes customers: a topic that they may switch off, and a policy. Return the topic."""
    shape, node = draft.shape, draft.node.get("topic")
    personal = sorted({step.channel for step in steps} & set(PERSONAL))
    topics = draft.known.directory.topics
    if node is not None and draft.known.directory.lacks(TOPICS):
        shape.wrong(node, "R005", f"topic '{node.text}' is not known: beside the rules there is no {TOPICS}")
    elif node is not None and node.text not in topics and TOPICS not in draft.known.directory.unread:
        text = f"there is no topic '{node.text}' in {TOPICS}"
        shape.wrong(node, "R005", text, shape.near(node.text, topics))
    if draft.to.kind != "customer" or not personal:
        if node is not None:
            text = "'topic' is what customers switch off; this rule sends them nothing"
            shape.wrong(node, "R213", text, severity="warning")
        return None
    if node is None:
        text = f"'topic' is missing: what customers switch off who do not want this ({', '.join(personal)})"
        shape.wrong(draft.node, "R007", text)
        return None
    if draft.node.get("policy") is None:
        text = "customers are told without a 'policy': no class of consent is named, and no quiet hours"
        shape.wrong(draft.node, "R207", text, severity="warning")
    return node.text


def _unused_images(draft: Draft) -> None:
    place = draft.node.get("reads") or draft.node
    for alias in sorted(set(draft.images) - draft.read):
        text = f"the entity '{alias}' is not used"
        draft.shape.wrong(place.get(alias) or draft.node, "R208", text, severity="warning")


def _keeping(draft: Draft, operator: EventOperator | MissingOperator) -> EventOperator | MissingOperator:
    """Let a stateful operator keep of its events only what the rule reads later."""
    assert draft.arming is not None
    customer = {draft.arming.customer[0]} if draft.arming.customer is not None else set()
    if isinstance(operator, MissingOperator):
        return replace(operator, keep=frozenset(draft.kept | customer))
    return replace(operator, keep=frozenset(draft.lasting | customer)) if operator.stops else operator
