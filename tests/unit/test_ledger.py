"""The watch ledger: a bound device that watches nobody is announced with the reason, whatever it sends or does not send."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import pytest

from engine.events import Event
from engine.frame import NS_PER_S
from engine.outputs import Outputs
from engine.registry import Assignment, Binding, CareSetting, RegistryData
from engine.technical import DEVICE_CODES
from streams.pipeline.core import Core, CoreOutput

T0 = 1_767_571_200 * NS_PER_S
OXIMETERS = (Binding("ox-1", "resident/a", "home/ward"), Binding("ox-2", "resident/b", "home/ward"))


def at(t_s: float) -> int:
    return T0 + int(t_s * NS_PER_S)


def vitals(t_s: float, device: str = "ox-1", **fields: Any) -> bytes:
    chunk = {
        "v": 1,
        "device": device,
        "kind": "vitals",
        "t0_ns": at(t_s),
        "rate_hz": 0.1,
        "values": {"heart_rate_bpm": 72, "spo2_percent": 97},
    }
    return msgspec.json.encode(chunk | {name: value(t_s) if callable(value) else value for name, value in fields.items()})


def years_ago(t_s: float) -> int:
    """Times that no clock of a live device shows: years old, and ten times faster than they arrive."""
    return at(-9e8 + 10 * t_s)


def technical(output: CoreOutput | Outputs) -> list[tuple[str, str, str, str]]:
    events: Iterable[Event] = output.outputs.events if isinstance(output, CoreOutput) else output.events
    return [(e.code, e.phase, e.subject, e.device) for e in events if e.code in DEVICE_CODES]


def core(*bindings: Binding, **more: Any) -> Core:
    home = Core(registry=RegistryData(bindings=bindings, **more))
    home.advance(at(0))
    return home


def played(home: Core, seconds: Iterable[float], device: str = "ox-1", **fields: Any) -> list[tuple[str, str, str, str]]:
    return [entry for t in seconds for entry in technical(home.telemetry(vitals(t, device, **fields), at(t + 1)))]


def test_a_bound_device_that_never_sends_is_announced_once_and_ends_with_its_first_reading() -> None:
    home = core(*OXIMETERS)
    assert played(home, range(0, 3600, 10)) == [("device.never_heard", "onset", "resident/b", "ox-2")]
    (alert,) = home.book.open()
    assert (alert.code, alert.subject, alert.onset_ns) == ("device.never_heard", "resident/b", at(1))
    home.telemetry(vitals(3600, "ox-2"), at(3601))
    assert technical(home.advance(at(3611))) == [("device.never_heard", "clear", "resident/b", "ox-2")]
    assert home.book.open() == []


def test_a_misspelt_id_is_announced() -> None:
    home = core(OXIMETERS[0])
    assert played(home, range(0, 700, 10), "0x-1") == [("device.never_heard", "onset", "resident/a", "ox-1")]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"unit": "furlong"}, "device.values_unusable"),
        ({"rate_hz": 1e9}, "device.rate_unusable"),
        ({"values": {"heart": 72}}, "device.refused"),
        ({"t0_ns": years_ago}, "device.clock_unusable"),
        ({"v": 99}, "device.refused"),
        ({"kind": "telepathy"}, "device.refused"),
    ],
)
def test_a_device_whose_every_message_is_refused_is_announced_with_the_reason(fields: dict[str, Any], code: str) -> None:
    home = core(OXIMETERS[0])
    said = played(home, range(0, 1200, 10), **fields)
    assert [(c, phase, subject) for c, phase, subject, _ in said] == [(code, "onset", "resident/a")]
    said = played(home, range(1200, 1230, 10))
    assert [(c, phase, subject) for c, phase, subject, _ in said] == [(code, "clear", "resident/a")]
    assert home.book.open() == []


def test_one_kind_that_is_refused_is_announced_beside_one_that_is_not() -> None:
    home = core(OXIMETERS[0])
    said = []
    for t in range(0, 600, 10):
        said += technical(home.telemetry(vitals(t), at(t + 1)))
        bad = {"v": 1, "device": "ox-1", "kind": "accel", "t0_ns": at(t), "rate_hz": 25, "unit": "stone", "samples": [[0, 0, 1]] * 25}
        said += technical(home.telemetry(msgspec.json.encode(bad), at(t + 1)))
    assert said == [("device.values_unusable", "onset", "resident/a", "ox-1:accel")]


def test_a_device_that_was_well_and_is_then_refused_is_not_called_silent() -> None:
    home = core(OXIMETERS[0])
    assert played(home, range(0, 100, 10)) == []
    assert played(home, range(100, 600, 10), unit="furlong") == [("device.values_unusable", "onset", "resident/a", "ox-1:vitals")]
    assert played(home, range(600, 620, 10)) == [("device.values_unusable", "clear", "resident/a", "ox-1:vitals")]


def test_a_silent_device_that_comes_back_with_a_wrong_clock_is_said_to_have_one() -> None:
    home = core(OXIMETERS[0])
    played(home, range(0, 100, 10))
    assert technical(home.advance(at(2000))) == [("device.silent", "onset", "resident/a", "ox-1:vitals")]
    said = played(home, range(2000, 2100, 10), t0_ns=years_ago)
    assert [entry[:2] for entry in said] == [("device.silent", "clear"), ("device.clock_unusable", "onset")]


def test_a_call_button_with_declared_kind_has_a_day_and_one_without_ten_minutes() -> None:
    home = core(Binding("sos-1", "resident/a", "w", kinds=("button",)), Binding("sos-2", "resident/b", "w"))
    assert technical(home.advance(at(86_000))) == [("device.never_heard", "onset", "resident/b", "sos-2")]
    assert technical_and_wards(home.advance(at(86_500))) == [("device.untried", "onset", "ward/w")]


def test_a_button_that_was_ever_pressed_is_known_to_be_one() -> None:
    """Given to somebody else, by a registry that does not say what it is."""
    home = core(Binding("sos-1", "resident/a", "w"))
    home.telemetry(msgspec.json.encode({"v": 1, "device": "sos-1", "kind": "button", "t0_ns": at(100), "values": {"pressed": 1}}), at(101))
    home.set_registry(RegistryData(bindings=(Binding("sos-1", "resident/b", "w"),)), at(200))
    assert technical(home.advance(at(86_000))) == []
    assert technical_and_wards(home.advance(at(86_700))) == [("device.untried", "onset", "ward/w")]


def test_buttons_that_nobody_ever_pressed_are_one_reminder_for_a_ward() -> None:
    """Most are never needed: a reminder for each of fifty is read by nobody. And they are no gateway that failed."""
    buttons = tuple(Binding(f"sos-{i}", f"resident/{i}", "home/ward", kinds=("button",)) for i in range(12))
    home = core(*buttons, Binding("door-1", "room/1", "elsewhere", kinds=("door",)))
    said = home.advance(at(90_000))
    assert technical_and_wards(said) == [("device.untried", "onset", "ward/elsewhere"), ("device.untried", "onset", "ward/home/ward")]
    assert [e.values["devices"] for e in said.outputs.events] == [1, 12]
    assert {(a.code, a.subject) for a in home.book.open()} == {("device.untried", "ward/home/ward"), ("device.untried", "ward/elsewhere")}
    other = Core()
    other.restore(home.snapshot())
    for one in (home, other):
        rung: list[tuple[str, str, str]] = []
        for i, button in enumerate(buttons):
            press = {"v": 1, "device": button.device, "kind": "button", "t0_ns": at(90_100 + 60 * i), "values": {"pressed": 1}}
            rung += technical_and_wards(one.telemetry(msgspec.json.encode(press), at(90_101 + 60 * i)))
        rung += technical_and_wards(one.advance(at(91_000)))
        assert [entry for entry in rung if entry[0].startswith("device.")] == [("device.untried", "clear", "ward/home/ward")]


def test_who_walks_out_of_reach_and_comes_back_is_told_to_nobody() -> None:
    """What rests on the device is stale after two minutes; that it is silent is told when the hazard has been unwatched for its limit."""
    home = core(OXIMETERS[0])
    played(home, range(0, 300, 10), values={"heart_rate_bpm": 72, "spo2_percent": 80})
    away = home.advance(at(1900))
    assert technical(away) == []
    assert {(d.source, d.missing) for d in away.outputs.data} >= {("ox-1:vitals", True)}
    assert [(a.code, a.state) for a in home.book.open()] == [("heart.spo2_low", "stale")]
    assert [(c.hazard, c.reason) for c in away.outputs.watch] == [("heart", "silent"), ("breathing", "silent")]
    assert played(home, range(1900, 2000, 10), values={"heart_rate_bpm": 72, "spo2_percent": 80}) == []
    assert [(a.code, a.state) for a in home.book.open()] == [("heart.spo2_low", "firing")]


def test_a_device_that_stays_away_is_told_when_its_hazard_was_unwatched_for_its_limit() -> None:
    home = core(OXIMETERS[0], OXIMETERS[1], care=(CareSetting("resident/b", "watch", "heart_s", 300.0),))
    for t in range(0, 300, 10):
        home.telemetry(vitals(t, "ox-1", values={"heart_rate_bpm": 72, "spo2_percent": 80}), at(t + 1))
        home.telemetry(vitals(t, "ox-2"), at(t + 1))
    assert technical(home.advance(at(590))) == []
    assert technical(home.advance(at(610))) == [("device.silent", "onset", "resident/b", "ox-2:vitals")]
    other = Core()
    other.restore(home.snapshot())
    for one in (home, other):
        assert technical(one.advance(at(2080))) == []
        assert technical(one.advance(at(2110))) == [("device.silent", "onset", "resident/a", "ox-1:vitals")]
        assert [a.state for a in one.book.open() if a.code == "heart.spo2_low"] == ["stale"]
        back = one.telemetry(vitals(2200, "ox-1", values={"heart_rate_bpm": 72, "spo2_percent": 80}), at(2201))
        assert technical(back) == [("device.silent", "clear", "resident/a", "ox-1:vitals")]
        assert [a.state for a in one.book.open() if a.code == "heart.spo2_low"] == ["firing"]


@pytest.mark.parametrize("how", ["goes off", "goes on sending"])
def test_a_device_on_its_charger_is_shown_and_told_only_when_it_is_forgotten_there(how: str) -> None:
    """It says so itself: then somebody has put it there, and a call at three in the morning would tell nobody anything."""
    home = core(OXIMETERS[0])
    played(home, range(0, 300, 10))
    lies = range(300, 320, 10) if how == "goes off" else range(300, 9 * 3600, 10)
    output = CoreOutput.nothing()
    for t in lies:
        output.add(home.telemetry(vitals(t, quality=4, values={"heart_rate_bpm": None}), at(t + 1)))
    output.add(home.advance(at(9 * 3600)))
    assert (technical(output), [reject.detail for reject in output.outputs.rejects]) == ([], [])
    assert [(c.hazard, c.reason) for c in output.outputs.watch] == [("heart", "on_charger"), ("breathing", "on_charger")]
    other = Core()
    other.restore(home.snapshot())
    assert played(other, range(9 * 3600, 9 * 3600 + 250, 10)) == []
    assert other.engine.watching.coverage.why[0] == ("", None), "put on again, it watches"
    forgotten = CoreOutput.nothing()
    for t in range(9 * 3600, 11 * 3600, 10):
        forgotten.add(
            home.telemetry(vitals(t, quality=4, values={"heart_rate_bpm": None}), at(t + 1))
            if how != "goes off"
            else home.advance(at(t + 1))
        )
    (told,) = (e for e in forgotten.outputs.events if e.code in DEVICE_CODES)
    assert (told.code, told.device) == ("device.silent" if how == "goes off" else "device.poor_quality", "ox-1:vitals")
    assert 10 * 3600 <= (told.arrival_ns - at(300)) / NS_PER_S <= 10 * 3600 + 1800 + 200


def test_bands_put_on_their_chargers_together_are_no_outage() -> None:
    home = core(*GATEWAY[:12])
    for t in range(0, 310, 10):
        for i, binding in enumerate(GATEWAY[:12]):
            home.telemetry(vitals(t, binding.device, quality=0 if t < 300 else 4), at(t + 1 + 0.1 * i))
    assert technical_and_wards(home.advance(at(8 * 3600))) == []


def test_a_silent_device_that_is_taken_away_before_it_is_told_is_forgotten() -> None:
    home = core(*OXIMETERS)
    played(home, range(0, 300, 10))
    home.advance(at(600))
    home.set_registry(RegistryData(bindings=OXIMETERS[1:]), at(601))
    assert ("device.silent", "onset", "resident/a", "ox-1:vitals") not in technical(home.advance(at(9000)))


def test_a_binding_that_begins_and_ends_is_announced_from_its_begin_and_ended_with_it() -> None:
    home = core(Binding("ox-1", "resident/a", "w", from_ns=at(5000), to_ns=at(9000)))
    assert technical(home.advance(at(5599))) == []
    assert technical(home.advance(at(8999))) == [("device.never_heard", "onset", "resident/a", "ox-1")]
    assert technical(home.advance(at(9001))) == [("device.never_heard", "clear", "resident/a", "ox-1")]


def test_a_device_bound_to_another_resident_is_blind_about_the_new_one() -> None:
    home = core(OXIMETERS[0])
    played(home, range(0, 100, 10))
    home.set_registry(RegistryData(bindings=(Binding("ox-1", "resident/c", "w"),)), at(100))
    said = technical(home.advance(at(1000)))
    assert said == [("device.never_heard", "onset", "resident/c", "ox-1")]


def test_a_bed_device_is_blind_about_whoever_lies_there() -> None:
    stays = (Assignment("resident/a", "bed/1", to_ns=at(1000)), Assignment("resident/b", "bed/1", from_ns=at(1000)))
    home = core(Binding("mat", "bed/1", "w"), assignments=stays)
    said = technical(home.advance(at(2000)))
    assert [entry[:3] for entry in said] == [
        ("device.never_heard", "onset", "resident/a"),
        ("device.never_heard", "clear", "resident/a"),
        ("device.never_heard", "onset", "resident/b"),
    ]


def test_a_restored_ledger_goes_on_exactly() -> None:
    one = core(*OXIMETERS)
    played(one, range(0, 100, 10))
    played(one, range(100, 300, 10), unit="furlong")
    other = Core()
    other.restore(one.snapshot())
    assert other.snapshot() == one.snapshot()
    said = [[*played(home, range(300, 900, 10), unit="furlong"), *played(home, range(900, 950, 10))] for home in (one, other)]
    assert said[0] == said[1]
    assert [entry[:2] for entry in said[0]] == [("device.never_heard", "onset"), ("device.values_unusable", "clear")]
    assert other.snapshot() == one.snapshot()


def test_time_that_was_leapt_over_is_no_waiting() -> None:
    home = core(OXIMETERS[0])
    assert technical(home.advance(at(30 * 86_400))) == []
    assert technical(home.advance(at(30 * 86_400 + 605))) == [("device.never_heard", "onset", "resident/a", "ox-1")]


GATEWAY = tuple(Binding(f"ox-{i}", f"resident/r-{i}", "home/ward") for i in range(50))
ELSEWHERE = Binding("ox-far", "resident/far", "home/other")


def ward_lives(
    home: Core, seconds: Iterable[float], *, devices: Iterable[Binding] = GATEWAY, clock: Callable[[float], int] = at
) -> CoreOutput:
    output = CoreOutput.nothing()
    for t in seconds:
        for i, binding in enumerate(devices):
            output.add(home.telemetry(vitals(t, binding.device, t0_ns=clock(t)), at(t + 1 + 0.1 * i)))
        output.add(home.telemetry(vitals(t, "ox-far"), at(t + 9)))
    return output


@pytest.mark.parametrize(("clock", "code"), [(None, "device.outage"), (years_ago, "device.outage_clock")])
def test_a_gateway_of_fifty_devices_is_one_alert_that_ends_by_itself(clock: Callable[[float], int] | None, code: str) -> None:
    home = core(*GATEWAY, ELSEWHERE)
    assert technical(ward_lives(home, range(0, 200, 10))) == []
    down = ward_lives(home, range(200, 1200, 10), devices=() if clock is None else GATEWAY, clock=clock or at)
    assert [(e.code, e.phase, e.subject, e.values["devices"]) for e in down.outputs.events] == [(code, "onset", "ward/home/ward", 50)]
    assert [(a.code, a.subject) for a in home.book.open()] == [(code, "ward/home/ward")]
    assert {change.subject for change in down.outputs.watch if change.reason is not None} == {b.subject for b in GATEWAY}
    back = ward_lives(home, range(1200, 1300, 10))
    assert [(e.code, e.phase) for e in back.outputs.events] == [(code, "clear")]
    assert home.book.open() == []


def test_an_outage_makes_alerts_stale_and_one_device_that_stays_away_is_told_after_it() -> None:
    home = core(*GATEWAY, ELSEWHERE)
    for t in range(0, 300, 10):
        ward_lives(home, [t], devices=GATEWAY[1:])
        home.telemetry(vitals(t, "ox-0", values={"heart_rate_bpm": 72, "spo2_percent": 80}), at(t + 9.5))
    assert [a.code for a in home.book.open()] == ["heart.spo2_low"]
    ward_lives(home, range(300, 800, 10), devices=())
    assert {a.code: a.state for a in home.book.open()} == {"heart.spo2_low": "stale", "device.outage": "firing"}
    back = ward_lives(home, range(800, 1300, 10), devices=GATEWAY[1:])
    assert [(e.code, e.phase, e.device) for e in back.outputs.events] == [
        ("device.outage", "clear", ""),
        ("device.silent", "onset", "ox-0:vitals"),
    ]
    assert {a.code: a.state for a in home.book.open()} == {"heart.spo2_low": "stale", "device.silent": "firing"}
    home.telemetry(vitals(1300, "ox-0", values={"heart_rate_bpm": 72, "spo2_percent": 80}), at(1309))
    home.advance(at(1320))
    assert {a.code: a.state for a in home.book.open()} == {"heart.spo2_low": "firing"}


def test_a_gateway_that_never_came_is_one_alert() -> None:
    home = core(*GATEWAY, ELSEWHERE)
    down = ward_lives(home, range(0, 1200, 10), devices=())
    assert [(e.code, e.phase) for e in down.outputs.events] == [("device.outage", "onset")]
    other = Core()
    other.restore(home.snapshot())
    said = [technical_and_wards(ward_lives(one, range(1200, 1300, 10))) for one in (home, other)]
    assert said == [[("device.outage", "clear", "ward/home/ward")]] * 2


def technical_and_wards(output: CoreOutput) -> list[tuple[str, str, str]]:
    return [(e.code, e.phase, e.subject) for e in output.outputs.events]


def test_devices_that_stop_one_after_the_other_are_cases_of_their_own() -> None:
    home = core(*GATEWAY[:8], ELSEWHERE)
    ward_lives(home, range(0, 200, 10), devices=GATEWAY[:8])
    said = []
    for left in range(7, 0, -1):
        begin = 200 + (7 - left) * 100
        said += technical(ward_lives(home, range(begin, begin + 100, 10), devices=GATEWAY[:left]))
    said += technical(ward_lives(home, range(900, 2600, 10), devices=GATEWAY[:1]))
    assert {entry[0] for entry in said} == {"device.silent"}
    assert len(said) >= 5
