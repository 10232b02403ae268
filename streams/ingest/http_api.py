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
from streams.ingest.batcher import likely_wards
from streams.ingest.metrics import IngestMetrics
from streams.ingest.senders import ANY_SENDER, Sender, Senders
from streams.ingest.spool import IngestSpool, SpooledMessage
from streams.ingest.wards import Wards
from streams.intake.http_api import (
    NO_TOKEN,
    accepted,
    json_response,
    read_message,
    refuse_malformed,
    refuse_remote,
    unavailable,
    warnings_for,
)
from streams.storage.journal import JournalError

Health = Callable[[], tuple[bool, dict[str, Any]]]

_LIMITS: Final = AdmissionLimits()
_FOREIGN_WARD_ONLY: Final = json_response(
    {"error": "your token is not for the ward of these devices: use that ward's gateway, or add the ward to it"}, 403
)


class IngestApi:
    """`POST /v1/chunks` of streams.intake.http_api, with senders restricted to their wards (403)."""

    def __init__(
        self, spool: IngestSpool, senders: Senders, wards: Wards, metrics: IngestMetrics, health: Health, *, sender_clock: bool
    ) -> None:
        self._spool = spool
        self._senders = senders
        self._wards = wards
        self._metrics = metrics
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
        """Accept a message: 202 when it is on disk, 403 when the sender may send for none of its devices; else as streams.intake.http_api says."""
        answer = await self._chunks(request)
        if answer.status_code not in {202, 422}:
            self._metrics.rejected.labels(str(answer.status_code)).inc()
        return answer

    async def _chunks(self, request: Request) -> Response:
        sender = self._sender(request)
        if isinstance(sender, Response):
            return sender
        message = await read_message(request, sender_clock=self._sender_clock)
        if isinstance(message, Response):
            return message
        now_ns = message.arrival_ns if message.arrival_ns is not None else time.time_ns()
        if self._may_send_for_none(sender, message.decoded, now_ns):
            return _FOREIGN_WARD_ONLY
        try:
            kept = SpooledMessage(sender.name, sender.wards, message.key, message.payload)
            offset = await asyncio.wrap_future(self._spool.put(kept, message.arrival_ns))
        except JournalError as error:
            return unavailable(error)
        self._metrics.received.labels("http").inc()
        self._metrics.received_bytes.inc(len(message.payload))
        warnings = warnings_for(message.decoded, now_ns, lambda device: self._wards.bound(device, now_ns), _LIMITS)
        return accepted(message.decoded, {"offset": offset}, warnings)

    def _sender(self, request: Request) -> Sender | Response:
        if (no := refuse_malformed(request)) is not None:
            return no
        if not self._senders.guarded:
            return refuse_remote(request) or ANY_SENDER
        return self._senders.by_authorization(request.headers.get("authorization", "")) or NO_TOKEN

    def _may_send_for_none(self, sender: Sender, decoded: Decoded, now_ns: int) -> bool:
        """Whether every device belongs to a ward that the sender may not send for. When only some do, the batcher quarantines those."""
        if sender.wards is None or not decoded.blocks:
            return False
        among = likely_wards(sender, decoded)
        wards = {self._wards.of(device, now_ns, among) for block in decoded.blocks for device in block.devices}
        return not any(ward is None or sender.may_send_for(ward) for ward in wards)

    async def metrics(self, _: Request) -> Response:
        """For Prometheus."""
        return Response(generate_latest(self._metrics.registry), media_type=CONTENT_TYPE_LATEST)

    async def healthz(self, _: Request) -> Response:
        """200 while data is accepted and published, or spooled during an outage of Kafka; 503 otherwise."""
        ok, details = self._health()
        return json_response({"ok": ok, **details}, 200 if ok else 503)
