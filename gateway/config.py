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
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from gateway.links.brand import LEAST, PAPER, colour, contrast
from gateway.links.brand import Brand as Look
from handlers.channels import headers, unsubscribe
from handlers.channels.wire import Unfit
from handlers.providers.guard import Forbidden, checked
from streams.kafka import connection as kafka
from streams.registry.endpoint import Endpoint
from streams.stores import place as stores
from tidings.errors import Misconfigured
from tidings.rule import Channel

LOOK = Look()
MAX_FILE = 256 * 1024
MAX_SECRET = 64 * 1024
REFERENCES = ("env", "file")
ACCOUNT = re.compile(r"AC[0-9a-f]{32}")
KEY = re.compile(r"SK[0-9a-f]{32}")
NUMBER = re.compile(r"\+[1-9][0-9]{6,14}|[0-9]{3,8}|MG[0-9a-f]{32}|(?=.*[A-Za-z])[A-Za-z0-9 +&_-]{1,11}")
"""Who may send a text message: a number, a short code, a messaging service, a name."""
BROKER = re.compile(r"(?:[A-Za-z0-9_.-]{1,253}|\[[0-9a-fA-F:.]{2,45}\]):[0-9]{1,5}")
LOOPBACK = re.compile(r"http://(127\.0\.0\.1|localhost|\[::1\])[:/]")
PREFIX = re.compile(r"[a-z0-9._-]{0,40}")


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


SecretReference = Annotated[str, AfterValidator(_reference)]
Mailbox = Annotated[str, AfterValidator(_mailbox)]
Url = Annotated[str, AfterValidator(_public)]
Place = Annotated[str, AfterValidator(_place)]
Broker = Annotated[str, AfterValidator(_broker)]
RegistryUrl = Annotated[str, AfterValidator(_registry)]
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


class Kafka(_Section):
    """The brokers; with them and [postgres] an installation runs on a cluster."""

    bootstrap: Annotated[tuple[Broker, ...], Field(min_length=1)]
    tls: bool = False
    ca: Folder | None = None
    certificate: Folder | None = None
    key: Folder | None = None
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    username: str | None = None
    password: SecretReference | None = None
    prefix: Annotated[str, AfterValidator(_prefix)] = ""
    """Of every topic and group that is ours to name, so that installations can share a cluster."""
    partitions: int = Field(default=12, ge=1, le=1000)
    """Of topics that `tidings topics apply` makes."""
    replicas: int = Field(default=1, ge=1, le=9)


class Postgres(_Section):
    """The database of a cluster. Each process may name a role of its own."""

    host: str
    port: int = Field(default=5432, ge=1, le=65535)
    database: str = "tidings"
    user: str = "tidings"
    password: SecretReference | None = None
    tls: bool = False
    ca: Folder | None = None


class Registry(_Section):
    """A schema registry over HTTP; without it the shipped schemas are used."""

    url: RegistryUrl
    """What stands before /schemas and /subjects."""
    username: Annotated[str, Field(pattern="^[^:]+$")] | None = None
    password: SecretReference | None = None
    ca: Folder | None = None


class Http(_Section):
    """Where the edge is served: health and metrics, intake, console and links; nowhere without this section."""

    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=1, le=65535)
    quota: int = Field(default=256 * 1024 * 1024, ge=1024)
    """Bytes of content that one key may publish in a minute, in each process."""


