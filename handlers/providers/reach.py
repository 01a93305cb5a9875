"""Why a server was not reached, in words of ours: libraries say it differently, and repeat the address."""

from __future__ import annotations

import errno
import re
import socket
import ssl

NOBODY_LISTENS = "nobody listens there"
NO_NAME = "there is no such name"
NO_WAY = "no way leads there"
NO_ANSWER = "no answer in time"
NO_TRUST = "its certificate is not trusted"
NO_TLS = "it does not speak TLS as configured"
BY_NUMBER = {
    errno.ECONNREFUSED: NOBODY_LISTENS,
    errno.EHOSTUNREACH: NO_WAY,
    errno.ENETUNREACH: NO_WAY,
    errno.ETIMEDOUT: NO_ANSWER,
}
UNREACHED = frozenset({NO_NAME, NO_TRUST, NO_TLS, *BY_NUMBER.values()})
"""Everything that can be said; nothing in it was chosen by somebody outside."""
NUMBER = re.compile(r"\[Errno (\d+)\]")
DEEPEST = 8


def unreached(fault: BaseException) -> str | None:
    """Return what was the matter, looked for in an exception and its causes; None where it is something else."""
    seen: BaseException | None = fault
    for _ in range(DEEPEST):
        if seen is None:
            break
        if (found := _named(seen)) is not None:
            return found
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
    return None


def _named(fault: BaseException) -> str | None:
    if isinstance(fault, socket.gaierror):
        return NO_NAME
    if isinstance(fault, ssl.SSLCertVerificationError):
        return NO_TRUST
    if isinstance(fault, ssl.SSLError):
        return NO_TLS
    if isinstance(fault, OSError):
        # asyncio tries every address of a name, and tells several faults in one text, without a number.
        numbers = {fault.errno} if fault.errno else set(map(int, NUMBER.findall(str(fault))))
        if len(numbers) == 1 and (found := BY_NUMBER.get(numbers.pop())) is not None:
            return found
    return NO_ANSWER if isinstance(fault, TimeoutError) else None
