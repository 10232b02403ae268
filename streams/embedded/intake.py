"""The device door of the embedded Vigil over HTTP: chunks, ward batches, registry."""

from __future__ import annotations

import asyncio
import hmac
import time
import uuid
from itertools import islice
from typing import Final

import msgspec
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp

from console.access import Access, from_other_site, refusal
from engine.frame import NS_PER_S
from engine.kinds import KINDS
from engine.outputs import Reason, Reject
from engine.registry import Binding
from schemas.codec import Decoded, decode
from schemas.wire import MESSAGE_BYTES_MAX
from streams.embedded.journal import JournalError
from streams.embedded.registry_change import RegistryChange, sent_registry
from streams.embedded.stamps import STAMP_NS_MAX
from streams.embedded.vigil import Vigil

REFUSALS_SHOWN_MAX: Final = 20
FORESEEN_MAX: Final = 1_000
"""Chunks of a message looked at for warnings."""
RETRY_AFTER_S: Final = 5
TOKEN_BYTES_MIN: Final = 16
KEY_MAX: Final = 128
ARRIVAL_HEADER: Final = "vigil-arrival-ns"
STAMP_DIGITS_MAX: Final = len(str(STAMP_NS_MAX))
DECODED_HERE_BYTES_MAX: Final = 16 * 2**10
"""Larger messages are decoded in a thread: nobody's page waits for them."""


class _Bind(msgspec.Struct, forbid_unknown_fields=True):
    device: str
    subject: str
    ward: str = ""
    site: str = ""
    by: str = "api"


def _json(body: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(body), status, headers, "application/json")


