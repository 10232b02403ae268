"""From messages to Kafka records: one binary ward batch for each ward and window of time. No I/O, no clock.

Windows lie on a grid of arrival time, `linger_ms` wide, which divides a second: no batch reaches over a tick of the engine. Where
a batch ends depends on the spool alone, not on the speed of anybody; after a crash the same messages give the same records with
the same keys, and the core takes them once.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import msgspec
import numpy as np

from engine.block import NO_SEQ, Block
from engine.outputs import Reject
from schemas.codec import Decoded, decode
from schemas.encode import batches, encode_chunk_json, encode_wire, take
from schemas.wire import BLOCKS_MAX, MESSAGE_BYTES_MAX
from sinks.codec import encode
from sinks.items import Item, ItemKind, Quarantined
from streams.ingest.senders import Sender
from streams.ingest.spool import Message
from streams.ingest.wards import Wards
from streams.kafka import topics
from streams.kafka.records import Headers, frame, headers
from streams.pipeline.core import BATCHES_REMEMBERED
from streams.storage.journal_records import Entry

GATEWAY: Final = "ingest"
"""`gateway` of the batches made here. They carry no number: the key in the record's header tells repeats."""
FOREIGN_WARD: Final = "foreign_ward"
"""Why ingest itself refuses a chunk: its sender may not speak for the device's ward. It never reaches a core."""
NONE_OPEN: Final = -1
"""`Batcher.window` when nothing was taken since the last `close`."""
CHUNK_BYTES: Final = 24
"""A chunk's share of t0, seq, quality and device id in a batch, for judging its size."""


class Out(NamedTuple):
    """A record to publish."""

    topic: str
    ward: str
    value: bytes
    headers: Headers


class _Parted(NamedTuple):
    """A message by ward. `own`: where goes what nobody knows; `foreign`: what its sender had no right to send."""

    own: str
    parts: list[tuple[str, Block]]
    foreign: list[Block]


def whose(sender: Sender, decoded: Decoded) -> tuple[str, ...]:
    """The wards a message is most likely about, by its sender and by itself."""
    return (*(sender.wards or ()), *([decoded.ward] if decoded.ward else []))


class _Open:
    """What a ward has to say in the window that is open."""

    def __init__(self, offset: int, arrival_ns: int) -> None:
        self.offset = offset
        self.arrival_ns = arrival_ns
        self.bytes = 0
        self.blocks: list[Block] = []
        self.refused: list[bytes] = []


