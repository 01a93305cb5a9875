"""What goes over the wire, without what proves who sent it."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from tidings.event import Micros
from tidings.ports import Outgoing

MESSAGE_ID = re.compile(r"[A-Za-z0-9_-]{1,100}")
"""Goes into headers, and is signed between full stops (Standard Webhooks), so it has none."""
LARGEST = 256 * 1024
"""Bytes of a body that is no mail."""


class Unfit(ValueError):
    """A message that this channel cannot carry, whoever tries; the text says why, without its content."""


@dataclass(frozen=True, slots=True)
class Wire:
    """One message as it leaves. Signatures and passwords are put beside it by the provider, right before."""

    channel: str
    method: str
    """`SMTP`, or the method of an HTTP request."""
    to: str
    """The envelope's recipient; for HTTP the URL, or the reference (`env:…`, `file:…`) to it."""
    body: bytes
    """A whole mail with its headers, ending with a line end, without the final dot; or the body of a request."""
    headers: tuple[tuple[str, str], ...] = ()
    """Of the HTTP request; a mail has its own in the body."""
    sender: str = ""
    """The envelope's sender."""
    secret: str | None = None
    """Reference to what signs it, never the secret."""

    def shown(self) -> dict[str, Any]:
        """Return it for JSON, byte for byte: the body as text where it is UTF-8, else in base64."""
        found: dict[str, Any] = {"method": self.method, "to": self.to}
        if self.sender:
            found["from"] = self.sender
        if self.headers:
            found["headers"] = [list(header) for header in self.headers]
        if self.secret is not None:
            found["signed_with"] = self.secret
        try:
            found["body"] = self.body.decode("utf-8")
        except UnicodeDecodeError:
            found["body_base64"] = b64encode(self.body).decode()
        return found


@dataclass(frozen=True, slots=True)
class SmsSender:
    """Who a text message is from."""

    number: str = ""
    """`+1…`, a short code, a name, or a messaging service (`MG…`)."""
    account: str = ""
    base_url: str = "https://api.twilio.com"
    callback: str | None = None
    """Base of the URL where the vendor reports what became of a message."""


@dataclass(frozen=True, slots=True)
class PushGateway:
    """The company's own gateway to its app."""

    url: str = ""
    """`https://…`, or a reference to it."""
    secret: str | None = None


@dataclass(frozen=True, slots=True)
class Senders:
    """From whom messages come, as configured; what a catcher composes with where nothing is configured."""

    mail: str = "Tidings <nobody@tidings.invalid>"
    sms: SmsSender = SmsSender()
    push: PushGateway = PushGateway()


NOBODY = Senders()

Compose = Callable[[Outgoing, Micros, Senders], Wire]
COMPOSERS: dict[str, Compose] = {}
"""By channel. A module adds its own; a channel that is composed twice fails at import."""


def composes(*channels: str) -> Callable[[Compose], Compose]:
    """Register a composer for its channels."""

    def register(function: Compose) -> Compose:
        for channel in channels:
            if channel in COMPOSERS:
                text = f"two composers for {channel}: {COMPOSERS[channel].__module__} and {function.__module__}"
                raise RuntimeError(text)
            COMPOSERS[channel] = function
        return function

    return register


def known() -> dict[str, Compose]:
    """Return all composers, having imported every file beside this one."""
    from handlers import channels

    for module in iter_modules(channels.__path__):
        import_module(f"{channels.__name__}.{module.name}")
    return COMPOSERS


def compose(outgoing: Outgoing, now: Micros, senders: Senders) -> Wire:
    """Return what would leave at `now`.

    Raises:
        Unfit: no provider of this channel could carry it.
    """
    if outgoing.channel not in COMPOSERS:
        known()
    if outgoing.channel not in COMPOSERS:
        raise Unfit(f"there is no channel '{outgoing.channel}'")
    if MESSAGE_ID.fullmatch(outgoing.message_id) is None:
        raise Unfit("the message id does not fit into a header")
    try:
        return COMPOSERS[outgoing.channel](outgoing, now, senders)
    except KeyError as fault:
        raise Unfit(f"the content for {outgoing.channel} has no {fault}") from None
    except UnicodeEncodeError:
        raise Unfit("a text holds half of a character (a lone surrogate)") from None
    except TypeError:
        # Content and address come from rules and rows: what is no text there stops one message, not its deliverer.
        raise Unfit(f"the content or the address for {outgoing.channel} is of another kind") from None


def as_json(value: Mapping[str, Any], largest: int = LARGEST) -> bytes:
    """Return a body in JSON, as small as it goes.

    Raises:
        Unfit: it is too large, or holds what JSON does not know.
    """
    try:
        body = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    except UnicodeEncodeError:
        raise
    except (TypeError, ValueError, RecursionError) as fault:
        raise Unfit(f"the data is no JSON: {type(fault).__name__}") from None
    if len(body) > largest:
        raise Unfit(f"the body has {len(body)} bytes; at most {largest} are carried")
    return body


def text_of(content: Mapping[str, Any], name: str) -> str:
    """Return a text of the content.

    Raises:
        Unfit: it is none.
        KeyError: it is not there.
    """
    value = content[name]
    if not isinstance(value, str):
        raise Unfit(f"'{name}' of the content is no text")
    return value


JSON_HEADERS = (
    ("Content-Type", "application/json"),
    ("Accept", "application/json, text/plain"),
    ("User-Agent", "Tidings"),
)
