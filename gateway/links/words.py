"""What a customer reads behind a link, in the language that their browser asks for."""

from __future__ import annotations

import re

TITLES, DONE, BUTTON, AGAIN, BEFORE, AFTER = "titles", "done", "button", "again", "before", "after"
WORDS = {
    "en": {
        TITLES: {
            "ask": "Shall we stop?", "off": "We have stopped", "locked": "These we have to send", "expired": "This link is over",
            "damaged": "This link is damaged", "click": "Nothing was changed", "away": "Please try again in a minute",
        },
        DONE: "Done. It counts from now on.",
        BUTTON: "Stop these messages",
        AGAIN: "Try again",
        BEFORE: {
            "ask": "You get messages from us about:", "off": "You get no more messages from us about:",
            "expired": "Nothing was changed. Links in our mails are good for one year.",
            "damaged": "Nothing was changed. Perhaps a part of the link was lost when it was copied.",
            "click": "What was sent to us was no click on the button of this page.",
            "away": "We could not write down what you chose, so nothing was changed.",
        },
        AFTER: {
            "ask": "Nothing has changed yet. The button ends messages of this kind by mail, SMS and push. Everything else goes on as it is.",
            "off": "One that was on its way at this moment may still arrive. To have these messages again, change it in your account, or write to us. The link in a mail can only end messages.",
            "locked": "We have to tell you these as long as you have an order or a contract with us. Nothing was changed.",
            "expired": "Take the link in a newer mail from us, or write to us.",
            "damaged": "Open it from the mail once more, or write to us.",
        },
    },
    "de": {
        TITLES: {
            "ask": "Sollen wir aufhören?", "off": "Wir haben aufgehört", "locked": "Das müssen wir Ihnen schicken",
            "expired": "Dieser Link ist abgelaufen", "damaged": "Dieser Link ist beschädigt", "click": "Nichts wurde geändert",
            "away": "Bitte versuchen Sie es in einer Minute noch einmal",
        },
        DONE: "Erledigt. Es gilt ab jetzt.",
        BUTTON: "Keine solchen Nachrichten mehr",
        AGAIN: "Noch einmal versuchen",
        BEFORE: {
            "ask": "Sie bekommen Nachrichten von uns über:", "off": "Sie bekommen keine Nachrichten mehr von uns über:",
            "expired": "Nichts wurde geändert. Links in unseren Mails gelten ein Jahr.",
            "damaged": "Nichts wurde geändert. Vielleicht ging beim Kopieren ein Teil des Links verloren.",
            "click": "Was bei uns ankam, war kein Klick auf den Knopf dieser Seite.",
            "away": "Wir konnten nicht festhalten, was Sie gewählt haben; deshalb wurde nichts geändert.",
        },
        AFTER: {
            "ask": "Noch ist nichts geändert. Der Knopf beendet Nachrichten dieser Art per Mail, SMS und Push. Alles andere bleibt, wie es ist.",
            "off": "Eine Nachricht, die gerade unterwegs war, kann noch ankommen. Wenn Sie diese Nachrichten wieder wollen, ändern Sie es in Ihrem Konto, oder schreiben Sie uns. Über den Link in einer Mail lassen sich Nachrichten nur abbestellen.",
            "locked": "Diese Nachrichten müssen wir Ihnen schicken, solange Sie eine Bestellung oder einen Vertrag bei uns haben. Nichts wurde geändert.",
            "expired": "Nehmen Sie den Link aus einer neueren Mail von uns, oder schreiben Sie uns.",
            "damaged": "Öffnen Sie ihn noch einmal aus der Mail, oder schreiben Sie uns.",
        },
    },
}  # fmt: skip
"""By language, and then by what has become of the link: `gateway.links.app` says which there are."""
LANGUAGE = "en"
LONGEST = 200
"""Characters of a header that are looked at."""
RANGE = re.compile(r"\s*([A-Za-z]{1,8})(?:-[A-Za-z0-9-]{1,30})?\s*(?:;\s*q\s*=\s*([01](?:\.[0-9]{0,3})?)\s*)?")


def language_of(accepted: str | None) -> str:
    """Return the language of ours that `Accept-Language` likes best (RFC 9110, 12.5.4); English where it names none."""
    best, found = 0.0, LANGUAGE
    for one in (accepted or "")[:LONGEST].split(","):
        if (match := RANGE.fullmatch(one)) is None or (name := match[1].lower()) not in WORDS:
            continue
        if (weight := float(match[2] or 1)) > best:
            best, found = weight, name
    return found
