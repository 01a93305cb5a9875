"""A recipient as dispatch knows them: profile, consent, links; projected from `customer.*` events, newest wins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tidings import canonical
from tidings.event import Event
from tidings.ports import Row

PROFILE_FIELDS = ("email", "phone", "name", "locale", "timezone")

Version = list[Any]
"""`[occurred_at, ref]`: the order of events about one person; a stale one overwrites nothing."""


@dataclass(frozen=True, slots=True)
class Person:
    """What the gates may ask about a recipient."""

    tenant: str
    recipient: str
    known: bool = False
    """Whether any profile event named this customer."""
    profile: Mapping[str, Any] = field(default_factory=dict)
    consent: Mapping[str, bool] = field(default_factory=dict)
    """By class: given or withdrawn; absent: never asked."""
    linked_to: str | None = None
    rev: int = 0

    def address(self, channel: str) -> str | None:
        """Return where the channel reaches them, or None."""
        return self.profile.get({"email": "email"}[channel])

    def agrees_to(self, consent_class: str) -> bool:
        """Return whether messages of this class may reach them.

        What belongs to a contract (`transactional`) goes unless it was withdrawn; everything else needs a yes.
        """
        return self.consent.get(consent_class, consent_class == "transactional")


def read_person(tenant: str, recipient: str, row: Row | None) -> Person:
    """Return the person of a row of `recipients`."""
    if row is None:
        return Person(tenant, recipient)
    body = canonical.loads(row["profile"])
    return Person(
        tenant,
        recipient,
        known="profile" in body,
        profile=body.get("profile", {}).get("d", {}),
        consent={name: entry["given"] for name, entry in body.get("consent", {}).items()},
        linked_to=row["linked_to"],
        rev=row["rev"],
    )


def recipient_named(event: Event) -> str | None:
    """Return the recipient whose row a `customer.*` event changes, or None where it changes none."""
    name = "foreign_id" if event.type == "customer.identity.linked" else "customer_id"
    value = event.data.get(name)
    return f"customer:{value}" if event.type.startswith("customer.") and value is not None else None


def changed_row(recipient: str, row: Row | None, event: Event) -> Row | None:
    """Return the recipient's row after a `customer.*` event, or None where the event is stale or says nothing."""
    body = {} if row is None else canonical.loads(row["profile"])
    linked = None if row is None else row["linked_to"]
    version: Version = [event.occurred_at, event.ref]
    if event.type == "customer.profile.changed":
        if not _newer(version, body.get("profile")):
            return None
        body["profile"] = {"v": version, "d": {name: event.data.get(name) for name in PROFILE_FIELDS}}
    elif event.type in ("customer.consent.given", "customer.consent.withdrawn"):
        consent = body.setdefault("consent", {})
        name = event.data["consent_class"]
        if not _newer(version, consent.get(name)):
            return None
        consent[name] = {"v": version, "given": event.type == "customer.consent.given"}
    elif event.type == "customer.identity.linked":
        if not _newer(version, body.get("link")):
            return None
        body["link"] = {"v": version}
        linked = f"customer:{event.data['customer_id']}"
    else:
        return None
    return {
        "tenant": event.tenant, "recipient": recipient, "linked_to": linked, "profile": canonical.dumps(body),
        "next_at": None if row is None else row["next_at"], "rev": 1 if row is None else row["rev"] + 1,
    }  # fmt: skip


def _newer(version: Version, known: Mapping[str, Any] | None) -> bool:
    return known is None or version > known["v"]
