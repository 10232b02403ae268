"""The board model, the live mailboxes and the languages: everything of the console that needs no browser and no port."""

from __future__ import annotations

import asyncio
import math
import re
from pathlib import Path

import msgspec
import numpy as np
import pytest

from alerts.book import AlertBook
from alerts.model import Action, Alert, Command, Outcome, Reason, RefusalReason, State
from alerts.texts import LANGUAGES, Language
from console import texts
from console.backend import alert_view, history
from console.board import HOLD_MS, PUBLISH_EVERY_MS, SOURCES, BoardModel, LiveBoard
from console.live import Broadcaster, Mailbox, TooManyBrowsers
from detectors.catalogue import DETECTORS
from detectors.heart.detector import HeartDetector
from detectors.pressure_injury.detector import PressureInjuryDetector
from engine import outputs
from engine.events import Event, event_id
from engine.kinds import KINDS
from engine.outputs import Measurements
from engine.registry import Assignment, Binding, CareSetting, Place, RegistryData
from engine.watch import Blind, Hazard, WatchChange
from models.catalogue import MODELS
from streams.pipeline.assembly import DEFAULT_CODES, TEXTS, HomePolicy

NOW_NS = 1_800_000_000_000_000_000
NOW_MS = NOW_NS // 1_000_000
MS = 1_000_000
WHO = "resident/r-1"
SCRIPTS = Path(texts.__file__).parent / "static" / "js"


def measured(name: str, columns: dict[str, float], *, subject: str = WHO, t_ns: int = NOW_NS) -> Measurements:
    return Measurements(name, (subject,), np.array([t_ns]), tuple(columns), np.array([list(columns.values())], np.float32))


def fall(book: AlertBook, subject: str = WHO) -> Alert:
    event = Event(
        event_id("falls", "falls.fall", subject, NOW_NS, "onset"),
        "falls",
        "falls.fall",
        subject,
        "onset",
        3,
        NOW_NS,
        NOW_NS,
        NOW_NS,
        1.0,
        {"peak_g": 3.5},
    )
    (transition,) = book.apply(event)
    alert = book.alert(transition.alert_id)
    assert alert is not None
    return alert


# -- tiles ------------------------------------------------------------------------------------------------------------


def test_readings_are_found_by_column_name_and_missing_ones_stay_away() -> None:
    model = BoardModel()
    model.apply([measured("vitals", {"spo2_percent": 96, "heart_rate_bpm": 71, "invented_by_nobody": 3})], NOW_NS)
    model.apply([measured("never.heard.of", {"heart_rate_bpm": 1})], NOW_NS)
    (tile,) = model.board(NOW_MS).tiles
    assert tile.readings == {"spo2_percent": (96.0, NOW_MS), "heart_rate_bpm": (71.0, NOW_MS)}


def vital(model: BoardModel, at_s: float, **columns: float) -> None:
    at_ns = NOW_NS + int(at_s * 1000) * MS
    model.apply([measured("vitals", columns, t_ns=at_ns)], at_ns)


def test_a_pulse_that_is_no_longer_found_is_no_longer_shown() -> None:
    model = BoardModel()
    for at_s in range(5):
        vital(model, at_s, heart_rate_bpm=70)
    vital(model, 10, heart_rate_bpm=math.nan)
    assert "heart_rate_bpm" in model.board(NOW_MS).tiles[0].readings, "a moment without it is no news"
    vital(model, 20, heart_rate_bpm=math.nan)
    assert model.board(NOW_MS).tiles[0].readings == {}


def test_a_device_that_never_measures_it_takes_no_reading_away() -> None:
    """A cuff beside a thermometer that is used twice an hour: the cuff's rows have no temperature."""
    model = BoardModel()
    for at_s in (0, 1800):
        vital(model, at_s, temperature_c=36.8)
    vital(model, 1860, temperature_c=math.nan, bp_systolic_mmhg=130)
    assert set(model.board(NOW_MS).tiles[0].readings) == {"body_temperature_c", "bp_systolic_mmhg"}


