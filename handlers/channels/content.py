"""What a message says: the text of its pinned template, in the language and zone of now, and where it goes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from handlers import templates
from handlers.channels import footer, unsubscribe
from tidings.correction import NOTICE
from tidings.message import Message
from tidings.person import Person
from tidings.rule import MACHINES, RuleSet, Step


@dataclass(frozen=True)
class Contents:
    """Makes the content of messages. `public_url` and `key` are set where customers can reach us."""

    public_url: str | None = None
    key: bytes | None = None

    def __call__(self, rules: RuleSet, message: Message, person: Person) -> Mapping[str, Any]:
        """Return what a channel's composer needs of a message, with the rule set that decided it.

        Raises:
            ValueError: a value is missing, or the text cannot be written; a blank is never sent.
        """
        step = step_of(rules, message)
        content: dict[str, Any] = {}
        if step.template:
            content |= written(rules, step, message, person)
        if step.channel in MACHINES:
            target = rules.targets[step.channel, step.target]
            content["target"] = {"name": target.name, "url": target.url, "secret": target.secret}
            content["data"] = dict(message.body["data"])
        if step.channel == "email" and (link := self._unsubscribe(message, person)) is not None:
            known = rules.notice_topics.get(message.body["topic"])
            locale = templates.spoken(rules.templates, step.template, person.locale)
            content["unsubscribe"] = link
            sentence = "" if known is None else templates.sentence_of(known, locale)
            content["footer"] = footer.words(sentence or message.body["topic"], locale)
        return content

    def _unsubscribe(self, message: Message, person: Person) -> str | None:
        topic = message.body.get("topic")
        if topic is None or self.public_url is None or self.key is None or person.kind != "customer":
            return None
        customer = person.recipient.partition(":")[2]
        # From when the message was made, so that every attempt carries the same link.
        expires_at = message.created_at + unsubscribe.LASTS
        return unsubscribe.link(self.public_url, self.key, person.tenant, customer, topic, expires_at)


def step_of(rules: RuleSet, message: Message) -> Step:
    """Return the step of a message in the rule set that decided it."""
    rule = rules.by_id[message.rule]
    return (rule.steps if message.role == NOTICE else rule.on_stop)[message.step]


def written(rules: RuleSet, step: Step, message: Message, person: Person) -> dict[str, Any]:
    """Return the text of a message; its dates and numbers are in the language of the text.

    Raises:
        ValueError: a value is missing, or the text cannot be written.
    """
    name = templates.choose(rules.templates, step.template, person.locale)
    locale = templates.spoken(rules.templates, step.template, person.locale)
    template = templates.parse(rules.templates[name])
    return template.render(step.channel, message.body["data"], step.types, locale, person.timezone)
