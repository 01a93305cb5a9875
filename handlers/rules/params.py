"""`params`: the values of a rule that may be tuned."""

from __future__ import annotations

from typing import Any

from handlers.rules.draft import Draft
from handlers.rules.keys import PARAM_TYPES
from handlers.rules.yaml import Node
from tidings.contract import Type


def read(draft: Draft, node: Node | None) -> None:
    """Give a draft its parameters, with their defaults."""
    shape = draft.shape
    for key, spec in shape.entries(node, "'params'"):
        if not shape.keys(spec, "param"):
            continue
        kind = shape.choice(spec.get("type"), tuple(PARAM_TYPES), "")
        if spec.get("type") is None:
            shape.wrong(spec, "R007", f"the parameter '{key.text}' needs a 'type'")
        if not kind:
            continue
        draft.types[key.text] = Type(PARAM_TYPES[kind])  # type: ignore[arg-type]
        bounds = {name: _value(draft, spec.get(name), kind) for name in ("default", "min", "max")}
        value = bounds["default"]
        if kind in ("string", "bool"):
            for name in ("min", "max"):
                if (bound := spec.get(name)) is not None:
                    shape.wrong(bound, "R006", f"a {kind} has no '{name}'")
        if spec.get("default") is None:
            shape.wrong(spec, "R007", f"the parameter '{key.text}' needs a 'default'")
        elif value is not None and not isinstance(value, (str, bool)):
            low, high = bounds["min"], bounds["max"]
            if (low is not None and value < low) or (high is not None and value > high):
                shape.wrong(spec.get("default") or spec, "R108", "the default lies outside min and max")
        draft.params[key.text] = value


def _value(draft: Draft, node: Node | None, kind: str) -> Any:
    if node is None:
        return None
    value = node.value
    match kind:
        case "duration":
            return draft.shape.duration(node, None)
        case "int":
            good = isinstance(value, int) and not isinstance(value, bool)
        case "number":
            good = not isinstance(value, (str, bool)) and value is not None
        case "bool":
            good = isinstance(value, bool)
        case _:
            good = isinstance(value, str)
    if node.kind != "scalar" or not good:
        draft.shape.wrong(node, "R006", f"this is no {kind}")
        return None
    return value


def unused(draft: Draft) -> None:
    """Tell of parameters that nothing reads."""
    place = draft.node.get("params") or draft.node
    for name in sorted(set(draft.types) - draft.used):
        text = f"the parameter '{name}' is not used"
        draft.shape.wrong(place.get(name) or draft.node, "R208", text, severity="warning")
