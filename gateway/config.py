"""The one configuration file (TOML), checked whole: every mistake at once, with its key, line, and what was meant.

Secrets stand in it by reference only: `env:NAME` or `file:/path`. They are read when they are needed and never shown.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from tidings.errors import Misconfigured

MAX_FILE = 256 * 1024


def _reference(value: str) -> str:
    kind, colon, rest = value.partition(":")
    if not colon or kind not in ("env", "file") or not rest:
        text = "a secret stands here by reference only: 'env:NAME' or 'file:/path'"
        raise ValueError(text)
    return value


SecretReference = Annotated[str, AfterValidator(_reference)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Smtp(_Section):
    """The mail server."""

    host: str
    port: int = Field(default=587, ge=1, le=65535)
    sender: str
    tls: Literal["none", "starttls", "tls"] = "starttls"
    username: str | None = None
    password: SecretReference | None = None


class Test(_Section):
    """While trying things out: every message goes to one address instead."""

    redirect_to: str


class Settings(_Section):
    """Everything that can be set."""

    data: Path = Path("data")
    """Folder of the file, beside the configuration unless absolute."""
    rules: Path = Path()
    """Folder with rules/, templates/ and sources.yaml."""
    history: Literal["past", "live"] = "past"
    """What newly connected topics hold already: `past` tells nobody about it."""
    smtp: Smtp | None = None
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
            return file.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as fault:
            text = f"{file} cannot be read ({type(fault).__name__}); {self.path} names it"
            raise Misconfigured(text) from fault


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
    try:
        return Config(path.absolute(), Settings.model_validate(found))
    except ValidationError as fault:
        raise Misconfigured("\n".join(_told(path, text, fault))) from fault


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
    model: Any = {"smtp": Smtp, "test": Test}.get(place[0], Settings) if place else Settings
    return list(model.model_fields)
