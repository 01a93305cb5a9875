"""What a body says: CloudEvents 1.0 (structured, batch, binary), plain JSON, NDJSON; all become plain events.

Nothing is judged here but the form; what the contract wants is asked afterwards. Every event has its place in the
body, and its mistakes are told where the producer wrote it: a field of the body, or a header.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_to_bytes

from gateway.http.problems import Refused
from gateway.intake.bounds import AT_ONCE, MOST_BODY, MOST_EVENT, MOST_EVENTS, MOST_UNKNOWN
from streams.json_events import MOST_HINTS, MOST_NAME, Mistake, NotAnEvent, nearest, parse_json

STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
PLAIN = "application/json"
LINES = "application/x-ndjson"
TYPES: Mapping[str, str] = {
    STRUCTURED: STRUCTURED, BATCH: BATCH, PLAIN: PLAIN, LINES: LINES, "application/ndjson": LINES, "application/jsonl": LINES,
}  # fmt: skip
ACCEPT = f"{STRUCTURED}, {BATCH}, {PLAIN}, {LINES}"
OURS = {"correlationid": "correlation_id", "causationid": "causation_id"}
"""Extension attributes that mean fields of ours."""
KNOWN = ("id", "source", "type", "time", "subject", "dataschema", "datacontenttype", "specversion", "data")
ATTRIBUTES = (*KNOWN, *OURS, "sequence")
ANY_DEPTH = 500
"""Of a whole body, before each event in it is looked at: so deep nothing is parsed slowly."""
NEAR = 0.8
"""How like a known attribute an unknown one is before it is taken for a slip. Others are extensions, and say nothing."""
NUMBER = re.compile(r"-?\d{1,18}", re.ASCII)
UTF8 = ("utf-8", "utf8", "us-ascii")


NO_NAMES: Mapping[str, str] = {}


@dataclass(slots=True)
class Given:
    """One event as it was given."""

    event: Any
    """In plain JSON, as `from_json` reads it."""
    mistakes: Sequence[Mistake] = ()
    names: Mapping[str, str] = field(default_factory=lambda: NO_NAMES)
    """Where a field of ours stands under another name: pointer to pointer, or to a header as `ce-time`."""
    dataschema: Any = None
    suspect: bool = True
    """Whether its texts may hold what is no text."""


@dataclass(frozen=True, slots=True)
class Body:
    """All of one body."""

    given: Sequence[Given]
    bulk: bool
    """Whether the answer is a list, too."""


def media_type(value: str) -> str:
    """Return the type of a body, without its parameters.

    Raises:
        Refused: it is none that is read here.
    """
    if value in TYPES:
        return TYPES[value]
    kind, *words = [part.strip().lower() for part in value.split(";")]
    found = TYPES.get(kind)
    for word in words:
        name, _, charset = word.partition("=")
        if name.strip() == "charset" and charset.strip().strip('"') not in UTF8:
            found = None
    if found is None:
        text = f"Content-Type {value[:80]!r} is not read" if value else "there is no Content-Type"
        raise Refused("unsupported-media-type", text, headers={"accept-post": ACCEPT})
    return found


async def read(kind: str, headers: Sequence[tuple[str, str]], raw: bytes) -> Body:
    """Return the events of a body.

    Raises:
        NotAnEvent: the whole body cannot be read, or holds too many.
    """
    if kind == LINES:
        return Body(await _in_turn(_lines(raw)), bulk=True)
    if kind == PLAIN and any(name == "ce-specversion" for name, _ in headers):
        return Body([_binary(headers, raw)], bulk=False)
    found = parse_json(raw, most=MOST_BODY, deepest=ANY_DEPTH)
    suspect = b"\\u" in raw
    if kind == BATCH or (kind == PLAIN and isinstance(found, list)):
        if not isinstance(found, list):
            raise NotAnEvent([Mistake("", "a list of events is needed here", code="wrong-kind")])
        _few_enough(len(found))
        large = len(raw) > MOST_EVENT
        if kind == PLAIN and not large and all(type(one) is dict for one in found):
            return Body([Given(one, (), NO_NAMES, None, suspect) for one in found], bulk=True)
        read_one = _plain if kind == PLAIN else _structured
        return Body(await _in_turn(read_one(_sized(one, large=large), suspect) for one in found), bulk=True)
    if len(raw) > MOST_EVENT:
        raise NotAnEvent([Mistake("", f"{len(raw)} bytes; an event has {MOST_EVENT} at most", code="too-large")])
    return Body([(_structured if kind == STRUCTURED else _plain)(found, suspect)], bulk=False)


async def _in_turn(given: Iterator[Given]) -> list[Given]:
    """Return the events of a batch; others have their turn meanwhile."""
    found = []
    for number, one in enumerate(given, 1):
        found.append(one)
        if number % AT_ONCE == 0:
            await asyncio.sleep(0)
    return found


def _few_enough(number: int) -> None:
    if number > MOST_EVENTS:
        raise NotAnEvent([Mistake("", f"{number} events; at most {MOST_EVENTS} at once", code="too-many")])
    if number == 0:
        raise NotAnEvent([Mistake("", "there is no event in it", code="missing")])


class _TooLarge:
    """Stands for an event that is larger than one may be."""


def _sized(event: Any, *, large: bool) -> Any:
    # Only where the whole body is larger than one event may be can one of them be.
    return _TooLarge() if large and _length(event) > MOST_EVENT else event


def _length(value: Any) -> int:
    """Return about how many bytes a value has as JSON: none too many, and without writing it."""
    left, total = [value], 0
    for part in left:  # grows while it is walked
        if isinstance(part, str):
            total += len(part)
        elif isinstance(part, dict):
            total += sum(len(name) + 3 for name in part)
            left += part.values()
        elif isinstance(part, list):
            total += len(part)
            left += part
        else:
            total += 1
    return total


def _lines(raw: bytes) -> Iterator[Given]:
    lines = [line for line in raw.split(b"\n") if line.strip()]
    _few_enough(len(lines))
    for line in lines:
        try:
            yield _plain(parse_json(line, most=MOST_EVENT), b"\\u" in line)
        except NotAnEvent as fault:
            yield Given(None, fault.mistakes)


def _plain(found: Any, suspect: bool) -> Given:  # noqa: FBT001 - as `_structured`
    if wrong := _form(found):
        return Given(None, wrong)
    return Given(found, suspect=suspect)


def _form(found: Any) -> list[Mistake]:
    """Return what keeps a value from being an event at all."""
    if isinstance(found, _TooLarge):
        return [Mistake("", f"an event has {MOST_EVENT} bytes at most", code="too-large")]
    if not isinstance(found, dict):
        return [Mistake("", "an event is an object", code="wrong-kind")]
    return []


def _structured(found: Any, suspect: bool) -> Given:  # noqa: FBT001 - whether it is to be looked at again
    if wrong := _form(found):
        return Given(None, wrong)
    return _cloud(found, {theirs: f"/{theirs}" for theirs in OURS}, suspect=suspect)


def _cloud(found: Mapping[str, Any], places: Mapping[str, str], *, suspect: bool, header: str = "") -> Given:
    """Return a CloudEvent as a plain event; `header` is what its attributes are called with where they are headers."""
    mistakes = []

    def place(name: str) -> str:
        return header + name if header else f"/{name}"

    if found.get("specversion") != "1.0":
        code = "missing" if "specversion" not in found else "unsupported"
        mistakes.append(Mistake(place("specversion"), "1.0 is the version that is read", code=code))
    if (kind := found.get("datacontenttype")) is not None and kind != PLAIN:
        mistakes.append(Mistake(place("datacontenttype"), f"only {PLAIN} is read", code="unsupported"))
    if "data_base64" in found:
        mistakes.append(Mistake("/data_base64", "data is given as JSON", "data", "unsupported"))
    unknown = [name for name in found if name not in ATTRIBUTES and name != "data_base64"]
    if len(unknown) > MOST_UNKNOWN:
        text = f"{len(unknown)} attributes that nobody knows; at most {MOST_UNKNOWN}"
        return Given(None, [*mistakes, Mistake("", text, code="too-many")])
    for tried, name in enumerate(unknown):
        if isinstance(found[name], dict | list):
            mistakes.append(Mistake(place(name), "an attribute is a text, a number, true or false", code="wrong-kind"))
        if tried < MOST_HINTS and len(name) <= MOST_NAME and (near := nearest(name, ATTRIBUTES, NEAR)):
            mistakes.append(Mistake(place(name), "there is no such attribute", near, "unknown-field"))
    event = {name: found[name] for name in ("id", "source", "type", "time", "subject", "data") if name in found}
    event |= {ours: found[theirs] for theirs, ours in OURS.items() if theirs in found}
    if (number := found.get("sequence")) is not None:
        # The extension has it as a text.
        event["sequence"] = int(number) if isinstance(number, str) and NUMBER.fullmatch(number) else number
    names = {f"/{ours}": places[theirs] for theirs, ours in OURS.items()}
    if header:
        names |= {f"/{name}": header + name for name in ("id", "source", "type", "time", "subject", "sequence")}
        names["/data"] = ""
    return Given(event, mistakes, names, found.get("dataschema"), suspect)


def _binary(headers: Sequence[tuple[str, str]], raw: bytes) -> Given:
    """Return the event whose attributes are headers, and whose data is the body."""
    found: dict[str, Any] = {}
    mistakes: list[Mistake] = []
    for name, value in headers:
        if not name.startswith("ce-"):
            continue
        bare = name.removeprefix("ce-")
        if bare in found or bare in ("data", "datacontenttype"):
            mistakes.append(Mistake(name, "stands twice, or where it does not belong", code="unknown-field"))
            continue
        try:
            found[bare] = unquote_to_bytes(value).decode("utf-8")
        except UnicodeDecodeError:
            mistakes.append(Mistake(name, "is not UTF-8 once its %XX are read", code="bad-text"))
    try:
        data = parse_json(raw, most=MOST_EVENT)
    except NotAnEvent as fault:
        return Given(None, [*mistakes, *fault.mistakes])
    found["data"] = data
    given = _cloud(found, {theirs: f"ce-{theirs}" for theirs in OURS}, suspect=True, header="ce-")
    return Given(given.event, [*mistakes, *given.mistakes], given.names, given.dataschema)
