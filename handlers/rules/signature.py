"""What the state of a rule means: an edit that changes this cannot go on with the state that is there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from handlers.operators.event import EventOperator
from handlers.operators.missing import MissingOperator
from handlers.rules.conditions import Compiled
from tidings import canonical
from tidings.rule import Matcher, Rule, RuleSet


def signature(rule: Rule) -> Mapping[str, Any]:
    """Return the parts of a rule that give its state a meaning, by their names in the language.

    Deadlines, windows, params and texts may be tuned: state goes on with them. Events, keys and conditions may not.
    """
    operator = rule.operator
    if isinstance(operator, EventOperator) and operator.stops:
        return {
            "when": operator.kind,
            "event": _matcher(operator.matcher),
            "changed": list(operator.changed),
            "stop_on": [_matcher(stop.matcher) for stop in operator.stops],
            "match": [[list(operator.match_here), list(stop.paths)] for stop in operator.stops],
            "reads": _reads(rule),
            "to": _to(rule),
        }
    if not isinstance(operator, MissingOperator):
        return {}
    return {
        "when": operator.kind,
        "after": _matcher(operator.after),
        "expect": [_matcher(one) for one in operator.expect],
        "by": list(operator.by),
        "cancel_on": [_matcher(one) for one in operator.cancel_on],
        "reschedule_on": [_matcher(one) for one in operator.reschedule_on],
        "once": operator.once,
        "reads": _reads(rule),
        "to": _to(rule),
    }


def _to(rule: Rule) -> list[str]:
    # What was said to one is taken back from the same one.
    expression = rule.to.expression
    return [rule.to.kind, rule.to.team, expression.meaning if isinstance(expression, Compiled) else ""]


def _matcher(matcher: Matcher) -> tuple[str, str]:
    condition = matcher.condition
    # With the names of conditions written out: an edit of a shared file is an edit of every rule that uses it.
    return matcher.type, condition.meaning if isinstance(condition, Compiled) else ""


def _reads(rule: Rule) -> list[tuple[str, str, tuple[tuple[str, ...], ...]]]:
    return sorted((reading.alias, reading.entity, reading.paths) for reading in rule.reads)


def remembered(rule: Rule) -> bytes:
    """Return what the state of a rule means, to be kept while the rule is away."""
    return canonical.dumps(signature(rule))


def refusals(
    old: RuleSet, new: RuleSet, living: Iterable[str], away: Mapping[str, bytes] | None = None
) -> list[str]:  # fmt: skip
    """Return why a rule set cannot follow another.

    `living` are the rules that have state; `away` says what the state means of those that are not in the old set.
    """
    found = []
    for name in sorted(living):
        before, after = old.by_id.get(name), new.by_id.get(name)
        kept = remembered(before) if before is not None else (away or {}).get(name)
        if kept is None or after is None:
            continue
        was, now = canonical.loads(kept), canonical.loads(remembered(after))
        changed = [part for part in was if was[part] != now.get(part)]
        if changed:
            parts = ", ".join(f"'{part}'" for part in changed)
            found.append(
                f"{after.file}:{after.line}: rule '{name}' has live state, and {parts} would change what it means; "
                "give the rule a new id (the old one ends with its state), or put it back"
            )
    return found
