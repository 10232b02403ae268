"""The wire contract in use: bytes to Blocks and back.

    decoded = decode(payload)
    for block in decoded.blocks: ...      # canonical units, every rule of its kind kept
    for reject in decoded.rejects: ...    # reason, sentence, device, the bytes of that chunk
    for reject in decoded.partly: ...     # the same of chunks that are in a block, without some of their values

A payload is a JSON chunk, a JSON array of chunks, or a binary ward batch; the first byte tells which. `decode` never raises on
any bytes: whatever arrives ends in a Block or in a Reject.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from engine.block import NO_SEQ, Block
from engine.outputs import Reason, Reject
from schemas.binary import Refused, read_batch
from schemas.check import Raw, judge
from schemas.encode import encode_batch, encode_chunk_json
from schemas.text import read_text
from schemas.wire import MESSAGE_BYTES_MAX

__all__ = ["Decoded", "decode", "encode_batch", "encode_chunk_json"]

KEPT_BYTES_MAX: Final = 64 * 1024
"""Bytes kept of a message that is longer than a message may be; of every other, all are kept."""

_TEXT_START: Final = frozenset(b"{[ \t\r\n")
"""First bytes of JSON. None of them can start a MessagePack map."""
_FOREIGN: Final = {
    b"\xef\xbb\xbf": "the message starts with a byte order mark (BOM): send JSON as UTF-8 without one",
    **dict.fromkeys((b"\xff\xfe", b"\xfe\xff", b"{\0", b"[\0", b"\0{", b"\0["), "the message is UTF-16: send JSON as UTF-8"),
    b"\x1f\x8b": "the message is compressed (gzip): send it uncompressed",
}
"""First bytes that are neither JSON nor a MessagePack map, but are sent often enough to be named."""
_FOREIGN_STARTS: Final = tuple(_FOREIGN)


class Decoded(NamedTuple):
    """What a message holds. `ward`, `gateway`, `seq`, `sent_ns` come from a ward batch and are empty for JSON.

    `partly`: chunks in `blocks` of which single values were taken out, and why.
    """

    blocks: list[Block]
    rejects: list[Reject]
    ward: str
    gateway: str
    seq: int
    sent_ns: int
    partly: list[Reject]


def decode(payload: bytes, *, keep: bool = False) -> Decoded:
    """Read one message of either form. `keep`: leave codes and wrong values in the blocks, for the core behind to judge and count."""
    if len(payload) > MESSAGE_BYTES_MAX:
        detail = f"the message has {len(payload)} bytes, at most {MESSAGE_BYTES_MAX} are allowed: send several"
        return _nothing(Reject(Reason.TOO_LARGE, detail, "", "", 0, payload[:KEPT_BYTES_MAX]))
    if not payload:
        return _nothing(Reject(Reason.TRUNCATED, "the message is empty", "", "", 0, b""))
    if payload.startswith(_FOREIGN_STARTS):
        detail = next(said for start, said in _FOREIGN.items() if payload.startswith(start))
        return _nothing(Reject(Reason.MALFORMED, detail, "", "", 0, payload))
    try:
        if payload[0] in _TEXT_START:
            raws, rejects = read_text(payload)
            blocks, partly = _judged(raws, rejects, keep=keep)
            return Decoded(blocks, rejects, "", "", NO_SEQ, 0, partly)
        envelope, raws, rejects = read_batch(payload)
        blocks, partly = _judged(raws, rejects, keep=keep)
        return Decoded(blocks, rejects, envelope.ward, envelope.gateway, envelope.seq, envelope.sent_ns, partly)
    except Refused as refused:
        return _nothing(Reject(refused.reason, refused.detail, "", "", 0, payload))


def _judged(raws: list[Raw], rejects: list[Reject], *, keep: bool) -> tuple[list[Block], list[Reject]]:
    blocks: list[Block] = []
    partly: list[Reject] = []
    for raw in raws:
        block, refused, cut = judge(raw, keep=keep)
        if block is not None:
            blocks.append(block)
        rejects.extend(refused)
        partly.extend(cut)
    return blocks, partly


def _nothing(reject: Reject) -> Decoded:
    return Decoded([], [reject], "", "", NO_SEQ, 0, [])
