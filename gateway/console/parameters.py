"""What each page takes in its URL. Anything else is refused, as the API refuses it, and with the word that was meant.

A filter that nobody knows would be left out, and the page would show everything: a wrong answer, and no error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from starlette.exceptions import HTTPException
from starlette.requests import Request

from gateway.console import customer
from gateway.console.decisions import WINDOWS, instant
from gateway.console.finding import nearest
from gateway.console.leaving import PARTS
from gateway.console.marks import TIMES
from gateway.console.messages import CHANNELS
from gateway.console.session import SAFE
from streams.ledger.counted import Window
from streams.ledger.rows import Outcome
from tidings.errors import Refusal
from tidings.reasons import Reason

LIVE = "/live/"
"""Asked by pages, with what they were asked themselves."""
MOST_SHOWN = 40
"""Characters of a word that is told back."""
SAID = "an instant is written as the pages show it, 2026-11-27 14:32:08 UTC, or as 2026-11-27T14:32:08+01:00"

ANY: Sequence[str] = ()
INSTANT: Sequence[str] = ("",)
PAGED: Mapping[str, Sequence[str]] = {"before": ANY, "after": ANY}
LISTED: Mapping[str, Sequence[str]] = {
    "time": tuple(WINDOWS), "from": INSTANT, "to": INSTANT, "rule": ANY, "recipient": ANY, "firing": ANY,
    "outcome": tuple(Outcome), "reason": tuple(Reason), "paused": INSTANT, **PAGED,
}  # fmt: skip
TAKES: Mapping[str, Mapping[str, Sequence[str]]] = {
    "/": {"window": tuple(Window), "paused": INSTANT},
    "/decisions": {**LISTED, "event": ANY},
    "/messages": {**LISTED, "channel": CHANNELS},
    "/messages/{name}": {"part": PARTS},
    "/customers/{name:path}": {"ask": ANY, "rule": ANY, "about": ANY, "window": tuple(customer.WINDOWS), **PAGED},
    "/rules": {"after": ANY},
    "/near-misses": {"rule": ANY},
    "/dead-letters": {
        "tab": ("all", "deliveries"), "outcome": (Outcome.FAILED, Outcome.UNRESOLVED), "reason": tuple(Refusal), "record": ANY,
        "before": ANY, "done": ANY,
    },
    "/audit": {"who": ANY, "verb": ANY, "openings": ("1",), **PAGED},
    "/kills": {"kind": ANY, "name": ANY, "done": ANY},
}  # fmt: skip
"""By path of a page and by parameter: its words; `ANY`: whatever stands there, `INSTANT`: a time. A page that is not here
takes what every page takes."""
EVERY: Mapping[str, Sequence[str]] = {"times": TIMES}
SILENT = ("times", "openings", "before", "after", "paused", "done", "record", "ask", "part")
"""Set by links of the page: no filters that somebody would type."""


async def known(request: Request) -> None:
    """Let only parameters through that the page takes, each once, with a word that it knows.

    Raises:
        HTTPException: 400.
    """
    path = request.scope["route"].path
    if request.method not in SAFE or path.startswith(LIVE):
        return
    takes = {**TAKES.get(path, {}), **EVERY}
    seen: set[str] = set()
    for name, value in request.query_params.multi_items():
        why = f"“{name}” is given twice" if name in seen else fault(takes, name, value)
        if why:
            raise HTTPException(400, why)
        seen.add(name)


def fault(takes: Mapping[str, Sequence[str]], name: str, value: str) -> str:
    """Return what is wrong with a parameter, or nothing; a value is not told back, for it may be somebody's address."""
    words = takes.get(name)
    if words is None:
        filters = [one for one in takes if one not in SILENT]
        there = f"its filters are {', '.join(filters)}" if filters else "it has none"
        return f"“{name[:MOST_SHOWN]}” is no filter of this page{_meant(name, list(takes))}; {there}"
    if not value or words is ANY:
        return ""
    if words is INSTANT:
        return "" if instant(value) is not None else f"“{name}” has no time that can be read; {SAID}"
    if value in words:
        return ""
    return f"“{name}” has a word that it does not know{_meant(value, words)}; it knows {', '.join(words)}"


def _meant(word: str, words: Sequence[str]) -> str:
    near = nearest(word[:MOST_SHOWN], words)
    return f", did you mean {near}?" if near else ""
