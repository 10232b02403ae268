"""Why readings of a recording are refused, by reason: what `vigil replay` and `vigil import` say about them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from engine.outputs import Reject
from schemas.codec import decode
from schemas.recording import Record


class Refusals:
    """Counts rejects by reason and keeps a sentence of each: `add` them, or let the records of a recording pass through `checked`."""

    def __init__(self, rejects: Iterable[Reject] = ()) -> None:
        self.accepted = 0
        self._readings: dict[str, int] = {}
        self._first: dict[str, Reject] = {}
        self.add(rejects)

    def add(self, rejects: Iterable[Reject]) -> None:
        """Count `rejects`."""
        for reject in rejects:
            self._readings[reject.reason] = self._readings.get(reject.reason, 0) + reject.readings
            self._first.setdefault(reject.reason, reject)

    def checked(self, records: Iterable[Record]) -> Iterator[Record]:
        """`records`, each judged on its way by the code that judges what a device sends; counts what it accepts and refuses."""
        for record in records:
            decoded = decode(record.payload)
            self.accepted += sum(len(block.devices) * block.samples.shape[1] for block in decoded.blocks)
            self.add(decoded.rejects)
            yield record

    def __bool__(self) -> bool:
        """Whether anything was refused."""
        return bool(self._first)

    def sentences(self) -> list[str]:
        """One for each reason, the most frequent first: how many readings (none where only single values were taken out), and an example."""
        result = []
        for reason, readings in sorted(self._readings.items(), key=lambda entry: -entry[1]):
            first = self._first[reason]
            how_many = f"{readings} readings" if readings else "single values"
            result.append(f"{how_many} refused, {reason}: {f'{first.device}: ' if first.device else ''}{first.detail}")
        return result
