"""What can be set: the sections of the configuration, and what a value of each key has to be.

Nothing here is read: `gateway.config` does that, and `gateway.mistakes` says what is wrong.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, Strict, model_validator

from gateway.links.brand import LEAST, PAPER, colour, contrast
from gateway.links.brand import Brand as Look
from handlers.channels import headers
from handlers.channels.wire import Unfit
from handlers.providers.guard import Forbidden, checked
from tidings.rule import Channel

LOOK = Look()
REFERENCES = ("env", "file")
ACCOUNT = re.compile(r"AC[0-9a-f]{32}")
KEY = re.compile(r"SK[0-9a-f]{32}")
NUMBER = re.compile(r"\+[1-9][0-9]{6,14}|[0-9]{3,8}|MG[0-9a-f]{32}|(?=.*[A-Za-z])[A-Za-z0-9 +&_-]{1,11}")
"""Who may send a text message: a number, a short code, a messaging service, a name."""
BROKER = re.compile(r"(?:[A-Za-z0-9_.-]{1,253}|\[[0-9a-fA-F:.]{2,45}\]):[0-9]{1,5}")
PREFIX = re.compile(r"[a-z0-9._-]{0,40}")
LONGEST = 1000
"""Characters of a host, a name, a user."""


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


def _broker(value: str) -> str:
    if BROKER.fullmatch(value) is None:
        text = "a broker is 'host:port', as 'kafka-1.example.org:9092' or '[::1]:9092'"
        raise ValueError(text)
    return value


def _prefix(value: str) -> str:
    if PREFIX.fullmatch(value) is None:
        text = "a prefix is up to 40 of a-z 0-9 . _ -"
        raise ValueError(text)
    return value


def _registry(value: str) -> str:
    """Check the URL of a registry: like the brokers it may stand in a network of ours, where plain http goes."""
    bare = value.removeprefix("http://")
    try:
        found = checked(value if bare == value else f"https://{bare}")
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


Text = Annotated[str, AfterValidator(_text)]
Switch = Annotated[bool, Strict()]
Number = Annotated[int, Strict()]
"""Not a bool, which Python takes for a number, nor digits in quotes."""
Port = Annotated[int, Strict(), Field(ge=1, le=65535)]
Colour = Annotated[str, AfterValidator(colour)]
SecretReference = Annotated[str, AfterValidator(_reference)]
Mailbox = Annotated[str, AfterValidator(_mailbox)]
Url = Annotated[str, AfterValidator(_public)]
Place = Annotated[str, AfterValidator(_place)]
Broker = Annotated[str, AfterValidator(_broker)]
RegistryUrl = Annotated[str, AfterValidator(_registry)]
Folder = Annotated[Path, AfterValidator(_folder)]


class Section(BaseModel):
    """A table of the file. A key that has to be there has an example, which is shown where it lacks."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Smtp(Section):
    """The mail server."""

    host: Text = Field(examples=["smtp.example.org"])
    port: Port = 587
    sender: Mailbox = Field(examples=["Small shop <hello@example.org>"])
    tls: Literal["none", "starttls", "tls"] = "starttls"
    username: Text | None = None
    password: SecretReference | None = None


class Twilio(Section):
    """Text messages."""

    account_sid: Annotated[str, AfterValidator(_account)] = Field(examples=["AC" + "0" * 32])
    auth_token: SecretReference = Field(examples=["env:TWILIO_TOKEN"])
    """Of the account; or the secret of `api_key`."""
    sender: Annotated[str, AfterValidator(_number)] = Field(examples=["+49301234567"])
    api_key: Annotated[str, AfterValidator(_key)] | None = None
    look_up: Switch = False
    """Ask Twilio's list about a message of unknown outcome."""
    status_callback: Switch = False
    """Let Twilio report to `public_url` what became of a message."""
    base_url: Place = "https://api.twilio.com"


class Push(Section):
    """The company's own gateway to its app."""

    url: Place = Field(examples=["https://push.example.org/send"])
    secret: SecretReference = Field(examples=["env:PUSH_SECRET"])
    """`whsec_…`: requests are signed with it (Standard Webhooks)."""


class Kafka(Section):
    """The brokers; with them and [postgres] an installation runs on a cluster."""

    bootstrap: tuple[Broker, ...] = Field(min_length=1, examples=[["kafka-1.example.org:9092"]])
    tls: Switch = False
    ca: Folder | None = None
    certificate: Folder | None = None
    key: Folder | None = None
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    username: Text | None = None
    password: SecretReference | None = None
    prefix: Annotated[str, AfterValidator(_prefix)] = ""
    """Of every topic and group that is ours to name, so that installations can share a cluster."""
    partitions: Number = Field(default=12, ge=1, le=1000)
    """Of topics that `tidings topics apply` makes."""
    replicas: Number = Field(default=1, ge=1, le=9)


class Postgres(Section):
    """The database of a cluster. Each process may name a role of its own."""

    host: Text = Field(examples=["db.example.org"])
    port: Port = 5432
    database: Text = "tidings"
    user: Text = "tidings"
    password: SecretReference | None = None
    tls: Switch = False
    ca: Folder | None = None


class Registry(Section):
    """A schema registry over HTTP; without it the shipped schemas are used."""

    url: RegistryUrl = Field(examples=["https://registry.example.org"])
    """What stands before /schemas and /subjects."""
    username: Annotated[str, AfterValidator(_username)] | None = None
    password: SecretReference | None = None
    ca: Folder | None = None


class Http(Section):
    """Where the edge is served: health and metrics, intake, console and links; nowhere without this section."""

    host: Text = "127.0.0.1"
    port: Port = 8080
    quota: Annotated[int, Field(ge=1024), Strict()] = 256 * 1024 * 1024
    """Bytes of content that one key may publish in a minute, in each process."""


class Brand(Section):
    """How the pages of customers look, which links in mails lead to."""

    name: Annotated[Text, Field(max_length=60)] = LOOK.name
    colour: Colour = LOOK.colour
    on_colour: Colour = LOOK.on_colour
    link: Colour = LOOK.link

    @model_validator(mode="after")
    def _read(self) -> Self:
        for what, one, other in (("on_colour", self.on_colour, self.colour), ("link", self.link, PAPER)):
            if (found := contrast(one, other)) < LEAST:
                text = f"'{what}' has a contrast of {found:.1f} to what it stands on; {LEAST} are needed to be read"
                raise ValueError(text)
        return self


class Test(Section):
    """While trying things out: everything, over every channel, goes to one mail address instead."""

    redirect_to: Annotated[str, AfterValidator(_address)] = Field(examples=["me@example.org"])


class Settings(Section):
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
    allow_loopback_webhooks: Switch = False
    """Requests may go to this machine, also without TLS: for trials only."""
    catch: tuple[Channel, ...] = ()
    """Channels that are caught although they have credentials."""
    smtp: Smtp | None = None
    twilio: Twilio | None = None
    push: Push | None = None
    kafka: Kafka | None = None
    postgres: Postgres | None = None
    registry: Registry | None = None
    http: Http | None = None
    brand: Brand = Brand()
    test: Test | None = None
