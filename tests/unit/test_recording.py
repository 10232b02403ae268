"""Recordings: built, written, read back, and refused in one sentence when damaged."""

from __future__ import annotations

import numpy as np
import pytest

from engine.frame import NS_PER_S
from engine.outputs import Reason
from schemas.codec import decode
from schemas.recording import START_NS, Meta, Record
from streams.recordings.format import Builder, RecordingError, Writer, read, write


def _signal(builder: Builder, device: str, kind: str) -> np.ndarray:
    """All samples of one device as they come out of the decoded records, in order."""
    parts = []
    for record in builder.build().records:
        decoded = decode(record.payload)
        assert not decoded.rejects
        parts += [b.samples[i] for b in decoded.blocks if b.kind == kind for i, d in enumerate(b.devices) if d == device]
    return np.concatenate(parts)


def test_a_signal_comes_back_whole_with_its_missing_samples() -> None:
    rng = np.random.default_rng(1)
    signal = rng.normal(size=(1030, 3)).astype(np.float32)
    signal[100:120] = np.nan
    builder = Builder("t", "made here")
    builder.add("belt", "accel", START_NS, 50.0, signal)
    builder.add("other", "accel", START_NS + 7, 50.0, np.zeros((100, 3)))
    assert np.array_equal(_signal(builder, "belt", "accel"), signal, equal_nan=True)


def test_chunks_follow_each_other_and_arrive_when_their_last_sample_is_measured() -> None:
    builder = Builder("t", "made here", ward="home/a")
    builder.add("chest", "ecg", START_NS + 250_000_000, 360.0, np.zeros(360 * 4 + 90))
    builder.add("chest", "ecg", START_NS + 10 * NS_PER_S, 360.0, np.zeros(360))
    records = list(builder.build().records)
    blocks = [(record.arrival_ns, decode(record.payload)) for record in records]
    assert {decoded.ward for _, decoded in blocks} == {"home/a"}
    seq = [s for _, d in blocks for b in d.blocks for s in b.seq.tolist()]
    assert seq == list(range(6))
    for arrival_ns, decoded in blocks:
        ends = [int(t) + round(b.samples.shape[1] / 360 * NS_PER_S) for b in decoded.blocks for t in b.t0_ns]
        assert arrival_ns == max(ends)
    assert [r.arrival_ns for r in records] == sorted(r.arrival_ns for r in records)


def test_one_batch_a_second_carries_all_devices() -> None:
    builder = Builder("t", "made here")
    for i in range(5):
        builder.add(f"belt-{i}", "accel", START_NS, 50.0, np.zeros((500, 3)))
        builder.add(f"mat-{i}", "pressure_map", START_NS, 1.0, np.full((10, 32, 16), 300))
    records = list(builder.build().records)
    assert len(records) == 10
    decoded = decode(records[3].payload)
    assert {b.kind: len(b.devices) for b in decoded.blocks} == {"accel": 5, "pressure_map": 5}
    assert {b.shape for b in decoded.blocks if b.kind == "pressure_map"} == {(32, 16)}


def test_a_stream_keeps_its_order_when_its_chunks_change_length_within_a_second() -> None:
    builder = Builder("t", "made here")
    for i, n in enumerate((10, 5, 10, 5)):
        builder.add("belt", "accel", START_NS + i * 200_000_000, 50.0, np.full((n, 3), i))
    (record,) = builder.build().records
    assert [int(b.seq[i]) for b in decode(record.payload).blocks for i in range(len(b.devices))] == [0, 1, 2, 3]


def test_kinds_without_a_rate() -> None:
    builder = Builder("t", "made here")
    builder.add("call", "button", START_NS + 5, 0, [1])
    builder.add("strap", "rr_interval", START_NS, 0, np.full(10, 0.8), unit="s")
    found = {(b.kind, int(b.t0_ns[0])): b.samples for r in builder.build().records for b in decode(r.payload).blocks}
    assert found["button", START_NS + 5].tolist() == [[[1.0]]]
    intervals = {t: s for (kind, t), s in found.items() if kind == "rr_interval"}
    assert sum(s.size for s in intervals.values()) == 10
    assert {float(v) for s in intervals.values() for v in s.ravel()} == {800.0}
    assert min(intervals) == START_NS


