"""What a value of the configuration has to be: the types of the keys in `gateway.sections`."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, Strict

from gateway.links.brand import colour
from handlers.channels import headers
from handlers.channels.wire import Unfit
from handlers.providers.guard import Forbidden, checked

REFERENCES = ("env", "file")
SENDER = r"\+[1-9][0-9]{6,14}|[0-9]{3,8}|MG[0-9a-f]{32}|(?=.*[A-Za-z])[A-Za-z0-9 +&_-]{1,11}"
"""Who may send a text message: a number, a short code, a messaging service, a name."""
HOST_AND_PORT = r"(?:[A-Za-z0-9_.-]{1,253}|\[[0-9a-fA-F:.]{2,45}\]):[0-9]{1,5}"
LONGEST = 1000
"""Characters of a host, a name, a user."""


def _like(pattern: str, otherwise: str) -> AfterValidator:
    """Return the check that a whole value is of a form, with what is said where it is not."""
    form = re.compile(pattern)

    def check(value: str) -> str:
        if form.fullmatch(value) is None:
            raise ValueError(otherwise)
        return value

    return AfterValidator(check)


def _text(value: str) -> str:
    if not value.isprintable() or not 0 < len(value) <= LONGEST:
        text = f"one line of 1 to {LONGEST} characters stands here"
        raise ValueError(text)
    return value


def _username(value: str) -> str:
    if ":" in value:
        text = "a name with a colon cannot be sent to a registry: it would end there"
        raise ValueError(text)
    return _text(value)


def _reference(value: str) -> str:
    kind, colon, rest = value.partition(":")
    if not colon or kind not in REFERENCES or not rest:
        text = "a secret stands here by reference only: 'env:NAME' or 'file:/path'"
        raise ValueError(text)
    return value


def _mailbox(value: str) -> str:
    try:
        headers.mailbox(value)
    except Unfit as fault:
        text = f"{fault}; write it as 'Small shop <hello@example.org>'"
        raise ValueError(text) from None
    return value


def _address(value: str) -> str:
    try:
        return headers.address(value)
    except Unfit as fault:
        raise ValueError(str(fault)) from None


def _bare_url(*, plain: bool = False) -> Callable[[str], str]:
    """Return the check of a URL without a query; with `plain` http goes as well, as in a network of ours."""

    def check(value: str) -> str:
        bare = value.removeprefix("http://") if plain else value
        try:
            found = checked(value if bare == value else f"https://{bare}")
        except Forbidden as fault:
            raise ValueError(str(fault)) from None
        if found.query_string:
            text = "the URL has a query (?…)"
            raise ValueError(text)
        return value.rstrip("/")

    return check


def _folder(value: Path) -> Path:
    if "\0" in str(value):
        text = "a NUL is in no path"
        raise ValueError(text)
    return value


def _place(value: str) -> str:
    """Check a URL that may be a secret itself: a reference, or https."""
    if value.partition(":")[0] in REFERENCES:
        return _reference(value)
    try:
        checked(value, allow_loopback=True)
    except Forbidden as fault:
        text = f"{fault}; an https URL stands here, or a reference to one ('env:NAME', 'file:/path')"
        raise ValueError(text) from None
    return value


Text = Annotated[str, AfterValidator(_text)]
Username = Annotated[str, AfterValidator(_username)]
Switch = Annotated[bool, Strict()]
Number = Annotated[int, Strict()]
"""Not a bool, which Python takes for a number, nor digits in quotes."""
Port = Annotated[int, Strict(), Field(ge=1, le=65535)]
Colour = Annotated[str, AfterValidator(colour)]
SecretReference = Annotated[str, AfterValidator(_reference)]
Mailbox = Annotated[str, AfterValidator(_mailbox)]
Address = Annotated[str, AfterValidator(_address)]
Url = Annotated[str, AfterValidator(_bare_url())]
Place = Annotated[str, AfterValidator(_place)]
RegistryUrl = Annotated[str, AfterValidator(_bare_url(plain=True))]
"""Like the brokers it may stand in a network of ours, where plain http goes."""
Folder = Annotated[Path, AfterValidator(_folder)]
Broker = Annotated[str, _like(HOST_AND_PORT, "a broker is 'host:port', as 'kafka-1.example.org:9092' or '[::1]:9092'")]
Prefix = Annotated[str, _like("[a-z0-9._-]{0,40}", "a prefix is up to 40 of a-z 0-9 . _ -")]
Sender = Annotated[
    str,
    _like(
        SENDER,
        "the sender is a number (+49…), a short code, a messaging service (MG…) or a name of up to 11 characters",
    ),
]
Account = Annotated[
    str, _like("AC[0-9a-f]{32}", "an account is 'AC' and 32 digits 0-9 a-f; the console of Twilio shows it")
]
ApiKey = Annotated[str, _like("SK[0-9a-f]{32}", "an API key is 'SK' and 32 digits 0-9 a-f")]
