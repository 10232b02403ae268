"""From sensors to Vigil's door: gateway batches with honest delays, and everything a home's network does to them."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator
from typing import Final

import numpy as np

from engine.block import Block
from engine.frame import NS_PER_S
from schemas.encode import encode_batch, encode_chunk_json, take
from schemas.recording import Record
from simulator.scenario import Scenario, Trouble, TroubleKind

MS: Final = 1_000_000
BATCH_DELAY_MS: Final = (40, 220)
INSTANT_DELAY_MS: Final = (20, 90)
COPY_DELAY_MS: Final = (1, 400)
RESEND_GAP_MS: Final = 15
SHUFFLE_SPAN: Final = 4
"""After an outage a gateway drains several queues at once: batches swap places within this distance."""
INSTANTS: Final = frozenset({"button", "door", "position", "camera_event"})
"""Kinds whose devices talk to Vigil themselves, in JSON."""
UNKNOWN_DEVICE: Final = "zz-unregistered"
BROKEN_DEVICE: Final = "wb-broken"

GARBAGE: Final = (
    b"\x00\xff\xfe not a message",
    b'{"v":1,"device":"wb-broken","kind":"telepathy","t0_ns":1,"samples":[[1]]}',
    b'{"v":99,"device":"wb-broken","kind":"accel","t0_ns":1,"rate_hz":50,"samples":[[0,0,1]]}',
    b'{"v":1,"device":"wb-broken","kind":"accel","t0_ns":1,"rate_hz":50,"samples":[[0,0,1e9]]}',
    b'{"v":1,"device":"wb-broken","kind":"accel","rate_hz":"fast","samples":"many"',
    b"",
)
"""What a broken device sends, in turn: noise, an unknown kind and version, an impossible value, half a message, nothing."""


class Transport:
    """Turns each second's blocks into records in order of arrival; `tally` counts what was done to them."""

    def __init__(self, scenario: Scenario) -> None:
        self.tally: Counter[str] = Counter()
        self._scenario = scenario
        self._rng = np.random.default_rng([scenario.seed, 99])
        self._queue: list[tuple[int, int, bytes]] = []
        self._stored: list[bytes] = []
        self._number = 0
        self._pushed = 0

    def second(self, second: int, blocks: list[Block]) -> list[Record]:
        """Send what was measured in [second, second + 1); returns what arrives by the end of it."""
        start = self._scenario.start_ns + second * NS_PER_S
        end = start + NS_PER_S
        blocks = [block for block in (self._distort(second, block) for block in blocks) if block.devices]
        for _ in self._now("unknown_device", second):
            carrier = next((block for block in blocks if block.kind not in INSTANTS), None)
            if carrier is not None:
                blocks.append(take(carrier, slice(0, 1))._replace(devices=(UNKNOWN_DEVICE,)))
                self.tally["unknown"] += 1
        for _ in self._now("garbage", second):
            self._push(end + self._delay(*BATCH_DELAY_MS), GARBAGE[second % len(GARBAGE)])
            self.tally["garbage"] += 1
        batch = [block for block in blocks if block.kind not in INSTANTS]
        if batch:
            sent = end + self._delay(*BATCH_DELAY_MS)
            payload = encode_batch(self._scenario.ward, batch, gateway="gw-1", seq=self._number, sent_ns=sent)
            self._number += 1
            self.tally["batches"] += 1
            self._send(second, sent, payload)
        for block in blocks:
            if block.kind in INSTANTS:
                for row in range(len(block.devices)):
                    at = max(start, int(block.t0_ns[row]))
                    self._send(second, at + self._delay(*INSTANT_DELAY_MS), encode_chunk_json(block, row))
                    self.tally["instants"] += 1
        if self._stored and not any(True for _ in self._now("outage", second + 1)):
            self._resend(end)
        return list(self._arrived(end))

    def stored(self, blocks: list[Block]) -> None:
        """Put what devices kept from before the start on the way, oldest first; it arrives in the first second."""
        for place, block in enumerate(blocks):
            arrival = self._scenario.start_ns + (place + 1) * NS_PER_S // (len(blocks) + 1)
            self._push(arrival, encode_batch(self._scenario.ward, [block], gateway="mattress", seq=place, sent_ns=arrival))
            self.tally["stored_maps"] += block.samples.shape[1]

    def rest(self) -> Iterator[Record]:
        """What is still on the way when the ward is switched off."""
        self._resend(self._queue[0][0] if self._queue else self._scenario.start_ns)
        yield from self._arrived(2**63 - 1)

    def _send(self, second: int, arrival_ns: int, payload: bytes) -> None:
        if any(True for _ in self._now("outage", second)):
            self._stored.append(payload)
            self.tally["stored"] += 1
            return
        for trouble in self._now("late", second):
            if self._rng.random() < trouble.probability:
                arrival_ns += round(trouble.offset_s * NS_PER_S)
                self.tally["late"] += 1
        self._push(arrival_ns, payload)
        for trouble in self._now("duplicate", second):
            if self._rng.random() < trouble.probability:
                self._push(arrival_ns + self._delay(*COPY_DELAY_MS), payload)
                self.tally["duplicates"] += 1

    def _resend(self, from_ns: int) -> None:
        """The gateway is back: everything stored goes out, roughly oldest first."""
        order = np.argsort(np.arange(len(self._stored)) + self._rng.uniform(0, SHUFFLE_SPAN, len(self._stored)))
        for place, index in enumerate(order):
            self._push(from_ns + (place + 1) * RESEND_GAP_MS * MS, self._stored[index])
        self._stored = []

    def _push(self, arrival_ns: int, payload: bytes) -> None:
        heapq.heappush(self._queue, (arrival_ns, self._pushed, payload))
        self._pushed += 1

    def _arrived(self, before_ns: int) -> Iterator[Record]:
        while self._queue and self._queue[0][0] < before_ns:
            arrival_ns, _, payload = heapq.heappop(self._queue)
            yield Record(arrival_ns, payload)

    def _delay(self, low_ms: int, high_ms: int) -> int:
        return int(self._rng.integers(low_ms * MS, high_ms * MS))

    def _now(self, kind: TroubleKind, second: int) -> Iterator[Trouble]:
        return (t for t in self._scenario.troubles if t.kind == kind and t.at_s <= second < t.at_s + t.duration_s)

    def _distort(self, second: int, block: Block) -> Block:
        """Lose the chunks of silent devices and bend the clocks of wrong ones."""
        for trouble in self._now("dropout", second):
            keep = np.array([not d.startswith(trouble.device) for d in block.devices])
            self.tally["dropped"] += int((~keep).sum())
            block = take(block, keep)
        wrong = [*self._now("skew", second), *self._now("step", second)]
        if wrong and block.devices:
            t0 = block.t0_ns.copy()
            for trouble in wrong:
                mine = np.array([d.startswith(trouble.device) for d in block.devices])
                drift = trouble.drift_ppm * 1e-6 * (second - trouble.at_s)
                t0[mine] += round((trouble.offset_s + drift) * NS_PER_S)
                self.tally["shifted"] += int(mine.sum())
            block = block._replace(t0_ns=t0)
        return block
