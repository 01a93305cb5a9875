"""The one configuration file (TOML), checked whole: every mistake at once, with its key, line, and what was meant.

Secrets stand in it by reference only: `env:NAME` or `file:/path`. They are read when they are needed and never shown.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from handlers.channels import headers, unsubscribe
from handlers.channels.wire import Unfit
from handlers.providers.guard import Forbidden, checked
from tidings.errors import Misconfigured
from tidings.rule import Channel

MAX_FILE = 256 * 1024
MAX_SECRET = 64 * 1024
REFERENCES = ("env", "file")
ACCOUNT = re.compile(r"AC[0-9a-f]{32}")
KEY = re.compile(r"SK[0-9a-f]{32}")
NUMBER = re.compile(r"\+[1-9][0-9]{6,14}|[0-9]{3,8}|MG[0-9a-f]{32}|(?=.*[A-Za-z])[A-Za-z0-9 +&_-]{1,11}")
"""Who may send a text message: a number, a short code, a messaging service, a name."""


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


def _number(value: str) -> str:
    if NUMBER.fullmatch(value) is None:
        text = "the sender is a number (+49…), a short code, a messaging service (MG…) or a name of up to 11 characters"
        raise ValueError(text)
    return value


def _account(value: str) -> str:
    if ACCOUNT.fullmatch(value) is None:
        text = "an account is 'AC' and 32 digits 0-9 a-f; the console of Twilio shows it"
        raise ValueError(text)
    return value


def _key(value: str) -> str:
    if KEY.fullmatch(value) is None:
        text = "an API key is 'SK' and 32 digits 0-9 a-f"
        raise ValueError(text)
    return value


def _public(value: str) -> str:
    try:
        found = checked(value)
    except Forbidden as fault:
        raise ValueError(str(fault)) from None
    if found.query_string:
        text = "the URL has a query (?…)"
        raise ValueError(text)
    return value.rstrip("/")


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


SecretReference = Annotated[str, AfterValidator(_reference)]
Mailbox = Annotated[str, AfterValidator(_mailbox)]
Url = Annotated[str, AfterValidator(_public)]
Place = Annotated[str, AfterValidator(_place)]
Folder = Annotated[Path, AfterValidator(_folder)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Smtp(_Section):
    """The mail server."""

    host: str
    port: int = Field(default=587, ge=1, le=65535)
    sender: Mailbox
    tls: Literal["none", "starttls", "tls"] = "starttls"
    username: str | None = None
    password: SecretReference | None = None


class Twilio(_Section):
    """Text messages."""

    account_sid: Annotated[str, AfterValidator(_account)]
    auth_token: SecretReference
    """Of the account; or the secret of `api_key`."""
    sender: Annotated[str, AfterValidator(_number)]
    api_key: Annotated[str, AfterValidator(_key)] | None = None
    look_up: bool = False
    """Ask Twilio's list about a message of unknown outcome."""
    status_callback: bool = False
    """Let Twilio report to `public_url` what became of a message."""
    base_url: Place = "https://api.twilio.com"


class Push(_Section):
    """The company's own gateway to its app."""

    url: Place
    secret: SecretReference
    """`whsec_…`: requests are signed with it (Standard Webhooks)."""


class Http(_Section):
    """Where health and metrics are served; nowhere without this section."""

    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=1, le=65535)


class Test(_Section):
    """While trying things out: everything, over every channel, goes to one mail address instead."""

    redirect_to: Annotated[str, AfterValidator(_address)]


class Settings(_Section):
    """Everything that can be set."""

    data: Folder = Path("data")
    """Folder of the file, beside the configuration unless absolute."""
    rules: Folder = Path()
    """Folder with rules/, templates/ and sources.yaml."""
    history: Literal["past", "live"] = "past"
    """What newly connected topics hold already: `past` tells nobody about it."""
    public_url: Url | None = None
    """Where customers reach this installation: links in mails begin with it."""
    secret_key: SecretReference | None = None
    """Signs those links; at least 16 bytes."""
    allow_loopback_webhooks: bool = False
    """Requests may go to this machine, also without TLS: for trials only."""
    catch: tuple[Channel, ...] = ()
    """Channels that are caught although they have credentials."""
    smtp: Smtp | None = None
    twilio: Twilio | None = None
    push: Push | None = None
    http: Http | None = None
    test: Test | None = None


