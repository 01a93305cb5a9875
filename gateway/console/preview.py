"""A message as whoever it is for has it before them: a mail as a document of its own, a text in its parts, a request."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from markupsafe import escape

from handlers.channels import footer
from handlers.channels.wire import NOBODY, Unfit, Wire, compose
from handlers.templates import sms
from streams.explaining.became import Became
from tidings.event import Micros
from tidings.message import Message
from tidings.ports import Outgoing

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'self'; form-action 'none'; "
        "frame-ancestors 'self'; sandbox"
    ),
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "x-dns-prefetch-control": "off",
    "cross-origin-resource-policy": "same-origin",
}
"""Of a mail in its frame: it has no scripts, no forms, loads nothing, and is in no other site's frame."""
NO_LINK = "https://…"
LARGEST = 200_000
"""Characters of a mail that are shown."""
SHOWN = 16_000
"""Characters of a text or a request that a page shows."""
HREF = re.compile(r"(<a\b[^<>]*?)\s(?:href|target|ping)\s*=\s*(?:\"[^\"]*\"|'[^']*'|[^\s>]*)", re.IGNORECASE)
REFRESH = re.compile(r"<\s*(?:meta|base|link|iframe|frame|object|embed|form)\b[^>]*>", re.IGNORECASE)
"""What would lead elsewhere, beside links; templates write none of it."""
HEAD = '<!doctype html><meta charset="utf-8"><meta name="viewport" content="width=device-width"><base target="_blank">'
PLAIN = (
    HEAD
    + '<body style="margin:0;padding:20px;font:15px/23px Helvetica,Arial,sans-serif;color:#22261f;background:#fff">'
    + '<div style="white-space:pre-wrap;overflow-wrap:anywhere">{}</div>'
)
MACHINE = ("slack", "teams", "ticket", "webhook", "workflow")


@dataclass(frozen=True, slots=True)
class Shown:
    """What a message says, ready for a page."""

    kind: str
    """`mail`, `sms`, `push`, `request`, or `none` with the reason in `fault`."""
    content: Mapping[str, Any]
    document: str | None = None
    """Of a mail: the document in the frame."""
    parts: Sequence[str] = ()
    """Of a text message: what each segment holds."""
    segments: sms.Segments | None = None
    request: str = ""
    """Of a request: its first line, headers and body, without what proves who sent it."""
    curl: str = ""
    fault: str = ""
    cut: bool = False
    """Whether there is more than is shown."""

    @property
    def filled(self) -> int:
        """How full the last segment is, in percent."""
        if self.segments is None or not self.parts:
            return 0
        room = (sms.SINGLE if len(self.parts) == 1 else sms.JOINED)[self.segments.encoding]
        return min(100, sms.segments(self.parts[-1]).characters * 100 // room)


def shown(message: Message, became: Became, now: Micros) -> Shown:
    """Return what a message says: from its pinned template, in the language and the zone of now."""
    # The link is the customer's: where somebody else reads the mail, it stands there and leads nowhere.
    content = footer.ended(became.content, NO_LINK) if became.content else became.content
    if not content:
        return Shown(
            "none", content, fault="It cannot be written any more: a value is missing, or its rules are too old."
        )
    if message.channel == "email":
        return Shown("mail", content, document(content), cut=len(str(content.get("text", ""))) > SHOWN)
    if message.channel == "sms":
        text = str(content.get("text", ""))[:SHOWN]
        return Shown("sms", content, parts=sms.split(text), segments=sms.segments(text))
    if message.channel == "push":
        return Shown("push", content)
    outgoing = Outgoing(
        message.message_id, max(1, message.attempt), message.channel,
        str(message.body.get("address") or became.person.addresses.get(message.channel) or "–"), content,
        message.deadline, message.deadline, message.recipient, message.created_at,
    )  # fmt: skip
    try:
        wire = compose(outgoing, now, NOBODY)
    except Unfit as fault:
        return Shown("none", content, fault=f"It fits into no request: {fault}.")
    return Shown("request", content, request=as_text(wire), curl=as_curl(wire), cut=len(wire.body) > SHOWN)


def document(content: Mapping[str, Any]) -> str:
    """Return a mail as a document that leads nowhere."""
    html = content.get("html")
    if not html:
        return PLAIN.format(escape(str(content.get("text", ""))[:LARGEST]))
    found = REFRESH.sub("", str(html)[:LARGEST])
    while (dead := HREF.sub(r"\1", found)) != found:
        found = dead
    return HEAD + found


def as_text(wire: Wire) -> str:
    """Return a request as it is written down."""
    lines = [f"{wire.method} {where(wire.to)}", *(f"{name.lower()}: {value}" for name, value in wire.headers)]
    if wire.secret is not None:
        lines.append(f"webhook-signature: v1,…  (made right before, with {reference(wire.secret)})")
    return "\n".join([*lines, "", pretty(wire.body)])


def as_curl(wire: Wire) -> str:
    """Return a request for a command line; whoever runs it signs it, where it has to be signed."""
    parts = [f"curl -X {wire.method} {shlex.quote(where(wire.to))}"]
    parts += [f"  -H {shlex.quote(f'{name.lower()}: {value}')}" for name, value in wire.headers]
    body = wire.body[:SHOWN].decode("utf-8", "replace")
    return " \\\n".join([*parts, f"  --data-binary {shlex.quote(body)}"])


def pretty(body: bytes) -> str:
    """Return a body as it is read; JSON with one value a line."""
    try:
        return json.dumps(json.loads(body), ensure_ascii=False, indent=1)[:SHOWN]
    except ValueError:
        return body[:SHOWN].decode("utf-8", "replace")


def where(url: str) -> str:
    """Return where a request goes. A path may be a secret, as a room's is: only the host of a plain URL is shown."""
    if not url.startswith(("http://", "https://")):
        return reference(url)
    found = urlsplit(url)
    host = found.hostname or ""
    path = "/…" if found.path.strip("/") or found.query else found.path
    return urlunsplit((found.scheme, f"{host}:{found.port}" if found.port else host, path, "", ""))


def reference(value: str) -> str:
    """Return the name of a secret; never a value that stands where a name belongs."""
    return value if value.startswith(("env:", "file:")) or value in ("–", "") else "•••"