def test_what_the_codec_should_refuse_reaches_it() -> None:
    builder = Builder("t", "made here")
    signal = np.zeros((100, 3))
    signal[10, 1], signal[60, 0] = np.inf, 25.0
    builder.add("belt", "accel", START_NS, 50.0, signal)
    decoded = [decode(record.payload) for record in builder.build().records]
    assert [reject.reason for each in decoded for reject in each.rejects] == [Reason.NON_FINITE]
    assert [reject.reason for each in decoded for reject in each.partly] == [Reason.OUT_OF_RANGE]


@pytest.mark.parametrize(
    ("kind", "t0_ns", "rate_hz", "samples", "says"),
    [
        ("radar", START_NS, 1.0, [1.0], "unknown"),
        ("ecg", 5, 250.0, [1.0], "before the recording's start"),
        ("ecg", START_NS, 0.0, [1.0], "rate_hz must be above 0"),
        ("ecg", START_NS, 250.0, [], "at least one value"),
        ("pressure_map", START_NS, 1.0, [[1, 2, 3]], "needs shape"),
    ],
)
def test_mistakes_of_an_importer_are_said_at_once(kind: str, t0_ns: int, rate_hz: float, samples: list[float], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Builder("t", "made here").add("d", kind, t0_ns, rate_hz, samples)


def _built() -> Builder:
    builder = Builder("nights/p01", "made here", licence="CC0", notes="two minutes")
    builder.bind("belt", "resident/p01", "waist")
    builder.add("belt", "accel", START_NS, 50.0, np.random.default_rng(3).normal(size=(6000, 3)))
    builder.truth("resident/p01", "falls.fall", START_NS + 5 * NS_PER_S, START_NS + 6 * NS_PER_S, "forward, tripped")
    return builder


def test_a_recording_read_back_is_the_one_written(tmp_path) -> None:
    recording = _built().build()
    write(tmp_path / "p01.vigil", recording)
    back = read(tmp_path / "p01.vigil")
    assert (back.meta, back.registry, back.truth) == (recording.meta, recording.registry, recording.truth)
    assert list(back.records) == list(_built().build().records)
    assert sorted(p.name for p in (tmp_path / "p01.vigil").iterdir()) == ["frames.parquet", "meta.json", "registry.json", "truth.jsonl"]


def test_any_bytes_may_be_recorded_as_they_came(tmp_path) -> None:
    with Writer(tmp_path / "live.vigil", Meta("live", "gateway")) as writer:
        writer.append(Record(1, b"\x00\xff not a message"))
        writer.append(Record(1, b""))
    assert list(read(tmp_path / "live.vigil").records) == [Record(1, b"\x00\xff not a message"), Record(1, b"")]


def test_a_writer_refuses_time_going_back_and_leaves_no_finished_recording(tmp_path) -> None:
    def capture() -> None:
        with Writer(tmp_path / "x.vigil", Meta("x", "y")) as writer:
            writer.append(Record(2, b"a"))
            writer.append(Record(1, b"b"))

    with pytest.raises(RecordingError, match="before its predecessor"):
        capture()
    with pytest.raises(RecordingError, match="cannot be read"):
        read(tmp_path / "x.vigil")


def test_nothing_is_overwritten(tmp_path) -> None:
    write(tmp_path / "p01.vigil", _built().build())
    with pytest.raises(RecordingError, match="exists already"):
        write(tmp_path / "p01.vigil", _built().build())


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("meta.json", None, "cannot be read"),
        ("meta.json", b"{", "not what a recording needs"),
        ("meta.json", b'{"name":"a","source":"b","version":9}', "format version 9"),
        ("registry.json", b'{"bindings":[{"device":3}]}', "not what a recording needs"),
        ("truth.jsonl", b'{"subject":"resident/a"}\n', "line 1 is not a truth"),
        ("frames.parquet", b"PAR1 and then nothing", "as Parquet"),
        ("frames.parquet", None, "as Parquet"),
    ],
)
def test_damage_is_said_in_one_sentence(tmp_path, name: str, content: bytes | None, says: str) -> None:
    write(tmp_path / "p01.vigil", _built().build())
    part = tmp_path / "p01.vigil" / name
    part.unlink() if content is None else part.write_bytes(content)
    with pytest.raises(RecordingError, match=says) as caught:
        read(tmp_path / "p01.vigil")
    assert "\n" not in str(caught.value)
