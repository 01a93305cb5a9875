"""A fresh installation: three steps, and what `doctor` found. The page moves on by itself when something arrives."""

from __future__ import annotations

import asyncio
import json
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from gateway.console.marks import number
from gateway.console.pages import Pages
from gateway.http.look import Asked
from gateway.site import Site
from schemas.examples import described
from streams.json_events import rfc3339
from tidings.rule import Rule

PATIENCE = 3.0
KEEP = 60.0
"""Seconds: it greets mail servers, which nobody wants asked for every look at a page."""
SHAPES = {"ok": ("sent", "yes"), "note": ("none", "dash"), "wrong": ("dead", "dead")}
LONGEST = 90
KEPT = "Nothing can leave this machine: every message is caught, and shown here as a customer would see it."


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that was looked at."""

    word: str
    says: str
    colour: str
    shape: str


@dataclass
class Empty:
    """The page while nothing has arrived."""

    site: Site

    def __post_init__(self) -> None:
        self._asked: Asked[Sequence[Line]] = Asked(self._look, patience=PATIENCE, keep=KEEP)

    async def page(self, pages: Pages, request: Request) -> Response:
        """Return it."""
        try:
            found = await self._asked()
        except TimeoutError:
            found = [Line("Doctor", "still looking; load the page again", "none", "dash")]
        rule = next((rule for rule in self.site.rules().rules if rule.status == "live"), None)
        settings = self.site.settings
        caught = settings is None or (settings.settings.smtp is None and settings.settings.twilio is None)
        return pages.render(
            request, "empty.html", here="/", found=found, rule=rule, sample=self._sample(request, rule),
            kept=KEPT if caught else "", stream="/live/overview?first=1", paused=None,
        )  # fmt: skip

    def _sample(self, request: Request, rule: Rule | None) -> dict[str, str]:
        """Return a request that can be pasted: the example of a contract that a rule of theirs names."""
        known = self.site.contracts.by_type
        named = sorted(rule.types) if rule is not None else []
        contract = known[next(kind for kind in [*named, *sorted(known)] if kind in known)]
        event = described(contract, full=False) | {"time": rfc3339(self.site.now())}
        event["id"] = f"{event['id']}-{self.site.now() // 1_000_000}"
        lines = (
            f"curl {shlex.quote(str(request.base_url) + 'v1/events')}",
            "-H 'content-type: application/json'",
            '-H "authorization: Bearer $TIDINGS_KEY"',
            f"-d {shlex.quote(json.dumps(event, ensure_ascii=False))}",
        )
        return {"curl": " \\\n  ".join(lines), "says": f"This one is the example of {contract.type}."}

    async def _look(self) -> Sequence[Line]:
        if self.site.settings is None:
            return list(self._plainly())
        from gateway.cli.doctor import examine

        settings = self.site.settings
        found = await asyncio.to_thread(lambda: list(examine(settings)))
        return [Line(one.what.capitalize(), _short(one.says), *SHAPES[one.state]) for one in found]

    def _plainly(self) -> Iterator[Line]:
        rules = self.site.rules().rules
        good = SHAPES["ok"]
        yield Line("Store", "answers", *good)
        yield Line("Contracts", f"{number(len(self.site.contracts.by_type))} released", *good)
        yield Line("Rules", f"{number(len(rules))} loaded, 0 mistakes", *good)
        for channel in ("E-mail", "SMS", "Push"):
            yield Line(channel, "kept here, not sent", *SHAPES["note"])


def _short(says: str) -> str:
    first = says.partition("\n")[0]
    return first if len(first) <= LONGEST else f"{first[:LONGEST]} …"
