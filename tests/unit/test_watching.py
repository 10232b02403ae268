"""Watching and blind: data that cannot be judged is not a measurement, whatever comes in how many chunks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import numpy as np
import pytest

from alerts.model import Reason, State
from engine.clocks import NEVER_NS
from engine.frame import NS_PER_S
from engine.judged import AT, WHY, columns_of, initial_judged, judge
from engine.registry import Binding, CareSetting, RegistryData
from engine.watch import Hazard, Line, Signal
from streams.pipeline.core import Core, CoreOutput
from tests.unit.test_ledger import at, core, technical

OX = Binding("ox-1", "resident/a", "w")


def chunk(
    t_s: float, values: dict[str, Any] | None, *, device: str = "ox-1", kind: str = "vitals", rate_hz: float = 0.1, **more: Any
) -> bytes:
    body = {"v": 1, "device": device, "kind": kind, "t0_ns": at(t_s), "rate_hz": rate_hz, "values": values or {}}
    return msgspec.json.encode(body | more)


def lived(home: Core, seconds: Iterable[float], *chunks: Any) -> CoreOutput:
    """Feed `chunks`, each (values, more), every given second."""
    output = CoreOutput.nothing()
    for t in seconds:
        for values, more in chunks:
            output.add(home.telemetry(chunk(t, values, **more), at(t + 1)))
    return output


LOW = {"heart_rate_bpm": 72, "spo2_percent": 80}
NOTHING = {"heart_rate_bpm": None, "spo2_percent": None}


def states(home: Core) -> dict[str, State]:
    return {alert.code: alert.state for alert in home.book.open()}


@pytest.mark.parametrize(
    ("values", "more", "code"),
    [
        (NOTHING, {}, "device.no_value"),
        ({"heart_rate_bpm": 0, "spo2_percent": 0}, {}, "device.no_value"),
        ({"heart_rate_bpm": -999, "spo2_percent": 127}, {}, "device.no_value"),
        (LOW, {"quality": 1}, "device.poor_quality"),
    ],
)
def test_two_hours_without_a_value_make_the_alert_stale_and_tell_somebody(values: dict[str, Any], more: dict[str, Any], code: str) -> None:
    home = core(OX)
    lived(home, range(0, 300, 10), (LOW, {}))
    assert states(home) == {"heart.spo2_low": State.FIRING}
    output = lived(home, range(300, 7500, 10), (values, more))
    stale = [t for t, _ in output.transitions if t.reason is Reason.DATA_MISSING]
    assert [(t.to_state, t.at_ns - at(300) <= 135 * NS_PER_S, t.notify) for t in stale] == [(State.STALE, True, True)]
    assert technical(output) == [(code, "onset", "resident/a", "ox-1:vitals")]
    assert states(home) == {"heart.spo2_low": State.STALE, code: State.FIRING}
    output = lived(home, range(7500, 7530, 10), (LOW, {}))
    assert technical(output) == [(code, "clear", "resident/a", "ox-1:vitals")]
    assert states(home) == {"heart.spo2_low": State.FIRING}


@pytest.mark.parametrize(("values", "more"), [(NOTHING, {}), (LOW, {"quality": 1})])
def test_a_device_that_stops_after_it_sent_nothing_usable_stays_announced_as_silent(values: dict[str, Any], more: dict[str, Any]) -> None:
    home = core(OX)
    lived(home, range(0, 300, 10), (LOW, {}))
    output = lived(home, range(300, 3000, 10), (values, more))
    (told,) = technical(output)
    output = CoreOutput.nothing()
    for t in range(3000, 6000, 10):
        output.add(home.advance(at(t)))
    ended, begun = technical(output)
    assert ended == (told[0], "clear", *told[2:])
    assert begun == ("device.silent", "onset", "resident/a", "ox-1:vitals")
    assert states(home) == {"heart.spo2_low": State.STALE, "device.silent": State.FIRING}
    output = lived(home, range(6000, 6030, 10), (LOW, {}))
    assert technical(output) == [("device.silent", "clear", "resident/a", "ox-1:vitals")]
    assert states(home) == {"heart.spo2_low": State.FIRING}


def test_a_care_plan_sets_how_long_a_hazard_may_be_blind() -> None:
    home = core(OX, care=(CareSetting("resident/a", "watch", "heart_s", 300.0),))
    lived(home, range(0, 300, 10), ({"heart_rate_bpm": 72, "spo2_percent": 97}, {}))
    output = lived(home, range(300, 700, 10), ({"heart_rate_bpm": None, "spo2_percent": 97}, {}))
    assert technical(output) == [("device.no_value", "onset", "resident/a", "ox-1:vitals.heart_rate_bpm")]
    for field, value in (("heart_s", 5.0), ("teeth_s", 300.0)):
        with pytest.raises(ValueError, match=f"watch.{field}"):
            home.set_registry(RegistryData(bindings=(OX,), care=(CareSetting("resident/a", "watch", field, value),)), at(800))


def test_channels_of_one_kind_are_judged_apart() -> None:
    home = core(OX)
    lived(home, range(0, 300, 10), ({"heart_rate_bpm": 150, "spo2_percent": 80}, {}))
    assert states(home) == {"heart.tachycardia": State.FIRING, "heart.spo2_low": State.FIRING}
    output = lived(home, range(300, 600, 10), ({"heart_rate_bpm": None, "spo2_percent": 80}, {}))
    assert states(home) == {"heart.tachycardia": State.STALE, "heart.spo2_low": State.FIRING}
    assert [(c.hazard, c.reason) for c in output.outputs.watch] == [(Hazard.HEART, "no_value")]
    output = lived(home, range(600, 2300, 10), ({"heart_rate_bpm": None, "spo2_percent": 80}, {}))
    assert technical(output) == [("device.no_value", "onset", "resident/a", "ox-1:vitals.heart_rate_bpm")]


def test_an_oximeter_is_not_asked_for_breaths_it_never_counts() -> None:
    home = core(OX)
    output = lived(home, range(0, 7200, 10), ({"heart_rate_bpm": 72, "spo2_percent": 97}, {}))
    assert technical(output) == []
    assert {c.hazard for c in output.outputs.watch if c.reason is None} == {Hazard.HEART, Hazard.BREATHING}


def test_a_device_that_gives_nothing_from_the_first_day_on_is_told() -> None:
    home = core(OX)
    output = lived(home, range(0, 2400, 10), (NOTHING, {}))
    assert technical(output) == [("device.no_value", "onset", "resident/a", "ox-1:vitals")]


def test_what_another_device_watches_is_watched() -> None:
    home = core(OX, Binding("ox-2", "resident/a", "w"))
    good = ({"heart_rate_bpm": 150, "spo2_percent": 80}, {"device": "ox-2"})
    lived(home, range(0, 300, 10), (LOW, {}), good)
    output = lived(home, range(300, 4000, 10), (NOTHING, {}), good)
    assert technical(output) == []
    assert output.outputs.data == []
    assert "heart.spo2_low" in states(home)
    assert State.STALE not in states(home).values()


def test_a_hazard_that_something_else_watched_so_far_is_blind_from_then_on() -> None:
    """A band on its charger all night, over a mattress: who gets up in the morning has half an hour to put it on."""
    home = core(OX, Binding("mat", "resident/a", "w"))
    output = CoreOutput.nothing()
    for t in range(0, 14_000, 10):
        output.add(home.telemetry(chunk(t, NOTHING if t > 100 else LOW), at(t + 0.5)))
        if t < 10_000:
            output.add(home.telemetry(chunk(t, {"heart_rate_bpm": 70 + t % 7, "spo2_percent": 95 + t % 3}, device="mat"), at(t + 1)))
    told = [e for e in output.outputs.events if e.code == "device.no_value"]
    assert [(e.device, 1750 < (e.arrival_ns - at(10_000)) / NS_PER_S < 1850) for e in told] == [("ox-1:vitals", True)]


def test_an_empty_bed_is_no_fault() -> None:
    home = core(Binding("mat", "resident/a", "w"))
    full = ({"in_bed": 1, "movement": 0.1}, {"device": "mat", "kind": "bed"})
    empty = ({"in_bed": 0, "movement": 0}, {"device": "mat", "kind": "bed"})
    lived(home, range(0, 300, 10), ({"heart_rate_bpm": 72}, {"device": "mat"}), full)
    output = lived(home, range(300, 8000, 10), (NOTHING, {"device": "mat"}), empty)
    assert technical(output) == []
    (change,) = [c for c in output.outputs.watch if c.hazard is Hazard.HEART]
    assert change.reason == "empty_bed"
    assert [(d.source, d.missing) for d in output.outputs.data] == [("mat:vitals.heart_rate_bpm", True)]


def test_a_pulse_that_never_changes_is_told_after_hours() -> None:
    home = core(OX)
    output = lived(home, range(0, 9 * 3600, 30), ({"heart_rate_bpm": 72, "spo2_percent": 97}, {"rate_hz": 1 / 30}))
    assert technical(output) == [("device.no_signal", "onset", "resident/a", "ox-1:vitals.heart_rate_bpm")]
    output = lived(home, range(9 * 3600, 20 * 3600, 30), ({"heart_rate_bpm": 72.3, "spo2_percent": 100}, {"rate_hz": 1 / 30}))
    assert [entry[:2] for entry in technical(output)] == [
        ("device.no_signal", "clear"),
        ("device.no_signal", "onset"),
    ]  # 100 % stays for days


REFUSED_CHANNEL = [
    ({"spo2_percent": 970}, "spo2_percent"),
    ({"spo2_percent": 0.97}, "spo2_percent"),
    ({"heart_rate_bpm": 1.2}, "heart_rate_bpm"),
    ({"respiration_per_min": 0.25}, "respiration_per_min"),
]


@pytest.mark.parametrize(("wrong", "channel"), REFUSED_CHANNEL)
def test_a_channel_that_is_refused_is_told_while_those_beside_it_go_on(wrong: dict[str, float], channel: str) -> None:
    good = {"heart_rate_bpm": 72, "spo2_percent": 97, "respiration_per_min": 15}
    home = core(OX)
    output = lived(home, range(0, 2400, 10), (good | wrong, {}))
    assert technical(output) == [("device.values_unusable", "onset", "resident/a", f"ox-1:vitals.{channel}")]
    assert set(states(home)) == {"device.values_unusable"}
    other = Core()
    other.restore(home.snapshot())
    assert other.snapshot() == home.snapshot()
    for one in (home, other):
        again = lived(one, range(2400, 2430, 10), (good, {}))
        assert technical(again) == [("device.values_unusable", "clear", "resident/a", f"ox-1:vitals.{channel}")]


def test_a_refused_value_now_and_then_is_not_told() -> None:
    home = core(OX)
    output = CoreOutput.nothing()
    for t in range(0, 7200, 10):
        output.add(lived(home, [t], ({"heart_rate_bpm": 72, "spo2_percent": 970 if t % 60 else 97}, {})))
    assert technical(output) == []


STUCK = [0.1234, -0.3, 0.93]


def worn(home: Core, seconds: Iterable[int], samples: Any, kind: str = "accel", **more: Any) -> CoreOutput:
    """A chunk each second; `samples` gets the second."""
    output = CoreOutput.nothing()
    for t in seconds:
        body = {"v": 1, "device": "wb", "kind": kind, "t0_ns": at(t), "samples": samples(t)} | more
        output.add(home.telemetry(msgspec.json.encode(body), at(t + 1)))
    return output


@pytest.mark.parametrize(("moving", "told"), [((), True), ((0,), False), ((1,), False), ((2,), False)])
def test_an_accelerometer_that_hangs_is_told_and_one_that_moves_in_one_axis_is_not(moving: tuple[int, ...], told: bool) -> None:
    home = core(Binding("wb", "resident/a", "w"), care=(CareSetting("resident/a", "watch", "fall_s", 120.0),))
    living = worn(home, range(60), lambda t: [[0.01 * (t % 7), 0.1, 0.99]] * 25, rate_hz=25, unit="g")
    assert technical(living) == []

    def samples(t: int) -> list[list[float]]:
        rows = [list(STUCK) for _ in range(25)]
        for axis in moving:
            rows[t % 25][axis] += 1 / 64 if t % 100 == 0 else 0  # one step of an 8-bit sensor now and then
        return rows

    output = worn(home, range(60, 600), samples, rate_hz=25, unit="g")
    assert technical(output) == ([("device.no_signal", "onset", "resident/a", "wb:accel")] if told else [])
    if told:
        again = worn(home, range(600, 640), lambda t: [[0.01 * (t % 7), 0.1, 0.99]] * 25, rate_hz=25, unit="g")
        assert technical(again) == [("device.no_signal", "clear", "resident/a", "wb:accel")]


@pytest.mark.parametrize(("between", "told"), [(800, True), (792, False)])
def test_beat_intervals_that_are_all_the_same_are_no_beats(between: int, told: bool) -> None:
    home = core(Binding("wb", "resident/a", "w"), care=(CareSetting("resident/a", "watch", "heart_s", 120.0),))
    output = worn(home, range(0, 800, 8), lambda t: [[800]] * 9 + [[between]], "rr_interval", unit="ms")
    assert technical(output) == ([("device.no_signal", "onset", "resident/a", "wb:rr_interval")] if told else [])


@pytest.mark.parametrize(("value", "told"), [(127, True), (255, True), (4095, True), (0, False)])
def test_a_map_of_which_every_cell_is_the_same_measures_nothing_unless_nobody_lies_there(value: int, told: bool) -> None:
    home = core(Binding("mat", "resident/a", "w"))
    output = CoreOutput.nothing()
    for t in range(0, 5400, 60):
        body = {"v": 1, "device": "mat", "kind": "pressure_map", "t0_ns": at(t), "shape": [8, 4], "samples": [[value] * 32]}
        output.add(home.telemetry(msgspec.json.encode(body), at(t + 1)))
    assert technical(output) == ([("device.no_signal", "onset", "resident/a", "mat:pressure_map")] if told else [])


def rooms(home: Core, seconds: Iterable[int], values: Any) -> CoreOutput:
    """Readings of room/a; `values` gets the second."""
    output = CoreOutput.nothing()
    for t in seconds:
        output.add(home.telemetry(chunk(t, values(t), device="air", kind="room_air", rate_hz=1 / 60), at(t + 1)))
    return output


def test_a_room_at_0_degrees_without_an_end_is_told_and_clean_air_is_not() -> None:
    home = core(Binding("air", "room/a", "w"))
    clean = rooms(home, range(0, 7200, 60), lambda t: {"smoke_od_per_m": 0, "co_ppm": 0, "temperature_c": 21 + t % 180 / 600})
    assert technical(clean) == []
    zeros = rooms(home, range(7200, 10_800, 60), lambda _: {"smoke_od_per_m": 0, "co_ppm": 0, "temperature_c": 0})
    assert technical(zeros) == [("device.no_signal", "onset", "room/a", "air:room_air.temperature_c")]


@pytest.mark.parametrize(("temperature", "told"), [(21.3, True), (21, False)])
def test_the_temperature_of_a_room_that_stands_for_a_day_is_told(temperature: float, told: bool) -> None:
    home = core(Binding("air", "room/a", "w"))
    output = rooms(home, range(0, 100_000, 60), lambda _: {"smoke_od_per_m": 0, "co_ppm": 1, "temperature_c": temperature})
    assert technical(output) == ([("device.no_signal", "onset", "room/a", "air:room_air.temperature_c")] if told else [])


def test_a_flat_ecg_is_no_heart_watched() -> None:
    home = core(Binding("patch", "resident/a", "w"))
    output = CoreOutput.nothing()
    for t in range(2400):
        body = {"v": 1, "device": "patch", "kind": "ecg", "t0_ns": at(t), "rate_hz": 125, "unit": "mV", "samples": [[0.0]] * 125}
        output.add(home.telemetry(msgspec.json.encode(body), at(t + 1)))
    assert technical(output) == [("device.no_signal", "onset", "resident/a", "patch:ecg")]


def test_a_wearable_too_slow_for_falls_is_told() -> None:
    home = core(Binding("wb", "resident/a", "w"))
    output = CoreOutput.nothing()
    rng = np.random.default_rng(1)
    for t in range(0, 4200, 2):
        samples = rng.normal([0, 0, 1], 0.02, (10, 3)).round(3).tolist()
        body = {"v": 1, "device": "wb", "kind": "accel", "t0_ns": at(t), "rate_hz": 5, "unit": "g", "samples": samples}
        output.add(home.telemetry(msgspec.json.encode(body), at(t + 2)))
    assert technical(output) == [("device.rate_unusable", "onset", "resident/a", "wb:accel")]


def test_watching_and_blind_close_and_a_gap_is_blind_from_its_beginning() -> None:
    home = core(OX)
    lived(home, range(0, 1000, 10), (LOW, {}))
    lived(home, range(1000, 2000, 10), (NOTHING, {}))
    lived(home, range(2000, 3000, 10), (LOW, {}))
    watching, blind = home.engine.watching.coverage.seconds()["resident/a", Hazard.HEART]
    assert blind == pytest.approx(1000, abs=11)
    assert watching + blind == pytest.approx(2990, abs=11)


def test_the_day_gives_a_measurement() -> None:
    home = core(OX, Binding("ox-2", "resident/b", "w"))
    output = CoreOutput.nothing()
    for t in range(0, 12 * 3600, 60):  # a pulse that stood still for hours would be none
        output.add(lived(home, [t], ({"heart_rate_bpm": 70 + t // 60 % 7, "spo2_percent": 80}, {"rate_hz": 1 / 60})))
    output.add(home.advance(at(2 * 86_400)))
    found = [m for m in output.outputs.measurements if m.name == "coverage"]
    (first, second) = found[:2]
    heart, device = (first.columns.index(f"{hazard}_percent") for hazard in (Hazard.HEART, Hazard.DEVICE))
    rows = dict(zip(first.subjects, first.values, strict=True))
    assert rows["resident/b"][device] == 0
    assert np.isnan(rows["resident/b"][heart])
    assert 0 < rows["resident/a"][heart] <= 100
    assert dict(zip(second.subjects, second.values, strict=True))["resident/a"][heart] == 0


def test_a_restored_watch_goes_on_exactly() -> None:
    one = core(OX, Binding("sos", "resident/b", "w", kinds=("button",)))
    lived(one, range(0, 300, 10), (LOW, {}))
    lived(one, range(300, 1000, 10), (NOTHING, {}))
    other = Core()
    other.restore(one.snapshot())
    assert other.snapshot() == one.snapshot()
    said = []
    for home in (one, other):
        output = lived(home, range(1000, 3000, 10), (NOTHING, {}))
        output.add(lived(home, range(3000, 3100, 10), (LOW, {})))
        said.append((technical(output), output.outputs.watch, output.outputs.data, [t for t, _ in output.transitions]))
    assert said[0] == said[1]
    assert said[0][1]
    assert other.snapshot() == one.snapshot()


def test_another_resident_begins_unwatched() -> None:
    home = core(OX)
    lived(home, range(0, 300, 10), (LOW, {}))
    home.set_registry(RegistryData(bindings=(Binding("ox-1", "resident/c", "w"),)), at(300))
    output = home.advance(at(310))
    assert {(c.subject, c.hazard, c.reason) for c in output.outputs.watch} == {
        ("resident/c", hazard, "warming_up") for hazard in ("heart", "breathing")
    }, "shown nowhere yet; what the device measures is known"
    output = home.advance(at(920))
    assert ("resident/c", "never_heard") in [(c.subject, c.reason) for c in output.outputs.watch]


@pytest.mark.parametrize(
    ("samples", "valid", "row", "why"),
    [
        ([[1.0], [2.0], [3.0]], True, 2, 0),
        ([[1.0], [2.0], [np.nan]], True, 1, 0),
        ([[np.nan]] * 3, True, None, 1),
        ([[1.0], [2.0], [3.0]], False, None, 2),
        ([[5.0], [5.0], [5.0]], True, None, 3),
    ],
)
def test_the_last_usable_row_of_a_chunk_is_found(samples: list[list[float]], valid: bool, row: int | None, why: int) -> None:
    for function in (judge, judge.py_func):
        state = initial_judged(1)
        own = columns_of("ecg", (Signal(Hazard.HEART, "q", line=Line.CONSTANT),))
        function(state.table, state.last, np.array([0]), np.array([samples], np.float32), np.array([valid]), 10, 1000, *own)
        assert state.table[0, AT] == (NEVER_NS if row is None else 1000 - (2 - row) * 10)
        assert state.table[0, WHY] == why


def test_what_is_blind_again_for_the_same_reason_is_told_again() -> None:
    home = core(OX)
    lived(home, range(0, 300, 10), (LOW, {}))
    output = lived(home, range(300, 3000, 10), (NOTHING, {}))
    assert technical(output) == [("device.no_value", "onset", "resident/a", "ox-1:vitals")]
    output = lived(home, range(8000, 12_000, 10), (NOTHING, {}))  # it was silent meanwhile
    said = [(e.code, e.phase) for e in output.outputs.events]
    assert said[-1] == ("device.no_value", "onset")
    assert "device.no_value" in states(home)


def test_who_gets_up_is_not_called_for_the_hours_in_which_nobody_lay_there() -> None:
    home = core(Binding("mat", "resident/a", "w"))
    full = ({"in_bed": 1, "movement": 0.1}, {"device": "mat", "kind": "bed"})
    empty = ({"in_bed": 0, "movement": 0}, {"device": "mat", "kind": "bed"})
    lived(home, range(0, 300, 10), ({"heart_rate_bpm": 72}, {"device": "mat"}), full)
    output = lived(home, range(300, 9000, 10), (NOTHING, {"device": "mat"}), empty)
    output.add(lived(home, range(9000, 9060, 10), (NOTHING, {"device": "mat"}), full))
    output.add(lived(home, range(9060, 9300, 10), ({"heart_rate_bpm": 72}, {"device": "mat"}), full))
    assert technical(output) == []
    output = lived(home, range(9300, 11_400, 10), (NOTHING, {"device": "mat"}), full)
    assert [entry[:2] for entry in technical(output)] == [("device.no_value", "onset")]


def test_a_device_that_is_there_for_moments_is_silent() -> None:
    home = core(OX)
    output = CoreOutput.nothing()
    lived(home, range(0, 300, 10), (LOW, {}))
    for hour in range(1, 6):
        output.add(lived(home, range(1500 * hour, 1500 * hour + 30, 10), (LOW, {})))
    output.add(home.advance(at(9000)))
    assert ("device.silent", "onset") in [entry[:2] for entry in technical(output)]
    assert next(e for e in output.outputs.events if e.code == "device.silent").decided_ns <= at(3200)


def test_a_channel_that_is_told_is_followed_by_the_silence_of_its_device() -> None:
    home = core(OX)
    lived(home, range(0, 300, 10), ({"heart_rate_bpm": 72, "spo2_percent": 97}, {}))
    lived(home, range(300, 3000, 10), ({"heart_rate_bpm": None, "spo2_percent": 97}, {}))
    assert set(states(home)) == {"device.no_value"}
    output = home.advance(at(3400))
    assert [(e.code, e.phase) for e in output.outputs.events] == [("device.silent", "onset"), ("device.no_value", "clear")]
    assert set(states(home)) == {"device.silent"}
