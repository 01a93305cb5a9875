"""`/`: is anything lost, stuck or late? What waits for a person, the flow, the sum that must hold, health, ways out.

Figures come from the proof, which counts in the background; a page reads what is ready and says how old it is.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

from gateway.console import drawing, first
from gateway.console.live import Told
from gateway.console.marks import number, short, span
from gateway.console.pages import Pages
from gateway.console.standing import Attention, Standing
from gateway.console.words import said, shape_of
from gateway.console.zones import zones_of
from gateway.http.look import Asked, Look, look
from gateway.site import Site
from streams.ledger.counted import Overview, Way, Window
from streams.ledger.rows import Count, Outcome, read_key
from streams.wording import counted
from tidings.event import DAY, MINUTE, SECOND, Micros
from tidings.ports import Scan, Transaction

ROWS = 9
MOST_NEWER = 99
KEEP = 1.0
PATIENCE = 2.0
LATE: Micros = 5 * MINUTE
"""How long what is due may wait before a person should look (`gateway.http.health`)."""
LEAST: Micros = 5 * SECOND
"""Of our clock: a window that is over sooner is not offered."""
PARTS: Sequence[tuple[Outcome, str]] = (
    (Outcome.SENT, "accepted by a provider"),
    (Outcome.SUPPRESSED, "a policy said no"),
    (Outcome.CANCELLED, "no longer true"),
    (Outcome.EXPIRED, "too late to matter"),
    (Outcome.FAILED, "gave up, needs you"),
    (Outcome.UNRESOLVED, "nobody knows, needs you"),
    (Outcome.IN_FLIGHT, "still to come"),
)
POINTS: Mapping[Window, str] = {
    Window.HOUR: "per 5 minutes, last hour",
    Window.DAY: "per hour, last 24 hours",
    Window.WEEK: "per 6 hours, last 7 days",
    Window.MONTH: "per day, last 30 days",
}
CHANNELS: Mapping[str, str] = {"email": "e-mail", "sms": "SMS", "slack": "Slack", "teams": "Teams"}
ICONS: Mapping[str, str] = {"smtp": "email", "twilio": "sms", "push": "push", "catcher": "letter", "slack": "msg"}


WRONG: Mapping[str, str] = {
    "permanent": "refused for good",
    "not_sent": "not sent and tried again",
    "ambiguous": "without an answer",
}
"""Outcomes of attempts that were no yes, as they are said."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One of the flow."""

    name: str
    label: str
    value: str
    href: str
    spark: Markup
    notes: Sequence[str]


@dataclass(frozen=True, slots=True)
class Addend:
    """One outcome in the sum."""

    word: str
    colour: str
    value: str
    href: str
    says: str


@dataclass(frozen=True, slots=True)
class Sum:
    """What must hold."""

    due: str
    parts: Sequence[Addend]
    bar: Markup
    holds: bool | None
    """None: nothing has been counted yet."""
    proof: str
    corrections: str


@dataclass(frozen=True, slots=True)
class Line:
    """A word and what is said of it; a figure, if it changes while somebody looks."""

    word: str
    value: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Heart:
    """What is asked of the store itself."""

    look: Look
    last_event: Micros | None


