"""The HTTP side of ingest: measurements in, `/metrics` and `/healthz` out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from engine.clocks import AdmissionLimits
from schemas.codec import Decoded
from streams.ingest.batcher import whose
from streams.ingest.figures import Figures
from streams.ingest.senders import ANYBODY, Sender, Senders
from streams.ingest.spool import Message, Spool
from streams.ingest.wards import Wards
from streams.intake.http_api import NO_TOKEN, busy, foreseen, json_response, not_from_here, sent, taken
from streams.storage.journal import JournalError

Health = Callable[[], tuple[bool, dict[str, Any]]]

_LIMITS: Final = AdmissionLimits()
_FOREIGN: Final = json_response(
    {"error": "your token is not for the ward of these devices: use that ward's gateway, or add the ward to it"}, 403
)


class HttpDoor:
    """POST /v1/chunks as the embedded Vigil has it, with senders held to their wards (403)."""

    def __init__(self, spool: Spool, senders: Senders, wards: Wards, figures: Figures, health: Health, *, sender_clock: bool) -> None:
        self._spool = spool
        self._senders = senders
        self._wards = wards
        self._figures = figures
        self._health = health
        self._sender_clock = sender_clock
        self.open = True

    def app(self) -> Starlette:
        """The ASGI app."""
        return Starlette(
            routes=[
                Route("/v1/chunks", self.chunks, methods=["POST"]),
                Route("/metrics", self.metrics),
                Route("/healthz", self.healthz),
            ]
        )

    async def chunks(self, request: Request) -> Response:
        """Take a message: 202 when it is on disk, 403 when the sender may speak for none of its devices; else as streams.intake.http_api says."""
        answer = await self._chunks(request)
        if answer.status_code not in {202, 422}:
            self._figures.turned_away.labels(str(answer.status_code)).inc()
        return answer

    async def _chunks(self, request: Request) -> Response:
        sender = self._sender(request)
        if isinstance(sender, Response):
            return sender
        message = await sent(request, sender_clock=self._sender_clock)
        if isinstance(message, Response):
            return message
        now_ns = message.arrival_ns if message.arrival_ns is not None else time.time_ns()
        if self._all_foreign(sender, message.decoded, now_ns):
            return _FOREIGN
        try:
            kept = Message(sender.name, sender.wards, message.key, message.payload)
            offset = await asyncio.wrap_future(self._spool.put(kept, message.arrival_ns))
        except JournalError as error:
            return busy(error)
        self._figures.received.labels("http").inc()
        self._figures.received_bytes.inc(len(message.payload))
        warnings = foreseen(message.decoded, now_ns, lambda device: self._wards.bound(device, now_ns), _LIMITS)
        return taken(message.decoded, {"offset": offset}, warnings)

    def _sender(self, request: Request) -> Sender | Response:
        if not self._senders.guarded:
            return not_from_here(request) or ANYBODY
        return self._senders.by_authorization(request.headers.get("authorization", "")) or NO_TOKEN

    def _all_foreign(self, sender: Sender, decoded: Decoded, now_ns: int) -> bool:
        """Whether every device of the message belongs to a ward that the sender may not speak for. Some of them: they are set aside later."""
        if sender.wards is None or not decoded.blocks:
            return False
        among = whose(sender, decoded)
        wards = {self._wards.of(device, now_ns, among) for block in decoded.blocks for device in block.devices}
        return not any(ward is None or sender.may(ward) for ward in wards)

    async def metrics(self, _: Request) -> Response:
        """For Prometheus."""
        return Response(generate_latest(self._figures.registry), media_type=CONTENT_TYPE_LATEST)

    async def healthz(self, _: Request) -> Response:
        """200 while it does its work (also while Kafka is away and the spool takes the data), 503 when it does not."""
        ok, details = self._health()
        return json_response({"ok": ok, **details}, 200 if ok else 503)
