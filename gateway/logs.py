"""Structured logs: one JSON object a line on standard error, without personal data.

What an observer sees is counted and named by ids; recipients, addresses, texts and payloads never get here. Of what
libraries say only the place is kept: their texts may hold whatever they were given.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any

from gateway.metrics import is_alert
from handlers.providers.reach import UNREACHED
from streams.json_events import rfc3339
from streams.processors.breaking import Turned
from streams.processors.detect import Batch, Done
from streams.processors.dispatch import Passed
from streams.processors.results import Sent
from tidings.errors import Refusal
from tidings.event import SECOND
from tidings.message import Message
from tidings.reasons import MessageState
from tidings.rule import RuleSet

logger = logging.getLogger("tidings.run")
OURS = "tidings"
BAD_ENDS = (MessageState.FAILED, MessageState.UNRESOLVED)
"""Ends that somebody may have to do something about."""
AGAIN = 2
"""Attempts that were not sent, from which on it is a warning: the first may be chance."""
KINDS = (
    "configuration", "connect", "MAIL", "RCPT", "before the final dot", "after the final dot", "refused by policy",
    "soft bounce, the mailbox is full", "start_by is over",
)  # fmt: skip
"""What details of outcomes begin with."""
ANSWER = re.compile(r"[2-5][0-9]{2}(?![0-9])( [245]\.[0-9]{1,3}\.[0-9]{1,3}(?![0-9.]))?")
FAULT = re.compile(r"[A-Z][A-Za-z]{2,40}(Error|Disconnected|Timeout)(?=:|$)")


_TEXT = json.JSONEncoder(ensure_ascii=False, default=lambda value: type(value).__name__).encode


class JsonLines(logging.Formatter):
    """One JSON object a record; `extra={"fields": {…}}` adds fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        at = rfc3339(int(record.created * 1_000_000))
        body: dict[str, Any] = {"at": at, "level": record.levelname.lower(), "from": record.name}
        if record.name.partition(".")[0] == OURS:
            body |= {"what": record.getMessage(), **getattr(record, "fields", {})}
        else:
            body |= {"what": "a library said something", "where": f"{record.module}:{record.lineno}"}
        if record.exc_info and record.exc_info[0] is not None:
            # Type and place only: the text of an exception may hold what a record holds.
            body |= {"error": record.exc_info[0].__name__, "where": _place(record.exc_info[2])}
        return _TEXT(body)


class _Lines(logging.StreamHandler[Any]):
    """A line that cannot be written is a line as well; the standard way would print the record itself."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        body = {"level": "error", "from": record.name, "what": "a line could not be written"}
        with contextlib.suppress(OSError, ValueError):  # nobody reads any more; what runs goes on
            self.stream.write(json.dumps(body) + self.terminator)


def silence(*libraries: str) -> None:
    """Let libraries say nothing: a command line tells what went wrong in its own words."""
    for name in libraries:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


QUIET = 60.0
"""Seconds for which a library that has spoken at one place is not heard from there again."""


class _Seldom(logging.Filter):
    """Lets one line a minute through from each place of a library: while a broker is away they write dozens a second."""

    def __init__(self) -> None:
        super().__init__()
        self.said: dict[tuple[str, int], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the line is written."""
        if record.name.partition(".")[0] == OURS:
            return True
        place = (record.module, record.lineno)
        if record.created - self.said.get(place, 0.0) < QUIET:
            return False
        self.said[place] = record.created
        return True


def configure() -> None:
    """Send everything to standard error, as JSON lines: ours from `info` on, of libraries what is wrong."""
    handler = _Lines(sys.stderr)
    handler.setFormatter(JsonLines())
    handler.addFilter(_Seldom())
    for name, level in ((OURS, logging.INFO), ("", logging.WARNING)):
        found = logging.getLogger(name)
        found.handlers[:] = [handler]
        found.setLevel(level)
    logging.getLogger(OURS).propagate = False
    # Not in our lines, and asked for each of them.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.captureWarnings(capture=True)


def observing(rules: Callable[[], RuleSet]) -> Callable[[object], None]:
    """Return an observer that knows whose rules they are, for the alerts."""
    return lambda seen: observe(seen, rules())


