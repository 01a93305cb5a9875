"""Whether a given event keeps its contract: every mistake at once, each where the producer wrote it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice
from typing import Any

from gateway.access.keys import Principal
from gateway.intake.bounds import MOST_DEPTH, MOST_ERRORS, MOST_SAID, MOST_TEXT
from gateway.intake.reading import Given
from schemas import Contracts
from streams.codec import Codec, framed
from streams.compiled_events import Slowly, compiled
from streams.embedded_log import Append
from streams.json_events import MOST_NAME, Mistake, NotAnEvent, from_json, is_deep
from streams.wire import MAX_BYTES, plain
from tidings import ids
from tidings.contract import Contract
from tidings.errors import BadContract
from tidings.event import MINUTE, Micros

SKEW: Micros = 5 * MINUTE
"""How far ahead of our clock an event may be; what is further would go to the dead letters."""
LATEST: Micros = 2**53
INSIDE = ("decision.", "notification.", "workflow.", "ops.")
"""What only the platform itself says."""
SHORT = ("event_id", "source", "subject", "correlation_id", "causation_id")
POINTERS = {"event_id": "/id"}


@dataclass(slots=True)
class Fit:
    """An event that keeps its contract."""

    id: str
    source: str
    type: str
    occurred_at: Micros
    ref: str
    append: Append


class Unfit(Exception):
    """It does not; `code` is the problem's."""

    def __init__(self, code: str, given: Given, mistakes: list[Mistake]) -> None:
        super().__init__(code)
        self.code = code
        self.errors = [shown(given, one) for one in mistakes[:MOST_ERRORS]]


def public(known: Contracts) -> dict[str, Contract]:
    """Return the contracts whose events come from outside."""
    return {name: one for name, one in sorted(known.by_type.items()) if not name.startswith(INSIDE)}


def dataschema_of(contract: Contract) -> str:
    """Return what `dataschema` is for a contract, its major version in it."""
    return f"/v1/contracts/{contract.type}#{contract.topic}"


def shown(given: Given, mistake: Mistake) -> dict[str, Any]:
    """Return a mistake as an error of a problem: at a pointer into the event, or at a header."""
    pointer = mistake.pointer
    for ours, theirs in given.names.items():
        if pointer == ours or pointer.startswith(f"{ours}/"):
            pointer = theirs + pointer.removeprefix(ours)
            break
    pointer = _cut(pointer)
    where = {"header": pointer} if pointer.startswith("ce-") else {"pointer": pointer}
    more = {} if mistake.hint is None else {"did_you_mean": mistake.hint}
    return {**where, "code": mistake.code, "detail": _cut(mistake.text), **more}


def _cut(text: str) -> str:
    return text if len(text) <= MOST_SAID else text[: MOST_SAID - 1] + "…"


