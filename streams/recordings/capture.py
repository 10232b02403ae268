"""From the journal of an embedded Vigil to a recording."""

from __future__ import annotations

from pathlib import Path

import msgspec

from engine.frame import NS_PER_S
from engine.registry import RegistryData
from schemas.recording import Meta, Record
from streams.pipeline.handovers import SecondTries
from streams.pipeline.records import Kind
from streams.recordings.format import Writer
from streams.storage.journal_records import as_input, entries


def capture(data: Path, target: Path, minutes: float | None = None) -> int:
    """Write the telemetry in the journal under `data` (the last `minutes` of it) to `target`; returns how many records.

    Reads beside a running Vigil. FileNotFoundError when there is no journal.
    """
    folder = data / "journal"
    if not folder.is_dir():
        raise FileNotFoundError(f"{data} is no data folder of Vigil: it has no journal")
    starts = sorted(int(path.stem) for path in folder.glob("*.log"))
    end_ns = 0
    for start in starts[-2:]:
        for entry in entries(folder / f"{start:016d}.log", start):
            end_ns = entry.arrival_ns
    since_ns = 0 if minutes is None else end_ns - int(minutes * 60 * NS_PER_S)
    registry_path = data / "registry.json"
    registry = msgspec.json.decode(registry_path.read_bytes(), type=RegistryData) if registry_path.exists() else RegistryData()
    count = 0
    tries = SecondTries()
    with Writer(target, Meta(target.name.removesuffix(".vigil"), "captured from a journal"), registry, marked=True) as writer:
        for start in starts:
            for entry in entries(folder / f"{start:016d}.log", start):
                record = as_input(entry)
                repeated = tries.is_one(record.handover, record.value)
                if record.kind is Kind.TELEMETRY and entry.arrival_ns >= since_ns and not repeated:
                    writer.append(Record(entry.arrival_ns, record.value, record.handover.retained))
                    count += 1
    return count