async def _body(request: Request) -> bytes | None:
    """The request's body; None when it is larger than a message may be."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MESSAGE_BYTES_MAX:
            return None
    return bytes(body)


def _shown(reject: Reject) -> dict[str, object]:
    return {"reason": reject.reason, "device": reject.device, "kind": reject.kind, "detail": reject.detail}


_WRONG_HOST: Final = _json(
    {"error": "without a secret only requests to localhost are answered: set listen.console_password and device_token"}, 421
)
_OTHER_SITE: Final = _json({"error": "this comes from a web page of another site"}, 403)
_NOT_JSON: Final = _json({"error": "send Content-Type: application/json"}, 415)
_TOO_LARGE: Final = _json({"error": f"a message has at most {MESSAGE_BYTES_MAX} bytes: send less at a time"}, 413)


class Intake:
    """POST /v1/chunks (JSON or binary ward batch), GET/PUT /v1/registry, POST /v1/bindings, GET /v1/unbound.

    Two doors. Devices: with a token every chunk must carry `Authorization: Bearer <token>`; without one only this machine is
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
        self._unguarded = Access()
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

    def _no_device(self, request: Request) -> Response | None:
        """Why this request may not bring data, if so."""
        headers = request.headers
        if self._token is not None:
            if hmac.compare_digest(headers.get("authorization", "").encode(), f"Bearer {self._token}".encode()):
                return None
            return _json({"error": "send Authorization: Bearer <device token>"}, 401, {"WWW-Authenticate": "Bearer"})
        if not self._unguarded.names_us(headers):
            return _WRONG_HOST
        return _OTHER_SITE if from_other_site(headers) else None

    def _nobody(self, request: Request) -> Response | None:
        """Why this request may neither see nor change who watches whom, if so."""
        headers = request.headers
        if not self._access.names_us(headers):
            return _WRONG_HOST
        reason = refusal(headers) if request.method not in {"GET", "HEAD"} else ""
        if reason:
            return _NOT_JSON if reason == "json_only" else _OTHER_SITE
        if self._access.admits(headers, request.cookies, time.time()):
            return None
        return _json({"error": "send Authorization: Bearer <console password>"}, 401, {"WWW-Authenticate": "Bearer"})

    async def chunks(self, request: Request) -> Response:
        """Take a message. 202 when it is on disk (with what was refused of it and why), 422 when nothing in it was usable
        (it is kept in quarantine all the same), 413 too large, 503 the disk does not take it: send again."""
        if (no := self._no_device(request)) is not None:
            return no
        payload = await _body(request)
        if payload is None:
            return _TOO_LARGE
        key = request.headers.get("idempotency-key", "")
        if len(key) > KEY_MAX or not key.isascii() or "\0" in key:
            return _json({"error": f"an Idempotency-Key has at most {KEY_MAX} ASCII characters"}, 422)
        arrival_ns: int | None = None
        if self._sender_clock:
            stamp = request.headers.get(ARRIVAL_HEADER, "")
            if not (stamp.isascii() and stamp.isdigit() and len(stamp) <= STAMP_DIGITS_MAX and int(stamp) <= STAMP_NS_MAX):
                return _json({"error": f"this Vigil runs on the sender's clock: send {ARRIVAL_HEADER}, 0 to {STAMP_NS_MAX}"}, 422)
            arrival_ns = int(stamp)
        decoded = decode(payload) if len(payload) <= DECODED_HERE_BYTES_MAX else await run_in_threadpool(decode, payload)
        try:
            offset = await asyncio.wrap_future(self._vigil.telemetry(payload, arrival_ns, key))
        except JournalError as error:
            return _json({"error": str(error)}, 503, {"Retry-After": str(RETRY_AFTER_S)})
        taken = sum(len(block.devices) for block in decoded.blocks)
        refused = [_shown(reject) for reject in decoded.rejects[:REFUSALS_SHOWN_MAX]]
        status = 202 if taken or not decoded.rejects else 422
        answer = {"offset": offset, "chunks": taken, "refused": len(decoded.rejects), "why": refused}
        return _json({**answer, "warnings": self._foreseen(decoded, arrival_ns if arrival_ns is not None else self._vigil.clock())}, status)

    def _foreseen(self, decoded: Decoded, now_ns: int) -> list[dict[str, object]]:
        """What the engine will refuse for a reason that shows already: bound to nobody, or a clock that is wrong. It decides itself, later."""
        engine = self._vigil.core.engine
        found: list[dict[str, object]] = []
        rows = ((block, i) for block in decoded.blocks for i in range(len(block.devices)))
        for block, i in islice(rows, FORESEEN_MAX):
            device, ahead_ns = block.devices[i], int(block.t0_ns[i]) - now_ns
            reason = None
            if engine.registry.subject(device, now_ns) is None:
                reason, detail = (
                    Reason.UNKNOWN_DEVICE,
                    "this device is bound to nobody: bind it in the registry, until then nothing it sends is used",
                )
            elif KINDS[block.kind].timing != "irregular" and not -engine.limits.past_ns <= ahead_ns <= engine.limits.future_ns:
                reason = Reason.TIME_FUTURE if ahead_ns > 0 else Reason.TIME_PAST
                detail = f"t0_ns is {ahead_ns / NS_PER_S:.0f} s from now: UTC nanoseconds since 1970 are wanted; set the clock (NTP)"
            if reason is not None:
                found.append({"reason": reason, "device": device, "kind": block.kind, "detail": detail})
                if len(found) >= REFUSALS_SHOWN_MAX:
                    break
        return found

    async def registry(self, request: Request) -> Response:
        """GET the registry in force; PUT a whole new one (422 with the reason when it contradicts itself, is empty or has unknown fields)."""
        if (no := self._nobody(request)) is not None:
            return no
        if request.method == "GET":
            return _json(self._vigil.core.engine.registry.data)
        raw = await _body(request)
        if raw is None:
            return _TOO_LARGE
        try:
            data = sent_registry(raw)
        except ValueError as error:
            return _json({"error": str(error)}, 422)
        return await self._change(RegistryChange(id=uuid.uuid4().hex, action="replace", by="api", registry=data))

    async def bind(self, request: Request) -> Response:
        """Bind one device from now on."""
        if (no := self._nobody(request)) is not None:
            return no
        raw = await _body(request)
        if raw is None:
            return _TOO_LARGE
        try:
            wish = msgspec.json.decode(raw, type=_Bind, strict=True)
        except msgspec.DecodeError as error:
            return _json({"error": f"send device and subject: {error}"}, 422)
        binding = Binding(wish.device, wish.subject, wish.ward, wish.site)
        return await self._change(RegistryChange(id=uuid.uuid4().hex, action="bind", by=wish.by, binding=binding))

    async def unbound(self, request: Request) -> Response:
        """Devices that send and are bound to nobody."""
        if (no := self._nobody(request)) is not None:
            return no
        registry = self._vigil.core.engine.registry
        return _json([msgspec.structs.asdict(u) for u in self._vigil.figures.unbound if not registry.knows(u.device)])

    async def _change(self, change: RegistryChange) -> Response:
        try:
            await asyncio.wrap_future(self._vigil.change_registry(change))
        except ValueError as error:
            return _json({"error": str(error)}, 422)
        except JournalError as error:
            return _json({"error": str(error)}, 503, {"Retry-After": str(RETRY_AFTER_S)})
        return _json({"ok": True})


def with_console(intake: Intake, console: ASGIApp) -> Starlette:
    """Device door and console on one port; each guards itself."""
    return Starlette(routes=[*intake.routes(), Mount("/", console)])
