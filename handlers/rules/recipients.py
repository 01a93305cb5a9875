"""`to`: whom a rule tells, and over which channels that can be done."""

from __future__ import annotations

from handlers.rules.conditions import KINDS
from handlers.rules.directory import TEAMS
from handlers.rules.draft import Draft
from handlers.rules.keys import BUILT
from handlers.rules.yaml import Node
from tidings.rule import CHAT, PERSONAL, To

OF_ADDRESS = ("email", "sms")


def recipient(draft: Draft, node: Node) -> To:
    """Return whom a rule tells; the customer of the event where that cannot be read."""
    shape, arming = draft.shape, draft.arming
    if node.kind == "scalar":
        if node.text != "customer":
            text = "'to' is customer, {customer: …}, {team: …} or {address: …}"
            hint = f"{{ team: {node.text} }}" if node.text in draft.known.directory.teams else None
            shape.wrong(node, "R006", text, hint or shape.near(node.text, ("customer",)))
        elif arming is not None and arming.customer is None:
            shape.wrong(node, "R106", f"{arming.type} names no customer, so 'to: customer' reaches nobody")
        return To()
    if not shape.keys(node, "to"):
        return To()
    named = [key for key, _ in node.entries if key.text in BUILT["to"]]
    if len(named) != 1:
        shape.wrong(node, "R006", "'to' names one of customer, team, address")
        return To()
    value = node.get(named[0].text)
    assert value is not None
    match named[0].text:
        case "team":
            return _team(draft, value)
        case "address":
            if draft.consent == "marketing":
                text = "marketing needs the consent of a customer; an address has given none"
                shape.wrong(node, "R114", text)
            return _expressed(draft, value, To("address"), "an address")
        case _:
            return _expressed(draft, value, To("customer"), "a customer's id")


def _team(draft: Draft, node: Node) -> To:
    name = draft.shape.text(node, "team", node)
    teams = draft.known.directory.teams
    if name and draft.known.directory.lacks(TEAMS):
        draft.shape.wrong(node, "R005", f"team '{name}' is not known: beside the rules there is no {TEAMS}")
    elif name and name not in teams and TEAMS not in draft.known.directory.unread:
        text = f"there is no team '{name}' in {TEAMS}"
        draft.shape.wrong(node, "R005", text, draft.shape.near(name, teams))
    return To("team", team=name)


def _expressed(draft: Draft, node: Node, to: To, what: str) -> To:
    found = draft.at_firing(node, lasting=True)
    if found is None:
        return to
    if found.kind not in ("string", "any"):
        draft.shape.wrong(node, "R101", f"{what} is a text; this is {KINDS.get(found.kind, found.kind)}")
    elif found.tree is not None and found.tree.nullable:
        text = f"this may be null; then nobody is told, for {what} is missing"
        draft.shape.wrong(node, "R203", text, severity="warning")
    return To(to.kind, expression=found)


def reaches(draft: Draft, channel: str, node: Node) -> bool:
    """Check that the recipient can be reached over a channel; `node` names it."""
    to, shape = draft.to, draft.shape
    if to.kind == "team":
        team = draft.known.directory.teams.get(to.team)
        if channel == "push":
            shape.wrong(node, "R114", "push reaches customers only; a team has email, sms, slack and teams")
            return False
        if team is not None and channel not in team.addresses:
            line = draft.known.directory.lines[to.team]
            shape.wrong(node, "R114", f"the team '{to.team}' has no '{channel}': {TEAMS}:{line}")
            return False
        return True
    if channel in CHAT:
        who = "customers have" if to.kind == "customer" else "an address has"
        shape.wrong(node, "R114", f"{channel} is a room of a team; {who} none")
        return False
    if to.kind == "address" and channel not in OF_ADDRESS:
        shape.wrong(node, "R114", f"an address is reached by email or sms, not by {channel}")
        return False
    assert channel in PERSONAL
    return True
