"""Where requests may go: a guard against server-side request forgery.

URLs are configured by people of ours, yet names resolve as their owners like. So the *address* is checked in the
moment in which the socket is made, after every resolution: a name that resolves to a public address for the check and
to 127.0.0.1 for the connection (rebinding) gains nothing, and an IP literal, which asks no resolver, neither.
`is_global` alone is not enough: it is true for NAT64, 6to4 and `::127.0.0.1`, through which private addresses are
reached. Of IPv6, therefore, only plain global unicast without any embedded address is allowed.
"""

from __future__ import annotations

import re
import socket
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address
from typing import Any

from yarl import URL

LONGEST = 2048
UNSAFE = re.compile("[\x00-\x20\x7f-\x9f\\\\<>\"'`{}|^]")
V4_REFUSED = tuple(map(IPv4Network, ("192.0.0.0/24", "192.88.99.0/24")))
"""Protocol assignments; the relays of 6to4."""
V6_UNICAST = IPv6Network("2000::/3")
V6_REFUSED = tuple(map(IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "5f00::/16")))
"""Teredo and other assignments, documentation, 6to4, documentation, segment routing."""


class Forbidden(OSError):
    """A place to which nothing is sent; the text says why, without the URL."""


def checked(url: str, *, allow_loopback: bool = False) -> URL:
    """Return a URL that may be asked: https; http only where `allow_loopback`, and then only to this machine.

    Raises:
        Forbidden: it may not.
    """
    if len(url) > LONGEST or UNSAFE.search(url):
        raise Forbidden("the URL is too long, or holds characters that no URL has")
    try:
        found = URL(url)
        host, port = found.host, found.port
    except ValueError:
        raise Forbidden("the URL cannot be read") from None
    if not host or port is None:
        raise Forbidden("the URL names no host")
    if found.user is not None or found.password is not None:
        raise Forbidden("the URL holds a name or a password before its host; write it as a secret of its own")
    if found.fragment:
        raise Forbidden("the URL has a fragment (#…)")
    if found.scheme != "https" and not (found.scheme == "http" and allow_loopback):
        raise Forbidden("the URL is not https")
    return found


def refused(address: str, *, allow_loopback: bool = False, loopback_only: bool = False) -> str | None:
    """Return why nothing is sent to an IP address, or None."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return f"{address[:60]!r} is no IP address"
    loopback = found.is_loopback
    if loopback and allow_loopback:
        return None
    if loopback_only:
        return "http goes to this machine only"
    if isinstance(found, IPv4Address):
        good = found.is_global and not found.is_multicast and not any(found in network for network in V4_REFUSED)
    else:
        good = found in V6_UNICAST and found.is_global and not any(found in network for network in V6_REFUSED)
    return None if good else f"{found} is no public address"


class Sockets:
    """Makes sockets for one request, to allowed addresses only; remembers a refusal."""

    def __init__(self, url: URL, *, allow_loopback: bool) -> None:
        self.allow_loopback = allow_loopback
        self.loopback_only = url.scheme == "http"
        self.refusal: str | None = None

    def __call__(self, info: tuple[Any, ...]) -> socket.socket:
        """Return a socket for one result of the resolution."""
        family, kind, protocol, _, place = info
        why = refused(str(place[0]), allow_loopback=self.allow_loopback, loopback_only=self.loopback_only)
        if why is not None:
            self.refusal = why
            raise Forbidden(why)
        return socket.socket(family, kind, protocol)
