"""Templates as steps name them: that they are there, and fit what `with` gives."""

from __future__ import annotations

from collections.abc import Mapping

from handlers.rules.diagnostics import Diagnostic
from handlers.rules.draft import Draft
from handlers.rules.yaml import Node
from handlers.templates import Problem
from tidings.contract import Type
from tidings.rule import Step

ANY = Type("string")
"""Stands for a value whose type is not known."""


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
        for missing in sorted(template.placeholders - set(given)):
            text = f"the template '{name}' needs '{missing}', which 'with' does not give"
            draft.shape.wrong(place, "R122", text, draft.shape.near(missing, given))
        # A value whose expression has a mistake of its own is given all the same.
        types = {**dict.fromkeys(given, ANY), **step.types}
        for problem in template.check(types, step.channel):
            if problem.code != "R122":
                _tell(draft, place, name, problem)
    for unused in sorted(set(given) - used) if read else ():
        text = f"the template '{step.template}' does not use '{unused}'"
        draft.shape.wrong(given[unused], "R209", text, severity="warning")


def _tell(draft: Draft, place: Node, name: str, problem: Problem) -> None:
    """Tell a problem where it is mended: a header that the channel needs at the step, the rest in the template's file."""
    if problem.code == "R124":
        text = f"the template '{name}': {problem.text}"
        draft.shape.wrong(place, problem.code, text, problem.hint, severity=problem.severity)
        return
    file = file_of(name)
    found = Diagnostic(
        problem.code, problem.text, file, problem.line, problem.column, problem.hint, problem.severity,
        draft.known.line(name, problem.line),
    )  # fmt: skip
    if found not in draft.shape.reader.diagnostics:  # of two rules that name it
        draft.shape.reader.diagnostics.append(found)


def file_of(name: str) -> str:
    """Return the file of a template, as people know it."""
    return f"templates/{name}.txt"
