"""Problem details (RFC 9457): one shape for everything that goes wrong, and nothing of what went wrong inside."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from starlette.responses import Response

CONTENT_TYPE = "application/problem+json"
HEADERS = {"cache-control": "no-store", "x-content-type-options": "nosniff"}


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of problem. The code is the metric's word too, and the last part of the page that tells of it."""

    status: int
    hint: str
    """How to mend it."""
    about: str = ""
    """What its page says beside the hint."""


KINDS: Mapping[str, Kind] = {
    "malformed": Kind(
        400, "mend what 'errors' or 'detail' name; where there is neither, the request itself was no well-formed HTTP/1.1",
        "The request, or what it holds, could not be read at all.",
    ),
    "unknown-parameter": Kind(
        400, "leave the parameter out, or write it as the document does",
        "A parameter that nobody knows is refused and not ignored: a dry run that is written wrongly would be a real one.",
    ),
    "unauthorized": Kind(
        401, "send a key that is in use: 'Authorization: Bearer tid_live_…'",
        "There was no key, or it is not one of this installation, or it is revoked or over. Keys are made with 'tidings keys create'.",
    ),
    "scope-missing": Kind(
        403, "use a key that may do this", "The key is good, and may not do this: its scopes or its sources leave it out.",
    ),
    "not-found": Kind(
        404, "look at the path, and at the id or the name in it", "There is no such thing, or it is somebody else's.",
    ),
    "method-not-allowed": Kind(405, "the Allow header names the methods that there are"),
    "too-slow": Kind(408, "send the whole request in time"),
    "state-conflict": Kind(
        409, "give what has changed an id of its own",
        "An event of this source and id is there already, with another time. An event is told apart by source, id and time: "
        "the same one may be sent as often as you like, another one needs another id.",
    ),
    "gone": Kind(410, "ask for a new one", "It was there, and its time is over."),
    "too-large": Kind(413, "send less in one request"),
    "url-too-long": Kind(414, "send a shorter URL"),
    "unsupported-media-type": Kind(
        415, "send one of the types that the Accept-Post header names, in UTF-8, plain or as gzip or zstd",
    ),
    "contract-violation": Kind(
        422, "mend what 'errors' names; GET /v1/contracts/TYPE shows the fields and an event that is taken",
        "The event does not keep its contract. Every mistake is named at once, each with its place.",
    ),
    "invalid": Kind(422, "mend what 'errors' or 'detail' name"),
    "too-many-requests": Kind(
        429, "wait for as long as Retry-After says", "The key has used up its quota, which is counted in bytes of content.",
    ),
    "headers-too-large": Kind(431, "send fewer or shorter headers"),
    "internal-error": Kind(500, "the log says more under this request id", "A fault of ours. It is in our log."),
    "unavailable": Kind(503, "try again later", "A part of the installation does not answer now."),
    "store-unavailable": Kind(
        503, "send it again after Retry-After; a repeat is no second event",
        "What was sent could not be kept, so it was not taken. Nothing is lost that was answered with 202.",
    ),
    "intake-paused": Kind(
        503, "send it again after Retry-After; a repeat is no second event",
        "More waits than is being worked off, or the disk is nearly full. Nothing is taken until there is room.",
    ),
}  # fmt: skip
"""By code."""

CODES: dict[int, str] = {
    400: "malformed", 401: "unauthorized", 403: "scope-missing", 404: "not-found", 405: "method-not-allowed", 408: "too-slow",
    409: "state-conflict", 410: "gone", 413: "too-large", 414: "url-too-long", 415: "unsupported-media-type",
    422: "invalid", 429: "too-many-requests", 431: "headers-too-large", 500: "internal-error", 503: "unavailable",
}  # fmt: skip
"""By status: the code where nobody has said which."""


def details(
    status: int, request_id: str | None = None, *, code: str | None = None, detail: str | None = None,
    errors: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:  # fmt: skip
    """Return a problem."""
    phrase = HTTPStatus(status).phrase
    code = code or CODES.get(status) or phrase.lower().replace(" ", "-")
    kind = KINDS.get(code)
    found: dict[str, Any] = {
        "type": "about:blank" if kind is None else f"/problems/{code}", "title": phrase, "status": status, "code": code,
    }  # fmt: skip
    if detail is not None:
        found["detail"] = detail
    if kind is not None:
        found["hint"] = kind.hint
    if request_id is not None:
        found["request_id"] = request_id
    if errors:
        found["errors"] = list(errors)
    return found


def body_of(status: int, request_id: str | None = None) -> bytes:
    """Return the body of a problem."""
    return json.dumps(details(status, request_id)).encode()


def problem(
    status: int, request_id: str | None = None, headers: Mapping[str, str] | None = None, *, code: str | None = None,
    detail: str | None = None, errors: Sequence[Mapping[str, Any]] = (),
) -> Response:  # fmt: skip
    """Return the response; `code` is one of `KINDS`, and by itself that of the status."""
    body = json.dumps(details(status, request_id, code=code, detail=detail, errors=errors)).encode()
    return Response(body, status, {**HEADERS, **(headers or {})}, CONTENT_TYPE)


class Refused(Exception):
    """What a request asked for is refused; becomes a problem."""

    def __init__(
        self, code: str, detail: str | None = None, *, errors: Sequence[Mapping[str, Any]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(code)
        self.code = code
        self.status = KINDS[code].status
        self.detail = detail
        self.errors = errors
        self.headers = headers or {}

    def response(self, request_id: str | None) -> Response:
        """Return it as a response."""
        return problem(
            self.status, request_id, self.headers, code=self.code, detail=self.detail, errors=self.errors
        )  # fmt: skip


PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{code} · Tidings</title>
<meta name="viewport" content="width=device-width"></head>
<body><main><h1>{title} ({status})</h1><p><code>{code}</code></p><p>{about}</p><p>To mend it: {hint}.</p></main></body></html>
"""
PAGE_HEADERS = {
    **HEADERS,
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
}


def page(code: str) -> Response | None:
    """Return the page that a problem's `type` leads to, or None: there is no such problem."""
    kind = KINDS.get(code)
    if kind is None:
        return None
    text = PAGE.format(
        code=code, title=HTTPStatus(kind.status).phrase, status=kind.status, about=kind.about, hint=kind.hint
    )
    return Response(text, 200, PAGE_HEADERS, "text/html; charset=utf-8")
