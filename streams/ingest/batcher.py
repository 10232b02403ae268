"""From messages to Kafka records: one binary ward batch for each ward and window of time. No I/O, no clock.

Windows lie on a grid of arrival time, `linger_ms` wide. `linger_ms` divides a second, so no batch spans a tick of the engine. Where
a batch ends depends on the spool's content alone, never on how fast it is read: after a crash the same messages give the same
records with the same keys, and the core's deduplication drops the repeats.
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
from streams.ingest.spool import SpooledMessage
from streams.ingest.wards import Wards
from streams.kafka import topics
from streams.kafka.records import Headers, frame, headers
from streams.pipeline.core import BATCHES_REMEMBERED, is_numbered
from streams.storage.journal_records import Entry

GATEWAY: Final = "ingest"
"""`gateway` of the batches made here. They carry no sequence number: the core deduplicates them by the key in the record's header."""
FOREIGN_WARD: Final = "foreign_ward"
"""Reason for which ingest itself quarantines a chunk: its sender may not send for the device's ward. It never reaches a core."""
NO_WINDOW: Final = -1
"""`Batcher.window` when nothing was added since the last `close`."""
CHUNK_BYTES: Final = 24
"""Bytes of a chunk's t0, seq, quality and device id in a batch, to estimate the batch's size."""


class BatchRecord(NamedTuple):
    """A record that ingest publishes to Kafka, keyed by its ward."""

    topic: str
    ward: str
    value: bytes
    headers: Headers


class _ByWard(NamedTuple):
    """A message divided by ward. `default_ward`: the ward of unbound devices; `foreign`: blocks of wards that its sender may not send for."""

    default_ward: str
    parts: list[tuple[str, Block]]
    foreign: list[Block]


def likely_wards(sender: Sender, decoded: Decoded) -> tuple[str, ...]:
    """The wards that a message is most likely about: those of its sender, then the one it names."""
    return (*(sender.wards or ()), *([decoded.ward] if decoded.ward else []))


class _WardWindow:
    """What has come for one ward in the open window; `offset` and `arrival_ns` are those of the first message."""

    def __init__(self, offset: int, arrival_ns: int) -> None:
        self.offset = offset
        self.arrival_ns = arrival_ns
        self.bytes = 0
        self.blocks: list[Block] = []
        self.refused: list[bytes] = []


