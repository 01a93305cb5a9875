"""The keys of the language: those that are built, and those that are known and refused by name."""

from __future__ import annotations

from collections.abc import Mapping

BUILT: Mapping[str, tuple[str, ...]] = {
    "file": ("version", "imports", "conditions", "policies", "rules"),
    "shared": ("version", "imports", "conditions", "policies"),
    "condition": ("on", "if"),
    "rule": (
        "id", "title", "description", "owner", "runbook", "tags", "severity", "raise_severity", "status", "params", "when",
        "reads", "to", "topic", "policy", "then", "stop_on", "on_stop", "expires", "on_unknown",
    ),
    "raise": ("if", "to"),
    "when": ("event", "missing"),
    "event": ("event", "if", "changed", "allowed_lateness"),
    "missing": (
        "after", "expect", "by", "deadline", "cancel_on", "reschedule_on", "on_repeat", "once", "allowed_lateness",
    ),
    "match": ("event", "if"),
    "stop": ("event", "match", "if"),
    "param": ("type", "default", "min", "max", "title"),
    "reading": ("entity", "id"),
    "to": ("customer", "team", "address"),
    "step": ("send", "ticket", "webhook", "workflow", "template", "with", "if", "retry", "on_failure"),
    "all_clear": ("send", "template", "with", "retry", "on_failure"),
    "retry": ("max", "backoff", "max_backoff"),
    "policy": ("consent", "quiet_hours"),
    "quiet_hours": ("start", "end", "days", "windows", "timezone", "if_unknown", "on_quiet", "bypass"),
    "window": ("start", "end", "days"),
    "teams": ("version", "teams"),
    "team": ("title", "email", "sms", "slack", "teams", "timezone", "locale"),
    "targets": ("version", "tickets", "webhooks", "workflows"),
    "target": ("url", "secret"),
    "topics": ("version", "topics"),
    "topic": ("sentence", "locked"),
}  # fmt: skip
"""By the kind of mapping: its keys."""

LATER: Mapping[str, tuple[str, ...]] = {
    "file": ("tables", "tests"),
    "shared": ("tables",),
    "rule": (
        "for_each", "scores", "stop_if", "update_on", "on_update", "repeat_every", "frequency_cap", "order", "digest",
        "inhibited_by", "experiment", "budget", "moved_from", "state", "on_past_deadline", "rollout",
    ),
    "when": ("threshold", "count", "sequence", "schedule"),
    "missing": ("match", "prompt"),
    "match": ("match",),
    "param": ("per_customer",),
    "step": ("wait", "stop_if", "as"),
    "policy": ("frequency_cap", "priority", "on_unknown"),
    "team": ("on_call",),
}  # fmt: skip
"""Keys of the language that are not built yet: refused by name, never ignored."""

SEVERITIES = ("low", "medium", "high", "critical")
STATUSES = ("draft", "shadow", "live")
LATER_STATUSES = ("canary", "retired")
CONSENTS = ("transactional", "marketing")
PARAM_TYPES = {"int": "long", "number": "double", "duration": "duration", "string": "string", "bool": "boolean"}
"""By the name in a rule: the kind of the contracts."""
DAYS = {
    "mon": (0,), "tue": (1,), "wed": (2,), "thu": (3,), "fri": (4,), "sat": (5,), "sun": (6,),
    "weekdays": (0, 1, 2, 3, 4), "weekends": (5, 6),
}  # fmt: skip
LATER_DAYS = ("holiday",)
SENDS = ("email", "sms", "push", "slack", "teams")
MACHINES = {"ticket": "tickets", "webhook": "webhooks", "workflow": "workflows"}
"""Steps that trigger another system, with the part of targets.yaml that names it."""
