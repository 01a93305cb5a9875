"""What is said of the events of a body."""

from __future__ import annotations

import json
from collections.abc import Sequence
from json.encoder import encode_basestring
from typing import Any

from gateway.http.problems import details
from gateway.intake.taking import Item, Refusal

ALL, SOME = 202, 207
"""Statuses: everything was taken, or a part of it."""


def counts(items: Sequence[Item]) -> dict[str, int]:
    """Return how many are taken, and how many are not."""
    refused = sum(one.refusal is not None for one in items)
    return {"accepted": len(items) - refused, "refused": refused}


def told(items: Sequence[Item]) -> list[dict[str, Any]]:
    """Return what became of each event of a batch."""
    return [{"index": index, **_one(item)} for index, item in enumerate(items)]


def written(items: Sequence[Item], *, bulk: bool) -> tuple[int, bytes]:
    """Return the status of an answer, and its JSON.

    What is taken is written down by itself: of a large batch the answer took a tenth of the time.
    """
    if not bulk:
        return ALL, f"{{{_taken(items[0])}}}".encode()
    found = counts(items)
    lines = [
        f'{{"index":{index},{_taken(item)}}}' if item.fit is not None else _json({"index": index, **_one(item)})
        for index, item in enumerate(items)
    ]
    text = f'{{"accepted":{found["accepted"]},"refused":{found["refused"]},"items":[{",".join(lines)}]}}'
    return SOME if found["refused"] else ALL, text.encode()


def _one(item: Item) -> dict[str, Any]:
    if item.fit is not None:
        return {"event_ref": item.fit.ref, "id": item.fit.id, "status": _status(item)}
    refusal = _refusal(item)
    said = details(refusal.status, code=refusal.code, errors=refusal.errors)
    return {"status": "refused", "problem": said}


def _taken(item: Item) -> str:
    """Return the inside of the object for an event that is taken."""
    fit = item.fit
    assert fit is not None, "it was taken"
    return f'"event_ref":"{fit.ref}","id":{encode_basestring(fit.id)},"status":"{_status(item)}"'


def _status(item: Item) -> str:
    return "known" if item.known else "accepted"


def _refusal(item: Item) -> Refusal:
    assert item.refusal is not None, "an event is fit or refused"
    return item.refusal


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
