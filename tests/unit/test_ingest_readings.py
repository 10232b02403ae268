"""Small readings of other programs become chunks of ours."""

from __future__ import annotations

from random import Random
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
from aiokafka import TopicPartition

from engine.outputs import Reason
from schemas.codec import decode, encode_batch
from streams.ingest.config import ReadingsConfig
from streams.ingest.readings import Reader
from streams.ingest.readings_consumer import Windower

T0_NS = 1_767_571_200_123_000_000
CONFIG = ReadingsConfig(
    device="id",
    kind="metric",
    time="ts",
    time_unit="ms",
    value="val",
    kinds={"hr": "vitals.heart_rate_bpm", "spo2": "vitals.spo2_percent", "call": "button"},
)


def reading(device: str = "m1", metric: str = "hr", val: Any = 71, ts: Any = T0_NS // 1_000_000) -> bytes:
    return msgspec.json.encode({"id": device, "metric": metric, "ts": ts, "val": val, "more": "ignored"})


def test_readings_become_columns() -> None:
    joined = Reader(CONFIG).join([reading(), reading("m2", val=72.5), reading(metric="spo2", val=97), reading("b1", "call", val=True)])
    vitals, button = joined.blocks
    assert not joined.single
    assert (vitals.kind, vitals.devices, vitals.t0_ns.tolist()) == ("vitals", ("m1", "m2"), [T0_NS, T0_NS])
    np.testing.assert_array_equal(vitals.samples[:, 0, [0, 2]], np.array([[71, 97], [72.5, np.nan]], np.float32))
    assert np.isnan(vitals.samples[:, 0, [1, 3, 4, 5]]).all()
    assert (button.devices, button.samples.tolist()) == (("b1",), [[[1.0]]])


def test_a_block_is_what_the_codec_makes_of_the_same_reading() -> None:
    (found,) = Reader(CONFIG).join([reading()]).blocks
    chunk = {"v": 1, "device": "m1", "kind": "vitals", "t0_ns": T0_NS, "values": {"heart_rate_bpm": 71}}
    (wanted,) = decode(msgspec.json.encode(chunk)).blocks
    for ours, theirs in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))


def test_an_object_holds_several_channels() -> None:
    joined = Reader(CONFIG).join([reading(metric="vitals", val={"heart_rate_bpm": 60, "spo2_percent": None})])
    assert joined.blocks[0].samples[0, 0, 0] == 60
    assert not joined.single


