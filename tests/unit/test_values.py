"""What is no measurement: codes for "no value", values that no sensor measures, values in another unit. The tables are the contract's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.block import NO_SEQ, Block
from engine.engine import Engine
from engine.frame import NS_PER_S
from engine.kinds import KINDS, NO_VALUES, Channel, Kind, channel
from engine.outputs import Reason
from engine.registry import Binding, Registry, RegistryData
from engine.snapshot import STATE_VERSION, EngineSnapshot
from schemas import generate
from schemas.codec import Decoded, decode, encode_batch
from schemas.models import NO_VALUE_TEXTS
from streams.pipeline.core import Core

T0_NS = 1_767_571_200 * NS_PER_S
CODES = sorted({code for codes in NO_VALUES.values() for code in codes})
CODED = [kind for kind in KINDS.values() if kind.coded]
CHANNELS = [(kind, j) for kind in CODED for j in range(len(kind.channels) or 1)]
RELAXED = settings(deadline=None)  # the first call compiles a kernel


def entry(kind: Kind, j: int) -> Channel:
    return kind.channels[j] if kind.channels else Channel("", *kind.wide)


def named(which: tuple[Kind, int]) -> str:
    kind, j = which
    return f"{kind.name}.{entry(kind, j).name or 'wave'}"


def readings(kind: Kind, samples: Any) -> Block:
    """One chunk of `samples` (n, c) of a device d."""
    values = np.asarray(samples, np.float32)[None]
    rate_hz = max(kind.rate_hz_min, 1.0) if kind.timing == "regular" else 0.0
    one = np.array([T0_NS], np.int64)
    return Block(kind.name, ("d",), one, np.array([NO_SEQ], np.int64), rate_hz, values, np.zeros(1, np.uint8), (1, values.shape[2]))


def sent(kind: Kind, j: int, values: list[float]) -> Decoded:
    """`values` in channel `j`, all other channels missing, as a ward batch."""
    samples = np.full((len(values), len(kind.channels) or 1), np.nan, np.float32)
    samples[:, j] = values
    return decode(encode_batch("a/b", [readings(kind, samples)]))


def taken(decoded: Decoded, j: int) -> list[float]:
    (block,) = decoded.blocks
    assert (decoded.rejects, decoded.partly) == ([], [])
    return block.samples[0, :, j].tolist()  # type: ignore[no-any-return]


def usual(kind: Kind, j: int) -> float:
    """A value of the channel that nobody doubts."""
    own = entry(kind, j)
    return 37.0 if own.name == "temperature_c" else 0.9 * own.high if own.high <= 1 else 95.0 if own.high >= 95 else 1.5


@pytest.mark.parametrize("which", CHANNELS, ids=named)
def test_every_code_becomes_no_value_and_is_counted(which: tuple[Kind, int]) -> None:
    kind, j = which
    own = entry(kind, j)
    good = usual(kind, j)
    codes = [code for code in CODES if not own.low <= code <= own.high] + list(own.no_value)
    assert len(codes) >= 4
    for code in codes:
        decoded = sent(kind, j, [good, code, good])
        np.testing.assert_array_equal(taken(decoded, j), np.array([good, np.nan, good], np.float32), str(code))
        assert decoded.blocks[0].no_value is not None
        assert decoded.blocks[0].no_value.tolist() == [1]
        assert np.isnan(taken(sent(kind, j, [code]), j)).all(), "a reading of nothing but a code is a reading without value, no refusal"


@pytest.mark.parametrize("which", CHANNELS, ids=named)
def test_a_number_in_the_range_of_its_channel_is_a_measurement_unless_the_channel_says_otherwise(which: tuple[Kind, int]) -> None:
    kind, j = which
    own = entry(kind, j)

    @RELAXED
    @given(
        st.lists(
            st.floats(own.low, own.high, width=32) | st.sampled_from([c for c in CODES if own.low <= c <= own.high] or [own.high]),
            max_size=8,
            min_size=1,
        )
    )
    def check(values: list[float]) -> None:
        odd = [scale for scale in own.scales if scale.low < own.high]
        values = [v for v in values if v not in own.no_value and not any(s.low < v <= s.high for s in odd)] or [usual(kind, j)]
        decoded = sent(kind, j, values)
        np.testing.assert_array_equal(taken(decoded, j), np.array(values, np.float32))
        assert decoded.blocks[0].no_value is None

    check()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("vitals.heart_rate_bpm", 127), ("vitals.heart_rate_bpm", 254), ("vitals.heart_rate_bpm", 256), ("vitals.heart_rate_bpm", 12),
        ("vitals.spo2_percent", 40), ("vitals.bp_systolic_mmhg", 255), ("vitals.bp_diastolic_mmhg", 127), ("room_air.co_ppm", 999),
        ("room_air.co_ppm", 255), ("room_air.temperature_c", 127), ("room_air.temperature_c", 255), ("rr_interval.rr_ms", 999),
        ("rr_interval.rr_ms", 255), ("electrical.residual_current_ma", 999), ("bed.in_bed", 0), ("bed.movement", 0),
    ],
)  # fmt: skip
def test_what_can_be_life_or_death_is_no_code(name: str, value: float) -> None:
    kind, _, part = name.partition(".")
    j = channel(kind, part)
    assert taken(sent(KINDS[kind], j, [value]), j) == [value]


def vitals(**values: float | str | None) -> Decoded:
    return decode(json.dumps({"v": 1, "device": "d", "kind": "vitals", "t0_ns": T0_NS, "values": values}).encode())


def test_no_breath_beside_a_heart_rate_is_apnoea_and_alone_it_is_no_value() -> None:
    breaths = channel("vitals", "respiration_per_min")
    assert taken(vitals(heart_rate_bpm=70, respiration_per_min=0), breaths) == [0.0]
    for heart in ({}, {"heart_rate_bpm": 0}, {"heart_rate_bpm": None}, {"heart_rate_bpm": 255}, {"heart_rate_bpm": -100}):
        assert np.isnan(taken(vitals(respiration_per_min=0, **heart), breaths)).all()


def test_without_a_finger_nothing_is_measured() -> None:
    decoded = vitals(heart_rate_bpm=255, spo2_percent=None)
    assert np.isnan(decoded.blocks[0].samples).all()
    assert decoded.blocks[0].no_value is not None
    assert decoded.blocks[0].no_value.tolist() == [1]


@pytest.mark.parametrize("text", sorted(NO_VALUE_TEXTS))
def test_a_text_for_no_value_costs_nothing_else(text: str) -> None:
    decoded = vitals(heart_rate_bpm=71, spo2_percent=text)
    assert taken(decoded, 0) == [71.0]
    assert np.isnan(taken(decoded, 2)).all()
    assert decoded.blocks[0].no_value is not None


def test_any_other_text_is_refused_as_before() -> None:
    (reject,) = vitals(heart_rate_bpm="71").rejects
    assert (reject.reason, "values.heart_rate_bpm" in reject.detail) == (Reason.WRONG_TYPE, True)


def test_what_is_left_out_is_not_measured_and_not_counted() -> None:
    assert vitals(heart_rate_bpm=71).blocks[0].no_value is None
    assert vitals(heart_rate_bpm=71, spo2_percent=None).blocks[0].no_value is not None


@pytest.mark.parametrize(("unit", "code"), [("m/s2", -999), ("g", -999), ("m/s2", 32767)])
def test_a_code_is_written_in_the_unit_of_its_device(unit: str, code: float) -> None:
    chunk = {"v": 1, "device": "d", "kind": "accel", "t0_ns": T0_NS, "rate_hz": 50, "unit": unit, "samples": [[0, 0, 1], [code, 0, 1]]}
    decoded = decode(json.dumps(chunk).encode())
    assert (decoded.rejects, decoded.partly) == ([], [])
    assert np.isnan(decoded.blocks[0].samples[0, :, 0]).tolist() == [False, True]


# -- single values ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "reason", "hint"),
    [
        ({"temperature_c": 384.5}, Reason.OUT_OF_RANGE, "tenths of a degree"),
        ({"temperature_c": 98.6}, Reason.OUT_OF_RANGE, "Fahrenheit"),
        ({"temperature_c": 310.1}, Reason.OUT_OF_RANGE, "kelvin"),
        ({"spo2_percent": 0.97}, Reason.BAD_UNIT, "a fraction"),
        ({"spo2_percent": 970}, Reason.OUT_OF_RANGE, "tenths of a percent"),
        ({"bp_systolic_mmhg": 700}, Reason.OUT_OF_RANGE, "bp_systolic_mmhg"),
    ],
)
def test_one_wrong_value_costs_itself(wrong: dict[str, float], reason: Reason, hint: str) -> None:
    decoded = vitals(heart_rate_bpm=70, **wrong)
    assert decoded.rejects == []
    assert decoded.blocks[0].samples[0, 0, 0] == 70
    assert np.isnan(decoded.blocks[0].samples[0, 0, 1:]).all()
    (cut,) = decoded.partly
    assert (cut.reason, cut.device, cut.readings) == (reason, "d", 0)
    assert hint in cut.detail
    alone = vitals(**wrong)
    assert alone.blocks == []
    assert [(r.reason, r.readings) for r in alone.rejects] == [(reason, 1)]
    assert hint in alone.rejects[0].detail


@pytest.mark.parametrize("absurd", [np.inf, -np.inf, 3e38, -1e9])
def test_damaged_bytes_take_their_chunk_with_them(absurd: float) -> None:
    samples = np.full((20, 6), np.nan, np.float32)
    samples[:, 0] = 70
    samples[3, 1] = absurd
    decoded = decode(encode_batch("a/b", [readings(KINDS["vitals"], samples)]))
    assert (decoded.blocks, decoded.partly) == ([], [])
    assert [r.reason for r in decoded.rejects] == [Reason.OUT_OF_RANGE if np.isfinite(absurd) else Reason.NON_FINITE]


@pytest.mark.parametrize(("count", "refused"), [(1, False), (10, False), (11, True), (100, True)])
def test_a_waveform_is_refused_when_more_than_a_tenth_is_wrong(count: int, refused: bool) -> None:
    samples = np.tile(np.array([0, 0, 1], np.float32), (100, 1))
    samples[:count, 1] = 500.0
    decoded = decode(encode_batch("a/b", [readings(KINDS["accel"], samples)]))
    assert [(r.reason, r.readings) for r in decoded.rejects] == ([(Reason.OUT_OF_RANGE, 100)] if refused else [])
    assert [r.readings for r in decoded.partly] == ([] if refused else [0])
    if not refused:
        assert np.isnan(decoded.blocks[0].samples[0]).sum() == count


def test_a_button_is_never_half_taken() -> None:
    """A press that cannot be read has to be seen in quarantine: no value would be silence."""
    press = {"v": 1, "device": "b", "kind": "button", "t0_ns": T0_NS, "values": {"pressed": 255}}
    assert [r.reason for r in decode(json.dumps(press).encode()).rejects] == [Reason.OUT_OF_RANGE]
    camera = {"v": 1, "device": "c", "kind": "camera_event", "t0_ns": T0_NS, "values": {"code": 1, "confidence": 87}}
    assert [r.reason for r in decode(json.dumps(camera).encode()).rejects] == [Reason.OUT_OF_RANGE]


def test_what_is_coded() -> None:
    assert set(KINDS) - {kind.name for kind in CODED} == {"button", "door", "position", "camera_event", "pressure_map"}


SAMPLES = st.sampled_from([kind for kind in KINDS.values() if kind.timing != "irregular"]).flatmap(
    lambda kind: st.tuples(
        st.just(kind),
        st.lists(
            st.lists(
                st.sampled_from([0.0, 1.0, 0.97, 60.0, 98.6, 7.3e7, np.inf, np.nan, *CODES]),
                min_size=len(kind.channels) or 2,
                max_size=len(kind.channels) or 2,
            ),
            min_size=1,
            max_size=25,
        ),
    )
)


@RELAXED
@given(SAMPLES)
def test_what_ingest_passes_on_is_judged_by_the_core_as_if_it_had_come_straight(what: tuple[Kind, list[list[float]]]) -> None:
    kind, rows = what
    message = encode_batch("a/b", [readings(kind, rows)])
    straight, kept = decode(message), decode(message, keep=True)
    passed_on = [encode_batch("a/b", [block]) for block in kept.blocks] + [reject.payload for reject in kept.rejects]
    (again,) = map(decode, passed_on)
    assert [r.readings for r in again.rejects] == [r.readings for r in straight.rejects]
    assert [r.readings for r in again.partly] == [r.readings for r in straight.partly]
    for ours, theirs in zip(again.blocks, straight.blocks, strict=True):
        np.testing.assert_array_equal(ours.samples, theirs.samples)
        np.testing.assert_array_equal(ours.no_value, theirs.no_value)


# -- counts -----------------------------------------------------------------------------------------------------------


def oximeter(number: int, **values: float | None) -> bytes:
    chunk = {"v": 1, "device": "oxi", "kind": "vitals", "t0_ns": T0_NS + number * NS_PER_S, "values": values}
    return json.dumps(chunk).encode()


def home() -> RegistryData:
    return RegistryData(bindings=(Binding("oxi", "resident/a", "h/1"),))


def test_counts_close_and_readings_without_value_stay_processed() -> None:
    core = Core(registry=home())
    for number in range(10):
        core.telemetry(oximeter(number, heart_rate_bpm=70, spo2_percent=97), T0_NS + number * NS_PER_S)
    shown = []
    for number in range(10, 90):
        out = core.telemetry(oximeter(number, heart_rate_bpm=0, spo2_percent=0), T0_NS + number * NS_PER_S).outputs
        shown += [rows.values for rows in out.measurements if rows.name == "vitals"]
        assert out.rejects == []
    core.telemetry(oximeter(90, heart_rate_bpm=70, spo2_percent=0.97), T0_NS + 90 * NS_PER_S)
    (account,) = core.engine.accounts()
    assert (account.received, account.processed, account.quarantined) == (91, 91, 0)
    assert core.engine.no_value() == {("oxi", "vitals"): 80}
    assert len(shown) == 80
    assert np.isnan(np.concatenate(shown)).all(), "nothing that could be shown as a heart rate of 0"


def test_single_wrong_values_are_in_quarantine_with_the_bytes_of_their_chunk() -> None:
    core = Core(registry=home())
    message = oximeter(0, heart_rate_bpm=70, spo2_percent=0.97)
    (reject,) = core.telemetry(message, T0_NS).outputs.rejects
    assert (reject.reason, reject.readings, reject.payload) == (Reason.BAD_UNIT, 0, message)


def test_counts_survive_a_snapshot_and_a_snapshot_of_before_is_read() -> None:
    core = Core(registry=home())
    core.telemetry(oximeter(0, heart_rate_bpm=0), T0_NS)
    again = Engine([], Registry(home()))
    saved = core.engine.snapshot()
    again.restore(saved)
    assert again.no_value() == {("oxi", "vitals"): 1}
    state, devices = msgspec.msgpack.decode(saved)
    assert state[0] == STATE_VERSION
    old = Engine([], Registry(home()))
    old.restore(msgspec.msgpack.encode((state[: EngineSnapshot.__struct_fields__.index("no_value")], devices)))
    assert old.no_value() == {}
    assert old.totals() == again.totals() == (1, 0, 0, 0)


def test_counts_of_a_closed_hour_begin_again() -> None:
    core = Core(registry=home())
    core.telemetry(oximeter(0, heart_rate_bpm=0), T0_NS)
    core.advance(T0_NS + 3601 * NS_PER_S)
    assert core.engine.no_value() == {}


def test_the_tables_in_the_contract_are_those_in_force() -> None:
    text = Path(generate.CONTRACTS).read_text(encoding="utf-8")
    assert generate.contracts(text) == text
    with pytest.raises(ValueError, match="no value"):
        generate.contracts("# Contracts")
