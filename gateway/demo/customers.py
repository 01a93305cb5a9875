"""The customers of the example shop, and the events that make them known."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from streams.json_events import rfc3339
from tidings.event import Micros
from tidings.person import read_person
from tidings.ports import Scan, Transaction
from tidings.quiet_hours import QuietHours, Window

NIGHT = QuietHours((Window(21 * 60, 8 * 60),), "UTC")
"""When most of the shop's rules are quiet; each customer by their own clock."""


@dataclass(frozen=True)
class Customer:
    """Somebody who buys here."""

    id: str
    name: str
    timezone: str
    facts: Mapping[str, Any]

    @property
    def zone(self) -> ZoneInfo:
        """Their time zone."""
        return ZoneInfo(self.timezone)

    @property
    def place(self) -> str:
        """The city of their zone."""
        return self.timezone.rpartition("/")[2].replace("_", " ")

    def sleeps(self, at: Micros) -> bool:
        """Return whether it is quiet where they live."""
        return NIGHT.is_quiet(at, self.timezone)


def everybody(folder: Path) -> list[Customer]:
    """Return the customers of a shop's folder."""
    found = json.loads((folder / "customers.json").read_text("utf-8"))
    return [Customer(one["customer_id"], one["name"], one["timezone"], one) for one in found]


def registered(known: Collection[str]) -> Transaction[list[Customer]]:
    """Read who has registered in the runs before, besides those that are known."""
    found = []
    for row in (yield Scan("recipients")):
        profile = read_person(row["tenant"], row["recipient"], row).profile
        name, zone = profile.get("name"), profile.get("timezone")
        who = row["recipient"].partition(":")[2]
        if row["recipient"].startswith("customer:") and who not in known and name and zone:
            found.append(Customer(who, name, zone, {"customer_id": who, **profile}))
    return found


def customers(folder: Path, at: Micros) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the events that make the shop's customers known, as of an instant."""
    for person in everybody(folder):
        yield from introduction(person.facts, at)


def introduction(person: Mapping[str, Any], at: Micros) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield what makes one customer known: profile, consent, topics switched off, ids of other systems."""
    name = person["customer_id"]
    profile = {key: person.get(key) for key in ("customer_id", "email", "phone", "name", "locale", "timezone")}
    yield "customer.profile.changed", _event(f"profile-{name}", at, profile)
    for kind in person.get("consent", ()):
        yield (
            "customer.consent.given",
            _event(f"consent-{name}-{kind}", at, {"customer_id": name, "consent_class": kind}),
        )
    for topic in person.get("switched_off", ()):
        off = {"customer_id": name, "topic": topic, "allowed": False}
        yield "customer.preference.changed", _event(f"topic-{name}-{topic}", at, off)
    for foreign in person.get("foreign_ids", ()):
        link = {"foreign_id": foreign, "customer_id": name}
        yield "customer.identity.linked", _event(f"link-{foreign}", at, link)


def snapshot(person: Mapping[str, Any], at: Micros) -> tuple[str, dict[str, Any]]:
    """Return the row of the CRM as a snapshot tells it: what was before is not known, so that nobody is greeted."""
    row = {key: person.get(key) for key in ("first_name", "email", "phone", "tier", "plan")}
    data = {"customer_id": person["customer_id"], "after": row, "before_coverage": "UNKNOWN", "after_coverage": "FULL"}
    return "crm.customer.changed", _event(f"crm-{person['customer_id']}", at, data)


def _event(name: str, at: Micros, data: dict[str, Any]) -> dict[str, Any]:
    return {"id": name, "source": "crm", "time": rfc3339(at), "data": data}
