"""In which zone customers live, for pages that show times as their clocks do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gateway.site import Site
from tidings.person import read_person
from tidings.ports import Read, Transaction


async def zones_of(site: Site, recipients: Iterable[str]) -> Mapping[str, str]:
    """Return the zones that are known, by recipient; teams have theirs in the rules."""
    whom = sorted(set(recipients))
    found = {f"team:{team.name}": team.timezone for team in site.rules().teams.values() if team.timezone is not None}

    def body() -> Transaction[Mapping[str, str]]:
        rows = yield Read("recipients", [(site.tenant, one) for one in whom])
        people = [read_person(site.tenant, recipient, row) for (_, recipient), row in rows.items()]
        return {one.recipient: one.timezone for one in people if one.timezone is not None}

    return {**found, **await site.store.read(body)} if whom else found