def test_nan_is_no_reading_but_the_device_was_heard() -> None:
    model = BoardModel()
    model.apply([measured("vitals", {"heart_rate_bpm": 70})], NOW_NS)
    model.apply([measured("vitals", {"heart_rate_bpm": math.nan}, t_ns=NOW_NS + 5000 * MS)], NOW_NS + 5000 * MS)
    (tile,) = model.board(NOW_MS).tiles
    assert tile.readings["heart_rate_bpm"] == (70.0, NOW_MS)
    assert tile.seen_ms == NOW_MS + 5000


def test_an_older_reading_never_replaces_a_newer_one() -> None:
    model = BoardModel()
    model.apply([measured("vitals", {"heart_rate_bpm": 70})], NOW_NS)
    model.apply([measured("vitals", {"heart_rate_bpm": 120}, t_ns=NOW_NS - 60_000 * MS)], NOW_NS)
    assert model.board(NOW_MS).tiles[0].readings["heart_rate_bpm"] == (70.0, NOW_MS)


def test_a_clock_that_runs_ahead_cannot_make_data_look_younger_than_now() -> None:
    model = BoardModel()
    model.apply([measured("vitals", {"heart_rate_bpm": 70}, t_ns=NOW_NS + 3_600_000 * MS)], NOW_NS)
    (tile,) = model.board(NOW_MS).tiles
    assert tile.seen_ms == NOW_MS
    assert tile.readings["heart_rate_bpm"][1] == NOW_MS


def test_the_preferred_source_holds_its_place_and_then_gives_way() -> None:
    model = BoardModel()
    model.apply([measured("vitals", {"heart_rate_bpm": 70})], NOW_NS)
    soon, later = NOW_NS + (HOLD_MS - 1) * MS, NOW_NS + HOLD_MS * MS
    model.apply([measured("feature.heart", {"heart_rate_bpm": 90}, t_ns=soon)], soon)
    assert model.board(NOW_MS).tiles[0].readings["heart_rate_bpm"][0] == 70
    model.apply([measured("feature.heart", {"heart_rate_bpm": 90}, t_ns=later)], later)
    assert model.board(NOW_MS).tiles[0].readings["heart_rate_bpm"][0] == 90
    model.apply([measured("vitals", {"heart_rate_bpm": 71}, t_ns=later + MS)], later + MS)
    assert model.board(NOW_MS).tiles[0].readings["heart_rate_bpm"][0] == 71


def test_every_source_column_exists_in_the_kinds_or_in_a_detector() -> None:
    columns = {name: {channel.name for channel in kind.channels} for name, kind in KINDS.items()}
    for detector in (HeartDetector, PressureInjuryDetector):
        columns |= {name: set(names) for name, names in detector.spec.features.items()}
    for measurement, wanted in SOURCES.items():
        assert set(wanted) <= columns[measurement], measurement


def test_whoever_is_bound_has_a_tile_before_any_data_came() -> None:
    model = BoardModel("Home", turn_interval_s=7200)
    data = RegistryData(
        bindings=(Binding("mat-1", "bed/201-A", "h/2"), Binding("band-9", "resident/r-9", "h/2"), Binding("smoke-1", "room/201", "h/2")),
        assignments=(Assignment("resident/r-0", "bed/201-A", 0, NOW_NS - 1), Assignment("resident/r-1", "bed/201-A", NOW_NS - 1)),
        places=(Place("bed/201-A", "room/201", "h/2"),),
        care=(CareSetting("resident/r-1", "pressure_injury", "turn_interval_s", 10800.0),),
    )
    model.set_registry(data, NOW_NS)
    tiles = {tile.subject: tile for tile in model.board(NOW_MS).tiles}
    assert set(tiles) == {"resident/r-1", "resident/r-9", "room/201"}
    assert (tiles["resident/r-1"].room, tiles["resident/r-1"].bed, tiles["resident/r-1"].ward) == ("201", "201-A", "h/2")
    assert tiles["resident/r-1"].seen_ms is None
    assert tiles["resident/r-1"].turn_due_s == 10800
    assert tiles["resident/r-9"].turn_due_s == 7200
    assert (tiles["room/201"].room, tiles["room/201"].ward, tiles["room/201"].turn_due_s) == ("201", "h/2", None)


