"""The last line of a mail: what it is about, and the link that ends it, for whoever's mailbox shows no button for it.

The words travel in the content, the link beside them; they meet when the mail is composed, so that a mail which goes to
somebody else (a tester) has neither.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape
from typing import Any

WORDS = {
    "en": ("You get this mail because you get messages of this kind from us: “{topic}”.", "No more of these"),
    "de": (
        "Sie bekommen diese Mail, weil Sie Nachrichten dieser Art von uns erhalten: „{topic}“.",
        "Nichts mehr davon",
    ),
}
"""By language: why they get it, and what the link does."""
LANGUAGE = "en"
END = re.compile(r"(?:</div>\s*)?</body>\s*</html>\s*\Z", re.IGNORECASE)
STYLE = "margin:32px 0 0;font-size:13px;line-height:1.4;opacity:.8"


def words(topic: str, locale: str | None) -> Mapping[str, str]:
    """Return the words in the language of a mail. `topic`: what customers read of it, a name or a sentence."""
    why, link = WORDS.get(re.split("[-_]", (locale or LANGUAGE).lower())[0], WORDS[LANGUAGE])
    return {"why": why.format(topic=topic.rstrip(" .")), "link": link}


def ended(content: Mapping[str, Any], link: str) -> dict[str, Any]:
    """Return the content with its footer, in the text and in the HTML; as it is where it has no words for one, or no text."""
    said, text, page = content.get("footer"), content.get("text"), content.get("html")
    if not isinstance(said, Mapping) or not isinstance(text, str):
        return dict(content)
    why, words_of_link = str(said["why"]), str(said["link"])
    found = {**content, "text": f"{text.rstrip()}\n\n--\n{why}\n{words_of_link}: {link}\n"}
    if isinstance(page, str) and page:
        line = f'<p style="{STYLE}">{escape(why)} <a href="{escape(link)}" style="color:inherit">{escape(words_of_link)}</a></p>\n'
        end = END.search(page)
        at = len(page) if end is None else end.start()
        found["html"] = page[:at] + line + page[at:]
    return found