class Brand(_Section):
    """How the pages of customers look, which links in mails lead to."""

    name: str = Field(default=LOOK.name, min_length=1, max_length=60)
    colour: Annotated[str, AfterValidator(colour)] = LOOK.colour
    on_colour: Annotated[str, AfterValidator(colour)] = LOOK.on_colour
    link: Annotated[str, AfterValidator(colour)] = LOOK.link

    @model_validator(mode="after")
    def _read(self) -> Self:
        for what, one, other in (("on_colour", self.on_colour, self.colour), ("link", self.link, PAPER)):
            if (found := contrast(one, other)) < LEAST:
                text = f"'{what}' has a contrast of {found:.1f} to what it stands on; {LEAST} are needed to be read"
                raise ValueError(text)
        return self


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
    kafka: Kafka | None = None
    postgres: Postgres | None = None
    registry: Registry | None = None
    http: Http | None = None
    brand: Brand = Brand()
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

    def secret(self, reference: str, named_in: Path | None = None) -> str:
        """Return the value of a reference, which stands in the configuration, or in `named_in`.

        Raises:
            Misconfigured: it cannot be read; the text names the reference, never a value.
        """
        kind, _, name = reference.partition(":")
        named = f"{named_in or self.path} names it"
        if kind == "env":
            value = os.environ.get(name)
            if not value:
                text = f"the environment variable {name} is not set; {named}"
                raise Misconfigured(text)
            return value
        file = self.path.parent / name
        try:
            with file.open("rb") as opened:
                raw = opened.read(MAX_SECRET + 1)
            value = raw.decode("utf-8").strip()
        except (OSError, ValueError) as fault:
            text = f"{file} cannot be read ({type(fault).__name__}); {named}"
            raise Misconfigured(text) from fault
        if not value or len(raw) > MAX_SECRET:
            text = f"{file} is empty, or larger than {MAX_SECRET} bytes; {named}"
            raise Misconfigured(text)
        return value

    @property
    def on_cluster(self) -> bool:
        """Whether Kafka and PostgreSQL are named, instead of one file."""
        return self.settings.kafka is not None

    def kafka(self) -> kafka.Connection:
        """Return how the brokers are reached.

        Raises:
            Misconfigured: there is no [kafka], or its password cannot be read.
        """
        found = self.settings.kafka
        if found is None:
            text = f"{self.path} has no [kafka]; this verb is for a cluster: see docs/cluster.md"
            raise Misconfigured(text)
        return kafka.Connection(
            bootstrap=found.bootstrap,
            tls=found.tls,
            ca=self._beside(found.ca),
            certificate=self._beside(found.certificate),
            key=self._beside(found.key),
            mechanism=found.mechanism,
            username=found.username,
            password=None if found.password is None else self.secret(found.password),
            prefix=found.prefix,
        )

    def postgres(self) -> stores.Place:
        """Return where the database is.

        Raises:
            Misconfigured: there is no [postgres], or its password cannot be read.
        """
        found = self.settings.postgres
        if found is None:
            text = f"{self.path} has no [postgres]; this verb is for a cluster: see docs/cluster.md"
            raise Misconfigured(text)
        return stores.Place(
            host=found.host,
            port=found.port,
            database=found.database,
            user=found.user,
            password=None if found.password is None else self.secret(found.password),
            tls=found.tls,
            ca=self._beside(found.ca),
        )

    def registry(self) -> Endpoint | None:
        """Return where the schema registry is, or None where the shipped schemas are used.

        Raises:
            Misconfigured: its password cannot be read.
        """
        found = self.settings.registry
        if found is None:
            return None
        return Endpoint(
            url=found.url,
            username=found.username,
            password=None if found.password is None else self.secret(found.password),
            ca=self._beside(found.ca),
            prefix="" if self.settings.kafka is None else self.settings.kafka.prefix,
        )

    def _beside(self, path: Path | None) -> Path | None:
        return None if path is None else self.path.parent / path

    def look(self) -> Look:
        """Return how the pages of customers look."""
        return Look(**self.settings.brand.model_dump())

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

    def resolve(self, text: str, named_in: Path | None = None) -> str:
        """Return what a reference means, and anything else as it is; asked right before it is used.

        Raises:
            Misconfigured: as `secret`.
        """
        return self.secret(text, named_in) if text.partition(":")[0] in REFERENCES else text


def read(path: Path) -> Config:
    """Read a configuration.

    Raises:
        Misconfigured: with every mistake, one a line.
    """
    try:
        raw = path.read_bytes()
    except OSError as fault:
        text = f"{path}: {fault.strerror}; docs/running.md has an example, docs/cluster.md one for a cluster"
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
    yield from _cluster(found)


def _cluster(found: dict[str, Any]) -> Iterator[tuple[list[str], str]]:
    for one, other in (("kafka", "postgres"), ("postgres", "kafka")):
        if one in found and other not in found:
            yield [one], f"a cluster has both: name [{other}] as well, or neither"
    if "registry" in found and "kafka" not in found:
        yield ["registry"], "a schema registry belongs to Kafka: name [kafka] and [postgres] as well"
    yield from _of_registry(found.get("registry"))
    brokers = found.get("kafka")
    if not isinstance(brokers, dict):
        return
    for needs, key in (("mechanism", "username"), ("mechanism", "password"), ("username", "mechanism")):
        if needs in brokers and key not in brokers:
            yield ["kafka", needs], f"'{key}' is not set beside it"
    for key in ("ca", "certificate", "key"):
        if key in brokers and brokers.get("tls") is not True:
            yield ["kafka", key], "it is of use with 'tls = true' only"
    if ("certificate" in brokers) != ("key" in brokers):
        given, lacks = ("certificate", "key") if "certificate" in brokers else ("key", "certificate")
        yield ["kafka", given], f"'{lacks}' is not set beside it"


def _of_registry(found: object) -> Iterator[tuple[list[str], str]]:
    if not isinstance(found, dict):
        return
    if ("username" in found) != ("password" in found):
        given, lacks = ("username", "password") if "username" in found else ("password", "username")
        yield ["registry", given], f"'{lacks}' is not set beside it"
    if not str(found.get("url")).startswith("https:"):
        if "ca" in found:
            yield ["registry", "ca"], "it is of use with https only"
        if "password" in found and LOOPBACK.match(str(found.get("url"))) is None:
            yield ["registry", "password"], "over plain http everybody on the way reads it: use https"


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
    sections: dict[str, Any] = {
        "smtp": Smtp, "twilio": Twilio, "push": Push, "kafka": Kafka, "postgres": Postgres, "registry": Registry,
        "http": Http, "brand": Brand, "test": Test,
    }  # fmt: skip
    model = sections.get(place[0], Settings) if place else Settings
    return list(model.model_fields)
