"""Types and values that the tests of templates share."""

from typing import Any

from handlers.templates import BadTemplate, parse
from tidings.contract import Field, Type

ITEM = Type("record", fields={
    "name": Field("name", Type("string")), "price": Field("price", Type("money")),
    "note": Field("note", Type("string", nullable=True)),
})  # fmt: skip
PLAN = Type("record", fields={
    "level": Field("level", Type("long")), "since": Field("since", Type("timestamp", nullable=True)),
    "price": Field("price", Type("money")),
})  # fmt: skip
TYPES = {
    "name": Type("string"), "id": Type("string"), "count": Type("long"), "at": Type("timestamp"), "span": Type("duration"),
    "price": Type("money"), "plan": PLAN, "ratio": Type("double"), "paid": Type("boolean"),
    "status": Type("enum", symbols=("open", "late", "paid")), "items": Type("array", item=ITEM),
    "tags": Type("array", item=Type("string")), "note": Type("string", nullable=True),
    "maybe": Type("record", nullable=True, fields=PLAN.fields), "labels": Type("map", item=Type("string")),
}  # fmt: skip
VALUES: dict[str, Any] = {
    "name": "Ada", "id": "inv-7", "count": 3, "at": 1_774_744_200_000_000, "span": 7_200_000_000,
    "price": {"amount_minor": 12_000, "currency": "EUR"}, "ratio": "4/5", "paid": True, "status": "open",
    "plan": {"level": 2, "since": 0, "price": {"amount_minor": 900, "currency": "EUR"}},
    "items": [
        {"name": "Tea", "price": {"amount_minor": 450, "currency": "EUR"}, "note": None},
        {"name": "Cup", "price": {"amount_minor": 1250, "currency": "EUR"}, "note": "blue"},
    ],
    "tags": ["new", "warm"], "note": None, "maybe": None, "labels": {"a": "x"},
}  # fmt: skip


def email(
    body: str, values: dict[str, Any] | None = None, locale: str | None = "en_GB", zone: str | None = None
) -> Any:
    """Return a rendered mail with this body."""
    return parse(f"Subject: s\n\n{body}").render("email", VALUES | (values or {}), TYPES, locale, zone)


def sms(body: str, values: dict[str, Any] | None = None, locale: str | None = "en_GB") -> str:
    """Return the text of a text message with this body: nothing but Jinja is read in it."""
    text = parse(body).render("sms", VALUES | (values or {}), TYPES, locale)["text"]
    assert isinstance(text, str)
    return text


def part(html: str) -> str:
    """Return what stands inside the frame of a mail."""
    return html.partition('padding:24px">\n')[2].partition("</div>\n</body>")[0].strip()


def refused(text: str) -> BadTemplate:
    """Return why a text is refused."""
    try:
        parse(text)
    except BadTemplate as bad:
        return bad
    raise AssertionError(text)
