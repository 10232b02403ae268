"""Where every reading went: counts by device and kind for the current hour, and totals since the beginning."""

from __future__ import annotations

from collections.abc import Container

import numpy as np

from engine.block import Block
from engine.clocks import NEVER_NS
from engine.devices import Devices
from engine.frame import NS_PER_S
from engine.outputs import Account


class Accounts:
    """Closes the account of each hour. What a stream received is counted in the stream table; here is what never reached one."""

    def __init__(self) -> None:
        self.hour_ns = NEVER_NS
        self.refused: dict[tuple[str, str], int] = {}
        """Readings refused this hour by (device, kind)."""
        self.no_value: dict[tuple[str, str], int] = {}
        """Readings received this hour that said "no value", by (device, kind): a count beside the four, whatever became of the reading."""
        self.past = [0, 0, 0, 0]
        """Totals of the closed hours: processed, duplicate, late, quarantined."""

    def start(self, now_ns: int) -> None:
        """The first hour is that of `now_ns`."""
        self.hour_ns = _hour(now_ns)

    def refuse(self, device: str, kind: str, readings: int) -> None:
        """Count readings that were refused before they reached a stream."""
        self.refused[(device, kind)] = self.refused.get((device, kind), 0) + readings

    def count_no_value(self, block: Block, known: Container[str]) -> None:
        """Count the readings of `block` that said "no value"; those of devices that are not `known` under ""."""
        if block.no_value is not None:
            for i in np.flatnonzero(block.no_value).tolist():
                key = (block.devices[i] if block.devices[i] in known else "", block.kind)
                self.no_value[key] = self.no_value.get(key, 0) + int(block.no_value[i])

    def of_hour(self, devices: Devices) -> list[Account]:
        """The accounts of the current hour; in each, received is the sum of the others."""
        rows: dict[tuple[str, str], list[int]] = {}
        counts = devices.streams.counts
        for s in np.flatnonzero(counts[: len(devices.names)].any(axis=1)):
            rows[devices.names[s]] = [int(c) for c in counts[s]]
        for key, readings in self.refused.items():
            rows.setdefault(key, [0, 0, 0, 0])[3] += readings
        return [Account(device, kind, self.hour_ns, sum(row), *row) for (device, kind), row in rows.items()]

    def totals(self, devices: Devices) -> tuple[int, int, int, int]:
        """Readings since the beginning: processed, duplicate, late, quarantined."""
        now = devices.streams.counts.sum(axis=0)
        refused = sum(self.refused.values())
        past = self.past
        return past[0] + int(now[0]), past[1] + int(now[1]), past[2] + int(now[2]), past[3] + int(now[3]) + refused

    def close_hour(self, devices: Devices, now_ns: int) -> list[Account]:
        """The accounts of the hour when `now_ns` is in a later one, which then begins; else none."""
        if _hour(now_ns) <= self.hour_ns:
            return []
        closed = self.of_hour(devices)
        self.past = list(self.totals(devices))
        devices.streams.counts[:] = 0
        self.refused.clear()
        self.no_value.clear()
        self.hour_ns = _hour(now_ns)
        return closed


def _hour(t_ns: int) -> int:
    return t_ns // (3600 * NS_PER_S) * (3600 * NS_PER_S)
