"""A folder that uses every key that is built: the rules of the language's appendix, and a few more."""

from collections.abc import Mapping
from pathlib import Path

from handlers.rules.load import Loaded, load
from schemas import contracts

FOLDER = Path(__file__).parent / "folder"
KNOWN = contracts().by_type


def files() -> dict[str, bytes]:
    return {path.relative_to(FOLDER).as_posix(): path.read_bytes() for path in sorted(FOLDER.rglob("*.yaml"))}


OPTIONAL = ("plan", "mrr_lost", "tier")
"""Values that may be null."""


def sms(*names: str) -> str:
    """A text message that needs some values."""
    shown = (f"{{{{ {name} | default('none') }}}}" if name in OPTIONAL else f"{{{{ {name} }}}}" for name in names)
    return " ".join(["News", *shown]) + "\n"


def text(*names: str) -> str:
    """A text that needs some values, for every other channel."""
    return f"Subject: News\nTitle: News\n\n{sms(*names)}"


TEXTS: Mapping[str, str] = {
    "internal/plan-downgraded": text("mrr_lost", "tier"), "internal/complaint-case": text("subject", "customer"),
    "shop/cart-plain": text("value"), "billing/invoice-overdue": text("amount", "due"),
    "billing/invoice-overdue.de": text("amount", "due"), "billing/card-expired": text("amount"), "billing/card-expired-sms": sms(),
    "internal/card-expired": text(), "shop/delivery-delayed": sms("eta"), "billing/at-risk": text("amount", "plan"),
    "billing/settled": text("amount"), "internal/waitlist": text("sku"), "internal/waitlist-sms": sms("sku"), "shop/cancelled": sms("order"),
}  # fmt: skip


def loaded(changed: Mapping[str, bytes] | None = None, texts: Mapping[str, str] = TEXTS) -> Loaded:
    """The folder, some of its files replaced."""
    return load({**files(), **(changed or {})}, texts, KNOWN)


def edited(file: str, *pairs: tuple[str, str]) -> Loaded:
    """The folder with texts of one file replaced, each of which stands in it once."""
    body = files()[file].decode()
    for old, new in pairs:
        assert body.count(old) == 1, f"{old!r} has to stand once in {file}"
        body = body.replace(old, new)
    return loaded({file: body.encode()})
