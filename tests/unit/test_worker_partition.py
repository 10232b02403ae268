"""A partition without Kafka: whatever is read again gives the same again."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from alerts.model import Action, Command
from engine.events import Event
from engine.outputs import Reason
from engine.registry import RegistryData
from schemas.codec import decode as decode_wire
from schemas.recording import START_NS
from sinks.codec import decode as decode_item
from sinks.codec import encode
from sinks.items import AlertChange, AuditEntry, Item, ItemKind, Quarantined
from streams.kafka.records import FRAMED, SINGLE, frame, headers, items_in, parse, single
from streams.pipeline.partition import Partition
from streams.pipeline.records import Input, Kind
from streams.pipeline.registries import Registries
from streams.recordings.format import Builder
from streams.storage.snapshots import KEPT, DirectoryStore, Snapshot

WARD = "home/ward"
SECOND_NS = 1_000_000_000


def pressed(*at_s: int) -> tuple[RegistryData, list[tuple[int, bytes]]]:
    """A call button pressed at these seconds: registry, and (arrival_ns, payload)."""
    builder = Builder("calls", "made up", ward=WARD)
    builder.bind("button", "resident/r-1")
    for second in at_s:
        for half, state in enumerate((1.0, 0.0)):
            builder.add("button", "button", START_NS + second * SECOND_NS - (1 - half) * SECOND_NS // 2, 0.0, np.array([state], np.float32))
    made = builder.build()
    return made.registry, [(r.arrival_ns, r.payload) for r in made.records]


def telemetry(offset: int, arrival_ns: int, payload: bytes, key: str = "") -> Input:
    return parse(offset, arrival_ns, WARD.encode(), payload, headers(arrival_ns, key))


def command(offset: int, at_ns: int, alert_id: str) -> Input:
    value = msgspec.json.encode(Command("c-1", Action.ACKNOWLEDGE, alert_id, "li", 0))
    return parse(offset, at_ns, WARD.encode(), value, headers(kind=Kind.COMMAND))


def changes(items: list[Item]) -> list[AlertChange]:
    return [item.body for item in items if isinstance(item.body, AlertChange)]


def log_of_a_minute() -> tuple[Registries, list[Input]]:
    registry, sent = pressed(2, 30, 50)
    registries = Registries({WARD: registry}, 1)
    first = Partition(0, live=False, registries=registries)
    alert = changes(first.apply(telemetry(0, *sent[0])).items)[0].alert.id
    again = msgspec.json.encode(registry)
    return registries, [
        telemetry(0, *sent[0], key="k"),
        parse(1, START_NS + 10 * SECOND_NS, None, b"", headers(START_NS + 10 * SECOND_NS, kind=Kind.TIME)),
        command(2, START_NS + 12 * SECOND_NS, alert),
        telemetry(3, *sent[0], key="k"),
        telemetry(4, *sent[1]),
        parse(5, 0, WARD.encode(), again, [*headers(kind=Kind.REGISTRY), ("vigil-registry-offset", b"1")]),
        parse(6, 0, WARD.encode(), again, [*headers(kind=Kind.REGISTRY), ("vigil-registry-offset", b"1")]),
        parse(7, 0, WARD.encode(), b"no registry", [*headers(kind=Kind.REGISTRY), ("vigil-registry-offset", b"2")]),
        parse(8, 0, WARD.encode(), b"no command", headers(kind=Kind.COMMAND)),
        telemetry(9, START_NS + 40 * SECOND_NS, b"rubbish"),
        telemetry(10, *sent[2]),
    ]


def test_every_suffix_from_every_snapshot_says_the_same_again() -> None:
    registries, log = log_of_a_minute()
    whole = Partition(0, live=False, registries=registries)
    said = [[encode(item) for item in whole.apply(record).items] for record in log]
    assert sum(map(len, said)) > 10
    for cut in range(len(log)):
        before = Partition(0, live=False, registries=registries)
        for record in log[:cut]:
            before.apply(record)
        after = Partition(0, live=False)
        after.restore(before.snapshot())
        assert after.next_offset == cut
        assert [[encode(item) for item in after.apply(record).items] for record in log[cut:]] == said[cut:]
        assert after.snapshot() == whole.snapshot()


def test_the_order_of_two_logs_would_matter() -> None:
    registry, sent = pressed(2, 30)
    registries = Registries({WARD: registry}, 1)
    contents = []
    for command_first in (True, False):
        partition = Partition(0, live=False, registries=registries)
        opened = changes(partition.apply(telemetry(0, *sent[0])).items)[0].alert.id
        two = [command(1, 0, opened), telemetry(1, *sent[1])]
        heard = [change for record in (two if command_first else two[::-1]) for change in changes(partition.apply(record).items)]
        contents.append({change.transition.id: change.transition.reason for change in heard})
    acknowledged_first, repeated_first = contents
    assert acknowledged_first.keys() == repeated_first.keys()
    assert acknowledged_first != repeated_first


def test_no_clock_may_push_a_live_ward_ahead() -> None:
    partition = Partition(0, live=True)
    ahead = parse(0, START_NS, None, b"", headers(START_NS + 3600 * SECOND_NS, kind=Kind.TIME))
    partition.apply(ahead)
    assert partition.arrival_ns == START_NS
    partition.apply(parse(1, START_NS - SECOND_NS, None, b"", headers(kind=Kind.TIME)))
    assert partition.arrival_ns == START_NS
    partition.apply(parse(2, START_NS + 9 * SECOND_NS, None, b"", headers(START_NS + SECOND_NS, kind=Kind.TIME)))
    assert partition.arrival_ns == START_NS + SECOND_NS


def test_refused_inputs_say_why_and_change_nothing() -> None:
    registries, log = log_of_a_minute()
    partition = Partition(0, live=False, registries=registries)
    said = [item for record in log for item in partition.apply(record).items]
    refused = [item.body for item in said if isinstance(item.body, Quarantined)]
    assert [r.kind for r in refused] == ["registry", "command", ""]
    audit = {item.id: item.body for item in said if isinstance(item.body, AuditEntry)}
    assert audit["registry-0-2"].detail.startswith("refused: ")
    assert partition.registries.wards == registries.wards
    assert partition.registries.next_offset == 3
    assert partition.core.repeated == 1


def test_a_record_passed_over_is_in_quarantine_with_its_bytes() -> None:
    partition = Partition(0, live=False)
    (item,) = partition.skip_poison(telemetry(0, START_NS, b"poison"), "workers died on it").items
    assert isinstance(item.body, Quarantined)
    assert (item.body.reason, item.body.payload) == (Reason.INTERNAL.value, b"poison")
    assert partition.next_offset == 1


def test_outputs_come_back_from_their_records() -> None:
    registries, log = log_of_a_minute()
    partition = Partition(0, live=False, registries=registries)
    said = [item for record in log for item in partition.apply(record).items]
    assert {ItemKind.ALERT, ItemKind.EVENT, ItemKind.AUDIT, ItemKind.QUARANTINE} <= {item.kind for item in said}
    for item in said:
        alone = item.kind in SINGLE
        back = items_in(SINGLE[item.kind], single(item)[1]) if alone else items_in(FRAMED[item.kind], frame([encode(item)]))
        assert [encode(b) for b in back] == [encode(item)]
    with pytest.raises(ValueError, match="no output topic"):
        items_in("telemetry", b"")
    with pytest.raises(TypeError, match="frames"):
        single(next(item for item in said if item.kind is ItemKind.QUARANTINE))
    assert any(isinstance(item.body, Event) for item in said)


def test_headers_nobody_can_read_are_telemetry_without_headers() -> None:
    got = parse(3, 7, None, None, [("vigil-kind", b"\xff"), ("arrival_ns", b"-4"), ("key", b"\xff")])
    assert (got.kind, got.arrival_ns, got.value) == (Kind.TELEMETRY, None, b"")
    assert decode_wire(got.value).rejects


def test_a_snapshot_of_another_version_is_refused() -> None:
    with pytest.raises((ValueError, msgspec.DecodeError)):
        Partition(0).restore(b"\x90")


def test_the_newest_snapshot_of_the_newest_owner_counts(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    assert store.newest_epoch(3) == 0
    store.put(3, Snapshot(2, 50, b"owner"))
    store.put(3, Snapshot(1, 90, b"a paused worker, back from the dead"))
    assert next(store.newest_first(3)).state == b"owner"
    assert store.newest_epoch(3) == 2
    for offset in range(51, 60):
        store.put(3, Snapshot(2, offset, b"%d" % offset))
    kept = list(store.newest_first(3))
    assert [s.next_offset for s in kept] == [59, 58, 57][:KEPT]
    assert list(store.newest_first(4)) == []


def test_a_damaged_snapshot_is_passed_over(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    store.put(0, Snapshot(1, 5, b"whole"))
    store.put(0, Snapshot(1, 9, b"torn"))
    path = max(tmp_path.rglob("*.snap"))
    path.write_bytes(path.read_bytes()[:-1])
    assert [s.state for s in store.newest_first(0)] == [b"whole"]


def test_marks_survive_and_are_forgotten(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    assert store.note(1) is None
    store.set_note(1, "died at 7")
    assert DirectoryStore(tmp_path).note(1) == "died at 7"
    store.set_note(1, None)
    store.set_note(1, None)
    assert store.note(1) is None


def test_a_long_silence_is_lived_through_in_pieces_that_say_the_same() -> None:
    registry, sent = pressed(2, 3 * 3_600)
    registries = Registries({WARD: registry}, 1)
    log = [telemetry(offset, *one) for offset, one in enumerate(sent)]
    whole = Partition(0, live=False, registries=registries)
    said = [encode(item) for record in log for item in whole.apply(record).items]
    pieces = Partition(0, live=False, registries=registries)
    again, count = [], 0
    for record in log:
        for items in (step.items for step in pieces.advance_before(record)):
            assert pieces.next_offset == record.offset
            count += 1
            again += [encode(item) for item in items]
            if count % 50 == 7:  # a worker that dies here goes on from here
                saved = pieces.snapshot()
                pieces = Partition(0, live=False)
                pieces.restore(saved)
                again += [encode(item) for rest in pieces.advance_before(record) for item in rest.items]
                break
        again += [encode(item) for item in pieces.apply(record).items]
    assert count > 5
    assert sorted(again) == sorted(said)
    assert any(decode_item(data).kind is ItemKind.ACCOUNT for data in said)  # hours that ended in the silence
    assert pieces.snapshot() == whole.snapshot()
    beyond = telemetry(len(log), log[-1].arrival_ns + 8 * 86_400 * SECOND_NS, sent[0][1])  # the engine leaps over so much
    assert list(pieces.advance_before(beyond)) == []
