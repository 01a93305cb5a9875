"""What can be set: the sections of the configuration. What a value has to be is in `gateway.values`.

Nothing here is read: `gateway.config` does that, and `gateway.mistakes` says what is wrong.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, Strict, model_validator

from gateway.links.brand import LEAST, PAPER, contrast
from gateway.links.brand import Brand as Look
from gateway.values import (
    Account,
    Address,
    ApiKey,
    Broker,
    Colour,
    Folder,
    Mailbox,
    Number,
    Place,
    Port,
    Prefix,
    RegistryUrl,
    SecretReference,
    Sender,
    Switch,
    Text,
    Url,
    Username,
)  # fmt: skip
from tidings.rule import Channel

LOOK = Look()


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

    account_sid: Account = Field(examples=["AC" + "0" * 32])
    auth_token: SecretReference = Field(examples=["env:TWILIO_TOKEN"])
    """Of the account; or the secret of `api_key`."""
    sender: Sender = Field(examples=["+49301234567"])
    api_key: ApiKey | None = None
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
    prefix: Prefix = ""
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
    username: Username | None = None
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

    redirect_to: Address = Field(examples=["me@example.org"])


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