@dataclass(frozen=True)
class Config:
    """Settings and where they stand."""

    path: Path
    settings: Settings

    @property
    def data(self) -> Path:
        """Folder of the file."""
        return self.path.parent / self.settings.data

    @property
    def rules(self) -> Path:
        """Folder of the rules."""
        return self.path.parent / self.settings.rules

    def secret(self, reference: str) -> str:
        """Return the value of a reference.

        Raises:
            Misconfigured: it cannot be read; the text names the reference, never a value.
        """
        kind, _, name = reference.partition(":")
        if kind == "env":
            value = os.environ.get(name)
            if not value:
                text = f"the environment variable {name} is not set; {self.path} names it"
                raise Misconfigured(text)
            return value
        file = self.path.parent / name
        try:
            with file.open("rb") as opened:
                raw = opened.read(MAX_SECRET + 1)
            value = raw.decode("utf-8").strip()
        except (OSError, ValueError) as fault:
            text = f"{file} cannot be read ({type(fault).__name__}); {self.path} names it"
            raise Misconfigured(text) from fault
        if not value or len(raw) > MAX_SECRET:
            text = f"{file} is empty, or larger than {MAX_SECRET} bytes; {self.path} names it"
            raise Misconfigured(text)
        return value

    def link_key(self) -> bytes | None:
        """Return what signs the links in mails, or None where none is configured.

        Raises:
            Misconfigured: as `secret`, or it is too short.
        """
        if self.settings.secret_key is None:
            return None
        key = self.secret(self.settings.secret_key).encode()
        if len(key) < unsubscribe.LEAST_KEY:
            text = f"secret_key has {len(key)} bytes; at least {unsubscribe.LEAST_KEY} are needed"
            raise Misconfigured(text)
        return key

    def resolve(self, text: str) -> str:
        """Return what a reference means, and anything else as it is; asked right before it is used.

        Raises:
            Misconfigured: as `secret`.
        """
        return self.secret(text) if text.partition(":")[0] in REFERENCES else text


def read(path: Path) -> Config:
    """Read a configuration.

    Raises:
        Misconfigured: with every mistake, one a line.
    """
    try:
        raw = path.read_bytes()
    except OSError as fault:
        text = f"{path}: {fault.strerror}; see docs/running.md for an example"
        raise Misconfigured(text) from fault
    if len(raw) > MAX_FILE:
        text = f"{path} is larger than {MAX_FILE} bytes"
        raise Misconfigured(text)
    try:
        text = raw.decode("utf-8")
        found = tomllib.loads(text)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as fault:
        message = f"{path}: this is no TOML: {fault}"
        raise Misconfigured(message) from fault
    wrong = [f"{path}:{_line(text, place)}: {'.'.join(place)}: {what}" for place, what in _together(found)]
    try:
        settings = Settings.model_validate(found)
    except ValidationError as fault:
        raise Misconfigured("\n".join([*_told(path, text, fault), *wrong])) from None
    if wrong:
        raise Misconfigured("\n".join(wrong))
    return Config(path.absolute(), settings)


def _together(found: dict[str, Any]) -> Iterator[tuple[list[str], str]]:
    """Yield what is wrong between keys, each of which may be right."""
    if "public_url" in found and "secret_key" not in found:
        yield ["public_url"], "links are signed: set 'secret_key' beside it, by reference"
    twilio = found.get("twilio")
    if isinstance(twilio, dict) and twilio.get("status_callback") is True and "public_url" not in found:
        yield ["twilio", "status_callback"], "Twilio reports to 'public_url', which is not set"
    smtp = found.get("smtp")
    if isinstance(smtp, dict) and ("username" in smtp) != ("password" in smtp):
        given, lacks = ("username", "password") if "username" in smtp else ("password", "username")
        yield ["smtp", given], f"'{lacks}' is not set beside it"


def _told(path: Path, text: str, fault: ValidationError) -> Iterator[str]:
    for error in fault.errors():
        place = [str(part) for part in error["loc"]]
        line = _line(text, place)
        what = str(error["msg"]).removeprefix("Value error, ")
        hint = ""
        if error["type"] == "extra_forbidden":
            what = "there is no such key"
            near = get_close_matches(place[-1], _keys(place[:-1]), 1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
        yield f"{path}:{line}: {'.'.join(place)}: {what}{hint}"


def _line(text: str, place: list[str]) -> int:
    """Return the line of a key; tomllib keeps no positions. The section's line where the key itself is missing."""
    section, found = "", 1
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if stripped.startswith("["):
            section = stripped.strip("[] ")
            if section == ".".join(place[:-1]) or section == ".".join(place):
                found = number
        elif section == ".".join(place[:-1]) and stripped.split("=")[0].strip() == place[-1]:
            return number
    return found


def _keys(place: list[str]) -> list[str]:
    sections: dict[str, Any] = {"smtp": Smtp, "twilio": Twilio, "push": Push, "http": Http, "test": Test}
    model = sections.get(place[0], Settings) if place else Settings
    return list(model.model_fields)
