"""Templates as steps name them: that they are there, and fit what `with` gives."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches

from handlers.rules.draft import Draft
from handlers.rules.yaml import Node
from handlers.templates import Template
from tidings.contract import Type
from tidings.rule import Step


def named(draft: Draft, node: Node) -> str:
    """Return the name of a step's template, which must be there."""
    name = draft.shape.text(node.get("template"), "template", node)
    if name and name not in draft.known.template_names:
        place = node.get("template") or node
        near = draft.shape.near(name, sorted(draft.known.template_names))
        draft.shape.wrong(place, "R121", f"there is no template '{name}'", near)
    return name


def fits(draft: Draft, node: Node, step: Step, given: Mapping[str, Node]) -> None:
    """Check a step's template, in every language that it has, against `with`, both ways."""
    place = node.get("template") or node
    used: set[str] = set()
    read = False
    for name in draft.known.variants.get(step.template, ()):
        template = draft.known.templates.get(name)
        if template is None:
            continue
        read = True
        used |= template.placeholders
        for code, text, hint, severity in check_template(step, name, template, given):
            draft.shape.wrong(place, code, text, hint or None, severity=severity)
    for unused in sorted(set(given) - used) if read else ():
        text = f"the template '{step.template}' does not use '{unused}'"
        draft.shape.wrong(given[unused], "R209", text, severity="warning")


def check_template(
    step: Step, name: str, template: Template, given: Mapping[str, Node | Type]
) -> list[tuple[str, str, str, str]]:
    """Return what is wrong with a template for a step, as (code, text, suggestion, severity).

    The one place where rules meet the template engine: `step.types` says of which type each given value is, and
    `step.channel` over which channel the text goes.
    """
    found = []
    for missing in sorted(template.placeholders - set(given)):
        text = f"the template '{name}' needs '{missing}', which 'with' does not give"
        near = get_close_matches(missing, list(given), 1)
        found.append(("R122", text, near[0] if near else "", "error"))
    return found
