"""`/rules`, `/rules/{id}`: mistakes first, then what each rule reads, fires and tells; its text with what each line did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from gateway.console.finding import no_rule
from gateway.console.pages import Pages
from gateway.console.standing import Attention, Standing
from gateway.explaining.reading import books_of
from gateway.explaining.rule_files import Files, RuleFolder
from gateway.site import Site
from streams.explaining.lines import Did
from streams.explaining.source import read_files, source_of
from tidings.rule import Rule

SHOWN = 100
"""Rules of one page."""
MISTAKES = 20
LONGEST_ID = 200


@dataclass(frozen=True)
class Row:
    """One rule of the list."""

    rule: Rule
    did: Did | None


def routes(site: Site, pages: Pages) -> APIRouter:
    """Return the pages."""
    router = APIRouter()
    books = books_of(site)
    counting = pages.counting
    folder = None if site.folder is None else RuleFolder(site.folder)
    pages.standings.add(lambda: _refused(site))

    @router.get("/rules")
    async def listing(request: Request, after: str = "") -> Response:
        rules = await books.active()
        files = None if folder is None else await folder.look()
        ordered = sorted(rules.rules, key=lambda one: one.id)
        ordered = [one for one in ordered if one.id > after]
        rows = [Row(one, counting.known(rules, one.id)) for one in ordered[:SHOWN]]
        response = pages.render(
            request, "rules.html", here="/rules", rows=rows, files=files, rules=rules, count=_counted(rules.rules),
            mistakes=_shown(files), refused=list(site.refused())[:MISTAKES], same=files is None or files.digest in (None, rules.hash),
            older=ordered[SHOWN - 1].id if len(ordered) > SHOWN else None,
        )  # fmt: skip
        reading = folder is not None and files is None
        return again_soon(response, missing=reading or any(row.did is None for row in rows))

    @router.get("/rules/{name}")
    async def one(name: str, request: Request) -> Response:
        rules = await books.active()
        rule = rules.by_id.get(name[:LONGEST_ID])
        if rule is None:
            raise HTTPException(404, no_rule(name[:LONGEST_ID], list(rules.by_id)))
        found = await counting.of(rules, rule.id)
        source = found.source if found is not None else source_of(rule, await books.reader.read(read_files(rules.hash)))
        files = None if folder is None else await folder.look()
        same = files is not None and files.digest == rules.hash
        tests = await folder.play(files, rule.id) if folder is not None and files is not None and same else None
        waiting = (
            found is None or (folder is not None and files is None) or any(result is None for _, result in tests or ())
        )
        response = pages.render(
            request, "rule.html", here="/rules", rule=rule, did=found, source=source, tests=tests, files=files, same=same,
            has_files=folder is not None, rules=rules, passed=sum(result is not None and result.passed for _, result in tests or ()),
            playing=sum(result is None for _, result in tests or ()),
            readers=[other.id for other in rules.rules if other.id != rule.id and other.types & rule.types],
        )  # fmt: skip
        return again_soon(response, missing=waiting)

    return router


async def _refused(site: Site) -> Standing:
    """Return that edited rules are not in use; every page says so, as whoever edited them believes that they are."""
    if not site.refused():
        return Standing()
    says = "Edited rules are not in use: something in them is to be mended. The rules in force before decide."
    return Standing(banners=(Attention("expd", says, "/rules", "See what"),))


def again_soon(response: Response, *, missing: bool) -> Response:
    """Let the browser load a page again whose figures are still being counted: it needs no script."""
    if missing:
        response.headers["refresh"] = "2"
    return response


def _counted(rules: Sequence[Rule]) -> dict[str, int]:
    found = {"live": 0, "shadow": 0, "draft": 0}
    for one in rules:
        found[one.status] += 1
    return found


def _shown(files: Files | None) -> list[tuple[str, list[object]]]:
    """Return the mistakes by file, errors first."""
    found: dict[str, list[object]] = {}
    for one in [] if files is None else files.mistakes[:MISTAKES]:
        if one.severity != "info":
            found.setdefault(one.file, []).append(one)
    return list(found.items())
