"""Who asks, and with which parameters: what every operation under `/v1` begins with."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from fastapi import Request

from gateway.access.keys import Principal
from gateway.http.problems import Refused
from gateway.site import Site

MOST_ERRORS = 100
"""Mistakes that one answer names."""


async def principal(site: Site, request: Request, scope: str | None = None) -> Principal:
    """Return who asks.

    Raises:
        Refused: nobody who may.
        StoreUnavailable: it cannot be said now.
    """
    who = await site.door.bearer(request)
    if who is None or len(request.headers.getlist("authorization")) > 1:
        raise Refused("unauthorized", headers={"www-authenticate": 'Bearer realm="tidings"'})
    if scope is not None and not who.may(scope):
        raise Refused("scope-missing", f"the key has not the scope {scope!r}")
    return who


def flags(request: Request, known: Sequence[str] = ()) -> dict[str, bool]:
    """Return the parameters of a request: each of them a yes or a no.

    Raises:
        Refused: there are others. An unknown one is not ignored: a dry run would be a real one.
    """
    found = dict.fromkeys(known, False)
    if not request.scope["query_string"]:
        return found
    errors = []
    for name, value in request.query_params.multi_items():
        if name not in known:
            near = get_close_matches(name, known, 1)
            more = {"did_you_mean": near[0]} if near else {}
            errors.append(
                {"pointer": "", "code": "unknown-parameter", "detail": f"there is no parameter {name[:40]!r}", **more}
            )
        elif value not in ("true", "false"):
            errors.append({"pointer": "", "code": "wrong-kind", "detail": f"{name} is 'true' or 'false'"})
        else:
            found[name] = value == "true"
    if errors:
        raise Refused("unknown-parameter", errors=errors[:MOST_ERRORS])
    return found
