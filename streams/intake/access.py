"""Access to the console: password, sessions, and rules for browsers."""

from __future__ import annotations

import hashlib
import hmac
import time
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE: Final = "vigil_session"
SESSION_S: Final = 30 * 86_400
"""A session lasts a month, so that a wall display rarely needs signing in."""
LOGIN_ATTEMPTS: Final = 10
LOGIN_WINDOW_S: Final = 60.0
"""At most LOGIN_ATTEMPTS wrong passwords a minute over all clients: too slow to guess a password, and no lockout lasts long."""
BODY_BYTES_MAX: Final = 16_384
LOOPBACK_HOSTS: Final = frozenset({"localhost", "127.0.0.1", "::1"})
OPEN_PATHS: Final = ("/login", "/api/login", "/static/", "/locale/", "/healthz", "/livez")

SECURITY_HEADERS: Final = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


class Access:
    """Decides which requests the console answers.

    Without a password the console answers only requests that name a loopback host (so that a web page elsewhere cannot
    reach it by a DNS name of its own). With one, a browser signs in once and keeps a cookie; programs send
    `Authorization: Bearer <password>`.
    """

    def __init__(self, password: str | None = None, *, secure_cookie: bool = False) -> None:
        if password is not None and len(password) < 8:
            raise ValueError(f"the console password must have at least 8 characters, got {len(password)}: choose a longer one")
        self._password = password.encode() if password is not None else None
        # Derived from the password, not random: a restart must not end the wall display's session, a new password must.
        self._key = hmac.digest(self._password, b"vigil console session", "sha256") if self._password is not None else b""
        self._failures: list[float] = []
        self.secure_cookie = secure_cookie

    @property
    def guarded(self) -> bool:
        """Whether a password is required."""
        return self._password is not None

    def admits(self, headers: Headers, cookies: dict[str, str], now_s: float) -> bool:
        """Whether the request carries the password or a live session."""
        if self._password is None:
            return True
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and token:
            return hmac.compare_digest(hashlib.sha256(token.encode()).digest(), hashlib.sha256(self._password).digest())
        return self._session_lives(cookies.get(COOKIE, ""), now_s)

    def names_us(self, headers: Headers) -> bool:
        """Whether the Host header names this console (without a password: a loopback host). ValueError when it is `malformed`."""
        return self._password is not None or (urlsplit("//" + headers.get("host", "")).hostname or "") in LOOPBACK_HOSTS

    def sign_in(self, password: str, now_s: float) -> str | None:
        """A session cookie for the right password, None for a wrong one; PermissionError when there were too many."""
        self._failures = [t for t in self._failures if 0 <= now_s - t < LOGIN_WINDOW_S]
        if len(self._failures) >= LOGIN_ATTEMPTS:
            raise PermissionError("too many wrong passwords: wait a minute")
        if self._password is None or not hmac.compare_digest(
            hashlib.sha256(password.encode()).digest(), hashlib.sha256(self._password).digest()
        ):
            self._failures.append(now_s)
            return None
        until = str(int(now_s) + SESSION_S)
        return f"{until}.{self._sign(until)}"

    def _sign(self, until: str) -> str:
        return hmac.new(self._key, until.encode(), hashlib.sha256).hexdigest()

    def _session_lives(self, cookie: str, now_s: float) -> bool:
        until, _, signature = cookie.partition(".")
        if not until.isascii() or not until.isdigit() or not hmac.compare_digest(signature.encode(), self._sign(until).encode()):
            return False
        return now_s < int(until)


def malformed(headers: Headers) -> str:
    """The header that cannot be read as an address, Host or Origin; "" when both can."""
    for name, prefix in (("host", "//"), ("origin", "")):
        try:
            urlsplit(prefix + headers.get(name, ""))
        except ValueError:
            return name
    return ""


def refusal(headers: Headers) -> str:
    """Why a POST is refused ("" when it is not): it comes from another site, or is not JSON."""
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        return "json_only"
    return "other_site" if from_other_site(headers) else ""


def from_other_site(headers: Headers) -> bool:
    """Whether a browser sends this on behalf of a page of another site."""
    if headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        return True
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc.lower() != headers.get("host", "").lower()


class Gate:
    """ASGI middleware: security headers on every response, access by `Access`, POST only from the console's own pages or a program."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
                # Scripts may be cached but are revalidated (ETag), so that no page runs an old one after an update.
                headers.setdefault("cache-control", "no-cache" if scope["path"].startswith("/static/") else "no-store")
            await send(message)

        answer = self._check(Request(scope))
        await (answer or self._app)(scope, receive, send_guarded)

    def _check(self, request: Request) -> Response | None:
        if malformed(request.headers):
            return JSONResponse({"error": "malformed"}, 400)
        path = request.url.path
        if not self._access.names_us(request.headers):
            return JSONResponse({"error": "wrong_host"}, 421)
        if request.method not in {"GET", "HEAD"}:
            reason = refusal(request.headers)
            if reason:
                return JSONResponse({"error": reason}, 415 if reason == "json_only" else 403)
            length = request.headers.get("content-length", "")
            if not length.isdigit() or int(length) > BODY_BYTES_MAX:
                return JSONResponse({"error": "too_large"}, 413)
        if path.startswith(OPEN_PATHS) or self._access.admits(request.headers, request.cookies, time.time()):
            return None
        if path.startswith("/api/") or path == "/events" or request.method != "GET":
            return JSONResponse({"error": "sign_in"}, 401, headers={"www-authenticate": "Bearer"})
        return RedirectResponse("/login", 303)