# -- alerts on the board ------------------------------------------------------------------------------------------------


def test_an_alert_comes_changes_and_goes_once() -> None:
    book, model = AlertBook(HomePolicy()), BoardModel()
    alert = fall(book)
    model.put_alert(alert)
    (view,) = model.patch(NOW_MS).alerts
    assert (view.state, view.acknowledged, view.values) == (State.FIRING, False, {"peak_g": 3.5})
    book.command(Command("c-1", Action.ACKNOWLEDGE, alert.id, "WL", NOW_NS + 20_000 * MS))
    taken = book.alert(alert.id)
    assert taken is not None
    model.put_alert(taken)
    (view,) = model.patch(NOW_MS).alerts
    assert (view.acknowledged, view.acknowledged_by, view.acknowledged_ms) == (True, "WL", NOW_MS + 20_000)
    book.command(Command("c-2", Action.RESOLVE, alert.id, "WL", NOW_NS + 30_000 * MS, Outcome.FALSE))
    closed = book.alert(alert.id)
    assert closed is not None
    model.put_alert(closed)
    assert [a.state for a in model.patch(NOW_MS).alerts] == [State.RESOLVED]
    assert model.board(NOW_MS).alerts == []
    model.put_alert(closed)
    assert model.patch(NOW_MS).alerts == []
    assert [entry.reason for entry in history(closed)][-2:] == [Reason.ACKNOWLEDGED_BY_STAFF, Reason.RESOLVED_BY_STAFF]
    assert history(closed)[-1].outcome is Outcome.FALSE


def test_the_worst_unanswered_alert_is_first() -> None:
    book, model = AlertBook(HomePolicy()), BoardModel()
    views = [fall(book, f"resident/r-{i}") for i in range(3)]
    low = msgspec.structs.replace(views[0], priority=1)
    taken = msgspec.structs.replace(views[1], state=State.ACKNOWLEDGED)
    for alert in (taken, low, views[2]):
        model.put_alert(alert)
    assert [a.id for a in model.board(NOW_MS).alerts] == [views[2].id, low.id, taken.id]


def test_a_patch_carries_what_changed_and_then_nothing() -> None:
    model = BoardModel()
    model.apply([measured("vitals", {"heart_rate_bpm": 70}), measured("bed", {"in_bed": 1}, subject="resident/r-2")], NOW_NS)
    first = model.patch(NOW_MS)
    assert {tile.subject for tile in first.tiles} == {WHO, "resident/r-2"}
    model.apply([measured("bed", {"in_bed": 0}, subject="resident/r-2")], NOW_NS + MS)
    second = model.patch(NOW_MS)
    assert [tile.subject for tile in second.tiles] == ["resident/r-2"]
    assert second.seq == first.seq + 1
    assert model.patch(NOW_MS).tiles == []


def test_what_a_browser_got_does_not_change_behind_its_back() -> None:
    model = BoardModel()
    model.apply([measured("vitals", {"heart_rate_bpm": 70})], NOW_NS)
    board = model.board(NOW_MS)
    model.apply([measured("vitals", {"heart_rate_bpm": 90}, t_ns=NOW_NS + MS)], NOW_NS + MS)
    assert board.tiles[0].readings["heart_rate_bpm"][0] == 70


