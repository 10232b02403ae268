"""Devices that say that they lie on their chargers: nobody is watched by them, and nobody is called for it until they are forgotten there."""

from __future__ import annotations

from engine.block import QUALITY_CHARGER, Block
from engine.kinds import KINDS
from engine.registry import Registry


class Chargers:
    """Since when (arrival time) each device has been saying so."""

    def __init__(self, limit_ns: int) -> None:
        self._limit_ns = limit_ns
        self.since: dict[str, int] = {}

    def note(self, block: Block, registry: Registry, arrival_ns: int) -> None:
        """Take what each chunk of `block` says."""
        flagged = block.quality & QUALITY_CHARGER
        if not self.since and not flagged.any():
            return
        regular = KINDS[block.kind].timing != "irregular"  # a press or a door says nothing of where the band lies
        for device, on in zip(block.devices, flagged.tolist(), strict=True):
            if not on:
                if regular:
                    self.since.pop(device, None)
            elif registry.knows(device):
                self.since.setdefault(device, arrival_ns)

    def lies(self, device: str, now_ns: int) -> bool:
        """Whether `device` lies on its charger, and not for so long that it is forgotten there."""
        return now_ns - self.since.get(device, now_ns - self._limit_ns) < self._limit_ns

    def left_ns(self, device: str, now_ns: int) -> int:
        """How long it may still lie there."""
        return max(0, self.since.get(device, now_ns - self._limit_ns) + self._limit_ns - now_ns)
