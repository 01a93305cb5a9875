"""Topics that end a mail in another language than its text: they have no sentence in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from handlers.rules.directory import Directory
from handlers.rules.shape import Shape
from handlers.rules.yaml import Reader
from handlers.templates import LANGUAGE, language_of, tags
from tidings.rule import Rule


def unsaid(reader: Reader, directory: Directory, variants: Mapping[str, Sequence[str]], rules: Sequence[Rule]) -> None:
    """Warn, once for each topic and language, in the file of the topics: there it is mended."""
    shape = Shape(reader)
    found: dict[tuple[str, str], str] = {}
    for rule in rules:
        topic = directory.topics.get(rule.topic or "")
        # What is locked cannot be ended, so its mails do not say what they are about.
        if topic is None or topic.locked or topic.name not in directory.sentences:
            continue
        for template, tag in _mails(rule, variants):
            language = next(tags(tag), "").partition("-")[0]
            known = language_of(tag) is not None and language != LANGUAGE
            if known and not any(one in topic.sentences for one in tags(tag)):
                found.setdefault((topic.name, language), template)
    for (name, language), template in found.items():
        text = f"'{name}' has no sentence in '{language}', in which mails of it are written ({template}): they end in English"
        shape.wrong(directory.sentences[name], "R214", text, severity="warning")


def _mails(rule: Rule, variants: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str]]:
    """Yield the templates of a rule's mails that name a language, with its tag."""
    for step in (*rule.steps, *rule.on_stop):
        if step.channel == "email":
            for name in variants.get(step.template, ()):
                if tag := name[len(step.template) + 1 :]:
                    yield name, tag
