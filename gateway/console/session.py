"""Who sits before the console, and whether a form comes from a page of ours.

On loopback, while the store holds no key, the console is open to whoever uses this machine, and to nobody else: the peer
is loopback, the request names a loopback host (a name that is rebound to 127.0.0.1 is another one), and no proxy stands
between. Else a sign-in takes a key and gives a cookie: signed, HttpOnly, SameSite=Strict, Secure but on loopback, for
twelve hours, and only while the key is good. Signing out ends the session in every process over the store: a copy of its
cookie is none.
"""

from __future__ import annotations

import hmac
import json
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from urllib.parse import parse_qsl, urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from gateway.access.door import Door
from gateway.access.keys import Principal
from streams.embedded import wall_clock
from tidings.event import HOUR, Micros

LASTS: Micros = 12 * HOUR
COOKIE = "tidings"
BOUND = f"__Host-{COOKIE}"
"""Its name over TLS: no neighbour of the host, and no page without TLS, can set one of that name."""
LONGEST_COOKIE = 512
MAX_FORM = 64 * 1024
MAX_FIELDS = 50
SAFE = ("GET", "HEAD")
LOOKS = ("/find",)
"""Takes a form only so that what is typed stands in no URL; changes nothing, and pages of errors have it too."""
FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class Session:
    """One request's place: who asks, and what binds its forms."""

    principal: Principal
    binding: str
    """What is the same for all pages of one session."""


@dataclass
class Entrance:
    """Lets people in."""

    door: Door
    secret: bytes
    """Signs cookies and forms. Drawn by a process, sessions end with it; several processes share one."""
    now: Callable[[], Micros] = wall_clock
    """The real one, also where the shop's runs fast."""
    secure: bool = False
    """It is reached over TLS, which a proxy ends: the cookie goes nowhere else."""

    @property
    def name(self) -> str:
        """Return the name of the cookie."""
        return BOUND if self.secure else COOKIE

    async def enter(self, request: Request) -> None:
        """Set `request.state.session` and, of what changes something, `request.state.form`.

        Raises:
            HTTPException: 401 nobody is signed in, 403 the request does not come from a page of ours, 413, 415.
        """
        session = await self._session(request)
        if session is None:
            raise HTTPException(401)
        request.state.session = session
        if request.method not in SAFE:
            looks = request.url.path in LOOKS
            request.state.form = await (fields_of(request) if looks else self.form(request, session.binding))

    async def lasts(self, request: Request) -> bool:
        """Return whether who began to look may go on.

        Raises:
            StoreUnavailable: it cannot be said now.
        """
        try:
            return await self._session(request) is not None
        except HTTPException:
            return False

    async def end(self, session: Session) -> None:
        """Let its cookie be none from now on.

        Raises:
            StoreUnavailable: it goes on.
        """
        await self.door.keys.sign_out(session.binding, self.now() + LASTS)

    async def _session(self, request: Request) -> Session | None:
        if await self.door.is_open():
            guest = await self.door.guest(request)
            if guest is None:
                raise HTTPException(
                    403, "without keys the console is open to this machine only, under a name of its own"
                )
            return Session(guest, "local")
        found = self._read(request.cookies.get(self.name, ""))
        if found is None:
            return None
        key_id, binding = found
        holder = await self.door.of_session(key_id, binding)
        return None if holder is None else Session(holder, binding)

    async def form(self, request: Request, binding: str) -> Mapping[str, str]:
        """Return the fields of a form of ours; of a name used twice the last.

        Raises:
            HTTPException: as `enter`.
        """
        found = await fields_of(request)
        if not hmac.compare_digest(found.pop("csrf", "").encode(), self.csrf(binding).encode()):
            raise HTTPException(403, "the form is too old; load the page again")
        return found

    def csrf(self, binding: str) -> str:
        """Return what every form of a session carries."""
        return self._mac(f"csrf:{binding}")

    def cookie(self, key_id: str) -> str:
        """Return the value of a new session's cookie."""
        body = json.dumps([key_id, self.now(), secrets.token_hex(8)], separators=(",", ":")).encode()
        coded = urlsafe_b64encode(body).decode().rstrip("=")
        return f"{coded}.{self._mac(f'session:{coded}')}"

    def _read(self, cookie: str) -> tuple[str, str] | None:
        """Return the key's id and the binding of a cookie that is ours and not over."""
        coded, _, proof = cookie.partition(".")
        if not coded or len(cookie) > LONGEST_COOKIE or not cookie.isascii():
            return None
        if not hmac.compare_digest(proof, self._mac(f"session:{coded}")):
            return None
        try:
            key_id, since, nonce = json.loads(urlsafe_b64decode(coded + "=" * (-len(coded) % 4)))
        except (ValueError, NotBase64):
            return None
        if not 0 <= self.now() - int(since) < LASTS:
            return None
        return str(key_id), str(nonce)

    def _mac(self, text: str) -> str:
        raw = hmac.digest(self.secret, f"tidings/console/1:{text}".encode(), sha256)
        return urlsafe_b64encode(raw).decode().rstrip("=")


def principal(request: Request) -> Principal:
    """Return who asks."""
    session: Session = request.state.session
    return session.principal


def require(scope: str) -> Callable[[Request], Awaitable[None]]:
    """Return the dependency that lets only those through who may; its `scope` says which it asks for."""

    async def allowed(request: Request) -> None:
        if not principal(request).may(scope):
            raise HTTPException(403, f"this needs the scope {scope}")

    allowed.scope = scope  # type: ignore[attr-defined]
    return allowed


async def fields_of(request: Request) -> dict[str, str]:
    """Return the fields of a form that a page of this host has sent.

    Raises:
        HTTPException: 400, 403, 413, 415.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        raise HTTPException(415)
    if not same_origin(request):
        raise HTTPException(403, "the form comes from another site, or neither over TLS nor from this machine")
    body = await request.body()
    if len(body) > MAX_FORM:
        raise HTTPException(413)
    try:
        return dict(parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict"))
    except ValueError:
        raise HTTPException(400) from None


def fields(request: Request) -> Mapping[str, str]:
    """Return the form that was posted; it comes from a page of ours."""
    found: Mapping[str, str] = request.state.form
    return found


def sign_in(entrance: Entrance, response: Response, key_id: str) -> None:
    """Give the cookie."""
    response.set_cookie(
        entrance.name, entrance.cookie(key_id), max_age=LASTS // 1_000_000, path="/", secure=entrance.secure,
        httponly=True, samesite="strict",
    )  # fmt: skip


async def sign_out(entrance: Entrance, request: Request, response: Response) -> None:
    """End the session, and take the cookie away."""
    await entrance.end(request.state.session)
    response.delete_cookie(entrance.name, path="/", secure=entrance.secure, httponly=True, samesite="strict")


def same_origin(request: Request) -> bool:
    """Return whether the browser says that the request comes from a page of this host.

    Our pages give no referrer, and with that browsers call their origin `null`; but over TLS and on loopback they say
    in `Sec-Fetch-Site`, which no page can set, whose page it was. Who says neither is not believed.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = request.headers.get("origin", "null")
    return urlsplit(origin).netloc == request.headers.get("host")
