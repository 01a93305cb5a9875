"""What a decision is about, in a word or two: the key of its firing, or the id that its messages carry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from streams.explaining import veil
from tidings import canonical
from tidings.ports import Row
from tidings.rule import Rule, RuleSet

LONGEST = 60
CUSTOMER = "customer_id"


def about_of(run: Row, messages: Sequence[Row], ids: Mapping[int, str]) -> str:
    """Return the business key of a decision; empty where nothing that is stored with it names one.

    `ids` has, by step, the name of the captured value that is an id (`ids_of`).
    """
    key = canonical.loads(run["body"]).get("key") or ()
    found = ", ".join(str(part) for part in key)
    for row in messages if not found else ():
        value = canonical.loads(row["body"])["data"].get(ids.get(row["step"], ""))
        if isinstance(value, str | int):
            found = str(value)
            break
    return found if len(found) <= LONGEST else f"{found[: LONGEST - 1]}…"


def ids_of(rule: Rule, rules: RuleSet) -> dict[int, str]:
    """Return which captured value of each step of a rule is an id, other than the customer's, and not personal."""
    found = {}
    over = [veil.over(rules.contracts, rules.contracts.get(kind), rule) for kind in rule.types]
    for at, step in enumerate(rule.steps):
        for name, expression in step.data.items():
            paths = [tuple(path) for path in getattr(expression, "reads", ())]
            if len(paths) != 1 or not paths[0][-1].endswith("_id") or paths[0][-1] == CUSTOMER:
                continue
            if not any(one.hides(paths[0]) for one in over):
                found[at] = name
                break
    return found
