"""One stream, simulated wards with recordings among them, and what `vigil run` and `vigil worker` say about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from heapq import merge
from operator import attrgetter
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from engine.block import NO_SEQ, Block
from engine.frame import NS_PER_S
from engine.registry import Binding, Place, RegistryData
from schemas.codec import decode
from schemas.encode import encode_batch
from schemas.recording import Meta, Record, Recording, Truth
from sinks.items import Item, ItemKind
from sinks.sqlite import SqliteReader
from streams.recordings.format import read, write
from streams.recordings.importers.catalogue import IMPORTERS
from tests.integration.kafka_wards import Bench, Ward, accounts, by_id, wards
from tests.integration.wards import running
from tests.services.worker import OWNING, WorkerProcess

EXAMPLES: Final = Path(__file__).parents[2] / "examples"
EXAMPLE_NAMES: Final = ("fall", "ventricular-fibrillation", "smouldering-plug", "turn-overdue")
"""One recording for each of four wards, made by the simulator: what everybody has."""
REAL: Final = (
    ("sisfall", "sisfall", "F01_SA01_R01"),
    ("wfdb", "mitdb/207", ""),
    ("nist-fire", "fire", "SDC05"),
    ("wfdb", "mitdb/203", ""),
)
"""(importer, path among the data sets, record) for each of four wards: a real fall, two real hearts of 30 minutes, a real fire."""
OUTCOMES: Final = ("processed", "duplicate", "late", "quarantined")
SETTLE_S: Final = 5.0
DRAIN_S: Final = 600.0


class CoreOutput(NamedTuple):
    """What a way of running said: events, transitions, alerts in the end, and counts by (device, kind, hour)."""

    events: list[bytes]
    transitions: list[bytes]
    alerts: dict[str, bytes]
    accounts: Counter[tuple[str, str, int, str]]


def recorded(data_root: Path | None) -> list[Recording]:
    """A recording for each ward: real ones where the data is, else the examples."""
    if data_root is None:
        return [read(EXAMPLES / f"{name}.vigil") for name in EXAMPLE_NAMES]
    return [IMPORTERS[kind].load(data_root / path, record) for kind, path, record in REAL]


def stream(seconds: float, data_root: Path | None = None) -> list[Ward]:
    """A ward a partition: `seconds` of a simulated ward and, moved into its time, a recording. No name is in two wards."""
    mixed = []
    for number, (ward, played) in enumerate(zip(wards(seconds), recorded(data_root), strict=True)):
        begin_ns, end_ns = ward.records[0].arrival_ns, ward.records[0].arrival_ns + round(seconds * NS_PER_S)
        own = _moved(Recording(Meta(ward.name, "simulated"), ward.registry, (), iter(ward.records)), f"w{number}", ward.name, begin_ns)
        guest = _moved(played, f"g{number}", ward.name, begin_ns)
        end = Binding(f"w{number}-end", f"room/w{number}-end", ward.name)
        records = [r for r in merge(own.records, guest.records, key=attrgetter("arrival_ns")) if r.arrival_ns < end_ns]
        # Every ward ends at the same moment, with a press of a button in an empty room: time has then passed equally for all.
        last_ns = begin_ns - begin_ns % NS_PER_S + round((seconds + SETTLE_S) * NS_PER_S)
        records.append(Record(last_ns, encode_batch(ward.name, [_press(end.device, last_ns)], gateway="end")))
        registry = RegistryData(
            bindings=(*own.registry.bindings, *guest.registry.bindings, end),
            assignments=own.registry.assignments + guest.registry.assignments,
            places=own.registry.places + guest.registry.places,
            care=own.registry.care + guest.registry.care,
        )
        mixed.append(Ward(ward.name, ward.partition, records, registry))
    return mixed


def _press(device: str, at_ns: int) -> Block:
    one = np.array([at_ns], np.int64)
    return Block("button", (device,), one, np.array([NO_SEQ], np.int64), 0.0, np.ones((1, 1, 1), np.float32), np.zeros(1, np.uint8), (0, 0))


def _moved(played: Recording, prefix: str, ward: str, begin_ns: int) -> Recording:
    """`played` with all names prefixed and its first arrival at `begin_ns`. What cannot be decoded stays as it is."""
    records = list(played.records)
    shift_ns = begin_ns - records[0].arrival_ns

    def subject(name: str) -> str:
        kind, _, who = name.partition("/")
        return f"{kind}/{prefix}-{who}"

    def payload(number: int, record: Record) -> bytes:
        found = decode(record.payload)
        if found.rejects or not found.blocks:
            return record.payload
        blocks = [
            block._replace(devices=tuple(f"{prefix}-{device}" for device in block.devices), t0_ns=block.t0_ns + shift_ns)
            for block in found.blocks
        ]
        # JSON has no batch number: it gets one, so that no two messages pass for one.
        seq = found.seq if found.seq >= 0 else number
        return encode_batch(ward, blocks, gateway=f"{prefix}-{found.gateway}", seq=seq, sent_ns=found.sent_ns + shift_ns)

    def span(thing: object) -> dict[str, int]:
        from_ns, to_ns = thing.from_ns, thing.to_ns  # type: ignore[attr-defined]
        return {"from_ns": from_ns and from_ns + shift_ns, "to_ns": min(to_ns + shift_ns, 2**63 - 1) if to_ns < 2**62 else to_ns}

    old, replace = played.registry, msgspec.structs.replace
    registry = RegistryData(
        bindings=tuple(replace(b, device=f"{prefix}-{b.device}", subject=subject(b.subject), ward=ward, **span(b)) for b in old.bindings),
        assignments=tuple(replace(a, resident=subject(a.resident), bed=subject(a.bed), **span(a)) for a in old.assignments),
        places=tuple(Place(subject(p.subject), subject(p.room), ward) for p in old.places),
        care=tuple(replace(c, subject=subject(c.subject)) for c in old.care),
    )
    moved = (Record(record.arrival_ns + shift_ns, payload(number, record)) for number, record in enumerate(records))
    return Recording(played.meta, registry, (), moved)


# -- ways of running -----------------------------------------------------------------------------------------------------


def merged(streams: Sequence[Ward]) -> Recording:
    """All wards as one recording, in order of arrival."""
    registry = RegistryData(
        bindings=tuple(b for ward in streams for b in ward.registry.bindings),
        assignments=tuple(a for ward in streams for a in ward.registry.assignments),
        places=tuple(p for ward in streams for p in ward.registry.places),
        care=tuple(c for ward in streams for c in ward.registry.care),
    )
    truth: tuple[Truth, ...] = ()
    return Recording(Meta("one-stream", "simulated and recorded"), registry, truth, _by_arrival(streams))


def _by_arrival(streams: Iterable[Ward]) -> Iterator[Record]:
    return merge(*(ward.records for ward in streams), key=attrgetter("arrival_ns"))


def through_run(streams: Sequence[Ward], folder: Path) -> CoreOutput:
    """`vigil run` in a process of its own, fed the merged recording."""
    source = folder / "one-stream.vigil"
    write(source, merged(streams))
    data = folder / "data"
    with running(data, "--recording", str(source)) as vigil:
        vigil.heard({binding.device for ward in streams for binding in ward.registry.bindings[-1:]}, DRAIN_S)
        assert vigil.stop() == 0, (data / "stderr.log").read_text()[-2000:]
    reader = SqliteReader(data / "vigil.db")
    events = sorted(msgspec.json.encode(e) for e in reader.events_since(0, 1_000_000)[0])
    transitions = reader.transitions_since(0, 1_000_000)[0]
    counts: Counter[tuple[str, str, int, str]] = Counter()
    for account in reader.accounts(0, 2**62):
        _count(counts, account)
    ids = {t.alert_id for t in transitions}
    alerts = {alert_id: msgspec.json.encode(reader.alert(alert_id)) for alert_id in ids}
    return CoreOutput(events, sorted(msgspec.json.encode(t) for t in transitions), alerts, counts)


def of_items(said: Sequence[Sequence[Item]]) -> CoreOutput:
    """What workers said on the output topics, by partition."""
    events: list[bytes] = []
    transitions: list[bytes] = []
    alerts: dict[str, bytes] = {}
    counts: Counter[tuple[str, str, int, str]] = Counter()
    for items in said:
        events += by_id(items, ItemKind.EVENT).values()
        by_id(items, ItemKind.ALERT)  # one content an id
        changes = {item.id: item.body for item in items if item.kind is ItemKind.ALERT}
        transitions += [msgspec.json.encode(change.transition) for change in changes.values()]  # type: ignore[union-attr]
        alerts |= {change.alert.id: msgspec.json.encode(change.alert) for change in changes.values()}  # type: ignore[union-attr]
        for account in accounts(items).values():
            _count(counts, account)
    return CoreOutput(sorted(events), sorted(transitions), alerts, counts)


def _count(counts: Counter[tuple[str, str, int, str]], account: object) -> None:
    for outcome in ("received", *OUTCOMES):
        counts[account.device, account.kind, account.hour_ns, outcome] += getattr(account, outcome)  # type: ignore[attr-defined]


def same(bench: Bench, streams: Sequence[Ward], folder: Path) -> dict[str, Any]:
    """Run both ways; AssertionError names the first difference, else figures of what was equal."""
    for ward in streams:
        bench.send_registry(ward)
        bench.send(ward, ward.records)
    worker = WorkerProcess(bench.config, folder / "worker.log")
    try:
        worker.wait_logged(OWNING, DRAIN_S)
        bench.wait_committed(DRAIN_S)
        assert worker.stop() == 0, worker.tail()
    finally:
        worker.kill()
    there, here = of_items(bench.said()), through_run(streams, folder)
    for name, mine, theirs in zip(CoreOutput._fields, here, there, strict=True):
        assert mine == theirs, f"{name} differ: {_difference(mine, theirs)}"
    codes = Counter(msgspec.json.decode(alert)["code"] for alert in here.alerts.values())
    totals: Counter[str] = Counter()
    for (*_, outcome), count in here.accounts.items():
        totals[outcome] += count
    assert totals["received"] == sum(totals[name] for name in OUTCOMES)
    return {
        "wards": len(streams),
        "records": sum(len(ward.records) for ward in streams),
        "events": len(here.events),
        "transitions": len(here.transitions),
        "alerts_by_code": dict(sorted(codes.items())),
        "readings": dict(totals),
    }


def _difference(mine: Any, theirs: Any) -> str:
    only_mine = [entry for entry in mine if entry not in theirs or (isinstance(mine, dict) and mine[entry] != theirs[entry])]
    only_theirs = [entry for entry in theirs if entry not in mine]
    shown = [(entry, mine[entry], theirs.get(entry)) if isinstance(mine, dict) else entry for entry in only_mine[:3]]
    return f"{len(only_mine)} only or otherwise in vigil run {shown}, {len(only_theirs)} only in the worker {only_theirs[:3]}"
