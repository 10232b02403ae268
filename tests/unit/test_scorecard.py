"""Who answers which truth, and what the figures say of it."""

from __future__ import annotations

import io
import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from detectors.falls import examples as falls
from engine.events import Event, event_id
from engine.frame import NS_PER_S
from engine.watch import Hazard
from schemas.recording import START_NS, Truth
from streams.pipeline.assembly import Parameters
from streams.recordings.format import Builder, read, write
from streams.recordings.scorecard import (
    Case,
    Window,
    compare,
    coverage_table,
    evaluate,
    figures,
    html_page,
    score,
    summarise,
    table,
    to_json,
    windows_of_catalogue,
)

EXAMPLES = Path(__file__).parents[2] / "examples"
FALL = "falls.fall"
TEN = {FALL: Window(latency_s=10.0, tolerance_s=1.0)}


def truth(at_s: float, last_s: float = 2.0, code: str = FALL, subject: str = "resident/a") -> Truth:
    start = START_NS + round(at_s * NS_PER_S)
    return Truth(subject, code, start, start + round(last_s * NS_PER_S))


def event(at_s: float, code: str = FALL, subject: str = "resident/a", phase: str = "onset") -> Event:
    t_ns = START_NS + round(at_s * NS_PER_S)
    return Event(event_id("d", code, subject, t_ns, phase), "d", code, subject, phase, 3, t_ns, t_ns, t_ns, 0.9, {})  # type: ignore[arg-type]


def fates(truths: list[Truth], events: list[Event], windows: dict[str, Window] = TEN) -> tuple[int, int, int, int]:
    found = compare(Case("t", truths, events, 1.0), windows)
    return len(found.caught), len(found.missed), len(found.false_alarms), len(found.repeats)


@pytest.mark.parametrize(("at_s", "caught"), [(98.9, 0), (99.1, 1), (100, 1), (112.9, 1), (113.1, 0)])
def test_the_window_reaches_from_tolerance_before_to_latency_after(at_s: float, caught: int) -> None:
    assert fates([truth(100)], [event(at_s)]) == (caught, 1 - caught, 1 - caught, 0)


def test_only_the_same_subject_and_an_accepted_code_answer() -> None:
    assert fates([truth(100)], [event(101, subject="resident/b")]) == (0, 1, 1, 0)
    assert fates([truth(100)], [event(101, code="camera.fall")]) == (0, 1, 1, 0)
    assert fates([truth(100)], [event(101, code="camera.fall")], {FALL: Window(10.0, 1.0, ("camera.fall",))}) == (1, 0, 0, 0)


def test_a_second_event_for_one_truth_is_a_repeat_and_a_clear_is_nothing() -> None:
    assert fates([truth(100)], [event(101), event(103), event(104, phase="clear")]) == (1, 0, 0, 1)


def test_one_event_answers_one_truth() -> None:
    assert fates([truth(100), truth(101)], [event(102)]) == (1, 1, 0, 0)


def test_as_many_truths_as_possible_are_caught() -> None:
    """The long truth could take the first event and leave nothing for the short one."""
    assert fates([truth(0, 100), truth(10, 1)], [event(12), event(90)]) == (2, 0, 0, 0)


@given(st.lists(st.integers(0, 60), max_size=6), st.lists(st.integers(0, 80), max_size=6))
def test_matching_is_the_best_there_is(starts: list[int], decided: list[int]) -> None:
    """Against the slow twin: the largest matching of all, found by trying every one."""
    truths, events = [truth(s) for s in starts], [event(d + 0.5) for d in decided]

    def best(i: int, left: frozenset[int]) -> int:
        if i == len(starts):
            return 0
        fits = [j for j in left if starts[i] - 1 <= decided[j] + 0.5 <= starts[i] + 12 + 1]
        return max([best(i + 1, left), *(1 + best(i + 1, left - {j}) for j in fits)])

    caught, missed, false_alarms, repeats = fates(truths, events)
    assert caught == best(0, frozenset(range(len(decided))))
    assert (caught + missed, caught + false_alarms + repeats) == (len(truths), len(events))


