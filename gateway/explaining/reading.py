"""What the pages that explain look at: the books of a site."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gateway.site import Site
from streams.explaining.books import Books
from tidings.rule import RuleSet


def books_of(site: Site) -> Books:
    """Return what explanations of an installation look at."""
    books = Books(
        site.store, site.codec, site.now, site.tenant, asking=site.ledger.asking, name=site.name, render=site.render,
    )  # fmt: skip
    books.sets.add(site.rules())
    return books


def topics_of(books: Books, rules: RuleSet) -> Callable[[str], Sequence[str]]:
    """Return what gives the topics of a rule; of one that is gone, all."""

    def topics(rule_id: str) -> Sequence[str]:
        rule = rules.by_id.get(rule_id)
        return [one.topic for one in books.archive.by_type.values()] if rule is None else list(rule.topics)

    return topics
