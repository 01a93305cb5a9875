"""The keys of the language: those that are built, and those that are known and refused by name."""

from __future__ import annotations

from collections.abc import Mapping

BUILT: Mapping[str, tuple[str, ...]] = {
    "file": ("version", "rules"),
    "rule": (
        "id", "title", "description", "owner", "runbook", "tags", "severity", "status", "params", "when", "to", "then",
        "policy", "expires", "on_unknown",
    ),
    "when": ("event", "missing"),
    "event": ("event", "if", "changed"),
    "missing": (
        "after", "expect", "by", "deadline", "cancel_on", "reschedule_on", "on_repeat", "once", "allowed_lateness",
    ),
    "match": ("event", "if"),
    "param": ("type", "default", "min", "max", "title"),
    "step": ("send", "template", "with"),
    "policy": ("consent",),
}  # fmt: skip
"""By the kind of mapping: its keys."""

LATER: Mapping[str, tuple[str, ...]] = {
    "file": ("imports", "conditions", "tables", "policies", "tests"),
    "rule": (
        "for_each", "topic", "reads", "scores", "stop_on", "stop_if", "update_on", "on_stop", "on_update",
        "raise_severity", "repeat_every", "frequency_cap", "order", "digest", "inhibited_by", "experiment", "budget",
        "moved_from", "state", "rollout",
    ),
    "when": ("threshold", "count", "sequence", "schedule"),
    "event": (),
    "missing": ("match", "prompt"),
    "match": ("match",),
    "param": ("per_customer",),
    "step": ("wait", "stop_if", "ticket", "webhook", "workflow", "if", "as", "retry", "on_failure"),
    "policy": ("quiet_hours", "frequency_cap", "priority"),
}  # fmt: skip
"""Keys of the language that are not built yet: refused by name, never ignored."""

SEVERITIES = ("low", "medium", "high", "critical")
STATUSES = ("draft", "shadow", "live")
LATER_STATUSES = ("canary", "retired")
CONSENTS = ("transactional", "marketing")
PARAM_TYPES = {"int": "long", "number": "double", "duration": "duration", "string": "string", "bool": "boolean"}
"""By the name in a rule: the kind of the contracts."""
