"""Plays a test, entry by entry, and says what was otherwise than expected; it ends at the first comparison that fails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from streams.json_events import rfc3339
from streams.rule_tests.model import Entry, Place, Test
from streams.rule_tests.outcome import Comparison, Seen, compare, one_line, say
from streams.rule_tests.world import TooLong, World
from tidings.event import SECOND, Micros

MAX_SHOWN = 20
"""Outcomes that a failure lists."""
MAX_SAID = 600
"""Characters of a text that a failure shows."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a test failed."""

    place: Place
    at: Micros
    text: str
    """One sentence."""
    details: tuple[str, ...] = ()
    """What was expected, what happened instead."""
    happened: tuple[Seen, ...] = ()
    """Everything since the comparison before."""


@dataclass(frozen=True)
class Result:
    """One test, played."""

    test: Test
    failures: tuple[Failure, ...]

    @property
    def passed(self) -> bool:
        """Whether everything was as expected."""
        return not self.failures

    def lines(self) -> list[str]:
        """Return the result for people."""
        test = self.test
        if self.passed:
            return [f"passed  {test.rule}: {test.name}"]
        found = [f"FAILED  {test.rule}: {test.name}"]
        for failure in self.failures:
            place = f"{test.file}:{failure.place.line}:{failure.place.column}"
            found += ["", f"  {place}: {failure.text}", f"    at {clock(failure.at, test.zones)}"]
            found += [f"    {line}" for line in failure.details]
            if failure.happened:
                found.append("    All that happened since the expectation before:")
                shown = failure.happened[-MAX_SHOWN:]
                if len(shown) < len(failure.happened):
                    found.append(f"      ({len(failure.happened) - len(shown)} more before)")
                found += [f"      {rfc3339(one.at)}  {one}" for one in shown]
        return [*found, ""]

    def to_json(self) -> dict[str, Any]:
        """Return the result for scripts."""
        test = self.test
        return {
            "file": test.file, "line": test.place.line, "name": test.name, "rule": test.rule, "passed": self.passed,
            "failures": [
                {
                    "line": one.place.line, "column": one.place.column, "at": rfc3339(one.at), "text": one.text,
                    "details": list(one.details),
                    "happened": [{"at": rfc3339(seen.at), "outcome": seen.outcome, "text": str(seen)} for seen in one.happened],
                }
                for one in self.failures
            ],
        }  # fmt: skip


def clock(at: Micros, zones: Sequence[str]) -> str:
    """Return an instant of a test, with what the wall shows where its customers live."""
    moment = datetime.fromtimestamp(at // SECOND, UTC)
    local = [f"{moment.astimezone(ZoneInfo(zone)):%a %d %b, %H:%M} in {zone}" for zone in zones[:2]]
    return rfc3339(at) + (f" ({'; '.join(local)})" if local else "")


def run_test(test: Test) -> Result:
    """Play a test."""
    world = World(test)
    seen = 0
    place = test.place
    try:
        for entry in test.timeline:
            place = entry.place
            failure = _play(world, entry)
            if failure is None:
                failure = _broken(world, entry.place, seen)
            if failure is None and entry.expected is not None:
                world.rest(entry.at)
                failure = _broken(world, entry.place, seen) or _compared(world, entry, seen)
                seen = len(world.happened)
            if failure is not None:
                return Result(test, (failure,))
        world.rest(world.clock)
    except TooLong as fault:
        return Result(test, (Failure(place, world.clock, f"the test cannot be played: {fault}"),))
    failure = _broken(world, place, seen) or _left_over(world, place, seen)
    return Result(test, () if failure is None else (failure,))


def _play(world: World, entry: Entry) -> Failure | None:
    """Let the clock go on and happen what an entry says."""
    if entry.event is None:
        world.rest(entry.at)
    else:
        event = entry.event.event
        world.arrive(entry.event)
        if world.read_gaps:
            names = " and ".join(f"'{name}'" for name in world.read_gaps)
            text = f"the rule '{world.rule.id}' reads {names} of {event.type}, which the test leaves out"
            return Failure(entry.place, world.clock, text)
    if entry.receipt is not None and not world.receive(entry.receipt):
        to, channel = entry.receipt.to, entry.receipt.channel
        text = f"nothing was handed over to {to}{f' by {channel}' if channel else ''} that a receipt could speak of"
        return Failure(entry.place, world.clock, text, (), tuple(world.happened))
    return None


def _broken(world: World, place: Place, since: int) -> Failure | None:
    """A message that cannot be written fails the test, whatever it expects."""
    news = world.happened[since:]
    for one in news:
        if one.outcome == "failed":
            why = one.reasons[0] if one.reasons else "it was not sent"
            text = f"the message by {one.channel} from template {one.template} failed; {why}"
            return Failure(place, world.clock, text, (), tuple(news))
    return None


def _compared(world: World, entry: Entry, since: int) -> Failure | None:
    assert entry.expected is not None
    news = world.happened[since:]
    found = compare(entry.expected, news)
    if found.good:
        return None
    place = found.lacking[0].place if found.lacking else entry.place
    return Failure(
        place, world.clock, _sentence(found, some_expected=bool(entry.expected)), tuple(_details(found)), tuple(news)
    )


def _sentence(found: Comparison, *, some_expected: bool) -> str:
    if not found.lacking:
        what = ", ".join(one.outcome for one in found.unexpected)
        return f"{what}: happened without being expected" if some_expected else f"nothing was expected, but: {what}"
    what = ", ".join(one.outcome for one in found.lacking)
    return f"{what}: expected, but did not happen like this"


def _details(found: Comparison) -> list[str]:
    lines = []
    used = []
    for expected, nearest in zip(found.lacking, found.nearest, strict=True):
        lines.append(f"expected: {say(expected)}")
        if nearest is None:
            lines.append("happened: nothing of this kind")
            continue
        seen, names = nearest
        used.append(seen)
        lines += [f"happened: {seen}", f"          not the same: {', '.join(names)}"]
        lines += [f"          its {name}: {_shown(seen, name)}" for name in names if name in expected.says]
    lines += [f"not expected: {one}" for one in found.unexpected if one not in used]
    return lines


def _shown(seen: Seen, name: str) -> str:
    """Return what a message said in one place, in one line."""
    text = one_line(seen.says.get(name, ""))
    return "none" if not text else text if len(text) <= MAX_SAID else f"{text[:MAX_SAID]}…"


def _left_over(world: World, place: Place, since: int) -> Failure | None:
    """What is visible after the last expectation has to be expected too."""
    news = world.happened[since:]
    unexpected = [one for one in news if one.visible]
    if not unexpected:
        return None
    what = ", ".join(one.outcome for one in unexpected)
    text = f"{what}: happened after the last expectation; end the test with an 'expect'"
    return Failure(place, world.clock, text, tuple(f"not expected: {one}" for one in unexpected), tuple(news))