def routes(site: Site, pages: Pages) -> APIRouter:
    """Return the page, and what changes in it."""
    router = APIRouter()
    beat = Asked(lambda: site.store.read(lambda: _heart(site)), patience=PATIENCE, keep=KEEP)
    offered = windows_at(site.speed)
    empty = first.Empty(site)

    @router.get("/")
    async def overview(request: Request) -> Response:
        heart = await beat()
        window = window_of(request.query_params, offered)
        seen = site.proof.overview(window)
        page = await site.ledger.decisions(limit=ROWS)
        if not page.rows and heart.last_event is None and not (seen and seen.events_in):
            return await empty.page(pages, request)
        top = page.rows[0].place if page.rows else site.now()
        return pages.render(
            request,
            "overview.html",
            here="/",
            window=str(window),
            windows=[(str(one), str(one).replace("h", " h").replace("d", " d")) for one in offered],
            pace=pace_of(site.speed),
            stream=f"/live/overview?window={window}&top={top}",
            # Paused, it shows what was when it was loaded, and says so.
            paused=site.now() if request.query_params.get("paused") else None,
            needs=list(needs(site, seen, heart, request.state.standing)),
            flow=list(flow(site, seen, window)),
            sum=sum_of(seen, window),
            rows=page.rows,
            zones=await zones_of(site, [one.recipient for one in page.rows]),
            health=list(health(site, heart)),
            ways=[way_of(one, site.speed) for one in (seen.ways if seen else ())],
            **beside(seen, window),
        )

    @router.get("/live/overview")
    async def changes(request: Request) -> Response:
        params = dict(request.query_params)

        async def ask() -> Told:
            heart = await beat()
            window = window_of(params, offered)
            seen = site.proof.overview(window)
            page = await site.ledger.decisions(after=read_key(params.get("top", "")), limit=MOST_NEWER)
            told: dict[str, Any] = {"figures": figures(site, seen, heart, window), "newer": newer(len(page.rows))}
            if params.get("first") and (page.rows or heart.last_event is not None):
                told["changed"] = True
            return told

        return pages.live.stream(request, ask)

    return router


def newer(count: int) -> str:
    """Return the sentence of what is newer than a list; nothing where nothing is."""
    if not count:
        return ""
    more = "+" if count == MOST_NEWER else ""
    return f"{count}{more} newer {'decision. Show it' if count == 1 else 'decisions. Show them'}"