class Batcher:
    """Takes the spool's records in order; `close` ends the window. `identity` is the spool's number, part of every key."""

    def __init__(self, wards: Wards, *, identity: int, linger_ns: int, batch_bytes: int, unbound_ward: str) -> None:
        self.wards = wards
        self._identity = identity
        self._linger_ns = linger_ns
        self._batch_bytes = batch_bytes
        self._unbound_ward = unbound_ward
        self._open: dict[str, _Open] = {}
        self._out: list[Out] = []
        self._parts = 0
        self._had: dict[tuple[str, ...], None] = {}
        self.window = NONE_OPEN
        self.repeated = 0
        self.refused: Counter[str] = Counter()

    def window_of(self, arrival_ns: int) -> int:
        """The number of the window in which `arrival_ns` lies."""
        return arrival_ns // self._linger_ns

    def remember(self, entry: Entry) -> None:
        """Know a message that was published in an earlier life, so that its repetition is seen."""
        message = msgspec.msgpack.decode(entry.payload, type=Message)
        self._is_repeat(message, decode(message.payload))

    def take(self, entry: Entry) -> None:
        """Take a record; one of a later window needs `close` before."""
        self.window = self.window_of(entry.arrival_ns)
        message = msgspec.msgpack.decode(entry.payload, type=Message)
        decoded = decode(message.payload)
        if self._is_repeat(message, decoded):
            self.repeated += 1
            return
        own, parts, foreign = self._parted(decoded, message, entry)
        whole = not (decoded.rejects or foreign) and len({ward for ward, _ in parts}) == 1
        if whole and len(message.payload) >= self._batch_bytes and decoded.ward:
            self._pass_on(parts[0][0], message.payload, entry)
            return
        for ward, block in parts:
            opened = self._opened(ward, entry)
            opened.blocks.append(block)
            opened.bytes += block.samples.nbytes + CHUNK_BYTES * len(block.devices)
            if opened.bytes >= self._batch_bytes:
                self._close(ward)
        for block in foreign:
            self._refuse(block, message.sender, own, entry)
        for reject in decoded.rejects:
            self.refused[reject.reason] += 1
            too_long = len(message.payload) > MESSAGE_BYTES_MAX
            self._opened(own, entry).refused.append(message.payload if too_long else _alone(reject))

    def close(self) -> list[Out]:
        """End the window: everything taken, as records in the order in which they have to be stored."""
        for ward in list(self._open):
            self._close(ward)
        out, self._out, self._parts = self._out, [], 0
        self.window = NONE_OPEN
        return out

    # -- whose it is ----------------------------------------------------------------------------------------------------

    def _own_ward(self, known: Iterable[str | None], sender: Sender, decoded: Decoded) -> str:
        """Where a sender's data goes of which the registry does not say whose it is: a core refuses and accounts it there."""
        if sender.wards:
            return sender.wards[0]
        if self.wards.known(decoded.ward):
            return decoded.ward
        return next(filter(None, known), self._unbound_ward)

    def _parted(self, decoded: Decoded, message: Message, entry: Entry) -> _Parted:
        """Blocks by ward. Nearly always all devices of a sender are of one ward, and a block goes as it is."""
        sender = message.sender
        found = [[self.wards.of(device, entry.arrival_ns, whose(sender, decoded)) for device in b.devices] for b in decoded.blocks]
        own = self._own_ward((ward for row in found for ward in row), sender, decoded)
        parted = _Parted(own, [], [])
        for block, row in zip(decoded.blocks, found, strict=True):
            for ward, part in split(block, [ward or own for ward in row]):
                if sender.may(ward):
                    parted.parts.append((ward, part))
                else:
                    parted.foreign.append(part)
        return parted

    def _refuse(self, block: Block, sender: Sender, own: str, entry: Entry) -> None:
        """Set aside what a sender had no right to send: no core may see it, it might believe it."""
        detail = f"{sender.name or 'the sender'} may not send for the ward of this device: add the ward to its token, or unbind the device"
        readings = block.samples.shape[1]
        items = []
        for row, device in enumerate(block.devices):
            chunk = encode_chunk_json(block, row)
            body = Quarantined(FOREIGN_WARD, detail, device, block.kind, readings, chunk, entry.arrival_ns, entry.offset)
            digest = hashlib.blake2b(f"{self._identity}-{entry.offset}-{row}-".encode() + chunk, digest_size=16)
            items.append(encode(Item(ItemKind.QUARANTINE, digest.hexdigest(), body)))
            self.refused[FOREIGN_WARD] += 1
        self._out.append(Out(topics.QUARANTINE, own, frame(items), ()))

    def _is_repeat(self, message: Message, decoded: Decoded) -> bool:
        """Whether the same message came before: by its Idempotency-Key and bytes, or its gateway's number."""
        keys: list[tuple[str, ...]] = []
        if message.key:
            keys.append((message.name, message.key, hashlib.blake2b(message.payload, digest_size=16).hexdigest()))
        if decoded.seq != NO_SEQ:
            keys.append((message.name, decoded.ward, decoded.gateway, str(decoded.seq), str(decoded.sent_ns)))
        repeat = any(key in self._had for key in keys)
        for key in keys:
            self._had[key] = None
            if len(self._had) > BATCHES_REMEMBERED:
                del self._had[next(iter(self._had))]
        return repeat

    # -- records --------------------------------------------------------------------------------------------------------

    def _opened(self, ward: str, entry: Entry) -> _Open:
        found = self._open.get(ward)
        if found is None:
            found = self._open[ward] = _Open(entry.offset, entry.arrival_ns)
        return found

    def _pass_on(self, ward: str, payload: bytes, entry: Entry) -> None:
        """A gateway that batches well is not batched again; what came before it stays before it."""
        if ward in self._open:
            self._close(ward)
        self._put(ward, payload, entry.offset, entry.arrival_ns)

    def _close(self, ward: str) -> None:
        opened = self._open.pop(ward)
        for value in batch_payloads(ward, merged(opened.blocks), self._batch_bytes):
            self._put(ward, value, opened.offset, opened.arrival_ns)
        for value in opened.refused:
            self._put(ward, value, opened.offset, opened.arrival_ns)

    def _put(self, ward: str, value: bytes, offset: int, arrival_ns: int) -> None:
        # The first arrival in a batch counts for all of it: no latency looks shorter than it was.
        key = f"{self._identity}-{offset}-{self._parts}"
        self._parts += 1
        value = value[: MESSAGE_BYTES_MAX + 1]  # by its first bytes too long, which the core says of it and keeps; Kafka takes no more
        self._out.append(Out(topics.TELEMETRY, ward, value, headers(arrival_ns, key)))


def split(block: Block, wards: list[str]) -> Iterator[tuple[str, Block]]:
    """The chunks of `block` by ward, given the ward of each."""
    for ward in dict.fromkeys(wards):
        rows = [row for row, each in enumerate(wards) if each == ward]
        yield ward, block if len(rows) == len(wards) else take(block, np.array(rows))


def merged(blocks: list[Block]) -> list[Block]:
    """As few blocks as can be without any stream being reordered: one for each kind, rate and length."""
    if len(blocks) == 1:
        return blocks
    groups: list[list[Block]] = []
    newest: dict[tuple[object, ...], int] = {}
    reached: dict[tuple[str, str], int] = {}
    for block in blocks:
        form = (block.kind, block.rate_hz, block.samples.shape[1:], block.shape)
        group = newest.get(form, -1)
        if group < max((reached.get((device, block.kind), -1) for device in block.devices), default=-1) or group < 0:
            group = newest[form] = len(groups)
            groups.append([])
        groups[group].append(block)
        reached.update(((device, block.kind), group) for device in block.devices)
    return [_joined(group) for group in groups]


def _joined(group: list[Block]) -> Block:
    first = group[0]
    if len(group) == 1:
        return first
    return first._replace(
        devices=tuple(device for block in group for device in block.devices),
        t0_ns=np.concatenate([block.t0_ns for block in group]),
        seq=np.concatenate([block.seq for block in group]),
        samples=np.concatenate([block.samples for block in group]),
        quality=np.concatenate([block.quality for block in group]),
    )


def batch_payloads(ward: str, blocks: list[Block], bytes_max: int) -> Iterator[bytes]:
    """`blocks` as ward batches of about `bytes_max` at most (a single chunk may be longer)."""
    for wires in batches(((block, "") for block in blocks), bytes_max):
        for start in range(0, len(wires), BLOCKS_MAX):
            yield encode_wire(ward, wires[start : start + BLOCKS_MAX], gateway=GATEWAY, seq=NO_SEQ)


def _alone(reject: Reject) -> bytes:
    """The bytes of a refused chunk, to be refused again by the core. A number would make the next of the same batch a repeat."""
    try:
        found = msgspec.msgpack.decode(reject.payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return reject.payload
    if not isinstance(found, dict) or "blocks" not in found or "seq" not in found:
        return reject.payload
    return msgspec.msgpack.encode({**found, "seq": NO_SEQ})
