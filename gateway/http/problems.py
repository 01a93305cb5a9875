"""Problem details (RFC 9457): one shape for everything that goes wrong, and nothing of what went wrong inside."""

from __future__ import annotations

import json
from http import HTTPStatus

from starlette.responses import Response

CONTENT_TYPE = "application/problem+json"
HEADERS = {"cache-control": "no-store", "x-content-type-options": "nosniff"}

CODES: dict[int, tuple[str, str]] = {
    400: ("malformed", "send one well-formed HTTP/1.1 request"),
    401: ("unauthenticated", "send a key: Authorization: Bearer tid_live_…"),
    403: ("scope-missing", "the key may not do this; ask for one that may"),
    404: ("not-found", "nothing is served under this path"),
    405: ("method-not-allowed", "the Allow header names the methods that there are"),
    408: ("too-slow", "send the whole request in time"),
    413: ("too-large", "send less in one request"),
    414: ("url-too-long", "send a shorter URL"),
    415: ("unsupported-media-type", "send one of the content types that the document names"),
    422: ("invalid", "the document says what each field may be"),
    431: ("headers-too-large", "send fewer or shorter headers"),
    500: ("internal-error", "the log says more under this request id"),
    503: ("unavailable", "try again later"),
}
"""By status: the code, which is the metric's word too, and how to mend it."""


def body_of(status: int, request_id: str | None = None) -> bytes:
    """Return the body of a problem."""
    code, hint = CODES.get(status, (HTTPStatus(status).phrase.lower().replace(" ", "-"), ""))
    found: dict[str, object] = {
        "type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "code": code,
    }  # fmt: skip
    if hint:
        found["hint"] = hint
    if request_id is not None:
        found["request_id"] = request_id
    return json.dumps(found).encode()


def problem(status: int, request_id: str | None = None, headers: dict[str, str] | None = None) -> Response:
    """Return the response."""
    return Response(body_of(status, request_id), status, {**HEADERS, **(headers or {})}, CONTENT_TYPE)
