"""What is wrong with a configuration, in our own words: key, line, and what to write instead."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from gateway.sections import Section, Settings

LOOPBACK = re.compile(r"http://(127\.0\.0\.1|localhost|\[::1\])[:/]")
Place = tuple[str | int, ...]
"""Keys from the top of the file; a number counts in a list."""
KINDS: Mapping[type, str] = {
    bool: "true or false", int: "a whole number", float: "a number", str: "text", tuple: "a list", list: "a list",
    dict: "a section",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake and its key."""

    place: Place
    what: str


def within(fault: ValidationError) -> list[Mistake]:
    """Return what is wrong with single keys."""
    return [Mistake(error["loc"], _what(error)) for error in fault.errors()]


def told(path: Path, text: str, wrong: Sequence[Mistake]) -> Iterator[str]:
    """Yield a line for each, with the line of the file."""
    for one in wrong:
        names = [part for part in one.place if isinstance(part, str)]
        number = "".join(f", number {part + 1}" for part in one.place if isinstance(part, int))
        yield f"{path}:{_line(text, names)}: {'.'.join(names)}{number}: {one.what}"


def between(found: dict[str, Any]) -> list[Mistake]:
    """Return what is wrong between keys, each of which may be right."""
    return [Mistake(place, what) for place, what in _between(found)]


def _between(found: dict[str, Any]) -> Iterator[tuple[Place, str]]:
    if "public_url" in found and "secret_key" not in found:
        yield ("public_url",), "links are signed: set 'secret_key' beside it, by reference"
    twilio = found.get("twilio")
    if isinstance(twilio, dict) and twilio.get("status_callback") is True and "public_url" not in found:
        yield ("twilio", "status_callback"), "Twilio reports to 'public_url', which is not set"
    smtp = found.get("smtp")
    if isinstance(smtp, dict) and ("username" in smtp) != ("password" in smtp):
        given, lacks = ("username", "password") if "username" in smtp else ("password", "username")
        yield ("smtp", given), f"'{lacks}' is not set beside it"
    yield from _cluster(found)


def _cluster(found: dict[str, Any]) -> Iterator[tuple[Place, str]]:
    for one, other in (("kafka", "postgres"), ("postgres", "kafka")):
        if one in found and other not in found:
            yield (one,), f"a cluster has both: name [{other}] as well, or neither"
    if "registry" in found and "kafka" not in found:
        yield ("registry",), "a schema registry belongs to Kafka: name [kafka] and [postgres] as well"
    yield from _of_registry(found.get("registry"))
    brokers = found.get("kafka")
    if not isinstance(brokers, dict):
        return
    for needs, key in (("mechanism", "username"), ("mechanism", "password"), ("username", "mechanism")):
        if needs in brokers and key not in brokers:
            yield ("kafka", needs), f"'{key}' is not set beside it"
    for key in ("ca", "certificate", "key"):
        if key in brokers and brokers.get("tls") is not True:
            yield ("kafka", key), "it is of use with 'tls = true' only"
    if ("certificate" in brokers) != ("key" in brokers):
        given, lacks = ("certificate", "key") if "certificate" in brokers else ("key", "certificate")
        yield ("kafka", given), f"'{lacks}' is not set beside it"


def _of_registry(found: object) -> Iterator[tuple[Place, str]]:
    if not isinstance(found, dict):
        return
    if ("username" in found) != ("password" in found):
        given, lacks = ("username", "password") if "username" in found else ("password", "username")
        yield ("registry", given), f"'{lacks}' is not set beside it"
    if not str(found.get("url")).startswith("https:"):
        if "ca" in found:
            yield ("registry", "ca"), "it is of use with https only"
        if "password" in found and LOOPBACK.match(str(found.get("url"))) is None:
            yield ("registry", "password"), "over plain http everybody on the way reads it: use https"


def _what(error: Any) -> str:
    """Say one mistake: the words of pydantic name types of Python, which nobody wrote."""
    kind, place, given = str(error["type"]), error["loc"], error["input"]
    if kind == "value_error":
        return str(error["msg"]).removeprefix("Value error, ")  # a sentence of ours
    if kind == "extra_forbidden":
        near = get_close_matches(str(place[-1]), _keys(place[:-1]), 1)
        return "there is no such key" + (f"; did you mean '{near[0]}'?" if near else "")
    wanted, field = type_at(place)
    write = _write(place, field)
    match kind:
        case "missing":
            return f"it is missing{write}"
        case "too_short":
            return f"nothing stands in it{write}"
        case "greater_than_equal" | "less_than_equal":
            limits = error["ctx"]
            return (
                f"{given} is too small; {limits['ge']} at least"
                if "ge" in limits
                else f"{given} is too large; {limits['le']} at most"
            )
        case "literal_error":
            choices = get_args(wanted)
            near = get_close_matches(str(given), choices, 1)
            one_of = ", ".join(repr(one) for one in choices)
            return f"it is one of {one_of}" + (f"; did you mean '{near[0]}'?" if near else "")
    if isinstance(wanted, type) and issubclass(wanted, Section):
        return f"a section stands here: write '[{'.'.join(map(str, place))}]' on a line of its own, and its keys below"
    stands = KINDS.get(type(given), "a date or a time")
    wants = KINDS.get(get_origin(wanted) or wanted, "text")
    return f"{wants} stands here, not {stands}{write}" if wants != stands else f"this cannot be used{write}"


def _write(place: Place, field: FieldInfo | None) -> str:
    """Return a line to copy: the example of a key that has to be there, or what holds without one that has not."""
    if field is None or isinstance(place[-1], int):
        return ""
    example = field.examples[0] if field.examples else field.get_default(call_default_factory=False)
    if isinstance(example, Path):
        example = str(example)
    if isinstance(example, tuple):
        example = list(example)
    if not isinstance(example, bool | int | str | list):
        return ""
    return (
        f"; write '{place[-1]} = {json.dumps(example, ensure_ascii=False)}'{'' if field.examples else ', or nothing'}"
    )


def type_at(place: Place) -> tuple[Any, FieldInfo | None]:
    """Return the type that stands at a place, and its field, unless it is within one."""
    wanted: Any = Settings
    field = None
    for part in place:
        if isinstance(wanted, type) and issubclass(wanted, Section):
            field = wanted.model_fields.get(str(part))
            if field is None:
                return None, None
            wanted = _bare(field.annotation)
        else:
            # A list, or a table whose keys are anybody's: what stands in it comes last of its arguments but for '...'.
            inside = [one for one in get_args(wanted) if one is not ...]
            wanted, field = (_bare(inside[-1]) if inside else None), None
    return wanted, field


def _bare(annotation: Any) -> Any:
    """Return a type without what is said about it, and without `| None`."""
    if get_origin(annotation) is Annotated:
        return _bare(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return _bare(next(one for one in get_args(annotation) if one is not type(None)))
    return annotation


def _keys(place: Place) -> list[str]:
    wanted, _ = type_at(place)
    return list(wanted.model_fields) if isinstance(wanted, type) and issubclass(wanted, Section) else []


def _line(text: str, names: Sequence[str]) -> int:
    """Return the line of a key; tomllib keeps no positions. Where it is missing, the line of what it would stand in."""
    section: list[str] = []
    above = 1
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if stripped.startswith("["):
            section = [part.strip(" \"'") for part in stripped.partition("#")[0].strip("[] ").split(".")]
            here = section
        else:
            here = [*section, *(part.strip(" \"'") for part in stripped.partition("=")[0].split("."))]
        if here == list(names):
            return number
        if here == list(names[: len(here)]):
            above = number
    return above