def test_a_tile_says_what_is_not_watched_and_why() -> None:
    model = BoardModel()
    model.watch(
        [
            WatchChange(WHO, Hazard.HEART, "ox:vitals", Blind.NO_VALUE, NOW_NS - MS, NOW_NS),
            WatchChange(WHO, Hazard.FALL, "", None, 0, NOW_NS),
        ]
    )
    board = model.board(NOW_MS)
    assert board.tiles[0].not_watched == {"heart": ("no_value", NOW_MS - 1)}
    model.watch([WatchChange(WHO, Hazard.HEART, "", None, NOW_NS, NOW_NS)])
    assert [tile.not_watched for tile in model.patch(NOW_MS).tiles] == [{}]
    assert board.tiles[0].not_watched
    for language in LANGUAGES:
        words = texts.texts(language)
        assert all(words[f"hazard.{hazard}"] for hazard in Hazard)
        assert all(words[f"blind.{reason}"] for reason in Blind)


# -- sending ------------------------------------------------------------------------------------------------------------


def test_measurements_are_gathered_and_an_alert_goes_at_once() -> None:
    async def run() -> list[list[bytes] | None]:
        board = LiveBoard()
        mailbox = board.live.join()
        got = []
        board.feed([measured("vitals", {"heart_rate_bpm": 70})], [], NOW_NS)
        got.append(await mailbox.take(0.05))
        board.feed([measured("vitals", {"heart_rate_bpm": 71})], [], NOW_NS + MS)
        got.append(await mailbox.take(0.05))
        board.feed([], [fall(AlertBook(HomePolicy()))], NOW_NS + 2 * MS)
        got.append(await mailbox.take(0.05))
        board.feed([], [], NOW_NS + (2 + PUBLISH_EVERY_MS) * MS)
        got.append(await mailbox.take(0.05))
        return got

    first, held, alert, beat = asyncio.run(run())
    assert first is not None
    assert len(first) == 1
    assert held == []
    assert alert is not None
    assert b"falls.fall" in alert[0]
    assert beat is not None
    assert len(beat) == 1


def test_a_slow_browser_is_told_to_start_afresh_and_holds_up_nobody() -> None:
    async def run() -> tuple[list[bytes] | None, list[bytes] | None, list[bytes] | None]:
        live = Broadcaster(depth=3)
        slow, quick = live.join(), live.join()
        seen: list[bytes] = []
        for i in range(10):
            live.publish(b"%d" % i)
            seen += await quick.take(1) or []
        overflow = await slow.take(1)
        live.publish(b"next")
        return overflow, await slow.take(1), seen

    overflow, after, quick = asyncio.run(run())
    assert overflow is None
    assert after == [b"next"]
    assert quick == [b"%d" % i for i in range(10)]


def test_the_number_of_browsers_is_bounded() -> None:
    async def run() -> None:
        live = Broadcaster(browsers_max=2)
        first: Mailbox = live.join()
        live.join()
        with pytest.raises(TooManyBrowsers):
            live.join()
        live.leave(first)
        live.join()
        assert len(live) == 2

    asyncio.run(run())


def test_a_mailbox_whose_loop_has_ended_is_dropped() -> None:
    live = Broadcaster()

    async def join() -> None:
        live.join()

    asyncio.run(join())
    live.publish(b"anything")
    assert len(live) == 0


# -- languages ----------------------------------------------------------------------------------------------------------


def test_both_languages_have_the_same_keys_and_placeholders() -> None:
    chinese, english = (texts.texts(language) for language in LANGUAGES)
    assert set(chinese) == set(english)
    for key in chinese:
        assert set(re.findall(r"\{\w+\}", chinese[key])) == set(re.findall(r"\{\w+\}", english[key])), key
        assert chinese[key].strip(), key
        assert english[key].strip(), key


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_code_and_reason_has_words(language: Language) -> None:
    words = texts.texts(language)
    codes = set(TEXTS) | {event.code for detector in (*DETECTORS, *MODELS) for event in detector.spec.events}
    wanted = {f"{prefix}.{code}" for code in codes for prefix in ("code", "do")}
    wanted |= {f"reason.{reason}" for reason in outputs.Reason}
    wanted |= {f"why.{reason}" for reason in Reason}
    wanted |= {f"command.{reason}" for reason in RefusalReason}
    wanted |= {f"outcome.{outcome}" for outcome in Outcome}
    wanted |= {f"priority.{p}" for p in range(4)} | {f"priority_long.{p}" for p in range(4)}
    wanted |= {f"quantity.{source.quantity}" for columns in SOURCES.values() for source in columns.values()}
    watched = [signal for detector in DETECTORS for signals in detector.spec.watches.values() for signal in signals]
    wanted |= {f"quantity.{signal.channel}" for signal in watched if signal.channel}
    assert wanted - set(words) == set()


