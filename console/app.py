"""The web console: pages, JSON API and the live stream, over whatever backend it is given."""

from __future__ import annotations

import html
import time
from collections.abc import AsyncIterator
from pathlib import Path
from string import Template
from typing import Any, Final
from uuid import uuid4

import msgspec
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from alerts.model import Action, Command, Outcome
from alerts.texts import LANGUAGES
from console import texts
from console.backend import BindCommand, ConsoleBackend, alert_view, history
from console.live import TooManyBrowsers
from streams.intake.access import COOKIE, SESSION_S, Access, Gate

HERE: Final = Path(__file__).parent
HEARTBEAT_S: Final = 2.0
"""Silence on the live stream is broken this often, so that a page can tell a quiet ward from a dead line."""
ENGINE_STALL_MS: Final = 10_000
"""The engine ticks once a second; ten missed ticks are not a pause."""
NAME_CHARS_MAX: Final = 60
NOTE_CHARS_MAX: Final = 500
PAGES: Final = {"/": "board", "/wall": "wall", "/system": "system", "/login": "login"}
THEMES: Final = frozenset({"dark", "light"})
THEME_COOKIE: Final = "vigil_theme"


class _Answer(msgspec.Struct, forbid_unknown_fields=True):
    """Body of POST /api/alerts/{id}/<action>. `id` makes a repeated request harmless; without it one is drawn."""

    by: str
    id: str = ""
    outcome: Outcome | None = None
    note: str = ""


class _Bind(msgspec.Struct, forbid_unknown_fields=True):
    """Body of POST /api/devices/{device}/bind."""

    subject: str
    by: str
    site: str = ""


class _Password(msgspec.Struct, forbid_unknown_fields=True):
    """Body of POST /api/login."""

    password: str


def now_ms() -> int:
    """The wall clock."""
    return time.time_ns() // 1_000_000


def encoded(value: Any, status: int = 200) -> Response:
    """`value` as JSON."""
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def refused(reason: str, status: int) -> Response:
    """A refusal with a reason that the locale files know as "command.<reason>"."""
    return JSONResponse({"ok": False, "reason": reason}, status)