class Batcher:
    """Batches the spool's records, added in order; `close` ends the window. `identity` is the spool's number, part of every key."""

    def __init__(self, wards: Wards, *, identity: int, linger_ns: int, batch_bytes: int, unbound_ward: str) -> None:
        self.wards = wards
        self._identity = identity
        self._linger_ns = linger_ns
        self._batch_bytes = batch_bytes
        self._unbound_ward = unbound_ward
        self._open: dict[str, _WardWindow] = {}
        self._records_of: list[BatchRecord] = []
        self._records_in_window = 0
        self._seen: dict[tuple[str, ...], None] = {}
        self.window = NO_WINDOW
        self.repeated = 0
        self.refused: Counter[str] = Counter()

    def window_of(self, arrival_ns: int) -> int:
        """The number of the window in which `arrival_ns` lies."""
        return arrival_ns // self._linger_ns

    def remember(self, entry: Entry) -> None:
        """Note a message that an earlier process published, so that a repetition of it is dropped."""
        message = msgspec.msgpack.decode(entry.payload, type=SpooledMessage)
        self._is_repeat(message, decode(message.payload, keep=True), entry.arrival_ns)

    def add(self, entry: Entry) -> None:
        """Add a record to the open window. Call `close` before adding one of a later window."""
        self.window = self.window_of(entry.arrival_ns)
        message = msgspec.msgpack.decode(entry.payload, type=SpooledMessage)
        decoded = decode(message.payload, keep=True)
        if self._is_repeat(message, decoded, entry.arrival_ns):
            self.repeated += 1
            return
        default_ward, parts, foreign = self._divide_by_ward(decoded, message, entry)
        if message.retained:
            for ward, block in parts:
                self._put_retained(ward, block, entry)
            parts = []
        whole = not (decoded.rejects or foreign) and len({ward for ward, _ in parts}) == 1
        if whole and len(message.payload) >= self._batch_bytes and decoded.ward:
            self._forward_unchanged(parts[0][0], message.payload, entry)
            return
        for ward, block in parts:
            opened = self._window_of_ward(ward, entry)
            opened.blocks.append(block)
            opened.bytes += block.samples.nbytes + CHUNK_BYTES * len(block.devices)
            if opened.bytes >= self._batch_bytes:
                self._close(ward)
        for block in foreign:
            self._refuse(block, message.sender, default_ward, entry)
        for reject in decoded.rejects:
            self.refused[reject.reason] += 1
            too_long = len(message.payload) > MESSAGE_BYTES_MAX
            self._window_of_ward(default_ward, entry).refused.append(message.payload if too_long else _refused_alone(reject))

    def close(self) -> list[BatchRecord]:
        """End the window: everything added, as records in the order in which they have to be stored."""
        for ward in list(self._open):
            self._close(ward)
        out, self._records_of, self._records_in_window = self._records_of, [], 0
        self.window = NO_WINDOW
        return out

    # -- wards ---------------------------------------------------------------------------------------------------------

    def _default_ward(self, known: Iterable[str | None], sender: Sender, decoded: Decoded) -> str:
        """The ward under which data of unbound devices is stored; the core there refuses it and counts it in its account."""
        if sender.wards:
            return sender.wards[0]
        if self.wards.known(decoded.ward):
            return decoded.ward
        return next(filter(None, known), self._unbound_ward)

    def _divide_by_ward(self, decoded: Decoded, message: SpooledMessage, entry: Entry) -> _ByWard:
        """The message's blocks by ward. Nearly always all devices of a sender are in one ward, and a block is not divided."""
        sender = message.sender
        found = [[self.wards.of(device, entry.arrival_ns, likely_wards(sender, decoded)) for device in b.devices] for b in decoded.blocks]
        default_ward = self._default_ward((ward for row in found for ward in row), sender, decoded)
        by_ward = _ByWard(default_ward, [], [])
        for block, row in zip(decoded.blocks, found, strict=True):
            for ward, part in split(block, [ward or default_ward for ward in row]):
                if sender.may_send_for(ward):
                    by_ward.parts.append((ward, part))
                else:
                    by_ward.foreign.append(part)
        return by_ward

    def _refuse(self, block: Block, sender: Sender, default_ward: str, entry: Entry) -> None:
        """Quarantine a block that its sender may not send. No core sees it: a core would use it."""
        detail = f"{sender.name or 'the sender'} may not send for the ward of this device: add the ward to its token, or unbind the device"
        readings = block.samples.shape[1]
        items = []
        for row, device in enumerate(block.devices):
            chunk = encode_chunk_json(block, row)
            body = Quarantined(FOREIGN_WARD, detail, device, block.kind, readings, chunk, entry.arrival_ns, entry.offset)
            digest = hashlib.blake2b(f"{self._identity}-{entry.offset}-{row}-".encode() + chunk, digest_size=16)
            items.append(encode(Item(ItemKind.QUARANTINE, digest.hexdigest(), body)))
            self.refused[FOREIGN_WARD] += 1
        self._records_of.append(BatchRecord(topics.QUARANTINE, default_ward, frame(items), ()))

    def _is_repeat(self, message: SpooledMessage, decoded: Decoded, arrival_ns: int) -> bool:
        """Whether the same message came before: by its Idempotency-Key and bytes, or by its gateway's sequence number."""
        keys: list[tuple[str, ...]] = []
        if message.key:
            keys.append((message.name, message.key, hashlib.blake2b(message.payload, digest_size=16).hexdigest()))
        if is_numbered(decoded, arrival_ns):
            keys.append((message.name, decoded.ward, decoded.gateway, str(decoded.seq), str(decoded.sent_ns)))
        repeat = any(key in self._seen for key in keys)
        if message.packet:
            # Only what the broker itself calls a second try is one: packet numbers come round again.
            digest = hashlib.blake2b(message.payload, digest_size=16).hexdigest()
            keys.append((message.name, "packet", str(message.packet), digest))
            repeat = repeat or (message.again and keys[-1] in self._seen)
        for key in keys:
            self._seen[key] = None
            if len(self._seen) > BATCHES_REMEMBERED:
                del self._seen[next(iter(self._seen))]
        return repeat

    # -- records --------------------------------------------------------------------------------------------------------

    def _window_of_ward(self, ward: str, entry: Entry) -> _WardWindow:
        found = self._open.get(ward)
        if found is None:
            found = self._open[ward] = _WardWindow(entry.offset, entry.arrival_ns)
        return found

    def _forward_unchanged(self, ward: str, payload: bytes, entry: Entry) -> None:
        """Forward a gateway's large batch as it is, behind what came before it."""
        if ward in self._open:
            self._close(ward)
        self._put(ward, payload, entry.offset, entry.arrival_ns)

    def _put_retained(self, ward: str, block: Block, entry: Entry) -> None:
        """What a broker had kept goes alone, behind what came before it: the mark counts for a whole record."""
        if ward in self._open:
            self._close(ward)
        for value in batch_payloads(ward, [block], self._batch_bytes):
            self._put(ward, value, entry.offset, entry.arrival_ns, retained=True)

    def _close(self, ward: str) -> None:
        opened = self._open.pop(ward)
        for value in batch_payloads(ward, merged(opened.blocks), self._batch_bytes):
            self._put(ward, value, opened.offset, opened.arrival_ns)
        for value in opened.refused:
            self._put(ward, value, opened.offset, opened.arrival_ns)

    def _put(self, ward: str, value: bytes, offset: int, arrival_ns: int, *, retained: bool = False) -> None:
        # The first arrival in a batch counts for all of it, so that no latency is reported shorter than it was.
        key = f"{self._identity}-{offset}-{self._records_in_window}"
        self._records_in_window += 1
        value = value[
            : MESSAGE_BYTES_MAX + 1
        ]  # one byte too many: the core sees that it is too long and quarantines it; Kafka stores no longer record
        self._records_of.append(BatchRecord(topics.TELEMETRY, ward, value, headers(arrival_ns, key, retained=retained)))


def split(block: Block, wards: list[str]) -> Iterator[tuple[str, Block]]:
    """The chunks of `block` by ward, given the ward of each."""
    for ward in dict.fromkeys(wards):
        rows = [row for row, each in enumerate(wards) if each == ward]
        yield ward, block if len(rows) == len(wards) else take(block, np.array(rows))


def merged(blocks: list[Block]) -> list[Block]:
    """`blocks` merged into as few as possible, one for each kind, rate and length, without reordering any device's stream."""
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


def _refused_alone(reject: Reject) -> bytes:
    """The bytes of a refused chunk, for the core to refuse again. Without the batch's sequence number, or the batch's next chunk would be a repeat."""
    try:
        found = msgspec.msgpack.decode(reject.payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return reject.payload
    if not isinstance(found, dict) or "blocks" not in found or "seq" not in found:
        return reject.payload
    return msgspec.msgpack.encode({**found, "seq": NO_SEQ})