@dataclass
class Judge:
    """Knows the contracts, and writes what keeps them as records."""

    codec: Codec

    def __post_init__(self) -> None:
        self.public = public(self.codec.contracts)
        known = self.codec.contracts
        writers = [(one, compiled(one, plain(known.schema(one.full_name)))) for one in self.public.values()]
        self._written = {one.type: (one, write) for one, write in writers if write is not None}

    def quick(self, who: Principal, now: Micros) -> Callable[[Given], Fit | None]:
        """Return what returns an event as it is appended, or None: there may be something to say of it.

        It is made for each body: what its events share is looked up once.
        """
        written, tenant, latest, sources = self._written, who.tenant, now + SKEW, set[str]()
        number, event_ref = self.codec.schemas.written, ids.event_ref

        def judge(given: Given) -> Fit | None:
            event = given.event
            if event is None or given.mistakes or (given.suspect and any(_texts(event, ""))):
                return None
            try:
                contract, write = written[event["type"]]
                if given.dataschema is not None and not _is_schema(given.dataschema, contract):
                    return None
                source, name, at, key, body = write(event, tenant)
            except (KeyError, TypeError, Slowly):
                return None
            value = framed(number(contract), body)
            if not 0 <= at <= latest or len(value) > MAX_BYTES:
                return None
            if source not in sources:
                if not who.may_publish(source):
                    return None
                sources.add(source)
            ref = event_ref(tenant, source, name, at)
            return Fit(name, source, contract.type, at, ref, Append(contract.topic, key, value))

        return judge

    def slowly(self, who: Principal, given: Given, now: Micros) -> Fit:
        """Return an event as it is appended, or find everything that is wrong with it.

        Raises:
            Unfit: it does not keep its contract, or is not this principal's to say.
        """
        mistakes = list(given.mistakes)
        event = given.event
        if event is None:
            raise Unfit(_code_of(mistakes), given, mistakes)
        contract = self._contract(event, mistakes)
        if contract is None:
            _shallow(given, mistakes)
            mistakes += [
                Mistake(f"/{name}", "a text is needed here", code="missing" if name not in event else "wrong-kind")
                for name in ("id", "source", "time")
                if not isinstance(event.get(name), str)
            ]
            raise Unfit("contract-violation", given, mistakes)
        if given.dataschema is not None and not _is_schema(given.dataschema, contract):
            text = f"is not the schema of {contract.type}, which is {dataschema_of(contract)!r}"
            mistakes.append(Mistake("/dataschema", text, code="other-type"))
        _shallow(given, mistakes)
        try:
            payload = from_json(contract, event, tenant=who.tenant)
        except NotAnEvent as fault:
            raise Unfit("contract-violation", given, mistakes + fault.mistakes) from fault
        meta = payload["meta"]
        mistakes += _bounds(meta, now)
        if given.suspect:
            mistakes += islice(_texts(event, ""), MOST_ERRORS)
        if mistakes:
            raise Unfit("contract-violation", given, mistakes)
        source = meta["source"]
        if not who.may_publish(source):
            near = get_close_matches(source[:MOST_NAME], [one for one in who.sources if not one.endswith("*")], 1)
            text = "this key does not publish as this source"
            raise Unfit("scope-missing", given, [Mistake("/source", text, near[0] if near else None, "other-source")])
        try:
            key, value = self.codec.encode(contract.type, payload)
        except BadContract as fault:
            place = "/data/" + "/".join(contract.key) if fault.reason == "null_key" else "/data"
            raise Unfit(
                "contract-violation", given, [Mistake(place, fault.detail, code=str(fault.reason).replace("_", "-"))]
            ) from fault
        if len(key) > MOST_TEXT:
            place = "/data/" + "/".join(contract.key)
            text = f"has {len(key)} bytes; the key of a record has {MOST_TEXT} at most"
            raise Unfit("contract-violation", given, [Mistake(place, text, code="too-long")])
        at = meta["occurred_at"]
        ref = ids.event_ref(who.tenant, source, meta["event_id"], at)
        return Fit(meta["event_id"], source, contract.type, at, ref, Append(contract.topic, key, value))

    def _contract(self, event: Mapping[str, Any], mistakes: list[Mistake]) -> Contract | None:
        name = event.get("type")
        if not isinstance(name, str) or not name:
            mistakes.append(Mistake("/type", "a text is needed here", code="missing" if name is None else "wrong-kind"))
            return None
        found = self.public.get(name)
        if found is None:
            near = get_close_matches(name[:MOST_NAME], self.public, 1)
            text = (
                "only the platform says this" if name in self.codec.contracts.by_type else "there is no such contract"
            )
            mistakes.append(Mistake("/type", text, near[0] if near else None, "no-such-contract"))
        return found


def _shallow(given: Given, mistakes: list[Mistake]) -> None:
    """Refuse what is nested too deep; an event that is read quickly has no more depth than its contract."""
    if is_deep(given.event, MOST_DEPTH):
        deep = Mistake("", f"nested deeper than {MOST_DEPTH}", code="too-deep")
        raise Unfit("contract-violation", given, [*mistakes, deep])


def _code_of(mistakes: list[Mistake]) -> str:
    codes = {one.code for one in mistakes}
    return "too-large" if "too-large" in codes else "malformed" if "not-json" in codes else "contract-violation"


def _is_schema(value: Any, contract: Contract) -> bool:
    """Say whether a `dataschema`, wherever its host, means a contract and its major version."""
    return isinstance(value, str) and (
        value.endswith(dataschema_of(contract)) or value in (contract.topic, contract.full_name)
    )


def _bounds(meta: Mapping[str, Any], now: Micros) -> Iterator[Mistake]:
    at = meta["occurred_at"]
    if not 0 <= at < LATEST:
        yield Mistake("/time", "is no instant between 1970 and 2255", code="out-of-range")
    elif at > now + SKEW:
        ahead = (at - now) // 1_000_000
        yield Mistake("/time", f"is {ahead} s ahead of our clock; {SKEW // 1_000_000} at most", code="in-future")
    for name in SHORT:
        if (
            (value := meta[name]) is not None
            and len(value) > MOST_TEXT // 4
            and len(value.encode("utf-8", "replace")) > MOST_TEXT
        ):
            yield Mistake(POINTERS.get(name, f"/{name}"), f"has more than {MOST_TEXT} bytes", code="too-long")


def _texts(value: Any, pointer: str) -> Iterator[Mistake]:
    """Yield every text that is none: with NUL, or with half of a character."""
    if isinstance(value, str):
        if "\x00" in value:
            yield Mistake(pointer, "holds NUL", code="bad-text")
        elif not value.isascii() and any("\ud800" <= one <= "\udfff" for one in value):
            yield Mistake(pointer, "holds half of a character (a lone surrogate)", code="bad-text")
    elif isinstance(value, dict):
        for name, part in value.items():
            yield from _texts(part, f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}")
    elif isinstance(value, list):
        for number, part in enumerate(value):
            yield from _texts(part, f"{pointer}/{number}")