def _tidy(text: str, chars_max: int) -> str:
    """Typed text on one line, without control characters, cut to length."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:chars_max]


def _event(name: str, data: bytes) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + data + b"\n\n"


class _Console:
    """The handlers, around one backend."""

    def __init__(self, backend: ConsoleBackend, access: Access) -> None:
        self._backend = backend
        self._access = access
        self._template = Template((HERE / "page.html").read_text("utf-8"))

    # -- pages ----------------------------------------------------------------------------------------------------

    async def page(self, request: Request) -> Response:
        """One of the pages, in the browser's language and theme."""
        name = PAGES[request.url.path]
        language = texts.choose(request.cookies, request.query_params, request.headers.get("accept-language", ""))
        theme = request.query_params.get("theme", request.cookies.get(THEME_COOKIE, ""))
        words = {key.replace(".", "_"): html.escape(text) for key, text in texts.texts(language).items() if key.startswith("page.")}
        body = self._template.substitute(
            words, page=name, title=words[f"page_{name}"], lang=language, theme=theme if theme in THEMES else "auto"
        )
        return Response(body, media_type="text/html; charset=utf-8", headers={"vary": "accept-language, cookie"})

    async def locale(self, request: Request) -> Response:
        """The texts of one language."""
        for language in LANGUAGES:
            if request.path_params["language"] == language:
                return Response(texts.encoded(language), media_type="application/json")
        return refused("unknown_language", 404)

    # -- reading --------------------------------------------------------------------------------------------------

    async def board(self, _: Request) -> Response:
        """The board now."""
        return encoded(self._backend.board())

    async def alerts(self, _: Request) -> Response:
        """The open alerts, worst first."""
        return encoded(self._backend.board().alerts)

    async def alert(self, request: Request) -> Response:
        """One alert with its history."""
        alert = self._backend.alert(request.path_params["alert_id"])
        if alert is None:
            return refused("unknown_alert", 404)
        return encoded({"alert": alert_view(alert), "history": history(alert)})

    async def system(self, _: Request) -> Response:
        """Accounts, quarantine, devices, sinks."""
        return encoded(self._backend.system())

    async def health(self, _: Request) -> Response:
        """200 while the engine moves and alerts get out; else 503: somebody has to be called. No resident is named."""
        faults = []
        for delivery in self._backend.system().deliveries:
            if delivery.undelivered:
                faults.append(f"sink {delivery.name}: {delivery.undelivered} alerts or audit entries given up")
            if delivery.overdue:
                faults.append(f"sink {delivery.name}: alerts wait to be delivered")
        return self._alive(faults)

    async def live(self, _: Request) -> Response:
        """200 while the engine moves, 503 when it does not: whether a restart would help."""
        return self._alive([])

    def _alive(self, faults: list[str]) -> Response:
        age_ms = self._backend.board().engine_age_ms
        moves = 0 <= age_ms < ENGINE_STALL_MS  # the monotonic clock never goes back: an age below 0 is no age
        why = faults if moves else [f"the engine has not moved for {age_ms / 1000:.0f} s", *faults]
        return encoded({"ok": not why, "engine_age_ms": age_ms, "why": why}, 503 if why else 200)

    async def events(self, _: Request) -> Response:
        """The live stream: a snapshot, then patches, and a ping every HEARTBEAT_S of silence."""
        try:
            mailbox = self._backend.live.join()
        except TooManyBrowsers:
            return refused("too_many_browsers", 503)

        async def stream() -> AsyncIterator[bytes]:
            try:
                yield b"retry: 1000\n\n" + _event("snapshot", msgspec.json.encode(self._backend.board()))
                while not self._backend.live.closed:
                    messages = await mailbox.take(HEARTBEAT_S)
                    if messages is None:
                        yield _event("snapshot", msgspec.json.encode(self._backend.board()))
                    elif messages:
                        yield b"".join(_event("patch", message) for message in messages)
                    else:
                        yield _event("ping", b'{"now_ms":%d,"engine_age_ms":%d}' % (now_ms(), self._backend.board().engine_age_ms))
            finally:
                self._backend.live.leave(mailbox)

        return StreamingResponse(stream(), media_type="text/event-stream", headers={"x-accel-buffering": "no"})

    # -- commands -------------------------------------------------------------------------------------------------

    async def answer(self, request: Request) -> Response:
        """Staff answer an alert: I am going, I am there, it was this."""
        try:
            action = Action(request.path_params["action"])
            body = msgspec.json.decode(await request.body(), type=_Answer)
        except ValueError:  # msgspec.DecodeError is one
            return refused("malformed", 400)
        by = _tidy(body.by, NAME_CHARS_MAX)
        if not by:
            return refused("no_author", 422)
        if action is Action.RESOLVE and body.outcome is None:
            return refused("no_outcome", 422)
        alert_id = request.path_params["alert_id"]
        if self._backend.alert(alert_id) is None:
            return refused("unknown_alert", 404)
        command = Command(
            id=_tidy(body.id, NAME_CHARS_MAX) or uuid4().hex,
            action=action,
            alert_id=alert_id,
            by=by,
            at_ns=time.time_ns(),
            outcome=body.outcome if action is Action.RESOLVE else None,
            note=_tidy(body.note, NOTE_CHARS_MAX),
        )
        result = await self._backend.command(command)
        return encoded(result, 200 if result.ok else 409)

    async def bind(self, request: Request) -> Response:
        """Bind an unbound device."""
        try:
            body = msgspec.json.decode(await request.body(), type=_Bind)
        except msgspec.DecodeError:
            return refused("malformed", 400)
        by = _tidy(body.by, NAME_CHARS_MAX)
        if not by:
            return refused("no_author", 422)
        subject = _tidy(body.subject, NAME_CHARS_MAX)
        result = await self._backend.bind(
            BindCommand(request.path_params["device"], subject, by, time.time_ns(), _tidy(body.site, NAME_CHARS_MAX))
        )
        return encoded(result, 200 if result.ok else 409)

    async def login(self, request: Request) -> Response:
        """Exchange the password for a session cookie."""
        try:
            body = msgspec.json.decode(await request.body(), type=_Password)
            cookie = self._access.sign_in(body.password, time.time())
        except msgspec.DecodeError:
            return refused("malformed", 400)
        except PermissionError:
            return refused("too_many_attempts", 429)
        if cookie is None:
            return refused("wrong_password", 401)
        response = JSONResponse({"ok": True})
        response.set_cookie(COOKIE, cookie, SESSION_S, httponly=True, samesite="strict", secure=self._access.secure_cookie)
        return response


def create_app(backend: ConsoleBackend, access: Access | None = None) -> Starlette:
    """The console as an ASGI app; without `access` it serves loopback only, without a password."""
    rule = access if access is not None else Access()
    console = _Console(backend, rule)
    routes = [
        *(Route(path, console.page) for path in PAGES),
        Route("/events", console.events),
        Route("/locale/{language}.json", console.locale),
        Route("/healthz", console.health),
        Route("/livez", console.live),
        Route("/api/board", console.board),
        Route("/api/alerts", console.alerts),
        Route("/api/alerts/{alert_id}", console.alert),
        Route("/api/alerts/{alert_id}/{action:str}", console.answer, methods=["POST"]),
        Route("/api/devices/{device:path}/bind", console.bind, methods=["POST"]),
        Route("/api/system", console.system),
        Route("/api/login", console.login, methods=["POST"]),
        Mount("/static", StaticFiles(directory=HERE / "static")),
    ]
    return Starlette(routes=routes, middleware=[Middleware(Gate, access=rule)])
