"""The frame of an HTML mail: complete in itself, nothing is fetched, light and dark as the reader has it."""

from __future__ import annotations

from babel import Locale

from handlers.templates import escapes

LINK = "color:#1a66c2;text-decoration:underline"
_BODY = (
    "margin:0;padding:0;font-family:-apple-system,BlinkMacSystemFont,'Segoe UI',Roboto,Helvetica,Arial,sans-serif;"
    "font-size:16px;line-height:1.5"
)
_DARK = "@media (prefers-color-scheme:dark){body{background:#16181c;color:#e6e6e6}a{color:#8ab4f8!important}}"
_HIDDEN = "display:none;max-height:0;overflow:hidden;mso-hide:all"


def page(body: str, title: str, preheader: str, locale: Locale) -> str:
    """Return the mail. `body` is markup; `title` and `preheader` are texts."""
    language = str(locale).replace("_", "-")
    direction = "rtl" if locale.text_direction == "rtl" else "ltr"
    before = f'<div style="{_HIDDEN}">{escapes.html(preheader)}</div>\n' if preheader else ""
    return (
        f'<!DOCTYPE html>\n<html lang="{language}" dir="{direction}">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width,initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n<meta name="supported-color-schemes" content="light dark">\n'
        f"<title>{escapes.html(title)}</title>\n"
        f"<style>:root{{color-scheme:light dark}}{_DARK}</style>\n</head>\n"
        f'<body style="{_BODY}">\n{before}'
        f'<div style="max-width:600px;margin:0 auto;padding:24px">\n{body}</div>\n</body>\n</html>\n'
    )
