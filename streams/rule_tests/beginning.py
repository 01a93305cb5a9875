"""`given`: the time at which a test begins, the parameters, the customers and the teams."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any
from zoneinfo import available_timezones

from handlers.rules.conditions import parse_duration
from handlers.rules.yaml import Broken, Node, Reader
from streams.rule_tests.sheet import Sheet
from tidings.event import Event, Micros
from tidings.person import PROFILE_FIELDS
from tidings.quiet_hours import is_zone
from tidings.rule import Rule, RuleSet, Team

CUSTOMER = (*PROFILE_FIELDS, "email_opt_in", "consent", "preferences", "foreign_ids")
CONSENTS = ("transactional", "marketing")
TEAM = ("title", "email", "sms", "slack", "teams", "timezone", "locale")
MAX_CUSTOMERS = 1_000


@dataclass
class Beginning:
    """What is so before the first entry of the timeline."""

    now: Micros
    params: dict[str, Any] = field(default_factory=dict)
    people: tuple[Event, ...] = ()
    zones: tuple[str, ...] = ()
    teams: dict[str, Team] = field(default_factory=dict)


def read(
    sheet: Sheet, node: Node | None, rule: Rule | None, files: Mapping[str, bytes], rules: RuleSet | None
) -> Beginning | None:
    """Read `given`; None where the time is missing."""
    if node is None or not sheet.keys(node, ("now", "params", "customers", "teams")):
        return None
    now_node = node.get("now")
    if now_node is None:
        sheet.wrong(node, "R007", "'now' is missing: the time at which the test begins, as 2026-03-05T10:00:00Z")
    now = sheet.instant(now_node, 0)
    params = _params(sheet, node.get("params"), rule, files)
    people: list[Event] = []
    zones: dict[str, None] = {}
    for number, (key, one) in enumerate(sheet.entries(node.get("customers"), "'customers'")):
        if number >= MAX_CUSTOMERS:
            sheet.wrong(key, "R002", f"more than {MAX_CUSTOMERS} customers")
            break
        people += _customer(sheet, key, one, now or 0, rules, zones)
    teams = {key.text: _team(sheet, key.text, one) for key, one in sheet.entries(node.get("teams"), "'teams'")}
    return None if now is None else Beginning(now, params, tuple(people), tuple(zones), teams)


# -- customers and teams


def _customer(
    sheet: Sheet, key: Node, node: Node, now: Micros, rules: RuleSet | None, zones: dict[str, None]
) -> list[Event]:
    """Return the events that made a customer known. What the test does not say has a value that reaches them."""
    name = key.text
    if node.kind == "scalar" and node.value is None:
        node = Node(node.line, node.column, "map")  # `c-1:` alone is a customer with nothing particular
    if not sheet.keys(node, CUSTOMER):
        return []
    letters = "".join(letter if letter.isalnum() and letter.isascii() else "-" for letter in name)
    usual = {"email": f"{letters or 'x'}@customers.example", "phone": "+491510000000", "name": name}
    profile: dict[str, Any] = {"customer_id": name, **dict.fromkeys(PROFILE_FIELDS), **usual}
    for field_name in PROFILE_FIELDS:
        if (value := node.get(field_name)) is not None:
            null = value.kind == "scalar" and value.value is None
            profile[field_name] = None if null else sheet.text(value, field_name)
    zone = _zone(sheet, node.get("timezone"))
    if zone is not None:
        zones[zone] = None
    told = [("customer.profile.changed", profile)]
    for consent, given in _consents(sheet, node).items():
        kind = "customer.consent.given" if given else "customer.consent.withdrawn"
        told.append((kind, {"customer_id": name, "consent_class": consent}))
    for topic, value in sheet.entries(node.get("preferences"), "'preferences'"):
        base, _, channel = topic.text.partition("/")
        if rules is not None and base not in rules.notice_topics:
            sheet.unknown(topic, f"there is no topic '{base}' in topics.yaml", rules.notice_topics)
        allowed = sheet.flag(value)
        said = {"customer_id": name, "topic": base, "channel": channel or None, "allowed": allowed is not False}
        told.append(("customer.preference.changed", said))
    foreign = (sheet.text(one, "foreign_ids") for one in sheet.items(node.get("foreign_ids"), "'foreign_ids'"))
    told += [("customer.identity.linked", {"customer_id": name, "foreign_id": one}) for one in foreign if one]
    before = now - 1  # what the timeline says at the beginning itself is newer
    return [_event(kind, f"{name}/{number}", before, data) for number, (kind, data) in enumerate(told)]


def _event(kind: str, name: str, at: Micros, data: dict[str, Any]) -> Event:
    return Event(
        ref=f"given:{name}", tenant="default", source="given", id=name, type=kind, occurred_at=at, data=data,
        topic=f"{kind}.v1", partition=0, offset=-1, appended_at=at,
    )  # fmt: skip


def _zone(sheet: Sheet, node: Node | None) -> str | None:
    if node is None or node.value is None or node.kind != "scalar":
        return None
    if not is_zone(node.text):
        sheet.unknown(
            node, f"'{node.text}' is no time zone, as in Europe/Berlin; unknown is written null", available_timezones()
        )
        return None
    return node.text


def _consents(sheet: Sheet, node: Node) -> dict[str, bool]:
    """Return the consent of a customer by class: a list of what they agreed to, or a mapping; or the opt-in to mail."""
    found: dict[str, bool] = {}
    if (opted := sheet.flag(node.get("email_opt_in"))) is not None:
        found["marketing"] = opted
    consent = node.get("consent")
    if consent is not None and consent.kind == "list":
        return found | {name: True for one in consent.items if (name := sheet.choice(one, "consent", CONSENTS))}
    for key, value in sheet.entries(consent, "'consent'"):
        given = sheet.flag(value)
        if sheet.choice(key, "consent", CONSENTS) is not None and given is not None:
            found[key.text] = given
    return found


def _team(sheet: Sheet, name: str, node: Node) -> Team:
    if not sheet.keys(node, TEAM):
        return Team(name)
    texts = {key.text: sheet.text(value, key.text) or "" for key, value in node.entries if key.text in TEAM}
    _zone(sheet, node.get("timezone"))
    addresses: dict[str, str] = {
        channel: texts[channel] for channel in ("email", "sms", "slack", "teams") if channel in texts
    }
    return Team(name, texts.get("title", ""), addresses, texts.get("timezone"), texts.get("locale"))


# -- parameters


def _params(sheet: Sheet, node: Node | None, rule: Rule | None, files: Mapping[str, bytes]) -> dict[str, Any]:
    """Return the parameters that the test sets, checked as the rule declares them."""
    found: dict[str, Any] = {}
    if rule is None:
        return found
    declared = _declared(rule, files)
    for key, value in sheet.entries(node, "'params'"):
        if key.text not in rule.params:
            sheet.unknown(key, f"the rule '{rule.id}' has no parameter '{key.text}'", rule.params)
            continue
        spec = declared.get(key.text)
        kind = "" if spec is None or (one := spec.get("type")) is None else one.text
        wanted = _param(value, kind)
        if wanted is None:
            sheet.wrong(value, "R006", f"this is no {kind or 'value'}, which the parameter '{key.text}' is")
            continue
        low, high = (_bound(spec, name, kind) for name in ("min", "max"))
        if (low is not None and wanted < low) or (high is not None and wanted > high):
            sheet.wrong(value, "R108", f"this lies outside min and max of the parameter '{key.text}'")
        found[key.text] = wanted
    return found


def _declared(rule: Rule, files: Mapping[str, bytes]) -> dict[str, Node]:
    """Return how the rule's file declares its parameters: a rule that is loaded keeps their values only."""
    try:
        root = Reader(rule.file, files[rule.file]).read()
    except (Broken, KeyError):
        return {}
    rules = root.get("rules")
    for one in rules.items if rules is not None else ():
        if (name := one.get("id")) is not None and name.text == rule.id:
            params = one.get("params")
            return {key.text: value for key, value in params.entries} if params is not None else {}
    return {}


def _param(node: Node, kind: str) -> Any:
    value = node.value
    if node.kind != "scalar" or value is None:
        return None
    match kind:
        case "duration":
            return 0 if node.text == "0" else parse_duration(node.text)
        case "int":
            return value if isinstance(value, int) and not isinstance(value, bool) else None
        case "number":
            return value if isinstance(value, (int, Fraction)) and not isinstance(value, bool) else None
        case "bool":
            return value if isinstance(value, bool) else None
        case _:
            return value if isinstance(value, str) else None


def _bound(spec: Node | None, name: str, kind: str) -> Any:
    if kind in ("string", "bool") or spec is None or (node := spec.get(name)) is None:
        return None
    return _param(node, kind)
