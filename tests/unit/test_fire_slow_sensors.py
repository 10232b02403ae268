"""Fire sensors that measure every few minutes, or report only a change: one reading far over the limit has to be enough."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import pytest

from detectors.fire.detector import FireDetector
from engine.events import Detection
from engine.frame import GAP_RESTART, NS_PER_S, frame
from engine.kinds import KINDS
from engine.registry import Binding, RegistryData
from schemas.recording import START_NS as RECORDED_NS
from schemas.recording import Meta, Record, Recording
from streams.recordings.format import Builder
from streams.recordings.replay import replay

START_NS = 1_700_000_040 * NS_PER_S
NAN = float("nan")
CLEAN = (0.0, 1.0, 22.0, NAN)
SMOKE = (float(-np.log10(0.9)), 1.0, 22.0, NAN)
"""Obscured by 10 % a metre: 0.46 dB/m."""
HOT = (0.0, 1.0, 200.0, NAN)
CO = (0.0, 5_000.0, 22.0, NAN)
DANGERS = [("fire.smoke", SMOKE), ("fire.heat", HOT), ("fire.co", CO)]
Row = tuple[float, float, float, float]


def heard(
    rows: Sequence[Row], at_s: Sequence[float], rates_hz: Sequence[float], detector: FireDetector | None = None, *, kind: str = "room_air"
) -> list[tuple[str, float]]:
    """(code, seconds) of the onsets when `rows` come one by one; rate 0: nobody knows how often the sensor measures."""
    detector = detector or FireDetector(capacity=1)
    found: list[Detection] = []
    for number, (row, at, rate_hz) in enumerate(zip(rows, at_s, rates_hz, strict=True)):
        samples = np.array(row, np.float32)[None, None, :]
        gap = GAP_RESTART if number == 0 else 0
        found += detector.step(frame(kind, 0, START_NS + round(at * NS_PER_S), rate_hz, samples, gap_ns=[gap])).detections
    return [(one.code, (one.decided_ns - START_NS) / NS_PER_S) for one in found if one.phase == "onset"]


def periodic(rows: Sequence[Row], interval_s: float, *, declared: bool = True) -> list[tuple[str, float]]:
    """Readings `interval_s` apart; not `declared`: the interval is known from the second reading on."""
    rates = [1 / interval_s if declared or number else 0.0 for number in range(len(rows))]
    return heard(rows, [number * interval_s for number in range(len(rows))], rates)


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize("interval_s", [60.0, 180.0, 300.0, 600.0])
@pytest.mark.parametrize(("code", "danger"), DANGERS)
def test_the_first_reading_of_a_danger_alarms_where_the_next_is_minutes_away(
    code: str, danger: Row, interval_s: float, declared: bool
) -> None:
    found = periodic([CLEAN, CLEAN, CLEAN, danger, danger], interval_s, declared=declared)
    assert (code, 3 * interval_s) in found


@pytest.mark.parametrize("before_s", [60.0, 3_600.0, 86_400.0])
@pytest.mark.parametrize(("code", "danger"), DANGERS)
def test_a_single_report_on_change_alarms(code: str, danger: Row, before_s: float) -> None:
    """The sensor said at its start that all was well, and speaks again when it is not."""
    found = heard([CLEAN, danger], [0.0, before_s], [0.0, 1.0])
    assert (code, before_s) in found


@pytest.mark.parametrize(("code", "danger"), DANGERS)
def test_the_very_first_reading_of_a_sensor_that_says_no_interval_alarms(code: str, danger: Row) -> None:
    assert (code, 0.0) in heard([danger], [0.0], [0.0])


@pytest.mark.parametrize("at", [5, 20])
@pytest.mark.parametrize("interval_s", [0.1, 1.0, 5.0, 30.0])
@pytest.mark.parametrize(("code", "danger"), DANGERS)
def test_one_wild_reading_of_a_quick_sensor_still_moves_nothing(code: str, danger: Row, interval_s: float, at: int) -> None:
    rows = [CLEAN] * 30
    rows[at] = danger
    assert periodic(rows, interval_s) == []


@pytest.mark.parametrize("silence_s", [40.0, 151.0, 7_200.0])
def test_one_wild_reading_in_the_first_chunk_after_a_silence_moves_nothing(silence_s: float) -> None:
    detector = FireDetector(capacity=1)
    found = []
    for start_s, first in ((0.0, CLEAN), (silence_s, (50.0, 100_000.0, 1_000.0, NAN))):
        rows = np.tile(np.array(CLEAN, np.float32), (10, 1))
        rows[0] = first
        t0_ns = START_NS + round(start_s * NS_PER_S)
        found += detector.step(frame("room_air", 0, t0_ns, 1.0, rows[None], gap_ns=[GAP_RESTART if start_s == 0 else 0])).detections
    assert found == []


@pytest.mark.parametrize(("ppm", "alone"), [(290.0, False), (310.0, True)])
def test_co_keeps_the_three_minutes_of_en_50291_at_300_ppm(ppm: float, alone: bool) -> None:
    found = periodic([CLEAN, CLEAN, (0.0, ppm, 22.0, NAN)], 180.0)
    assert (("fire.co", 360.0) in found) == alone


@pytest.mark.parametrize("interval_s", [180.0, 600.0])
@pytest.mark.parametrize("ppm", [30.0, 50.0, 70.0, 100.0])
def test_a_moderate_co_waits_for_its_dose_at_any_interval(ppm: float, interval_s: float) -> None:
    """UL 2034: 70 ppm not before 60 min. EN 50291-1: 50 ppm not before 60 min, 100 ppm not before 10 min."""
    rows = [CLEAN, CLEAN] + [(0.0, ppm, 22.0, NAN)] * 3
    assert [at for code, at in periodic(rows, interval_s) if code == "fire.co" and at - 2 * interval_s < 600.0] == []


@pytest.mark.parametrize("row", [(0.025, 1.0, 22.0, NAN), (0.0, 1.0, 60.0, NAN), (0.0, 1.0, 85.0, NAN)])
def test_a_reading_only_just_over_the_limit_or_the_power_on_value_of_a_probe_waits_for_the_second(row: Row) -> None:
    assert periodic([CLEAN] * 3 + [row] + [CLEAN] * 3, 180.0) == []
    twice = periodic([CLEAN] * 3 + [row] * 2, 180.0)
    assert twice
    assert {at for _, at in twice} == {4 * 180.0}


def test_the_limit_of_a_hot_room_moves_with_its_care_plan() -> None:
    kitchen = FireDetector(capacity=1)
    kitchen.override(0, "heat_static_c", 80.0)
    rows: list[Row] = [CLEAN, CLEAN, (0.0, 1.0, 84.0, NAN), CLEAN]
    assert heard(rows, [0, 180, 360, 540], [1 / 180] * 4, kitchen) == []


def test_a_false_reading_ends_by_itself_with_the_next_ones() -> None:
    detector = FireDetector(capacity=1)
    rows = [CLEAN, CLEAN, HOT, CLEAN, CLEAN, CLEAN]
    found: list[Detection] = []
    for number, row in enumerate(rows):
        samples = np.array(row, np.float32)[None, None, :]
        found += detector.step(frame("room_air", 0, START_NS + number * 180 * NS_PER_S, 1 / 180, samples, gap_ns=[0])).detections
    assert {one.code for one in found if one.phase == "onset"} == {one.code for one in found if one.phase == "clear"}
    assert not detector.state.active.any()


def test_slow_wiring_sensors_too() -> None:
    rows = [(12.0, 31.0), (12.0, 31.0), (900.0, 120.0)]
    detector = FireDetector(capacity=1)
    codes = []
    for number, row in enumerate(rows):
        samples = np.array(row, np.float32)[None, None, :]
        codes += [
            (one.code, number)
            for one in detector.step(
                frame("electrical", 0, START_NS + number * 300 * NS_PER_S, 1 / 300, samples, gap_ns=[GAP_RESTART if number == 0 else 0])
            ).detections
        ]
    assert codes == [("fire.residual_current", 2), ("fire.cable_heat", 2)]


@pytest.mark.parametrize(("code", "danger"), DANGERS)
def test_the_alert_of_a_slow_sensor_fires_with_its_first_reading(code: str, danger: Row) -> None:
    """Through admission, detector and alert book: the home is called within seconds of the reading."""
    builder = Builder("slow", "made for this test")
    builder.bind("air-1", "room/r-1")
    rows = np.array([CLEAN] * 5 + [danger] * 2, np.float32)
    builder.add("air-1", "room_air", builder.start_ns, 1 / 180, rows)
    called: dict[str, float] = {}
    for transition, alert in replay(builder.build()).transitions:
        if transition.notify and transition.to_state == "firing":
            called.setdefault(alert.code, (transition.at_ns - builder.start_ns) / NS_PER_S)
    # A chunk of this recording arrives when the interval of its reading is over.
    assert code in called
    assert called[code] <= 6 * 180 + 5


def reports(readings: Sequence[tuple[float, Row]]) -> Recording:
    """Single readings as a device sends them that does not say how often it measures."""
    binding = Binding("air-1", "room/r-1", "home/ward")
    names = [channel.name for channel in KINDS["room_air"].channels]
    records = []
    for at_s, row in readings:
        t0_ns = RECORDED_NS + round(at_s * NS_PER_S)
        values = {name: value for name, value in zip(names, row, strict=True) if value == value}
        chunk = {"v": 1, "device": "air-1", "kind": "room_air", "t0_ns": t0_ns, "values": values}
        records.append(Record(t0_ns + NS_PER_S // 2, msgspec.json.encode(chunk)))
    return Recording(Meta("reports", "made for this test"), RegistryData(bindings=(binding,)), (), iter(records))


def called_s(recording: Recording, code: str) -> float | None:
    """Seconds after the start at which somebody is called for `code`."""
    times = [
        (transition.at_ns - RECORDED_NS) / NS_PER_S
        for transition, alert in replay(recording).transitions
        if alert.code == code and transition.notify and transition.to_state == "firing"
    ]
    return min(times, default=None)


@pytest.mark.parametrize("interval_s", [60.0, 180.0, 300.0])
@pytest.mark.parametrize(("code", "danger"), DANGERS)
def test_without_a_rate_the_first_reading_of_a_danger_calls_somebody(code: str, danger: Row, interval_s: float) -> None:
    recording = reports([(number * interval_s, CLEAN if number < 4 else danger) for number in range(6)])
    called = called_s(recording, code)
    assert called is not None
    assert called <= 4 * interval_s + 5


@pytest.mark.parametrize("before_s", [None, 6 * 3600.0])
@pytest.mark.parametrize(("code", "danger"), DANGERS)
def test_a_single_report_of_a_danger_calls_somebody(code: str, danger: Row, before_s: float | None) -> None:
    """The only message that ever came, and a change after six quiet hours."""
    first: list[tuple[float, Row]] = [] if before_s is None else [(0.0, CLEAN)]
    at_s = before_s or 0.0
    called = called_s(reports([*first, (at_s, danger)]), code)
    assert called is not None
    assert called <= at_s + 5


@pytest.mark.parametrize(("code", "danger"), DANGERS)
def test_without_a_rate_one_wild_reading_of_a_quick_sensor_calls_nobody(code: str, danger: Row) -> None:
    recording = reports([(float(number), danger if number == 60 else CLEAN) for number in range(120)])
    assert called_s(recording, code) is None
