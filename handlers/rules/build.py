"""Builds rules from the tree of a file; collects every mistake on the way, and goes on."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from handlers.operators.event import EventOperator
from handlers.operators.missing import MissingOperator
from handlers.rules.conditions import KINDS, Compiled, Scope, compile_value
from handlers.rules.keys import BUILT, CONSENTS, LATER, LATER_STATUSES, PARAM_TYPES, SEVERITIES, STATUSES
from handlers.rules.shape import Shape
from handlers.rules.yaml import Node, Reader
from handlers.templates import Template
from tidings.contract import Contract, Type
from tidings.event import MINUTE
from tidings.rule import Matcher, Operator, Rule, Step

RULE_ID = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
MAX_ID = 100
KEY_KINDS = ("string", "long", "enum", "boolean")


@dataclass
class _Draft:
    """A rule while it is built."""

    params: dict[str, Any] = field(default_factory=dict)
    types: dict[str, Type] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)


def rules_of(
    reader: Reader, root: Node, contracts: Mapping[str, Contract], templates: Mapping[str, Template],
    template_names: frozenset[str],
) -> list[Rule]:  # fmt: skip
    """Return the rules of a file; mistakes become diagnostics of the reader."""
    return _Builder(reader, contracts, templates, template_names).file(root)


class _Builder(Shape):
    """Builds the rules of one file."""

    def __init__(
        self,
        reader: Reader,
        contracts: Mapping[str, Contract],
        templates: Mapping[str, Template],
        template_names: frozenset[str],
    ) -> None:
        super().__init__(reader)
        self.contracts = contracts
        self.templates = templates
        self.template_names = template_names

    # -- files and rules

    def file(self, root: Node) -> list[Rule]:
        """Return the rules of a file; those with mistakes as far as they could be built are left out."""
        if not self.keys(root, "file"):
            return []
        version = root.get("version")
        if version is None or version.value != 1 or isinstance(version.value, bool):
            self.wrong(version or root, "R007", "'version: 1' is needed at the top of the file")
        rules = root.get("rules")
        if rules is None or rules.kind != "list":
            self.wrong(rules or root, "R007", "'rules:' with a list of rules is needed")
            return []
        return [rule for node in rules.items if (rule := self.rule(node)) is not None]

    def rule(self, node: Node) -> Rule | None:
        if not self.keys(node, "rule"):
            return None
        before = len(self.reader.diagnostics)
        name = self.text(node.get("id"), "id", node)
        if name and (RULE_ID.fullmatch(name) is None or len(name) > MAX_ID):
            self.wrong(
                node.get("id") or node, "R006", "an id is lower-case words joined by '-', at most 100 characters"
            )
        owner = self.text(node.get("owner"), "owner", node)
        for optional in ("title", "description", "runbook"):
            if (part := node.get(optional)) is not None:
                self.text(part, optional, node)
        tags = node.get("tags")
        if tags is not None and (tags.kind != "list" or any(tag.kind != "scalar" for tag in tags.items)):
            self.wrong(tags, "R006", "'tags' is a list of words")
        draft = _Draft()
        self.params(node.get("params"), draft)
        when = node.get("when")
        operator, arming = self.when(when, draft) if when is not None else (None, None)
        if when is None:
            self.wrong(node, "R007", "'when' is missing")
        if node.get("to") is None:
            self.wrong(node, "R007", "'to' is missing: customer")
        else:
            self.to(node.get("to"), arming)
        steps, reads = self.steps(node, draft, arming)
        consent = self.consent(node.get("policy"))
        for unused in sorted(set(draft.types) - draft.used) if operator is not None else ():
            place = (node.get("params") or node).get(unused) or node
            self.wrong(place, "R208", f"the parameter '{unused}' is not used", severity="warning")
        expires = self.duration(node.get("expires"), None)
        severity = self.choice(node.get("severity"), SEVERITIES, "medium")
        status = self.choice(node.get("status"), STATUSES, "draft", LATER_STATUSES)
        if node.get("status") is None:
            self.wrong(node, "R007", "'status' is missing: draft, shadow or live")
        on_unknown = self.choice(node.get("on_unknown"), ("resend", "unresolved"), "unresolved")
        found = self.reader.diagnostics[before:]
        if operator is None or arming is None or any(one.severity == "error" for one in found):
            return None
        if isinstance(operator, MissingOperator):
            operator = self.keeping(operator, arming, reads)
        paths = {arming.type: arming.customer} if arming.customer is not None else {}
        return Rule(
            id=name, owner=owner, operator=operator, title=(node.get("title") or node).text, severity=severity,
            status=status, params=draft.params, customer_paths=paths, steps=steps, consent=consent, expires=expires,
            on_unknown=on_unknown, file=self.reader.file, line=node.line,
        )  # fmt: skip

    def keeping(self, operator: MissingOperator, arming: Contract, reads: frozenset[str]) -> MissingOperator:
        """Let the operator keep of its events only what the rule reads."""
        assert isinstance(operator.deadline, Compiled)
        deadline = {path[0] for path in operator.deadline.reads}
        customer = {arming.customer[0]} if arming.customer is not None else set()
        return MissingOperator(
            after=operator.after, expect=operator.expect, deadline=operator.deadline, by=operator.by,
            cancel_on=operator.cancel_on, reschedule_on=operator.reschedule_on, once=operator.once,
            on_repeat=operator.on_repeat, allowed_lateness=operator.allowed_lateness,
            keep=frozenset(deadline | customer | reads),
        )  # fmt: skip

    def params(self, node: Node | None, draft: _Draft) -> None:
        if node is None:
            return
        if node.kind != "map":
            self.wrong(node, "R006", "'params' is a mapping of names")
            return
        for key, spec in node.entries:
            if not self.keys(spec, "param"):
                continue
            kind = self.choice(spec.get("type"), tuple(PARAM_TYPES), "")
            if spec.get("type") is None:
                self.wrong(spec, "R007", f"the parameter '{key.text}' needs a 'type'")
            if not kind:
                continue
            draft.types[key.text] = Type(PARAM_TYPES[kind])  # type: ignore[arg-type]
            bounds = {name: self.param_value(spec.get(name), kind) for name in ("default", "min", "max")}
            value = bounds["default"]
            if kind in ("string", "bool"):
                for name in ("min", "max"):
                    if (bound := spec.get(name)) is not None:
                        self.wrong(bound, "R006", f"a {kind} has no '{name}'")
            if spec.get("default") is None:
                self.wrong(spec, "R007", f"the parameter '{key.text}' needs a 'default'")
            elif value is not None and not isinstance(value, (str, bool)):
                low, high = bounds["min"], bounds["max"]
                if (low is not None and value < low) or (high is not None and value > high):
                    self.wrong(spec.get("default") or spec, "R108", "the default lies outside min and max")
            draft.params[key.text] = value

    def param_value(self, node: Node | None, kind: str) -> Any:
        if node is None:
            return None
        value = node.value
        match kind:
            case "duration":
                return self.duration(node, None)
            case "int":
                good = isinstance(value, int) and not isinstance(value, bool)
            case "number":
                good = not isinstance(value, (str, bool)) and value is not None
            case "bool":
                good = isinstance(value, bool)
            case _:
                good = isinstance(value, str)
        if node.kind != "scalar" or not good:
            self.wrong(node, "R006", f"this is no {kind}")
            return None
        return value

    def to(self, node: Node | None, arming: Contract | None) -> None:
        if node is not None and (node.kind != "scalar" or node.text != "customer"):
            self.wrong(node, "R010", "only 'to: customer' is built so far")
        elif arming is not None and arming.customer is None:
            where = node if node is not None else Node(1, 1, "scalar")
            self.wrong(where, "R106", f"{arming.type} names no customer, so 'to: customer' reaches nobody")

    def consent(self, node: Node | None) -> str:
        if node is None:
            return "transactional"
        if node.kind == "scalar":
            self.wrong(node, "R010", "shared policies are not built yet; write policy: {consent: transactional}")
            return "transactional"
        if not self.keys(node, "policy"):
            return "transactional"
        return str(self.choice(node.get("consent"), CONSENTS, "transactional"))

    # -- operators

    def when(self, node: Node, draft: _Draft) -> tuple[Operator | None, Contract | None]:
        if node.kind != "map":
            self.wrong(node, "R006", "'when' is a mapping: {event: …} or {missing: {…}}")
            return None, None
        operators = [key for key, _ in node.entries if key.text in BUILT["when"]]
        later = [key for key, _ in node.entries if key.text in LATER["when"]]
        for key in later:
            self.wrong(key, "R010", f"'{key.text}' is part of the language, but not built yet")
        if len(operators) > 1:
            names = " and ".join(f"'{key.text}'" for key in operators)
            self.wrong(operators[1], "R006", f"'when' has one operator, not {names}; write a rule for each")
        if later or len(operators) > 1:
            return None, None
        if (missing := node.get("missing")) is not None:
            self.keys(node, "when")
            return self.missing(missing, draft)
        if node.get("event") is not None:
            self.keys(node, "event")
            return self.event(node, draft)
        self.keys(node, "when")
        self.wrong(node, "R007", "'when' needs an operator: event or missing")
        return None, None

    def contract(self, node: Node | None, owner: Node) -> Contract | None:
        name = self.text(node, "event", owner)
        if not name or node is None:
            return None
        contract = self.contracts.get(name)
        if contract is None:
            near = get_close_matches(name, list(self.contracts), 1)
            self.wrong(node, "R005", f"no event contract '{name}'", near[0] if near else None)
        return contract

    def expression(
        self, node: Node | None, contract: Contract, draft: _Draft, expected: Sequence[str] = ()
    ) -> Compiled | None:
        """Compile an expression; its problems become diagnostics at their places in the file."""
        if node is None:
            return None
        if node.kind != "scalar":
            self.wrong(node, "R006", "an expression is needed here")
            return None
        found = compile_value(node.text, Scope(contract.fields, draft.types), expected)
        draft.used |= found.params
        for problem in found.problems:
            line, column = node.place(problem.offset)
            diagnostic = self.reader.at(line, column, problem.code, problem.text, problem.hint, problem.severity)
            self.reader.diagnostics.append(diagnostic)
        return found if found.ok else None

    def matcher(self, node: Node, draft: _Draft) -> tuple[Matcher | None, Contract | None]:
        """Read `name` or `{event: name, if: condition}`."""
        if node.kind == "map":
            self.keys(node, "match")
            contract = self.contract(node.get("event"), node)
            condition_node = node.get("if")
        else:
            contract, condition_node = self.contract(node, node), None
        if contract is None:
            return None, None
        condition = self.expression(condition_node, contract, draft, ("bool",))
        text = condition_node.text if condition_node is not None else ""
        return Matcher(contract.type, contract.topic, condition, text), contract

    def matchers(self, node: Node | None, draft: _Draft) -> list[tuple[Matcher, Contract, Node]]:
        """Read one matcher or a list of them."""
        if node is None:
            return []
        found = []
        for one in node.items if node.kind == "list" else (node,):
            matcher, contract = self.matcher(one, draft)
            if matcher is not None and contract is not None:
                found.append((matcher, contract, one))
        return found

    def event(self, node: Node, draft: _Draft) -> tuple[Operator | None, Contract | None]:
        contract = self.contract(node.get("event"), node)
        if contract is None:
            return None, None
        condition = self.expression(node.get("if"), contract, draft, ("bool",))
        changed = self.changed(node.get("changed"), contract)
        text = (node.get("if") or node).text
        return EventOperator(Matcher(contract.type, contract.topic, condition, text), changed), contract

    def changed(self, node: Node | None, contract: Contract) -> tuple[str, ...]:
        if node is None:
            return ()
        if not contract.is_change:
            self.wrong(node, "R104", f"{contract.type} has no before and after, so nothing in it can be 'changed'")
            return ()
        fields = contract.fields["after"].type.fields
        names = []
        if node.kind == "map" or (node.kind == "list" and not node.items):
            self.wrong(node, "R006", "'changed' is a list of fields, at least one")
        for one in node.items if node.kind == "list" else (node,):
            if one.text in fields:
                names.append(one.text)
            else:
                near = get_close_matches(one.text, list(fields), 1)
                self.wrong(
                    one, "R104", f"{contract.type} has no field '{one.text}' in after", near[0] if near else None
                )
        return tuple(names)

    def missing(self, node: Node, draft: _Draft) -> tuple[Operator | None, Contract | None]:
        if not self.keys(node, "missing"):
            return None, None
        for needed in ("after", "expect", "by", "deadline"):
            if node.get(needed) is None:
                self.wrong(node, "R007", f"'{needed}' is missing")
        after_node = node.get("after")
        after, arming = self.matcher(after_node, draft) if after_node is not None else (None, None)
        expect = self.matchers(node.get("expect"), draft)
        cancel = self.matchers(node.get("cancel_on"), draft)
        moves = self.matchers(node.get("reschedule_on"), draft)
        if after is None or arming is None or after_node is None:
            return None, arming
        for needed, given in (("expect", node.get("expect")), ("by", node.get("by"))):
            if given is not None and given.kind == "list" and not given.items:
                self.wrong(given, "R006", f"'{needed}' is empty: it needs at least one")
        by = self.by(node, [(after, arming, after_node), *expect, *cancel, *moves])
        deadline = self.expression(node.get("deadline"), arming, draft, ("timestamp",))
        self.moves(moves, deadline, arming)
        once = self.flag(node.get("once"))
        if by and node.get("once") is None and by == arming.key:
            text = f"{arming.type} is keyed by {', '.join(by)}: if such a key lives once, say 'once: true'"
            self.wrong(node.get("by") or node, "R210", text, severity="info")
        lateness = self.duration(node.get("allowed_lateness"), MINUTE)
        if deadline is None or not by or not expect:
            return None, arming
        operator = MissingOperator(
            after=after, expect=tuple(m for m, _, _ in expect), deadline=deadline, by=by,
            cancel_on=tuple(m for m, _, _ in cancel), reschedule_on=tuple(m for m, _, _ in moves),
            once=once, on_repeat=self.choice(node.get("on_repeat"), ("keep", "restart"), "keep"),
            allowed_lateness=MINUTE if lateness is None else lateness,
        )  # fmt: skip
        return operator, arming

    def by(self, node: Node, named: Sequence[tuple[Matcher, Contract, Node]]) -> tuple[str, ...]:
        """Check the key: a field of every event that the rule names."""
        keys = node.get("by")
        if keys is None:
            return ()
        names = []
        for one in keys.items if keys.kind == "list" else (keys,):
            for matcher, contract, _ in named:
                found = contract.fields.get(one.text)
                if found is None:
                    near = get_close_matches(one.text, list(contract.fields), 1)
                    self.wrong(
                        one, "R105", f"{matcher.type} has no field '{one.text}' to be a key", near[0] if near else None
                    )
                elif found.type.kind not in KEY_KINDS:
                    self.wrong(one, "R105", f"'{one.text}' of {matcher.type} is {found.type.kind}, which is no key")
                elif found.type.nullable:
                    text = f"'{one.text}' of {matcher.type} may be null; then the rule does not see the event"
                    self.wrong(one, "R203", text, severity="warning")
            names.append(one.text)
        return tuple(dict.fromkeys(names))

    def moves(
        self, moves: Sequence[tuple[Matcher, Contract, Node]], deadline: Compiled | None, arming: Contract
    ) -> None:
        """Check that a reschedule brings a field of the deadline, of the same kind."""
        if deadline is None:
            return
        reads = {path[0] for path in deadline.reads}
        for matcher, contract, node in moves:
            shared = reads & set(contract.fields)
            if not shared:
                text = f"{matcher.type} has none of the fields that the deadline reads ({', '.join(sorted(reads))})"
                self.wrong(node, "R109", text)
            for name in sorted(shared):
                if KINDS[contract.fields[name].type.kind] != KINDS[arming.fields[name].type.kind]:
                    self.wrong(node, "R109", f"'{name}' of {matcher.type} is of another kind than in {arming.type}")

    # -- steps

    def steps(self, rule: Node, draft: _Draft, arming: Contract | None) -> tuple[tuple[Step, ...], frozenset[str]]:
        node = rule.get("then")
        if node is None or node.kind != "list" or not node.items:
            self.wrong(node or rule, "R007", "'then' is a list of steps, as - send: email")
            return (), frozenset()
        reads: set[str] = set()
        steps = [self.step(one, draft, arming, reads) for one in node.items if self.keys(one, "step")]
        return tuple(step for step in steps if step is not None), frozenset(reads)

    def step(self, node: Node, draft: _Draft, arming: Contract | None, reads: set[str]) -> Step | None:
        channel = node.get("send")
        if channel is None:
            if not any(key.text in LATER["step"] for key, _ in node.entries):
                self.wrong(node, "R007", "'send: email' is missing")
            return None
        if channel.text != "email":
            self.wrong(channel, "R010", f"the channel '{channel.text}' is not built yet; email is")
        name = self.text(node.get("template"), "template", node)
        if name and name not in self.template_names:
            near = get_close_matches(name, sorted(self.template_names), 1)
            self.wrong(
                node.get("template") or node, "R121", f"there is no template '{name}'", near[0] if near else None
            )
        data: dict[str, Compiled] = {}
        types: dict[str, Type] = {}
        given = node.get("with")
        if given is not None and given.kind != "map":
            self.wrong(given, "R006", "'with' is a mapping: {name: expression}")
            given = None
        for key, value in given.entries if given is not None else ():
            if arming is None:
                continue
            compiled = self.expression(value, arming, draft)
            if compiled is not None:
                data[key.text] = compiled
                types[key.text] = type_of(compiled)
                reads |= {path[0] for path in compiled.reads}
        self.placeholders(node, name, {key.text: key for key, _ in (given.entries if given is not None else ())})
        return Step("email", name, data, types)

    def placeholders(self, node: Node, name: str, given: Mapping[str, Node]) -> None:
        """Check the template against `with`, both ways."""
        template = self.templates.get(name)
        if template is None:
            return
        for missing in sorted(template.placeholders - set(given)):
            near = get_close_matches(missing, list(given), 1)
            text = f"the template '{name}' needs '{missing}', which 'with' does not give"
            self.wrong(node.get("template") or node, "R122", text, near[0] if near else None)
        for unused in sorted(set(given) - template.placeholders):
            self.wrong(given[unused], "R209", f"the template '{name}' does not use '{unused}'", severity="warning")


def type_of(compiled: Compiled) -> Type:
    """Return the type of an expression's value, for rendering."""
    assert compiled.tree is not None
    if compiled.tree.type is not None:
        return compiled.tree.type
    kinds = {"number": "double", "bool": "boolean", "list": "array"}
    return Type(kinds.get(compiled.kind, compiled.kind if compiled.kind in KINDS.values() else "string"))  # type: ignore[arg-type]