def observe(seen: object, rules: RuleSet | None = None) -> None:
    """Log what the engine did, by ids."""
    match seen:
        case Batch():
            for refused in seen.refused:
                record = refused.record
                place = f"{record.topic}[{record.partition}]@{record.offset}"
                level = logging.ERROR if refused.reason == Refusal.INTERNAL_ERROR else logging.WARNING
                _log(level, "dead letter", place=place, reason=refused.reason)
        case Done():
            for one in seen.records:
                # The event with which it began, by our reference: 'rules explain' takes it, and the firing's id.
                event = one.begun_by or None
                _log(logging.INFO, one.kind, rule=one.rule, firing=one.firing_id, event=event, tenant=one.tenant)
        case Passed():
            for message in seen.result.messages.values():
                _message(message, rules)
        case Sent():
            _sent(seen, rules)
        case Turned():
            _turned(seen)
        case Message():
            _message(seen, rules)


def _turned(seen: Turned) -> None:
    breaker = seen.breaker
    if not breaker.is_open:
        _log(logging.INFO, "provider back", provider=seen.provider, away=f"{seen.lasted / SECOND:.1f} s")
        return
    what = "provider does not take us" if breaker.misconfigured else "provider away"
    cause, again = cause_of(breaker.why), rfc3339(breaker.until)
    then = "messages wait; it is asked by one of them now and then"
    if breaker.misconfigured:
        then = f"{mend_of(breaker.why)}. Until then {then}"
    _log(logging.WARNING, what, provider=seen.provider, cause=cause, asked_at=again, then=then)


def _sent(seen: Sent, rules: RuleSet | None) -> None:
    message, outcome, more = seen.message, seen.outcome, {}
    level = logging.INFO
    if outcome.stage != "accepted":
        more["cause"] = cause_of(outcome.detail)
    if outcome.stage == "not_sent" and message.state is MessageState.PENDING:
        more["next_at"] = None if message.due_at is None else rfc3339(message.due_at)
        level = logging.WARNING if seen.outgoing.attempt >= AGAIN else level
    _message(message, rules, level, attempt=seen.outgoing.attempt, outcome=outcome.stage, **more)


def mend_of(detail: str) -> str:
    """Return what a person does about a provider that does not take us."""
    if "535" in (cause_of(detail) or "") or "credentials" in detail:
        return "Check username and password in its section of the configuration"
    return "Check its section of the configuration: 'tidings doctor' asks it and says what is wrong"


def cause_of(detail: str) -> str | None:
    """Return what may be logged of an outcome's detail: our own word, a code, the name of a fault.

    Never what somebody else wrote: servers repeat the address.
    """
    kind = next((one for one in KINDS if detail == one or detail.startswith(f"{one}: ")), "")
    rest = detail.removeprefix(kind).removeprefix(": ").removeprefix("credentials refused: ")
    found = ANSWER.match(rest) or FAULT.match(rest)
    named = rest if rest in UNREACHED else "" if found is None else found[0]
    return ": ".join(filter(None, (kind, named))) or None


def _message(message: Message, rules: RuleSet | None, level: int = logging.INFO, **more: Any) -> None:
    level = logging.WARNING if message.state in BAD_ENDS else level
    fields = {
        "message": message.message_id, "rule": message.rule, "channel": message.channel, "reason": message.reason,
    }  # fmt: skip
    _log(level, str(message.state), **fields, **more)
    if is_alert(message):
        rule = None if rules is None else rules.by_id.get(message.rule)
        owner = None if rule is None else rule.owner
        _log(logging.ERROR, "alert", **fields, state=str(message.state), owner=owner)


def _log(level: int, what: str, **fields: Any) -> None:
    if logger.isEnabledFor(level):
        # Not by `log`, which walks the stack for a place that no line of ours names.
        kept = {name: value for name, value in fields.items() if value is not None}
        logger.handle(logger.makeRecord(logger.name, level, "", 0, what, (), None, extra={"fields": kept}))


def _place(trace: TracebackType | None) -> str:
    """Return module and line of the innermost frame."""
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "nowhere" if trace is None else f"{trace.tb_frame.f_globals.get('__name__')}:{trace.tb_lineno}"
