"""Taking events: judged, told apart from those that are there already, and made durable before anybody is told so."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.access.keys import Principal
from gateway.http.problems import KINDS
from gateway.intake.bounds import AT_ONCE, MOST_ERRORS
from gateway.intake.judging import Fit, Judge, Unfit, shown
from gateway.intake.reading import Body, Given
from gateway.intake.recent import Known, Name, Recent
from gateway.site import Publish
from streams.embedded_log import Append, NoTopic
from streams.json_events import Mistake
from tidings.event import Micros

GROUP = 2000
"""Records that share one commit at most."""

_Waiting = tuple[Sequence[Append], asyncio.Future[Any]]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an event is not taken."""

    code: str
    errors: Sequence[Mapping[str, Any]]

    @property
    def status(self) -> int:
        """Return the status of its problem."""
        return KINDS[self.code].status


@dataclass(slots=True)
class Item:
    """What became of one event of a body."""

    fit: Fit | None = None
    refusal: Refusal | None = None
    known: bool = False
    """Whether it was there already."""


@dataclass
class Grouped:
    """Lets requests that wait at the same time share one commit."""

    publish: Publish
    _waiting: list[_Waiting] = field(default_factory=list)
    _task: asyncio.Task[None] | None = None

    async def __call__(self, appends: Sequence[Append]) -> Sequence[tuple[str, int, int] | None]:
        """Append; see `Publish`."""
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((appends, done))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="publish")
        return await done  # type: ignore[no-any-return]

    async def _run(self) -> None:
        while self._waiting:
            group: list[_Waiting] = []
            size = 0
            while self._waiting and (not group or size + len(self._waiting[0][0]) <= GROUP):
                group.append(self._waiting.pop(0))
                size += len(group[-1][0])
            await self._publish(group)

    async def _publish(self, group: Sequence[_Waiting]) -> None:
        try:
            places = await self.publish([one for appends, _ in group for one in appends])
        except NoTopic as fault:
            # It belongs to whoever asked for such a topic; the others go on together.
            named: list[_Waiting] = []
            others: list[_Waiting] = []
            for one in group:
                (named if any(each.topic in fault.topics for each in one[0]) else others).append(one)
            _fail(named or group, fault)
            if named and others:
                await self._publish(others)
            return
        except Exception as fault:  # noqa: BLE001 - it belongs to whoever waits
            _fail(group, fault)
            return
        at = 0
        for appends, done in group:
            if not done.done():
                done.set_result(places[at : at + len(appends)])
            at += len(appends)


def _fail(group: Sequence[_Waiting], fault: Exception) -> None:
    for _, done in group:
        if not done.done():
            done.set_exception(fault)


@dataclass
class Taking:
    """One for all requests of a process."""

    judge: Judge
    publish: Publish
    recent: Recent = field(default_factory=Recent)

    async def judged(self, who: Principal, body: Body, now: Micros) -> list[Item]:
        """Return every event of a body, or why it is none."""
        items, left, quick = [], MOST_ERRORS, self.judge.quick(who, now)
        for number, given in enumerate(body.given, 1):
            try:
                items.append(Item(quick(given) or self.judge.slowly(who, given, now)))
                given.event = None  # its record has what it held; many batches may wait for the commit
            except Unfit as fault:
                # A batch of nothing but mistakes has an answer that is no larger than it.
                errors = fault.errors[: max(1, left)]
                left -= len(errors)
                items.append(Item(refusal=Refusal(fault.code, errors)))
            if number % AT_ONCE == 0 and number < len(body.given):
                await asyncio.sleep(0)
        return items

    async def take(self, who: Principal, items: Sequence[Item], given: Sequence[Given], *, atomic: bool) -> None:
        """Publish what is fit, and mark what was there already, or is another event under a name that is taken.

        `atomic`: nothing is published where anything is refused.

        Raises:
            StoreUnavailable: nothing of it is known to be durable.
        """
        fresh: list[tuple[Name, Fit, Known]] = []
        ours: set[Name] = set()
        for item, one in zip(items, given, strict=True):
            fit = item.fit
            if fit is None:
                continue
            name = (who.tenant, fit.source, fit.id)
            known = self.recent.get(name)
            if known is not None and known.at != fit.occurred_at:
                item.fit, item.refusal = None, conflict(one)
            elif known is not None and (known.durable or name in ours):
                item.known = True
            else:
                ours.add(name)
                # A repeat of what is only being published is published as well: that one may still fail.
                if known is None:
                    known = Known(fit.occurred_at, fit.ref, fit.type)
                    self.recent.begin(name, known)
                fresh.append((name, fit, known))
        if not fresh or (atomic and any(item.refusal is not None for item in items)):
            self.recent.forget(name for name, _, _ in fresh)
            return
        try:
            places = await self.publish([fit.append for _, fit, _ in fresh])
        except BaseException:
            self.recent.forget(name for name, _, _ in fresh)
            raise
        for (_, _, known), place in zip(fresh, places, strict=True):
            known.durable = True
            known.place = place


def conflict(given: Given) -> Refusal:
    """Return the refusal of an event whose name is another one's."""
    text = "an event of this source and id has another time; it is another event, and needs an id of its own"
    return Refusal("state-conflict", [shown(given, Mistake("/time", text, code="conflict"))])
