"""The proof: that every step that became due is accounted for, and the figures beside it, counted in the background.

It counts beside those who work and rests many times as long as it has counted, so a page reads what is ready and says
how old it is. Both sides of the sum are counted in one snapshot and from different tables, so that it can fail: steps
from the runs, messages from the messages. Parts of time in which everything has ended are never counted again; of those
in which only some messages are open, these are looked up.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from streams.ledger import newest
from streams.ledger.counted import (
    NEWEST,
    SMALL,
    Cell,
    Latency,
    Overview,
    Part,
    RuleCounts,
    Way,
    Window,
    by_outcome,
    line,
    rank,
)
from streams.ledger.ledger import Ledger
from streams.ledger.lists import COUNTED, Statement
from streams.ledger.marks import Marks
from streams.ledger.rows import Count, Outcome, outcome_of
from tidings import canonical
from tidings.correction import ALL_CLEAR, NOTICE
from tidings.event import DAY, HOUR, MINUTE, Micros
from tidings.message import WAITED
from tidings.ports import StoreReplaced, StoreUnavailable
from tidings.reasons import OPEN, MessageState

logger = logging.getLogger("tidings.proof")

KEPT = 30 * DAY
FINE = 2 * HOUR
"""How far back parts are small."""
MARGIN: Micros = 2 * MINUTE
"""Longer than any transaction: what was decided so long ago is committed, or never will be."""
REST = 20
"""Times as long as it has counted."""
LEAST_REST = 1.0
BREATH = 0.2
"""Seconds of rest that may be owed inside of a round."""
SLOWLY: float = 60.0
"""Seconds between two sums over the long windows, where a round costs more than `CHEAP`."""
CHEAP = 0.05
MOST_OPEN = 5_000
"""Open messages of one part that are looked up; a part with more is counted anew."""
POINTS = 24
"""Of the line of the time from event to provider."""
AT_ONCE = 200
"""Messages that are looked up together."""
WITHIN = 30.0
"""Seconds for one part."""


@dataclass(frozen=True, slots=True)
class Beside:
    """What is counted once for all windows."""

    latency: Latency | None = None
    ways: Sequence[Way] = ()
    in_flight: Mapping[tuple[str, str | None], Count] = field(default_factory=dict)


@dataclass
class Proof:
    """One tenant's. `forever` counts; `overview` gives what is ready."""

    ledger: Ledger
    now: Callable[[], Micros]
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    marks: Marks = field(init=False)
    _parts: dict[Micros, Part] = field(default_factory=dict, init=False)
    _beside: Beside = field(default_factory=Beside, init=False)
    _ready: dict[Window, Overview] = field(default_factory=dict, init=False)
    _summed: dict[Window, float] = field(default_factory=dict, init=False)
    _owed: float = field(default=0.0, init=False)
    _used: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self.marks = Marks(self.ledger.asking)

    def overview(self, window: Window = Window.DAY) -> Overview | None:
        """Return a window as it was counted last; None: nothing has been counted yet."""
        return self._ready.get(window)

    def rule_counts(self, rule: str, window: Window = Window.DAY) -> RuleCounts | None:
        """Return the three counts of a rule; None: nothing has been counted yet."""
        found = self.overview(window)
        return None if found is None else found.rules.get(rule, RuleCounts(self._read(rule, found.events), 0, 0, {}))

    async def forever(self) -> None:
        """Count, rest, and count again. A store that is away is asked again later; the last result stays, and ages."""
        while True:
            try:
                await self.step()
            except StoreReplaced:
                raise
            except StoreUnavailable as fault:
                logger.warning("the sum could not be counted, tried again later: %s", fault)
            await self.sleep(max(LEAST_REST, self._owed))
            self._owed = 0.0

    async def step(self) -> None:
        """Do one round: the parts that are not settled, newest first, then what the windows add up to."""
        self._used = 0.0
        now = self.now()
        wanted = self._wanted(now)
        latency, ways = await self._counted(self._ways())
        self._beside = Beside(latency, ways, await self._counted(self._in_flight()))
        await self._follow()
        for start, size in wanted:
            part = self._parts.get(start)
            if part is None or part.size != size or not part.is_followed:
                self._parts[start] = await self._counted(self._count(start, size, now))
                if Window.DAY not in self._ready and now - start > FINE:
                    await self._sum(Window.DAY, now, complete=False)
        self._parts = {start: self._parts[start] for start, _ in wanted}
        for window in Window:
            slow = window in (Window.WEEK, Window.MONTH) and self._used > CHEAP
            if not slow or time.monotonic() - self._summed.get(window, -SLOWLY) >= SLOWLY:
                self._summed[window] = time.monotonic()
                await self._sum(window, self.now(), complete=True)

    def _wanted(self, now: Micros) -> list[tuple[Micros, Micros]]:
        """Return the parts of time, newest first: small ones of the last hours, then whole hours."""
        fine = (now - FINE) // HOUR * HOUR
        last = now // SMALL * SMALL
        small = [(start, SMALL) for start in range(last, fine - 1, -SMALL)]
        first = (now - KEPT) // HOUR * HOUR - HOUR
        return small + [(start, HOUR) for start in range(fine - HOUR, first, -HOUR)]

    async def _counted(self, what: Awaitable[Any]) -> Any:
        """Await a question, and rest for it."""
        begun = time.perf_counter()
        found = await what
        took = time.perf_counter() - begun
        self._used += took
        self._owed += REST * took
        if self._owed > BREATH:
            owed, self._owed = self._owed, 0.0
            await self.sleep(owed)
        return found

    async def _count(self, start: Micros, size: Micros, now: Micros) -> Part:
        if size == HOUR and (merged := self._merged(start)) is not None:
            return merged
        to = Statement()
        tenant, low, high = to.put(self.ledger.tenant), to.put(start), to.put(start + size)
        steps = (
            "SELECT 0 AS side, rule, '' AS channel, '' AS state, CAST(NULL AS text) AS reason, count(*) AS number, "
            f"sum(steps_due) AS steps, '' AS message FROM runs WHERE tenant = {tenant} AND decided_at >= {low} AND decided_at < {high} "
            "GROUP BY rule"
        )
        sides = [steps]
        for side, role in ((1, NOTICE), (2, ALL_CLEAR)):
            sides.append(
                f"SELECT {side}, rule, channel, state, reason, count(*), 0, '' FROM messages WHERE tenant = {tenant} "
                f"AND role = {to.put(role)} AND state IN {to.puts(map(str, MessageState))} "
                f"AND created_at >= {low} AND created_at < {high} GROUP BY rule, channel, state, reason"
            )
        past = start + size + MARGIN < now
        for side, role in ((3, NOTICE), (4, ALL_CLEAR)) if past else ():
            # Which they are, in the same snapshot: from then on only they are looked up.
            sides.append(
                f"SELECT * FROM (SELECT {side}, rule, channel, state, reason, 1, 0, message_id FROM messages "
                f"WHERE tenant = {tenant} AND role = {to.put(role)} AND state IN {to.puts(sorted(map(str, OPEN)))} "
                f"AND created_at >= {low} AND created_at < {high} LIMIT {MOST_OPEN}) AS open"
            )
        to.text = " UNION ALL ".join(sides)
        part = Part(start, size)
        still: dict[str, tuple[bool, Cell]] = {}
        for side, rule, channel, state, reason, number, due, name in await self.ledger.asking.ask(
            to.text, *to.values, within=WITHIN
        ):
            if side == 0:
                part.runs[rule] += int(number)
                part.steps += int(due)
            elif side in (1, 2):
                (part.notices if side == 1 else part.corrections)[rule, channel, state, reason] += int(number)
            else:
                still[name] = (side == 3, (rule, channel, state, reason))  # noqa: PLR2004 - notices, as above
        if past:
            part.settled = not part.in_flight
            part.open = still if len(still) == part.in_flight else None
        return part

    async def _follow(self) -> None:
        """Look at the messages that were open when their part was counted, and that alone can have changed in it."""
        where = {name: part for part in self._parts.values() for name in part.open or ()}
        every = list(where)
        for names in (every[at : at + AT_ONCE] for at in range(0, len(every), AT_ONCE)):
            now = await self._counted(self._standing(names))
            for name in names:
                where[name].follow(name, *now.get(name, (None, None)))

    async def _standing(self, names: Sequence[str]) -> dict[str, tuple[str, str | None]]:
        to = Statement()
        # Limited inside: else SQLite looks for the tenant, and reads everything.
        to.text = (
            "SELECT message_id, state, reason FROM (SELECT message_id, tenant, state, reason FROM messages "
            f"WHERE message_id IN {to.puts(names)} LIMIT {AT_ONCE}) AS such WHERE tenant = {to.put(self.ledger.tenant)}"
        )
        rows = await self.ledger.asking.ask(to.text, *to.values, within=WITHIN)
        return {str(name): (str(state), reason) for name, state, reason in rows}

    def _merged(self, start: Micros) -> Part | None:
        """Return an hour of parts of which it is known what may still change."""
        small = [self._parts.get(at) for at in range(start, start + HOUR, SMALL)]
        if not all(part is not None and part.size == SMALL and part.is_followed for part in small):
            return None
        whole = Part(start, HOUR, open={})
        for part in small:
            assert part is not None
            assert whole.open is not None
            whole.add(part)
            whole.open.update(part.open or {})
        whole.settled = not whole.open
        return whole

    async def _sum(self, window: Window, now: Micros, *, complete: bool) -> None:
        edges = window.edges(now)
        parts = [part for part in self._parts.values() if edges[0] <= part.start < edges[-1]]
        whole = Part(edges[0], window.size)
        for part in parts:
            whole.add(part)
        topics = await self._counted(self.marks.counts(edges, now))
        events = {topic: sum(numbers) for topic, numbers in topics.items()}
        outcomes = by_outcome(whole.notices)
        channels: Counter[str] = Counter()
        suppressed: Counter[str] = Counter()
        rules: dict[str, Counter[Outcome]] = {}
        for (rule, channel, state, reason), number in whole.notices.items():
            outcome = outcome_of(state)
            channels[channel] += number
            rules.setdefault(rule, Counter())[outcome] += number
            if outcome is Outcome.SUPPRESSED:
                suppressed[reason or ""] += number
        self._ready[window] = Overview(
            window, edges[0], self.now(), self._used, complete, events, whole.runs.total(), whole.steps, outcomes,
            dict(channels), dict(suppressed), by_outcome(whole.corrections),
            [sum(numbers[at] for numbers in topics.values()) for at in range(len(edges) - 1)],
            line(((part.start, part.runs.total()) for part in parts), edges, window.point),
            line(((part.start, part.steps) for part in parts), edges, window.point),
            {
                rule: RuleCounts(
                    self._read(rule, events), whole.runs[rule], rules.get(rule, Counter())[Outcome.SENT],
                    dict(rules.get(rule, Counter())),
                )
                for rule in {*whole.runs, *rules}
            },
            self._beside.latency, self._beside.ways, self._beside.in_flight, time.monotonic(),
        )  # fmt: skip

    def _read(self, rule: str, events: Mapping[str, int]) -> int:
        """Return how many events a rule looks at: all of the topics that it names."""
        rules = self.ledger.rules()
        known = None if rules is None else rules.by_id.get(rule)
        return 0 if known is None else sum(events.get(topic, 0) for topic in known.topics)

    async def _ways(self) -> tuple[Latency | None, list[Way]]:
        rows = await self.ledger.asking.ask(*newest.ways(self.ledger.tenant), within=WITHIN)
        taken = [row for row in rows if row[1] == "accepted" and row[5] is not None and _at_once(row)]
        lasted = [int(row[5]) for row in sorted(taken, key=lambda row: int(row[4]))]
        size = -(-len(lasted) // POINTS) or 1
        groups = [rank(sorted(lasted[at : at + size]), 95) for at in range(0, len(lasted), size)]
        lasted.sort()
        latency = Latency(rank(lasted, 50), rank(lasted, 95), len(lasted), groups) if lasted else None
        by_provider: dict[str, list[Sequence[Any]]] = {}
        for row in rows:
            by_provider.setdefault(row[0], []).append(row)
        return latency, [_way(provider, found) for provider, found in sorted(by_provider.items())]

    async def _in_flight(self) -> dict[tuple[str, str | None], Count]:
        rows = await self.ledger.asking.ask(
            *newest.in_flight(self.ledger.tenant, sorted(map(str, OPEN))), within=WITHIN
        )
        totals: Counter[str] = Counter()
        for state, _, number in rows:
            totals[state] += int(number)
        return {(state, reason): Count(int(number), totals[state] > COUNTED) for state, reason, number in rows}


def _at_once(row: Sequence[Any]) -> bool:
    """Return whether nothing made a message wait: no step before it, and no gate, as quiet hours, a cap or a kill."""
    return bool(row[6]) and WAITED not in canonical.loads(bytes(row[7]))


def _way(provider: str, rows: Sequence[Sequence[Any]]) -> Way:
    """Return a way out from its attempts, as `newest.ways` has them."""
    outcomes = Counter("open" if row[1] is None else str(row[1]) for row in rows)
    took = sorted(int(row[4]) - int(row[3]) for row in rows if row[1] == "accepted" and row[4] is not None)
    wrong = [row for row in rows if row[1] not in (None, "accepted")]
    last = max(wrong, key=lambda row: row[4] or row[3], default=None)
    ended = sorted((row for row in rows if row[1] is not None), key=lambda row: int(row[4] or row[3]))[-NEWEST:]
    return Way(
        provider, dict(outcomes), max(int(row[4] or row[3]) for row in rows), rank(took, 50) if took else None,
        "" if last is None else str(last[2]), None if last is None else int(last[4] or last[3]),
        dict(Counter(str(row[1]) for row in ended)),
    )  # fmt: skip