def windows_at(speed: int) -> Sequence[Window]:
    """Return the windows that last long enough to be read by a clock that runs so much faster than ours."""
    return [one for one in Window if one.size // speed >= LEAST] or [Window.MONTH]


def window_of(params: Mapping[str, str], offered: Sequence[Window]) -> Window:
    """Return the window that a URL asks for, else a day, where that can be read."""
    found = params.get("window")
    return Window(found) if found in set(Window) else Window.DAY if Window.DAY in offered else offered[0]


def pace_of(speed: int) -> str:
    """Return what is to be known of a clock that runs fast; nothing where it is ours."""
    if speed == 1:
        return ""
    return (
        f"This shop's clock runs {number(speed)} times as fast as ours: its day takes {span(DAY // speed)}. "
        "Dates and ages are the shop's; how long something takes or waits is told by our clock."
    )


def _heart(site: Site) -> Transaction[Heart]:
    held = [channel for one in site.ways().values() if one.breaker.is_open for channel in one.channels]
    found = yield from look(site.rules(), site.speed, held)()
    last = None
    for source in (yield Scan("sources")):
        if source["max_time"] is not None:
            last = max(source["max_time"], last or 0)
    return Heart(found, last)


def needs(site: Site, seen: Overview | None, heart: Heart, standing: Standing) -> Iterator[Attention]:
    """Yield what a person should look at here; what every page says stands above already."""
    if seen is not None and seen.complete and not seen.adds_up:
        yield Attention(
            "dead",
            f"The sum does not add up: {_difference(seen)}. 'tidings verify' finds out where.",
            "#sum",
            "See the sum",
        )
    for name, one in site.ways().items():
        breaker = one.breaker
        if not breaker.is_open:
            continue
        word = "does not take us" if breaker.misconfigured else "is away"
        says = f"{name} {word} since {span(max(0, site.now() - breaker.since) // site.speed)}; its messages wait, and leave when it is back."
        yield Attention("expd", says, "/messages?outcome=in_flight", "See what waits")
    if heart.look.stands > LATE:
        says = f"Something has been due for {span(heart.look.stands)} and does not leave."
        yield Attention("expd", says, "/messages?outcome=in_flight", "See what waits")
    failed = 0 if seen is None else sum(seen.outcomes.get(one, 0) for one in (Outcome.FAILED, Outcome.UNRESOLVED))
    letters = standing.waiting.get("dead_letters", 0)
    said_of = [
        f"{number(count)} {one if count == 1 else many}"
        for count, one, many in (
            (failed, "delivery has failed", "deliveries have failed"),
            (letters, "record could not be read", "records could not be read"),
        )
        if count
    ]
    if said_of:
        yield Attention("dead", f"{', '.join(said_of)}.", "/dead-letters", "Sort them out")


def flow(site: Site, seen: Overview | None, window: Window) -> Iterator[Figure]:
    """Yield events, decisions, deliveries, and the time from the first to a provider."""
    rules = site.rules().rules
    live = sum(rule.status == "live" for rule in rules)
    trial = sum(rule.status == "shadow" for rule in rules)
    on_trial = f", {trial} in shadow" if trial else ""
    point = POINTS[window]
    kinds = 0 if seen is None else sum(1 for count in seen.events.values() if count)
    yield Figure(
        "events", "Events in", number(None if seen is None else seen.events_in), "",
        drawing.bars(seen.event_line if seen else (), f"Events {point}"), [f"of {kinds} kinds"],
    )  # fmt: skip
    yield Figure(
        "decisions", "Decisions to tell someone", number(None if seen is None else seen.decisions),
        f"/decisions?time={window}", drawing.bars(seen.decision_line if seen else (), f"Decisions {point}"),
        [f"{live} rules live{on_trial}"],
    )  # fmt: skip
    channels = sorted((seen.channels if seen else {}).items(), key=lambda one: -one[1])
    by_channel = [f"{CHANNELS.get(name, name)} {number(count)}" for name, count in channels[:3]]
    rest = sum(count for _, count in channels[3:])
    yield Figure(
        "deliveries", "Deliveries decided", number(None if seen is None else seen.steps_due), f"/messages?time={window}",
        drawing.bars(seen.delivery_line if seen else (), f"Deliveries {point}"),
        [", ".join([*by_channel, *([f"other {number(rest)}"] if rest else [])]) or "none"],
    )  # fmt: skip
    latency = seen.latency if seen else None
    yield Figure(
        "latency", "Event to provider, 95 %", "–" if latency is None else span(latency.most // site.speed), "",
        Markup() if latency is None else drawing.line(latency.line, f"Of {len(latency.line)} groups of messages, the oldest first"),
        ["nothing has left at once yet"] if latency is None
        else [f"half of them under {span(latency.half // site.speed)}", f"the newest {number(latency.measured)} that nothing held"],
    )  # fmt: skip


def sum_of(seen: Overview | None, window: Window) -> Sum:
    """Return the sum that must hold, with the age of its proof."""
    if seen is None:
        return Sum("–", (), drawing.bar((), "Nothing counted yet"), None, "counting for the first time", "")
    counted = [(one, seen.outcomes.get(one, 0), says) for one, says in PARTS]
    parts = [
        Addend(str(one), shape_of(str(one))[1], number(count), f"/messages?time={window}&outcome={one}", says)
        for one, count, says in counted
        if count or one is not Outcome.UNRESOLVED
    ]
    words = ", ".join(f"{said(str(one))} {number(count)}" for one, count, _ in counted if count)
    bar = drawing.bar([(shape_of(str(one))[1], count) for one, count, _ in counted], words or "Nothing decided")
    corrections = sum(seen.corrections.values())
    return Sum(
        number(seen.steps_due), parts, bar, seen.adds_up if seen.complete else None, proof_of(seen),
        f"Beside it {_corrections(corrections)}" if corrections else "",
    )  # fmt: skip


def _corrections(count: int) -> str:
    if count == 1:
        return "1 correction of what was told; it belongs to no step."
    return f"{number(count)} corrections of what was told; they belong to no step."


def proof_of(seen: Overview) -> str:
    """Return what the proof says of itself."""
    if not seen.complete:
        return "still being counted"
    if not seen.adds_up:
        return f"does not add up: {_difference(seen)}"
    # Of real seconds, also where the shop's days pass in some of them.
    return f"adds up, proved {span(int((time.monotonic() - seen.ready) * SECOND))} ago"


def _difference(seen: Overview) -> str:
    count = abs(seen.difference)
    return f"{number(count)} {'without a message' if seen.difference > 0 else 'messages too many'}"


def health(site: Site, heart: Heart) -> Iterator[Line]:
    """Yield whether work gets done."""
    if heart.look.lag:
        yield Line("Not taken yet", number(heart.look.untaken), "lag")
    waits = heart.look.waits
    yield Line("Due, and waits since", span(waits) if waits else "nothing waits", "waits")
    again = len(heart.look.again)
    if again:
        yield Line("Waiting to be tried again", number(again), "again")
    if heart.last_event is not None:
        yield Line("Newest event", f"{span(max(0, site.now() - heart.last_event))} ago", "last-event")
    yield Line("Rule set in use", short(heart.look.active or "none"))
    yield Line("Store", "answers")


def way_of(way: Way, speed: int = 1) -> Mapping[str, str]:
    """Return how one way out does: what it made of the newest attempts, and how long it takes for a yes."""
    wrong = {says: count for name, says in WRONG.items() if (count := way.outcomes.get(name))}
    tried = sum(count for name, count in way.outcomes.items() if name != "open")
    name = next((icon for start, icon in ICONS.items() if way.provider.startswith(start)), "hook")
    colour, shape, says = ("sent", "sent", "took all") if not wrong else ("expd", "warn", "did not take all")
    if not tried:
        colour, shape, says = "none", "dash", "no answer yet"
    took = [] if way.took is None else [f"half were taken within {span(way.took // speed)}"]
    of_all = [f"{number(count)} {words}" for words, count in wrong.items()]
    more = "; ".join([f"of {counted(tried, 'attempt')} {', '.join(of_all)}"] * bool(of_all) + took)
    return {"name": way.provider, "icon": name, "colour": colour, "shape": shape, "says": says, "more": more}


def beside(seen: Overview | None, window: Window) -> Mapping[str, Any]:
    """Return what is in flight, and what was suppressed and why, as links to their lists."""
    waiting: list[Mapping[str, Any]] = []
    total = 0
    for (state, reason), count in sorted((seen.in_flight if seen else {}).items(), key=lambda one: -one[1].number):
        total += count.number
        word = shape_of(state)[0].capitalize() + (f", {said(reason)}" if reason else "")
        because = f"&reason={reason}" if reason else ""
        waiting.append({"word": word, "count": count, "href": f"/decisions?time=all&outcome=in_flight{because}"})
    suppressed = sorted((seen.suppressed if seen else {}).items(), key=lambda one: -one[1])
    return {
        "in_flight": waiting,
        "in_flight_all": Count(total),
        "suppressed": [
            {
                "word": said(reason).capitalize() or "No reason",
                "count": number(count),
                "href": f"/decisions?time={window}&outcome=suppressed&reason={reason}",
            }
            for reason, count in suppressed
        ],
        "suppressed_all": number(sum(count for _, count in suppressed)),
    }


def figures(site: Site, seen: Overview | None, heart: Heart, window: Window) -> Mapping[str, str]:
    """Return every figure of the page by its name, as its text."""
    found = {one.name: one.value for one in health(site, heart) if one.name}
    for one in flow(site, seen, window):
        found[one.name] = one.value
        found |= {f"{one.name}-{at}": note for at, note in enumerate(one.notes, 1)}
    total = sum_of(seen, window)
    found |= {"proof": total.proof, "sum-due": total.due}
    return found | {f"sum-{part.word}": part.value for part in total.parts}