def test_figures_of_a_small_ward() -> None:
    truths = [truth(100), truth(500), truth(900), truth(100, subject="room/1", code="fire.smoke")]
    events = [event(104), event(508), event(2000), event(110, subject="room/1", code="fire.smoke"), event(9, code="device.silent")]
    card = score(truths, events, resident_days=2.0, room_days=0.5, windows=TEN)
    found = figures(card)
    assert found["falls.fall.sensitivity"].value == pytest.approx(200 / 3)
    assert found["falls.fall.false_alarms_per_day"].value == 0.5
    assert found["falls.fall.false_alarms_per_day"].unit == "/resident-day"
    assert found["falls.fall.time_to_alert_median"].value == 6.0
    assert found["fire.smoke.false_alarms_per_day"].unit == "/room-day"
    assert found["all_residents.false_alarms_per_day"].value == 0.5, "a silent device is no clinical false alarm"
    assert found["device.silent.false_alarms_per_day"].value == 0.5
    assert found["all_rooms.sensitivity"].value == 100
    assert all(f.low <= f.value <= f.high for key, f in found.items() if key.endswith("sensitivity") and not np.isnan(f.value))


def test_whom_a_code_is_counted_for_is_declared() -> None:
    events = [event(5, code="sos.pressed", subject="room/1"), event(9, code="technical.canary_missing", subject="vigil/canary")]
    found = figures(score([truth(100, code="fire.co", subject="resident/a")], events, resident_days=2.0, room_days=0.5))
    assert found["fire.co.false_alarms_per_day"].unit == "/room-day", "fire is a room's, whoever wrote the truth"
    assert found["sos.pressed.false_alarms_per_day"].unit == "/room-day", "a call may be anybody's: as it was said here"
    assert found["technical.canary_missing.false_alarms_per_day"].value == 0.5
    assert found["all_residents.false_alarms_per_day"].value == 0.0, "an alarm about Vigil is no clinical false alarm"


def test_silence_over_a_known_time_is_a_figure() -> None:
    found = figures(score([], [], resident_days=10.0))
    assert found["all_residents.false_alarms_per_day"].value == 0
    assert found["all_residents.false_alarms_per_day"].high == pytest.approx(0.369, abs=1e-3), "3.69 over the exposure (Garwood)"
    assert "all_rooms.sensitivity" not in found


def test_json_is_flat_and_says_null_where_there_is_no_number() -> None:
    flat = json.loads(to_json(score([], [event(5)], resident_days=0.0)))
    assert flat["falls.fall.sensitivity"]["value"] is None
    assert set(flat["falls.fall.sensitivity"]) == {"value", "low", "high", "unit", "basis"}


def _many() -> list[Case]:
    return [
        Case(f"ward/<{i}>", [truth(100), truth(900, 60, "heart.tachycardia")], [event(103 + i), event(2000)][: 1 + i % 2], 0.1, 0.1)
        for i in range(20)
    ]


def test_the_table_shows_every_code() -> None:
    console = Console(width=220, record=True, file=io.StringIO())
    console.print(table(summarise(compare(case, TEN) for case in _many())))
    text = console.export_text()
    assert all(word in text for word in (FALL, "heart.tachycardia", "all residents", "20 recordings"))


