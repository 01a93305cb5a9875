"""What the pages that explain look at: the books of a site, with the codec of its records."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gateway.codec import codec_of
from gateway.site import Site
from streams.codec import Codec
from streams.explaining.books import Books
from tidings.rule import RuleSet


def books_of(site: Site) -> Books:
    """Return what explanations of an installation look at."""
    on_cluster = site.settings is not None and site.settings.on_cluster
    codec = codec_of(site.settings) if on_cluster and site.settings is not None else Codec(site.contracts)
    books = Books(site.store, codec, site.now, site.tenant, name=site.name)
    books.sets.add(site.rules())
    return books


def topics_of(books: Books, rules: RuleSet) -> Callable[[str], Sequence[str]]:
    """Return what gives the topics of a rule; of one that is gone, all."""

    def topics(rule_id: str) -> Sequence[str]:
        rule = rules.by_id.get(rule_id)
        return [one.topic for one in books.archive.by_type.values()] if rule is None else list(rule.topics)

    return topics
