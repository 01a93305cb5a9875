"""The guard of mail headers: the only way from a text to a header line.

Header injection is real on every Python before 3.11.15: a Subject `=?utf-8?q?x=0D=0ABcc:…?=` becomes a `Bcc:` when the
`email` package writes it again (CVE-2024-6923, CVE-2026-1299). Here headers are bytes made by hand; names are a closed
list, control characters are refused raw *and* after RFC 2047 decoding, and what looks like an encoded word is never
written as such.
"""

from __future__ import annotations

import re
from base64 import b64encode
from email.errors import HeaderParseError
from email.header import decode_header
from email.utils import parseaddr

from handlers.channels.wire import Unfit

NAMES = frozenset({
    "From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version", "List-Unsubscribe",
    "List-Unsubscribe-Post", "Content-Type", "Content-Transfer-Encoding",
})  # fmt: skip
LONGEST = 998
"""Characters of a value; of a line, RFC 5322, 2.1.1."""
LINE = 76
CHUNK = 45
"""Bytes of an encoded word: 60 characters of base64, below 75 with its frame (RFC 2047, 2)."""
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
PLAIN = re.compile(r"[\x20-\x7e]*")
ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~ -]*")
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
ADDRESS = re.compile(rf"(?=.{{1,254}}\Z)(?=[^@]{{1,64}}@){_ATOM}(?:\.{_ATOM})*@{_LABEL}(?:\.{_LABEL})*")


def guarded(name: str, value: str) -> str:
    """Return a value that may stand in a header.

    Raises:
        Unfit: the name is not on the list, or the value could become another header.
    """
    if name not in NAMES:
        raise Unfit(f"no header '{name[:40]!r}' is ever written")
    if len(value) > LONGEST:
        raise Unfit(f"{name} is longer than {LONGEST} characters")
    if CONTROL.search(value):
        raise Unfit(f"{name} holds a control character or a line break")
    if "=?" in value and _hidden(value):
        raise Unfit(f"{name} hides a control character in an encoded word")
    return value


def _hidden(value: str) -> bool:
    """Whether a control character shows up once encoded words are decoded, as often as there is something to decode."""
    for _ in range(4):
        try:
            parts = decode_header(value)
        except (HeaderParseError, ValueError):
            return False
        raw = b"".join(part if isinstance(part, bytes) else part.encode("utf-8", "replace") for part, _ in parts)
        decoded = raw.decode("utf-8", "replace")
        if CONTROL.search(decoded) or any(byte < 0x20 for byte in raw):  # noqa: PLR2004 - the first printable one
            return True
        if decoded == value:
            return False
        value = decoded
    return True


def line(name: str, value: str) -> bytes:
    """Return a structured header, whose value is ASCII by its making."""
    return f"{name}: {guarded(name, value)}\r\n".encode("ascii")


def text_line(name: str, value: str) -> bytes:
    """Return an unstructured header: as it is where that is plain and short, else in encoded words."""
    guarded(name, value)
    plain = PLAIN.fullmatch(value) is not None and "=?" not in value and value == value.strip()
    if plain and len(name) + 2 + len(value) <= LINE:
        return f"{name}: {value}\r\n".encode("ascii")
    return f"{name}: {_words(value)}\r\n".encode("ascii")


def _words(value: str) -> str:
    chunks, chunk = [], b""
    for character in value:
        raw = character.encode()
        if len(chunk) + len(raw) > CHUNK:
            chunks.append(chunk)
            chunk = b""
        chunk += raw
    chunks.append(chunk)
    return "\r\n ".join(f"=?utf-8?b?{b64encode(one).decode()}?=" for one in chunks)


def address(value: str) -> str:
    """Return an address that means the same to every reader: no quoting, no comment, no second one.

    Raises:
        Unfit: it is another one after parsing, or none.
    """
    if ADDRESS.fullmatch(value) is None or "=?" in value or parseaddr(value)[1] != value:
        raise Unfit("the address is none that SMTP can carry")
    return value


def mailbox(value: str) -> tuple[str, str]:
    """Return a sender `Small shop <hello@example.org>` as it stands in From, and its address.

    Raises:
        Unfit: it is none.
    """
    guarded("From", value)
    name, _, rest = value.rpartition("<")
    if not rest.endswith(">"):
        return address(value.strip()), value.strip()
    found, name = address(rest[:-1]), name.strip().strip('"')
    if not name:
        return f"<{found}>", found
    if ATOMS.fullmatch(name) and "=?" not in name:
        return f"{name} <{found}>", found
    if PLAIN.fullmatch(name) and "=?" not in name:
        quoted = name.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{quoted}" <{found}>', found
    return f"{_words(name)}\r\n <{found}>", found
