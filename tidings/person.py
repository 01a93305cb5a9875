"""A recipient as dispatch knows them: profile, consent, links; projected from `customer.*` events, newest wins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tidings import canonical
from tidings.event import Event
from tidings.ports import Row
from tidings.rule import Team

PROFILE_FIELDS = ("email", "phone", "name", "locale", "timezone")

Version = list[Any]
"""`[occurred_at, ref]`: the order of events about one person; a stale one overwrites nothing."""


@dataclass(frozen=True, slots=True)
class Person:
    """What the gates may ask about a recipient: a customer, a team of ours, or a bare address."""

    tenant: str
    recipient: str
    """`customer:<id>`, `team:<name>` or `address:<address>`."""
    known: bool = False
    """Whether any profile event named this customer; whether the team is in the directory."""
    profile: Mapping[str, Any] = field(default_factory=dict)
    consent: Mapping[str, bool] = field(default_factory=dict)
    """By class: given or withdrawn; absent: never asked."""
    preferences: Mapping[str, bool] = field(default_factory=dict)
    """By topic, and by `topic/channel`, which goes first."""
    gone: Mapping[str, str] = field(default_factory=dict)
    """By channel: the address that a provider has called dead; another address is tried again."""
    addresses: Mapping[str, str] = field(default_factory=dict)
    """Of a team: by channel."""
    linked_to: str | None = None
    rev: int = 0

    @property
    def kind(self) -> str:
        """`customer`, `team` or `address`."""
        return self.recipient.partition(":")[0]

    @property
    def timezone(self) -> str | None:
        """IANA name of their zone, where it is known; whether it exists is not checked here."""
        return self.profile.get("timezone")

    @property
    def locale(self) -> str | None:
        """Their language and country, where they are known."""
        return self.profile.get("locale")

    def address(self, channel: str) -> str | None:
        """Return where the channel reaches them, or None."""
        name = self.recipient.partition(":")[2]
        if self.kind == "team":
            return self.addresses.get(channel)
        if self.kind == "address":
            return name or None
        if channel == "push":
            return name if self.known else None
        return self.profile.get(PROFILE_ADDRESS[channel]) if channel in PROFILE_ADDRESS else None

    def agrees_to(self, consent_class: str) -> bool:
        """Return whether messages of this class may reach them.

        What belongs to a contract (`transactional`) goes unless it was withdrawn; everything else needs a yes.
        """
        return self.consent.get(consent_class, consent_class == "transactional")

    def wants(self, topic: str, channel: str) -> bool:
        """Return whether they have not switched the topic off, for this channel or for all."""
        return self.preferences.get(f"{topic}/{channel}", self.preferences.get(topic, True))

    def has_switched_off(self, topic: str) -> bool:
        """Return whether nothing of a topic comes any more, over no channel."""
        still = any(yes for name, yes in self.preferences.items() if name.startswith(f"{topic}/"))
        return not self.preferences.get(topic, True) and not still


PROFILE_ADDRESS = {"email": "email", "sms": "phone"}
"""By channel: where a customer's profile has the address; a push is addressed to the customer."""


def read_person(tenant: str, recipient: str, row: Row | None) -> Person:
    """Return the person of a row of `recipients`."""
    if row is None:
        return Person(tenant, recipient, known=recipient.startswith("address:"))
    body = canonical.loads(row["profile"])
    return Person(
        tenant,
        recipient,
        known="profile" in body or recipient.startswith("address:"),
        profile=body.get("profile", {}).get("d", {}),
        consent={name: entry["given"] for name, entry in body.get("consent", {}).items()},
        preferences={name: entry["allowed"] for name, entry in body.get("preferences", {}).items()},
        gone=body.get("gone", {}),
        linked_to=row["linked_to"],
        rev=row["rev"],
    )


def joined(theirs: Row | None, recipient: str, foreign: Row) -> Row | None:
    """Return a customer's row with what was said under a foreign id that is theirs; None: nothing of it is newer.

    The newest word about a class of consent or a topic counts, under whichever name it was said.
    """
    own = {} if theirs is None else canonical.loads(theirs["profile"])
    other = canonical.loads(foreign["profile"])
    changed = False
    for section, say in (("consent", _consent), ("preferences", _preference)):
        for name, entry in other.get(section, {}).items():
            changed = say(own.setdefault(section, {}), name, entry) or changed
    if not changed:
        return None
    return {
        "tenant": foreign["tenant"], "recipient": recipient, "linked_to": None if theirs is None else theirs["linked_to"],
        "profile": canonical.dumps(own), "next_at": None if theirs is None else theirs["next_at"],
        "rev": 1 if theirs is None else theirs["rev"] + 1,
    }  # fmt: skip


def as_team(person: Person, team: Team | None) -> Person:
    """Return the recipient `team:…` as the directory knows it."""
    if team is None:
        return replace(person, known=False)
    profile = {"timezone": team.timezone, "locale": team.locale, "name": team.title or team.name}
    return replace(person, known=True, profile=profile, addresses=team.addresses)


def without_address(row: Row, channel: str, address: str) -> Row:
    """Return a recipient's row that says: this address is dead."""
    body = canonical.loads(row["profile"])
    body["gone"] = {**body.get("gone", {}), channel: address}
    return {**row, "profile": canonical.dumps(body), "rev": row["rev"] + 1}


def recipient_named(event: Event) -> str | None:
    """Return the recipient whose row a `customer.*` event changes, or None where it changes none."""
    name = "foreign_id" if event.type == "customer.identity.linked" else "customer_id"
    value = event.data.get(name)
    return f"customer:{value}" if event.type.startswith("customer.") and value is not None else None


def link_of(event: Event) -> str | None:
    """Return the customer to whom an event links a foreign id, or None."""
    return f"customer:{event.data['customer_id']}" if event.type == "customer.identity.linked" else None


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
        said = {"v": version, "given": event.type == "customer.consent.given"}
        if not _consent(body.setdefault("consent", {}), event.data["consent_class"], said):
            return None
    elif event.type == "customer.preference.changed":
        channel = event.data.get("channel")
        name = event.data["topic"] if channel is None else f"{event.data['topic']}/{channel}"
        said = {"v": version, "allowed": event.data["allowed"]}
        if not _preference(body.setdefault("preferences", {}), name, said):
            return None
    elif event.type == "customer.identity.linked":
        if not _newer(version, body.get("link")):
            return None
        body["link"] = {"v": version}
        linked = link_of(event)
    else:
        return None
    return {
        "tenant": event.tenant, "recipient": recipient, "linked_to": linked, "profile": canonical.dumps(body),
        "next_at": None if row is None else row["next_at"], "rev": 1 if row is None else row["rev"] + 1,
    }  # fmt: skip


def _consent(known: dict[str, Any], name: str, said: Mapping[str, Any]) -> bool:
    """Put a word about a class of consent among those that are known; return whether it is news."""
    if not _newer(said["v"], known.get(name)):
        return False
    known[name] = said
    return True


def _preference(known: dict[str, Any], name: str, said: Mapping[str, Any]) -> bool:
    """Put a word about `topic` or `topic/channel` among those that are known; return whether it is news."""
    topic, _, channel = name.partition("/")
    if not _newer(said["v"], known.get(name)) or not _newer(said["v"], known.get(topic)):
        return False
    if not channel:
        # Who switches everything off means everything, also what they once allowed for one channel.
        for one in [one for one in known if one.startswith(f"{name}/")]:
            if _newer(said["v"], known[one]):
                del known[one]
    known[name] = said
    return True


def _newer(version: Version, known: Mapping[str, Any] | None) -> bool:
    return known is None or version > known["v"]
