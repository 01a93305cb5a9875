"""The one configuration file (TOML), checked whole: every mistake at once, with its key, line, and what was meant.

Secrets stand in it by reference only: `env:NAME` or `file:/path`. They are read when they are needed and never shown.
"""

from __future__ import annotations

import os
import socket
import tomllib
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from gateway import mistakes
from gateway.links.brand import Brand as Look
from gateway.sections import Settings
from gateway.values import REFERENCES
from handlers.channels import unsubscribe
from streams.kafka import connection as kafka
from streams.registry.endpoint import Endpoint
from streams.stores import place as stores
from tidings.errors import Misconfigured

MAX_FILE = 256 * 1024
MAX_SECRET = 64 * 1024
NAME = 63
"""Characters that PostgreSQL keeps of the name of a connection."""


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

    def postgres(self, verb: str | None = None, name: str | None = None) -> stores.Place:
        """Return where the database is; the server lists our connections under the verb and name of a process.

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
            who="tidings" if verb is None else f"tidings {verb} {name or socket.gethostname()}"[:NAME],
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
    wrong = mistakes.between(found)
    settings = None
    try:
        settings = Settings.model_validate(found)
    except ValidationError as fault:
        wrong = [*mistakes.within(fault), *wrong]
    if wrong or settings is None:
        raise Misconfigured("\n".join(mistakes.told(path, text, wrong)))
    return Config(path.absolute(), settings)
