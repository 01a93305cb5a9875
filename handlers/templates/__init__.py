"""Texts of messages: one source for every channel, in Jinja's syntax and light Markdown.

`parse` reads a text and refuses what is no part of the language; `Template.check` holds it against the types of its
values; `Template.render` writes one message, complete or not at all. See `docs/templates.md`.
"""

from handlers.templates.faults import (
    MAX_ITEMS,
    MAX_RENDERED,
    MAX_TEXT,
    BadTemplate,
    Blank,
    Problem,
    breaks_line,
)
from handlers.templates.filters import FILTERS
from handlers.templates.languages import LANGUAGE, choose, language_of, sentence_of, shorter_of, spoken, tags
from handlers.templates.template import CHANNELS, Channel, Template, parse

__all__ = [
    "CHANNELS", "FILTERS", "LANGUAGE", "MAX_ITEMS", "MAX_RENDERED", "MAX_TEXT", "BadTemplate", "Blank", "Channel", "Problem",
    "Template", "breaks_line", "choose", "language_of", "parse", "sentence_of", "shorter_of", "spoken", "tags",
]  # fmt: skip
