"""The HTTP API of the embedded Vigil for devices: chunks, ward batches, registry."""

from __future__ import annotations

import asyncio
import hmac
import time
import uuid
from typing import Final

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp

from engine.registry import Binding
from streams.embedded.vigil import Vigil
from streams.intake.access import Access, refusal
from streams.intake.http_api import (
    NO_TOKEN,
    OTHER_SITE,
    TOKEN_BYTES_MIN,
    TOO_LARGE,
    WRONG_HOST,
    accepted,
    json_response,
    read_body,
    read_message,
    refuse_malformed,
    refuse_remote,
    unavailable,
    warnings_for,
)
from streams.pipeline.registry_change import RegistryChange, sent_registry
from streams.storage.journal import JournalError


class _Bind(msgspec.Struct, forbid_unknown_fields=True):
    device: str
    subject: str
    ward: str = ""
    site: str = ""
    by: str = "api"


_NOT_JSON: Final = json_response({"error": "send Content-Type: application/json"}, 415)


class DeviceApi:
    """POST /v1/chunks (JSON or binary ward batch), GET/PUT /v1/registry, POST /v1/bindings, GET /v1/unbound.

    Two rules of entry. Devices: with a token every chunk must carry `Authorization: Bearer <token>`; without one only this machine is
    answered, and no web page of another site. Registry: who watches whom is decided by people, so the console's rule of entry
    (`access`) holds, and a device's token opens nothing there.

    A chunk request with an `Idempotency-Key` may be sent again without harm. `sender_clock`: records are stamped with the header
    Vigil-Arrival-Ns instead of the wall clock (recordings, accelerated simulation).
    """

    def __init__(self, vigil: Vigil, *, access: Access, token: str | None = None, sender_clock: bool = False) -> None:
        if token is not None and len(token) < TOKEN_BYTES_MIN:
            raise ValueError(f"the device token must have at least {TOKEN_BYTES_MIN} characters, got {len(token)}: choose a longer one")
        self._vigil = vigil
        self._access = access
        self._token = token
        self._sender_clock = sender_clock

    def routes(self) -> list[Route]:
        """For the ASGI app."""
        return [
            Route("/v1/chunks", self.chunks, methods=["POST"]),
            Route("/v1/registry", self.registry, methods=["GET", "PUT"]),
            Route("/v1/bindings", self.bind, methods=["POST"]),
            Route("/v1/unbound", self.unbound, methods=["GET"]),
        ]

    def _refuse_device(self, request: Request) -> Response | None:
        """Why this request may not bring data, if so."""
        if (no := refuse_malformed(request)) is not None:
            return no
        headers = request.headers
        if self._token is not None:
            if hmac.compare_digest(headers.get("authorization", "").encode(), f"Bearer {self._token}".encode()):
                return None
            return NO_TOKEN
        return refuse_remote(request)

    def _refuse_person(self, request: Request) -> Response | None:
        """Why this request may neither see nor change who watches whom, if so."""
        if (no := refuse_malformed(request)) is not None:
            return no
        headers = request.headers
        if not self._access.names_us(headers):
            return WRONG_HOST
        reason = refusal(headers) if request.method not in {"GET", "HEAD"} else ""
        if reason:
            return _NOT_JSON if reason == "json_only" else OTHER_SITE
        if self._access.admits(headers, request.cookies, time.time()):
            return None
        return json_response({"error": "send Authorization: Bearer <console password>"}, 401, {"WWW-Authenticate": "Bearer"})

    async def chunks(self, request: Request) -> Response:
        """Store a message. 202 when it is on disk (with what was refused of it and why), 422 when nothing in it was usable
        (it is kept in quarantine all the same), 413 too large, 503 the disk does not take it: send again."""
        if (no := self._refuse_device(request)) is not None:
            return no
        message = await read_message(request, sender_clock=self._sender_clock)
        if isinstance(message, Response):
            return message
        try:
            offset = await asyncio.wrap_future(self._vigil.telemetry(message.payload, message.arrival_ns, message.key))
        except JournalError as error:
            return unavailable(error)
        engine, now_ns = self._vigil.core.engine, message.arrival_ns if message.arrival_ns is not None else self._vigil.clock()
        warnings = warnings_for(message.decoded, now_ns, lambda device: engine.registry.subject(device, now_ns) is not None, engine.limits)
        return accepted(message.decoded, {"offset": offset}, warnings)

    async def registry(self, request: Request) -> Response:
        """GET the registry in force; PUT a whole new one (422 with the reason when it contradicts itself, is empty or has unknown fields)."""
        if (no := self._refuse_person(request)) is not None:
            return no
        if request.method == "GET":
            return json_response(self._vigil.core.engine.registry.data)
        raw = await read_body(request)
        if raw is None:
            return TOO_LARGE
        try:
            data = sent_registry(raw)
        except ValueError as error:
            return json_response({"error": str(error)}, 422)
        return await self._change(RegistryChange(id=uuid.uuid4().hex, action="replace", by="api", registry=data))

    async def bind(self, request: Request) -> Response:
        """Bind one device from now on."""
        if (no := self._refuse_person(request)) is not None:
            return no
        raw = await read_body(request)
        if raw is None:
            return TOO_LARGE
        try:
            wish = msgspec.json.decode(raw, type=_Bind, strict=True)
        except msgspec.DecodeError as error:
            return json_response({"error": f"send device and subject: {error}"}, 422)
        binding = Binding(wish.device, wish.subject, wish.ward, wish.site)
        return await self._change(RegistryChange(id=uuid.uuid4().hex, action="bind", by=wish.by, binding=binding))

    async def unbound(self, request: Request) -> Response:
        """Devices that send and are bound to nobody."""
        if (no := self._refuse_person(request)) is not None:
            return no
        registry = self._vigil.core.engine.registry
        return json_response([msgspec.structs.asdict(u) for u in self._vigil.statistics.unbound if not registry.knows(u.device)])

    async def _change(self, change: RegistryChange) -> Response:
        try:
            await asyncio.wrap_future(self._vigil.change_registry(change))
        except ValueError as error:
            return json_response({"error": str(error)}, 422)
        except JournalError as error:
            return unavailable(error)
        return json_response({"ok": True})


def with_console(intake: DeviceApi, console: ASGIApp) -> Starlette:
    """Device API and console on one port; each checks its own requests."""
    return Starlette(routes=[*intake.routes(), Mount("/", console)])
