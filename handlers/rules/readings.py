"""`reads`: other entities whose last known image a rule's conditions read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from handlers.rules.conditions import KINDS
from handlers.rules.draft import KEY_KINDS, Draft
from handlers.rules.names import RESERVED
from handlers.rules.yaml import Node
from tidings.contract import Contract, Field
from tidings.rule import Reading

ALIAS = re.compile(r"[a-z][a-z0-9_]{0,99}")
MAX_READINGS = 10
"""Entities of one rule: each is a row that every event of it locks."""


def read(draft: Draft, arming: Contract) -> None:
    """Give a draft the event that it speaks of, and what it reads beside it."""
    draft.arming = arming
    node = draft.node.get("reads")
    found = []
    if node is not None and len(node.entries) > MAX_READINGS:
        draft.shape.wrong(node, "R002", f"{len(node.entries)} entities; a rule reads at most {MAX_READINGS}")
        return
    for key, spec in draft.shape.entries(node, "'reads'"):
        owner = _owner(draft, key, spec, arming)
        if owner is None:
            continue
        # Known by its name even where its key has a mistake, so that nobody is told of it twice.
        kind = owner.fields["after"].type
        draft.images[key.text] = Field(key.text, replace(kind, nullable=True))
        paths = _paths(draft, spec, arming, owner)
        if paths is not None:
            found.append(Reading(key.text, owner.entity or "", paths))
    draft.readings = tuple(found)


def _owner(draft: Draft, key: Node, spec: Node, arming: Contract) -> Contract | None:
    alias, shape = key.text, draft.shape
    if ALIAS.fullmatch(alias) is None or alias in RESERVED:
        shape.wrong(key, "R009", "an alias is lower-case words joined by '_', and no word of the language")
        return None
    if alias in arming.fields:
        shape.wrong(key, "R009", f"{arming.type} has a field '{alias}'; give the entity another name")
        return None
    if alias in draft.sight.conditions:
        place = draft.sight.conditions[alias][1]
        shape.wrong(key, "R009", f"'{alias}' is a condition already, in {place.file}:{place.line}")
        return None
    if not shape.keys(spec, "reading"):
        return None
    name = shape.text(spec.get("entity"), "entity", spec)
    if spec.get("id") is None:
        shape.wrong(spec, "R007", "'id' is missing: the field that names the entity")
    owner = draft.known.entities.get(name)
    if owner is None and name:
        text = f"no contract keeps the image of an entity '{name}'"
        shape.wrong(spec.get("entity") or spec, "R005", text, shape.near(name, draft.known.entities))
    return owner


def _paths(draft: Draft, spec: Node, arming: Contract, owner: Contract) -> tuple[tuple[str, ...], ...] | None:
    """Return where the payload names the entity, in the order of the entity's key."""
    node = spec.get("id")
    if node is None:
        return None
    given = node.items if node.kind == "list" else (node,)
    words = ", ".join(".".join(path) for path in owner.entity_key)
    if len(given) != len(owner.entity_key):
        draft.shape.wrong(
            node, "R111", f"the key of {owner.entity} is {words}: {len(owner.entity_key)} fields, in this order"
        )
        return None
    paths = []
    for one, part in zip(given, owner.entity_key, strict=True):
        field = draft.field_at(one, arming, "R105", what=f" to find {owner.entity} by")
        if field is None:
            continue
        path, kind = field
        wanted = owner.fields[part[0]].type
        for name in part[1:]:
            wanted = wanted.fields[name].type
        if kind.kind not in KEY_KINDS or KINDS[kind.kind] != KINDS[wanted.kind]:
            text = f"'{one.text}' is {kind.kind}; the key of {owner.entity} ({words}) needs {wanted.kind}"
            draft.shape.wrong(one, "R111", text)
            continue
        paths.append(path)
    return tuple(paths) if len(paths) == len(given) else None


def beside(draft: Draft, others: Sequence[tuple[Contract, Node]], moves: Sequence[tuple[Contract, Node]]) -> None:
    """Check the other events that a rule names: in the state of a key their fields meet what it reads.

    No alias is a field of theirs; and what a reschedule brings replaces what was kept, other entities as well, so it
    has to name them too.
    """
    for contract, node in (*others, *moves):
        for alias in draft.images:
            if alias in contract.fields:
                text = f"{contract.type} has a field '{alias}', which this rule reads as another entity"
                draft.shape.wrong(node, "R009", text)
    for contract, node in moves:
        for reading in draft.readings:
            for path in reading.paths:
                if path[0] not in contract.fields:
                    text = (
                        f"{contract.type} has no field '{'.'.join(path)}', by which this rule reads '{reading.alias}'"
                    )
                    draft.shape.wrong(node, "R111", text)
