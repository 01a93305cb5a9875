"""`then` and `on_stop`: the messages of a rule, each with its channel, text, values and patience."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from handlers.rules import texts
from handlers.rules.conditions import KINDS, Compiled
from handlers.rules.directory import TARGETS
from handlers.rules.draft import Draft
from handlers.rules.keys import LATER, MACHINES, SENDS
from handlers.rules.recipients import reaches
from handlers.rules.yaml import Node
from tidings.contract import Type
from tidings.rule import CHAT, PERSONAL, Retry, Step

MAX_STEPS = 50
MAX_ATTEMPTS = 100
NEED_TEXT = (*PERSONAL, *CHAT, "ticket")
"""Channels whose messages are read by people; the others carry data only."""


def steps_of(draft: Draft, node: Node | None, owner: Node) -> tuple[Step, ...]:
    """Return the steps of `then`."""
    if node is None or node.kind != "list" or not node.items:
        draft.shape.wrong(node or owner, "R007", "'then' is a list of steps, as - send: email")
        return ()
    steps = [_step(draft, one) for one in _bounded(draft, node) if draft.shape.keys(one, "step")]
    return tuple(step for step in steps if step is not None)


def all_clears(draft: Draft, node: Node | None, then: Sequence[Step]) -> tuple[Step, ...]:
    """Return the steps of `on_stop`, which go over the channels of `then` to those who were told."""
    if node is None:
        return ()
    if node.kind != "list" or not node.items:
        draft.shape.wrong(node, "R006", "'on_stop' is a list of sends, as - send: email")
        return ()
    told = {step.channel for step in then}
    found: list[Step] = []
    for one in _bounded(draft, node):
        if not draft.shape.keys(one, "all_clear"):
            continue
        step = _step(draft, one, lasting=True)
        if step is None:
            continue
        place = one.get("send") or one
        if told and step.channel not in told:
            words = ", ".join(sorted(told & {*PERSONAL, *CHAT}))
            text = f"'then' sends nothing by {step.channel}, so nobody is to hear of its end there; it uses {words}"
            draft.shape.wrong(place, "R116", text)
        if any(other.channel == step.channel and other.condition is None for other in found):
            draft.shape.wrong(place, "R116", f"an all-clear by {step.channel} stands here already, without 'if'")
        found.append(step)
    for channel in sorted(told & set(PERSONAL) - {step.channel for step in found}) if found else ():
        text = f"who was told by {channel} never hears that it is over, others do"
        draft.shape.wrong(node, "R212", text, severity="warning")
    return tuple(found)


def _bounded(draft: Draft, node: Node) -> tuple[Node, ...]:
    if len(node.items) > MAX_STEPS:
        draft.shape.wrong(node.items[MAX_STEPS], "R002", f"{len(node.items)} steps; at most {MAX_STEPS}")
    return node.items[:MAX_STEPS]


def _step(draft: Draft, node: Node, *, lasting: bool = False) -> Step | None:
    channel, target = _way(draft, node)
    condition = draft.at_firing(node.get("if"), ("bool",), lasting=lasting)
    values = _values(draft, node, condition, lasting=lasting)
    template = ""
    if channel in NEED_TEXT:
        template = texts.named(draft, node)
    elif channel and (given := node.get("template")) is not None:
        draft.shape.wrong(given, "R006", f"a {channel} carries the values of 'with' and no text")
    retry = _retry(draft, node.get("retry"))
    alert = draft.shape.choice(node.get("on_failure"), ("alert", "ignore"), "ignore") == "alert"
    if not channel:
        return None
    step = Step(
        channel=channel, template=template, data={name: value for name, (_, value) in values.items() if value},  # type: ignore[arg-type]
        types={name: type_of(value) for name, (_, value) in values.items() if value}, target=target, condition=condition,
        retry=retry, alert=alert,
    )  # fmt: skip
    texts.fits(draft, node, step, {name: key for name, (key, _) in values.items()})
    return step


def _way(draft: Draft, node: Node) -> tuple[str, str]:
    """Return the channel of a step, and the system that it goes to; "" where that cannot be read."""
    shape = draft.shape
    ways = [key for key, _ in node.entries if key.text in ("send", *MACHINES)]
    if len(ways) > 1:
        names = " and ".join(f"'{key.text}'" for key in ways)
        shape.wrong(ways[1], "R006", f"a step does one thing, not {names}; write a step for each")
        return "", ""
    if not ways:
        if not any(key.text in LATER["step"] for key, _ in node.entries):
            shape.wrong(node, "R007", "'send: email' is missing, or ticket, webhook, workflow")
        return "", ""
    way, value = ways[0].text, node.get(ways[0].text)
    assert value is not None
    if way == "send":
        channel = str(shape.choice(value, SENDS, ""))
        if channel:
            reaches(draft, channel, value)
        return channel, ""
    name = shape.text(value, way, node)
    known = [name for channel, name in draft.known.directory.targets if channel == way]
    if name and draft.known.directory.lacks(TARGETS):
        shape.wrong(value, "R005", f"{way} '{name}' is not known: beside the rules there is no {TARGETS}")
    elif name and name not in known and TARGETS not in draft.known.directory.unread:
        text = f"there is no {way} '{name}' among the {MACHINES[way]} of {TARGETS}"
        shape.wrong(value, "R005", text, shape.near(name, known))
    return way, name


def _values(
    draft: Draft, node: Node, condition: Compiled | None, *, lasting: bool
) -> Mapping[str, tuple[Node, Compiled | None]]:
    """Compile `with`; where the step's `if` holds, what it asks with `has` is there."""
    given = node.get("with")
    if given is None:
        return {}
    if given.kind != "map":
        draft.shape.wrong(given, "R006", "'with' is a mapping: {name: expression}")
        return {}
    known = condition.shown if condition is not None else frozenset()
    return {key.text: (key, draft.at_firing(value, known=known, lasting=lasting)) for key, value in given.entries}


def _retry(draft: Draft, node: Node | None) -> Retry | None:
    if node is None or not draft.shape.keys(node, "retry"):
        return None
    shape, most = draft.shape, node.get("max")
    attempts = most.value if most is not None else None
    if most is not None and (type(attempts) is not int or not 1 <= attempts <= MAX_ATTEMPTS):
        shape.wrong(most, "R006", f"a number of attempts is needed here, 1 to {MAX_ATTEMPTS}")
        attempts = None
    first, bound = shape.duration(node.get("backoff"), None), shape.duration(node.get("max_backoff"), None)
    for name, value in (("backoff", first), ("max_backoff", bound)):
        if value == 0:
            shape.wrong(node.get(name) or node, "R006", f"'{name}' is longer than nothing")
    if first is not None and bound is not None and bound < first:
        shape.wrong(node.get("max_backoff") or node, "R108", "'max_backoff' is shorter than 'backoff'")
    return Retry(attempts, first, bound)


def type_of(compiled: Compiled) -> Type:
    """Return the type of an expression's value, for rendering: as the contract has it, null only where it may be."""
    assert compiled.tree is not None
    found = compiled.tree.type
    if found is not None:
        return Type(found.kind, compiled.tree.nullable, found.name, found.symbols, found.fields, found.item)
    kinds = {"number": "double", "bool": "boolean", "list": "array"}
    return Type(kinds.get(compiled.kind, compiled.kind if compiled.kind in KINDS.values() else "string"))  # type: ignore[arg-type]