def test_every_text_a_script_names_exists_and_every_text_is_used() -> None:
    words = texts.texts("en")
    source = "".join(path.read_text("utf-8") for path in SCRIPTS.glob("*.js"))
    named = set(re.findall(r'(?<![\w.])t\(\s*"([\w.]+)"', source)) | set(re.findall(r'"((?:posture|bed|alerts|ui|live)\.\w+)"', source))
    assert named - set(words) == set()
    families = set(re.findall(r"`(\w+)\.\$\{", source)) | {"page", "code", "do"}
    unused = {key for key in words if key not in named and key.partition(".")[0] not in families and f'"{key}"' not in source}
    assert unused == set()


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh-CN"),
        ("en-GB,en;q=0.9", "en"),
        ("zh-TW", "zh-CN"),
        ("en;q=0.2, zh;q=0.8", "zh-CN"),
        ("fr-FR, zh;q=0, en;q=0.1", "en"),
        ("fr", "en"),
        ("", "en"),
        (";;q=x,,zh;q=nonsense", "en"),
    ],
)
def test_the_browser_chooses_the_language(header: str, expected: str) -> None:
    assert texts.accepted(header) == expected


def test_what_was_asked_for_beats_what_was_remembered_beats_the_browser() -> None:
    assert texts.choose({texts.COOKIE: "en"}, {"lang": "zh-CN"}, "en") == "zh-CN"
    assert texts.choose({texts.COOKIE: "zh-CN"}, {}, "en") == "zh-CN"
    assert texts.choose({texts.COOKIE: "tlh"}, {"lang": "xx"}, "zh") == "zh-CN"


def test_an_alert_that_had_to_hold_counts_from_the_moment_it_called_somebody() -> None:
    code = "heart_baseline.deviation"
    pending_s = DEFAULT_CODES[code].pending_s
    assert pending_s > 0
    book, model = AlertBook(HomePolicy()), BoardModel()
    (begun,) = book.apply(Event("e" * 32, "heart_baseline", code, WHO, "onset", 1, NOW_NS, NOW_NS, NOW_NS, 1.0, {}))
    for at_ns in (NOW_NS, NOW_NS + round(pending_s * 1e9)):
        book.tick(at_ns)
        alert = book.alert(begun.alert_id)
        assert alert is not None
        model.put_alert(alert)
    (view,) = model.patch(NOW_MS).alerts
    assert view.onset_ms == NOW_MS
    assert view.raised_ms == NOW_MS + pending_s * 1000


def test_a_call_button_was_heard_from_when_it_was_pressed() -> None:
    book, model = AlertBook(HomePolicy()), BoardModel()
    (begun,) = book.apply(Event("e" * 32, "sos", "sos.pressed", WHO, "onset", 3, NOW_NS, NOW_NS, NOW_NS, 1.0, {}))
    alert = book.alert(begun.alert_id)
    assert alert is not None
    model.put_alert(alert)
    (tile,) = model.board(NOW_MS).tiles
    assert tile.seen_ms == NOW_MS


def test_an_alert_about_a_device_names_it() -> None:
    book = AlertBook(HomePolicy())
    (begun,) = book.apply(Event("e" * 32, "engine", "device.silent", WHO, "onset", 1, NOW_NS, NOW_NS, NOW_NS, 1.0, {}, device="band-3:ecg"))
    alert = book.alert(begun.alert_id)
    assert alert is not None
    assert alert_view(alert).devices == ("band-3:ecg",)