@pytest.mark.parametrize(
    ("unit", "time"), [("ns", T0_NS), ("us", T0_NS // 1_000), ("s", T0_NS / 1e9), ("iso", "2026-01-05T08:00:00.123+08:00")]
)
def test_times(unit: Any, time: Any) -> None:
    config = CONFIG.model_copy(update={"time_unit": unit})
    (block,) = Reader(config).join([reading(ts=time)]).blocks
    assert abs(int(block.t0_ns[0]) - T0_NS) < 1_000


def test_a_chunk_of_ours_is_a_reading_too() -> None:
    chunk = {"v": 1, "device": "a", "kind": "button", "t0_ns": 5, "seq": 3, "quality": 2, "samples": [[1]]}
    (block,) = Reader(CONFIG).join([msgspec.json.encode(chunk)]).blocks
    assert (block.devices, block.seq.tolist(), block.quality.tolist()) == (("a",), [3], [2])


@pytest.mark.parametrize(
    ("record", "reason", "device"),
    [
        (reading(val=9_000), Reason.OUT_OF_RANGE, "m1"),
        (reading(val="high"), Reason.WRONG_TYPE, ""),
        (reading(metric="telepathy"), Reason.WRONG_TYPE, ""),
        (reading(metric="vitals"), Reason.WRONG_TYPE, ""),
        (reading(metric="vitals", val={"mood": 1}), Reason.WRONG_TYPE, ""),
        (reading(ts="now"), Reason.WRONG_TYPE, ""),
        (reading(device="a\nb"), Reason.BAD_DEVICE, ""),
        (b"", Reason.TRUNCATED, ""),
        (b"noise", Reason.MALFORMED, ""),
    ],
)
def test_what_is_no_reading_is_refused_by_a_core(record: bytes, reason: Reason, device: str) -> None:
    joined = Reader(CONFIG).join([record, reading("good")])
    assert [block.devices for block in joined.blocks] == [("good",)]
    ((_, message),) = joined.single
    (reject,) = decode(message).rejects
    assert reject.reason is reason
    assert not device or reject.device == device


def test_a_time_without_an_offset_is_no_time() -> None:
    config = CONFIG.model_copy(update={"time_unit": "iso"})
    assert len(Reader(config).join([reading(ts="2026-01-05T08:00:00")]).single) == 1


def test_measured_twice_at_one_time_is_a_repeat_for_the_core() -> None:
    joined = Reader(CONFIG).join([reading(), reading(val=80)])
    assert joined.blocks[0].samples[0, 0, 0] == 71
    ((device, message),) = joined.single
    (again,) = decode(message).blocks
    assert (device, again.samples[0, 0, 0]) == ("m1", 80)


def test_a_mapping_that_names_nothing_is_refused_at_the_start() -> None:
    with pytest.raises(ValueError, match="telepathy"):
        Reader(ReadingsConfig(kinds={"x": "telepathy"}))
    with pytest.raises(ValueError, match="no channel mood"):
        Reader(ReadingsConfig(kinds={"x": "vitals.mood"}))
    with pytest.raises(ValueError, match="different fields"):
        Reader(ReadingsConfig(device="x", kind="x"))


@pytest.mark.parametrize("value", ["unavailable", "unknown", "", None, 0, 255, -999, 85.0, {"heart_rate_bpm": "unavailable"}])
def test_no_value_is_a_reading_that_is_counted(value: Any) -> None:
    config = CONFIG.model_copy(update={"no_value": {"hr": (85.0,)}})
    joined = Reader(config).join([reading(val=value), reading("m2")])
    assert not joined.single
    (block,) = decode(encode_batch("h/w", joined.blocks)).blocks
    assert block.devices == ("m1", "m2")
    np.testing.assert_array_equal(block.samples[:, 0, 0], np.array([np.nan, 71], np.float32))
    assert block.no_value is not None
    assert block.no_value.tolist() == [1, 0]


def test_no_value_of_ones_own_belongs_to_its_kind_and_gives_way_to_a_value() -> None:
    config = CONFIG.model_copy(update={"no_value": {"hr": (85.0,)}})
    (block,) = Reader(config).join([reading(metric="spo2", val=85), reading(val=85), reading(val=72)]).blocks
    assert block.samples[0, 0, [0, 2]].tolist() == [72.0, 85.0]


def test_a_press_without_value_is_no_press() -> None:
    (block,) = Reader(CONFIG).join([reading("b1", "call", val="unavailable")]).blocks
    assert np.isnan(block.samples).all()


def window(records: list[Any], sizes: list[int], drop_from: int = 0) -> list[tuple[int, int]]:
    """(first, last offset) of the parts when `records` are fetched in pieces of `sizes`, the last part closed."""
    windower, tp = Windower(100, 100), TopicPartition("monitors", 0)
    found, at = [], drop_from
    for size in [*sizes, len(records)]:
        piece = records[at : at + size]
        at += size
        if piece:
            found += windower.take(tp, piece)
    return [(part[0].offset, part[-1].offset) for part in [*found, windower.close(tp)]]


def test_a_log_is_cut_at_the_same_places_however_it_is_fetched() -> None:
    records = [SimpleNamespace(offset=offset, timestamp=1_000 + offset // 3 * 7) for offset in range(95, 360)]
    once = window(records, [])
    assert (95, 99) in once
    assert all(last // 100 == first // 100 for first, last in once)
    assert len(once) > 3  # stamps cut as well as offsets
    for seed in range(20):
        chance = Random(seed)
        assert window(records, [chance.randint(1, 60) for _ in range(40)]) == once
    begin = once[3][0] - 95  # a commit stands at the end of a part
    assert window(records, [7] * 60, drop_from=begin) == once[3:]


def test_what_is_read_again_after_a_division_is_not_joined_to_what_was_open() -> None:
    windower, tp = Windower(100, 100), TopicPartition("monitors", 0)
    records = [SimpleNamespace(offset=offset, timestamp=1_000) for offset in range(10)]
    assert windower.take(tp, records[:6]) == []
    assert windower.take(tp, records[2:]) == []
    assert [record.offset for record in windower.close(tp)] == list(range(2, 10))
    assert windower.idle() == []


SLOW = ReadingsConfig(kinds={"smoke": "room_air.smoke_od_per_m", "co": "room_air.co_ppm", "hr": "vitals.heart_rate_bpm"})


def room(device: str, kind: str, value: float) -> bytes:
    return msgspec.json.encode({"device": device, "kind": kind, "t0_ns": T0_NS, "value": value})


@pytest.mark.parametrize("name", ["smoke", "room_air"])
def test_a_declared_interval_is_the_rate_of_the_chunk(name: str) -> None:
    """By the other program's name of the kind, or by Vigil's."""
    config = SLOW.model_copy(update={"interval_s": {name: 180.0}})
    smoke, heart = Reader(config).join([room("s-1", "smoke", 0.5), room("b-1", "hr", 70)]).blocks
    assert (smoke.kind, smoke.rate_hz) == ("room_air", 1 / 180)
    (undeclared,) = Reader(SLOW).join([room("b-1", "hr", 70)]).blocks
    assert heart.rate_hz == undeclared.rate_hz


def test_readings_with_different_intervals_are_different_chunks() -> None:
    config = SLOW.model_copy(update={"interval_s": {"room_air": 60.0, "co": 300.0}})
    joined = Reader(config).join([room("s-1", "smoke", 0.0), room("s-2", "co", 1.0), room("s-2", "smoke", 0.0)])
    assert {(block.rate_hz, block.devices) for block in joined.blocks} == {(1 / 60, ("s-1", "s-2")), (1 / 300, ("s-2",))}
    assert not joined.single


def test_a_refused_reading_keeps_its_interval() -> None:
    config = SLOW.model_copy(update={"interval_s": {"room_air": 600.0}})
    ((_, message),) = Reader(config).join([room("s-1", "smoke", 400.0)]).single
    assert msgspec.json.decode(message)["rate_hz"] == 1 / 600
    assert [reject.reason for reject in decode(message).rejects] == [Reason.OUT_OF_RANGE]


@pytest.mark.parametrize(
    ("intervals", "why"),
    [
        ({"smoke": 601.0}, "smoke .room_air. may be 0.1 to 600 s apart, got 601"),
        ({"room_air": 0.0}, "0.1 to 600 s apart, got 0"),
        ({"button": 5.0}, "no interval"),
        ({"telepathy": 5.0}, "no kind 'telepathy'"),
    ],
)
def test_an_interval_that_cannot_be_is_refused_at_the_start(intervals: dict[str, float], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Reader(SLOW.model_copy(update={"interval_s": intervals}))
