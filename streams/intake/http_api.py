"""The HTTP API for measurements, `POST /v1/chunks`: what `vigil run` and `vigil ingest` share."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Final, NamedTuple

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from engine.clocks import AdmissionLimits
from engine.frame import NS_PER_S
from engine.kinds import KINDS
from engine.outputs import Reason, Reject
from schemas.codec import Decoded, decode
from schemas.wire import MESSAGE_BYTES_MAX
from streams.intake.access import Access, from_other_site, malformed
from streams.storage.arrival_clock import STAMP_NS_MAX

REFUSALS_SHOWN_MAX: Final = 20
WARNED_CHUNKS_MAX: Final = 1_000
"""Chunks of a message that are checked for warnings at most."""
RETRY_AFTER_S: Final = 5
TOKEN_BYTES_MIN: Final = 16
KEY_MAX: Final = 128
ARRIVAL_HEADER: Final = "vigil-arrival-ns"
STAMP_DIGITS_MAX: Final = len(str(STAMP_NS_MAX))
DECODED_HERE_BYTES_MAX: Final = 16 * 2**10
"""Larger messages are decoded in a thread, so that other requests do not wait for them."""

_UNGUARDED: Final = Access()


class ReceivedMessage(NamedTuple):
    """A message of a request. `key`: its Idempotency-Key, "" without; `arrival_ns`: the arrival that the sender gives, None on the server's clock."""

    payload: bytes
    key: str
    arrival_ns: int | None
    decoded: Decoded


def json_response(body: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """`body` as JSON."""
    return Response(msgspec.json.encode(body), status, headers, "application/json")


WRONG_HOST: Final = json_response(
    {"error": "without a secret only requests to localhost are answered: set listen.console_password and device_token"}, 421
)
OTHER_SITE: Final = json_response({"error": "this comes from a web page of another site"}, 403)
NO_TOKEN: Final = json_response({"error": "send Authorization: Bearer <device token>"}, 401, {"WWW-Authenticate": "Bearer"})
TOO_LARGE: Final = json_response({"error": f"a message has at most {MESSAGE_BYTES_MAX} bytes: send less at a time"}, 413)


def refuse_malformed(request: Request) -> Response | None:
    """The refusal of a request whose Host or Origin header is no address; None when both are, or are absent."""
    name = malformed(request.headers)
    return json_response({"error": f"the header {name.title()} is not an address"}, 400) if name else None


def refuse_remote(request: Request) -> Response | None:
    """The refusal of a request without a token from another machine or from another site's web page; None for requests from this machine."""
    if (no := refuse_malformed(request)) is not None:
        return no
    if not _UNGUARDED.names_us(request.headers):
        return WRONG_HOST
    return OTHER_SITE if from_other_site(request.headers) else None


async def read_body(request: Request) -> bytes | None:
    """The request's body; None when it is larger than a message may be."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MESSAGE_BYTES_MAX:
            return None
    return bytes(body)


async def read_message(request: Request, *, sender_clock: bool) -> ReceivedMessage | Response:
    """The message of a request, or its refusal. `sender_clock`: its arrival is given by the header Vigil-Arrival-Ns."""
    payload = await read_body(request)
    if payload is None:
        return TOO_LARGE
    key = request.headers.get("idempotency-key", "")
    if len(key) > KEY_MAX or not key.isascii() or "\0" in key:
        return json_response({"error": f"an Idempotency-Key has at most {KEY_MAX} ASCII characters"}, 422)
    arrival_ns: int | None = None
    if sender_clock:
        stamp = request.headers.get(ARRIVAL_HEADER, "")
        if not (stamp.isascii() and stamp.isdigit() and len(stamp) <= STAMP_DIGITS_MAX and int(stamp) <= STAMP_NS_MAX):
            return json_response({"error": f"this Vigil runs on the sender's clock: send {ARRIVAL_HEADER}, 0 to {STAMP_NS_MAX}"}, 422)
        arrival_ns = int(stamp)
    decoded = decode(payload) if len(payload) <= DECODED_HERE_BYTES_MAX else await run_in_threadpool(decode, payload)
    return ReceivedMessage(payload, key, arrival_ns, decoded)


def unavailable(error: Exception) -> Response:
    """503: the message could not be stored; the sender should send it again."""
    return json_response({"error": str(error)}, 503, {"Retry-After": str(RETRY_AFTER_S)})


def accepted(decoded: Decoded, place: dict[str, object], warnings: list[dict[str, object]]) -> Response:
    """The answer to a stored message: 202 with the refused chunks and their reasons, 422 when no chunk was valid.

    Chunks of which single values were taken out stand in the warnings.
    """
    chunks = sum(len(block.devices) for block in decoded.blocks)
    why = [_shown(reject) for reject in decoded.rejects[:REFUSALS_SHOWN_MAX]]
    warnings = [*map(_shown, decoded.partly), *warnings][:REFUSALS_SHOWN_MAX]
    status = 202 if chunks or not decoded.rejects else 422
    return json_response({**place, "chunks": chunks, "refused": len(decoded.rejects), "why": why, "warnings": warnings}, status)


def _shown(reject: Reject) -> dict[str, object]:
    return {"reason": reject.reason, "device": reject.device, "kind": reject.kind, "detail": reject.detail}


def warnings_for(decoded: Decoded, now_ns: int, bound: Callable[[str], bool], limits: AdmissionLimits) -> list[dict[str, object]]:
    """Warnings about chunks that the engine will probably refuse: an unbound device, or a wrong clock. The engine decides later."""
    found: list[dict[str, object]] = []
    rows = ((block, i) for block in decoded.blocks for i in range(len(block.devices)))
    for block, i in islice(rows, WARNED_CHUNKS_MAX):
        device, ahead_ns = block.devices[i], int(block.t0_ns[i]) - now_ns
        reason = None
        if not bound(device):
            reason, detail = (
                Reason.UNKNOWN_DEVICE,
                "this device is not bound: bind it in the registry, until then its data is not used",
            )
        elif KINDS[block.kind].timing != "irregular" and not -limits.past_ns <= ahead_ns <= limits.future_ns:
            reason = Reason.TIME_FUTURE if ahead_ns > 0 else Reason.TIME_PAST
            detail = f"t0_ns is {ahead_ns / NS_PER_S:.0f} s from now: UTC nanoseconds since 1970 are wanted; set the clock (NTP)"
        if reason is not None:
            found.append({"reason": reason, "device": device, "kind": block.kind, "detail": detail})
            if len(found) >= REFUSALS_SHOWN_MAX:
                break
    return found
