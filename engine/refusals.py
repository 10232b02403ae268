"""Chunks that admission refused, as rejects with a reason to count and a sentence to act on."""

from __future__ import annotations

from typing import Final

from engine import clocks
from engine.block import Block
from engine.frame import NS_PER_S
from engine.outputs import Late, Reason, Reject

_REASONS: Final = {
    clocks.FUTURE: (Reason.TIME_FUTURE, "t0_ns is {ahead:.0f} s ahead of arrival: set the device clock (NTP), UTC nanoseconds"),
    clocks.PAST: (
        Reason.TIME_PAST,
        "t0_ns is {behind:.0f} s before arrival, more than is taken: set the device clock (NTP), UTC nanoseconds",
    ),
    clocks.UNBOUND: (Reason.UNKNOWN_DEVICE, "this device is bound to nobody at t0_ns: bind it in the registry"),
    clocks.FLOOD: (
        Reason.RATE_EXCEEDED,
        "repeats, late chunks or single events far above the device's rate: send each chunk once, in order",
    ),
}
_NO_LANE: Final = "{subject} already has as many devices of this kind as are watched: unbind one"


def late(block: Block, i: int, next_ns: int, since_ns: int) -> Late:
    """Row `i` of `block` as a late chunk of a stream that goes on at `next_ns` and is about its present subject since `since_ns`."""
    t0_ns, sample = int(block.t0_ns[i]), block.samples[i]
    return Late(block.devices[i], block.kind, t0_ns, next_ns - t0_ns, sample.shape[0], sample.tobytes(), earlier=t0_ns < since_ns)


def rejected(block: Block, i: int, fate: int, subject: str | None, arrival_ns: int) -> Reject | None:
    """Row `i` of `block` as a reject; None where its fate is no refusal (a duplicate). `subject`: whom the device is about."""
    if fate not in _REASONS:
        return None
    reason, sentence = _REASONS[fate]
    if fate == clocks.UNBOUND and subject is not None:
        sentence = _NO_LANE
    t0_ns = int(block.t0_ns[i])
    detail = sentence.format(ahead=(t0_ns - arrival_ns) / NS_PER_S, behind=(arrival_ns - t0_ns) / NS_PER_S, subject=subject)
    return Reject(reason, detail, block.devices[i], block.kind, block.samples.shape[1], block.samples[i].tobytes())
