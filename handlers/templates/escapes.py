"""What each channel takes for markup, and how a text is kept from being it."""

from __future__ import annotations

import re

CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
CARRIAGE = re.compile(r"\r\n?")
HTML = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&#34;", "'": "&#39;"})
SLACK = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "*": "\u2217", "~": "\u223c", "`": "\u02cb"})
"""Three signs have an escape in mrkdwn. The others have none, so a sign that looks alike stands in for them."""
SLACK_QUOTE = re.compile(r"^([ \t]*)>", re.MULTILINE)
SLACK_UNDERSCORE = re.compile(r"(?<![^\W_])_|_(?![^\W_])")
"""Between two letters an underscore is none: identifiers stay as they are and can be copied."""
SLACK_EMOJI = re.compile(r":(?=[a-z0-9_+'-]{1,100}:)", re.IGNORECASE)
TEAMS = re.compile(r"[\\`*_{}\[\]()<>#|~&!]")
TEAMS_LINE = re.compile(r"^[ \t]*(?:([-+=.])|([0-9]{1,9})([.]))", re.MULTILINE)
TEAMS_INDENT = re.compile(r"^[ \t]+|[ \t]+$", re.MULTILINE)


def plain(text: str) -> str:
    """Return the text with line feeds and tabs, and no other control characters."""
    if text.isprintable():
        return text
    return CONTROLS.sub("", CARRIAGE.sub("\n", text))


def html(text: str) -> str:
    """Return the text for HTML, inside elements and inside quoted attributes."""
    return plain(text).translate(HTML)


def slack(text: str) -> str:
    """Return the text for Slack's mrkdwn: no emphasis, link, mention, quotation or emoji code comes out of it."""
    text = SLACK_QUOTE.sub("\\1\u203a", plain(text))
    text = SLACK_EMOJI.sub(":\u200b", text)
    return SLACK_UNDERSCORE.sub("\u02cd", text.translate(SLACK))


def teams(text: str) -> str:
    """Return the text for the Markdown of Adaptive Cards; braces too, as cards know `{{DATE(…)}}`."""
    text = TEAMS_INDENT.sub(lambda match: " " if match.group() else "", plain(text))
    text = TEAMS.sub(lambda match: f"\\{match.group()}", text)
    return TEAMS_LINE.sub(_line, text)


def _line(match: re.Match[str]) -> str:
    sign, figures, dot = match.groups()
    return f"\\{sign}" if sign else f"{figures}\\{dot}"