class _Outline(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.external: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.external += [v or "" for k, v in attrs if k in {"src", "href", "xlink:href"} and not (v or "").startswith("#")]


def test_the_page_stands_alone_and_is_the_same_every_time() -> None:
    card = summarise(compare(case, TEN) for case in _many())
    page = html_page(card, "Ward <b>")
    outline = _Outline()
    outline.feed(page)
    assert outline.external == []
    assert "script" not in outline.seen
    assert outline.seen.count("svg") == 3
    assert "Ward &lt;b&gt;" in page
    assert "ward/&lt;0&gt;" in page
    assert "12 of 20" in page
    assert page == html_page(card, "Ward <b>")


def test_a_page_of_nothing_is_a_page() -> None:
    assert "Missed: none" in html_page(summarise([]))


def test_windows_come_from_the_detectors_own_promises() -> None:
    windows = windows_of_catalogue()
    assert windows[FALL].latency_s > 0
    assert "fire.smoke" in windows


def test_recordings_on_disk_are_replayed_and_scored(tmp_path) -> None:
    """A synthetic fall written as a recording, a quiet one beside it: caught, and no false alarm."""
    for name, frames in (("fall", falls.positive()), ("calm", falls.negative())):
        builder = Builder(name, "made here", start_ns=0)
        builder.bind("belt", f"resident/{name}", "waist")
        for frame in (f for f in frames if f.kind == "accel"):
            builder.add("belt", "accel", int(frame.t0_ns[0]), frame.rate_hz, frame.samples[0])
        if name == "fall":
            builder.truth("resident/fall", FALL, falls.ONSET_NS, falls.ONSET_NS + 2 * NS_PER_S)
        write(tmp_path / "set" / f"{name}.vigil", builder.build())
    seen: list[tuple[str, int, int]] = []
    card = evaluate([tmp_path / "set"], progress=lambda *step: seen.append(step))
    row = next(row for row in card.rows if row.code == FALL)
    assert (row.truths, row.caught, row.false_alarms) == (1, 1, 0)
    assert card.resident_days > 0
    assert seen == [("calm.vigil", 1, 2), ("fall.vigil", 2, 2)]


CAMERA = "camera.fall"
EITHER = {code: Window(10.0, 1.0, (FALL, CAMERA)) for code in (FALL, CAMERA)}


@pytest.mark.parametrize("fired", [FALL, CAMERA])
def test_a_truth_is_credited_to_the_code_that_fired(fired: str) -> None:
    """One fall that both detectors should report: whichever stays silent has caught nothing, also where its deadline is the earlier one."""
    truths = [truth(100, 10), truth(103, 6, CAMERA)]
    rows = {row.code: row for row in score(truths, [event(104, fired)], resident_days=1.0, windows=EITHER).rows}
    silent = CAMERA if fired == FALL else FALL
    assert (rows[fired].caught, rows[fired].truths, rows[fired].by_others) == (1, 1, ())
    assert (rows[silent].caught, rows[silent].truths, rows[silent].by_others) == (0, 1, ())
    assert rows[fired].time_to_alert_median.value == (4 if fired == FALL else 1)
    assert np.isnan(rows[silent].time_to_alert_median.value)


def test_a_row_says_which_other_code_answered_its_truth() -> None:
    card = score([truth(100), truth(500)], [event(104, CAMERA), event(503)], resident_days=1.0, windows=EITHER)
    rows = {row.code: row for row in card.rows}
    assert (rows[FALL].truths, rows[FALL].caught, rows[FALL].by_others) == (2, 1, ((CAMERA, 1),))
    assert rows[FALL].sensitivity.value == 50, "a detector's sensitivity is what it found itself"
    assert "caught by camera.fall 1" in rows[FALL].sensitivity.basis
    assert rows[FALL].time_to_alert_median.value == 3
    assert (rows[CAMERA].truths, rows[CAMERA].caught, rows[CAMERA].false_alarms) == (0, 0, 0)
    assert rows["all residents"].sensitivity.value == 100, "both falls were called"
    assert "camera.fall 1" in html_page(card)
    console = Console(width=220, record=True, file=io.StringIO())
    console.print(table(card))
    assert "+ camera.fall 1" in console.export_text()


def test_what_only_the_falls_detector_saw_is_its_own(tmp_path: Path) -> None:
    """examples/fall.vigil with a camera that is never sure enough: only falls.fall fires."""
    parameters = Parameters.model_validate({"camera": {"confidence_fraction_min": 1.0}})
    rows = {row.code: row for row in evaluate([EXAMPLES / "fall.vigil"], parameters).rows}
    assert (rows[FALL].caught, rows[FALL].truths) == (1, 1)
    assert (rows[CAMERA].caught, rows[CAMERA].truths, rows[CAMERA].by_others) == (0, 1, ())
    assert rows[FALL].time_to_alert_median.value > 0


def _open(name: str = "ward", days: float = 3.0) -> Case:
    return Case(name, (), [event(50), event(60, "device.silent")], days, 1.0, labelled=False)


def test_a_recording_that_nobody_labelled_is_not_judged() -> None:
    labelled = Case("known", [truth(100)], [event(104), event(900)], 2.0)
    card = summarise(compare(case, TEN) for case in (labelled, _open("night <1>")))
    found = figures(card)
    assert found["falls.fall.false_alarms_per_day"].value == 0.5, "one in the two days that are labelled"
    assert (card.resident_days, card.room_days) == (2.0, 0.0)
    assert "device.silent.false_alarms_per_day" not in found
    assert [case.name for case in card.not_labelled] == ["night <1>"]
    flat = json.loads(to_json(card))
    assert flat["not_labelled"] == {
        "recordings": ["night <1>"],
        "resident_days": 3.0,
        "room_days": 1.0,
        "events_not_judged": {FALL: 1, "device.silent": 1},
    }
    page = html_page(card)
    assert "<td>not labelled</td>" in page
    assert "night &lt;1&gt;" in page
    assert "1 recordings (1 more are not labelled)" in page
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(table(card))
    assert "not labelled: 1 of 2 recordings (night <1>" in console.export_text()


def test_of_unlabelled_recordings_alone_there_is_no_figure() -> None:
    card = summarise([compare(_open(), TEN)])
    assert card.rows == ()
    assert figures(card) == {}
    assert "not labelled" in html_page(card)
    assert "False alarms: none" not in html_page(card), "nobody knows"


def test_a_recording_is_labelled_when_it_has_truth_or_says_that_nothing_happened(tmp_path: Path) -> None:
    """Nothing happened in one, nobody looked at the other: the same signal, and only the first has a false alarm."""
    for name, labelled in (("looked", True), ("captured", None)):
        builder = Builder(name, "made here", start_ns=0, labelled=labelled)
        builder.bind("belt", f"resident/{name}", "waist")
        for frame in (f for f in falls.positive() if f.kind == "accel"):
            builder.add("belt", "accel", int(frame.t0_ns[0]), frame.rate_hz, frame.samples[0])
        write(tmp_path / f"{name}.vigil", builder.build())
    card = evaluate([tmp_path])
    row = next(row for row in card.rows if row.code == FALL)
    assert row.false_alarms == 1
    assert [case.name for case in card.not_labelled] == ["captured"]
    assert card.not_judged == {FALL: 1}
    assert read(EXAMPLES / "stumble.vigil").labelled, "the simulator knows that nobody fell"


def test_no_recording_is_said(tmp_path) -> None:
    with pytest.raises(ValueError, match="no recording"):
        evaluate([tmp_path])


def _night(missed_h: float, name: str = "night", labelled: bool = True) -> Case:
    """Eight hours of two residents, of whom one's falls were not watched for `missed_h`."""
    watched = {("resident/a", Hazard.FALL): (8 * 3600.0, 0.0), ("resident/b", Hazard.FALL): ((8 - missed_h) * 3600.0, missed_h * 3600.0)}
    return Case(name, [], [], 2 / 3, labelled=labelled, coverage_s={**watched, ("room/1", Hazard.FIRE): (3600.0, 0.0)})


def test_how_much_of_the_time_was_watched_stands_beside_what_was_missed() -> None:
    """Nothing missed of a stream that was blind half of the night is no good news: text, page and figures say so."""
    card = summarise(compare(case, TEN) for case in (_night(4), _night(8, "second"), _night(1, "open", labelled=False)))
    shown = {one.hazard: one for one in card.coverage}
    assert list(shown) == [Hazard.FALL, Hazard.FIRE]
    assert (shown[Hazard.FALL].watched_h, shown[Hazard.FALL].bound_h) == (20, 32), "what is not labelled is in no figure"
    found = figures(card)["coverage.fall"]
    assert (found.value, found.unit, found.basis) == (62.5, "%", "20.0 of 32.0 h, 2 residents and rooms, 2 recordings")
    assert figures(card)["coverage.fire"].value == 100
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(coverage_table(card))
    text = console.export_text()
    assert "62.5%" in text
    assert "20.0 of 32.0 h" in text
    page = html_page(card)
    assert "62.5%" in page
    assert "20.0 of 32.0 h" in page
    assert json.loads(to_json(card))["coverage.fall"]["value"] == 62.5


def test_coverage_of_a_recording_is_that_of_its_watch(tmp_path: Path) -> None:
    """A band heard for ten minutes and then never again, for half an hour in which the beacon of the room goes on."""
    builder = Builder("half", "made here", start_ns=0, labelled=True)
    builder.bind("belt", "resident/a", "waist")
    builder.bind("air", "room/1", "ceiling")
    rng = np.random.default_rng(1)
    for t in range(1800):
        if t < 600:
            builder.add("belt", "accel", t * NS_PER_S, 50.0, rng.normal([0, 0, 1], 0.02, (50, 3)).round(3))
        if t % 10 == 0:
            air = np.array([[0.001, 1.0, 22 + rng.normal(0, 0.1), 45.0]])
            builder.add("air", "room_air", t * NS_PER_S, 0.1, air)
    write(tmp_path / "half.vigil", builder.build())
    found = {one.hazard: one for one in evaluate([tmp_path]).coverage}
    assert found[Hazard.FALL].watched_h == pytest.approx(1 / 6, abs=0.01)
    assert found[Hazard.FALL].bound_h == pytest.approx(1 / 2, abs=0.01)
    assert found[Hazard.FIRE].watched_h == pytest.approx(1 / 2, abs=0.01)


def test_coverage_adds_up_over_midnight(tmp_path: Path) -> None:
    builder = Builder("midnight", "made here", start_ns=86_400 * NS_PER_S - 600 * NS_PER_S, labelled=True)
    builder.bind("ox", "resident/a", "finger")
    rng = np.random.default_rng(1)
    for t in range(1200):
        values = np.full((1, 6), np.nan)
        values[0, 0] = 70 + rng.integers(5)
        builder.add("ox", "vitals", (86_400 - 600 + t) * NS_PER_S, 1.0, values)
    write(tmp_path / "midnight.vigil", builder.build())
    card = evaluate([tmp_path])
    (heart,) = card.coverage
    assert json.loads(to_json(card))["coverage.heart"]["value"] == pytest.approx(100)
    assert (heart.hazard, heart.bound_h) == (Hazard.HEART, pytest.approx(1 / 3, abs=0.01))
    assert heart.watched_h == pytest.approx(heart.bound_h)


def test_the_table_is_read_in_a_terminal_of_80_columns() -> None:
    """Every word and number whole, on a line with others of its row."""
    codes = ("heart.ventricular_fibrillation", "pressure_injury.turn_overdue", FALL)
    truths = [truth(1000 * i, code=code) for i, code in enumerate(codes)]
    events = [event(1000 * i + 4, code) for i, code in enumerate(codes)] + [event(5 + 7 * i) for i in range(123)]
    card = score(truths, events, resident_days=0.003, windows={code: Window(10.0, 1.0) for code in codes})
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(table(card))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 80
    words = (
        "ventricular_fibrillation",
        "turn_overdue",
        FALL,
        "all residents",
        "1 of 1",
        "100.0",
        "20.7 to 100.0",
        "false alarms",
        "90 %, s",
    )
    assert [word for word in words if word not in text] == []
    assert "…" not in text
