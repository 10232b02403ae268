"""Presses through a whole partition: which is a new one, whose it is, and what becomes of alerts whose device is taken away."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import pytest

from alerts.model import Action, Alert, Command, Outcome, Reason, State
from engine.block import Block
from engine.clocks import AdmissionLimits
from engine.frame import NS_PER_S
from engine.registry import Assignment, Binding, Place, RegistryData
from schemas.codec import encode_batch
from schemas.recording import START_NS
from sinks.codec import encode
from sinks.items import AlertChange, Quarantined
from streams.pipeline.handovers import DIRECT, Handover
from streams.pipeline.partition import Applied, Partition
from streams.pipeline.records import Input, Kind
from streams.pipeline.registries import Registries
from streams.pipeline.registry_change import RegistryChange

WARD = "home/ward"
DAY_S = 86_400
ONE = RegistryData(bindings=(Binding("call-1", "resident/a", WARD),))
TWO = RegistryData(bindings=(Binding("call-1", "resident/a", WARD), Binding("call-2", "resident/b", WARD)))


def ns(second: float) -> int:
    return START_NS + round(second * NS_PER_S)


class Home:
    """A partition and its log. Every record is applied twice: by a partition that goes on, and by one restored from a snapshot."""

    def __init__(self, registry: RegistryData = ONE) -> None:
        self.partition = Partition(0, live=False, registries=Registries({WARD: registry}))
        self.again = Partition(0, live=False, registries=Registries({WARD: registry}))
        self.told: list[AlertChange] = []
        self.quarantined: list[Quarantined] = []
        self._offset = 0

    def _apply(self, kind: Kind, second: float, value: bytes, handover: Handover = DIRECT) -> Applied:
        record = Input(self._offset, kind, "", ns(second), ns(second), value, WARD, self._offset, handover)
        self._offset += 1
        restored = Partition(0, live=False)
        restored.restore(self.again.snapshot())
        self.again = restored
        applied, again = self.partition.apply(record), self.again.apply(record)
        assert [encode(item) for item in again.items] == [encode(item) for item in applied.items]
        assert self.again.snapshot() == self.partition.snapshot()
        self.told += [item.body for item in applied.items if isinstance(item.body, AlertChange)]
        self.quarantined += [item.body for item in applied.items if isinstance(item.body, Quarantined)]
        return applied

    def send(
        self,
        second: float,
        t0_s: float | None = None,
        *,
        device: str = "call-1",
        kind: str = "button",
        handover: Handover = DIRECT,
        **more: Any,
    ) -> None:
        """A report that arrives at `second`, a press unless `more` says otherwise. `t0_s`: the device's clock, None for a right one."""
        chunk = {"v": 1, "device": device, "kind": kind, "t0_ns": ns(second if t0_s is None else t0_s), **more}
        if "values" not in more and "samples" not in more:
            chunk["values"] = {"pressed": 1}
        self._apply(Kind.TELEMETRY, second, msgspec.json.encode(chunk), handover)

    def raw(self, second: float, payload: bytes) -> None:
        self._apply(Kind.TELEMETRY, second, payload)

    def registry(self, second: float, data: RegistryData) -> None:
        self._apply(Kind.REGISTRY, second, msgspec.json.encode(data))

    def change(self, second: float, change: RegistryChange) -> None:
        self._apply(Kind.REGISTRY_CHANGE, second, msgspec.json.encode(change))

    def say(self, second: float, action: Action, outcome: Outcome | None = None, alert: Alert | None = None) -> None:
        target = alert if alert is not None else self.alerts[-1]
        command = Command(f"c-{self._offset}", action, target.id, "li", 0, outcome)
        applied = self._apply(Kind.COMMAND, second, msgspec.json.encode(command))
        assert applied.output.refusals == []

    @property
    def alerts(self) -> list[Alert]:
        """Every alert there was, as it is now, oldest first."""
        return list({change.alert.id: change.alert for change in self.told}.values())

    def rings(self, code: str = "sos.pressed") -> list[tuple[str, float]]:
        """Subject and second of each time somebody was called because of an event."""
        calls = {Reason.ONSET, Reason.REPEATED}
        return [
            (c.alert.subject, (c.transition.at_ns - START_NS) / NS_PER_S)
            for c in self.told
            if c.alert.code == code and c.transition.notify and c.transition.reason in calls
        ]


def seconds(home: Home) -> list[float]:
    return [second for _, second in home.rings()]


# -- which press is a new one ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("t0_s", [-START_NS / NS_PER_S, -40 * DAY_S, 9e8, -DAY_S, -3600.0, 30.0], ids=str)
@pytest.mark.parametrize("seq", [None, 0])
def test_each_press_of_a_button_whose_clock_stands_still_calls(t0_s: float, seq: int | None) -> None:
    home = Home()
    numbers: dict[str, Any] = {} if seq is None else {"seq": seq}
    times = (10, 25, 200, 3610, 3800, 7210)
    for second in times:
        home.send(second, t0_s, **numbers)
    assert seconds(home)[0] == 10
    right_once = abs(t0_s - 10) <= 60  # then the second is taken for a repetition, until no sender would repeat it any longer
    assert seconds(home) == [second for second in times if not (right_once and second == 25)]


def test_each_press_of_a_device_that_counts_but_has_no_time_calls() -> None:
    home = Home()
    for number, second in enumerate((10, 23, 34, 45, 56)):
        home.send(second, -DAY_S, seq=number)
    assert seconds(home) == [10, 23, 34, 45, 56]


def test_a_device_that_counts_from_zero_at_each_press_calls_each_time() -> None:
    home = Home()
    for second in (10, 30, 50):
        for number in range(3):  # says it three times, each with its own number
            home.send(second + number, -40 * DAY_S, seq=number)
    assert seconds(home) == [10, 30, 50]


@pytest.mark.parametrize("after_s", [0.5, 5, 9.5])
@pytest.mark.parametrize("t0_s", [-START_NS / NS_PER_S, -3600.0, 10.0])
def test_what_is_sent_again_at_once_is_one_press(after_s: float, t0_s: float) -> None:
    home = Home()
    home.send(10, t0_s)
    home.send(10 + after_s, t0_s)
    assert seconds(home) == [10]


@pytest.mark.parametrize("more", [{}, {"seq": 7}])
def test_a_good_clock_makes_a_repetition_within_two_minutes_one_press_and_later_another(more: dict[str, Any]) -> None:
    home = Home()
    for second in (10, 40, 129):
        home.send(second, 10, **more)
    assert seconds(home) == [10]
    home.send(131, 10, **more)
    assert seconds(home) == [10, 131]
    assert home.alerts[-1].values == {"time_unknown": 1.0}


def test_a_press_out_of_a_gateways_memory_sent_twice_is_one_press() -> None:
    home = Home()
    for second in (4000, 4060):
        for t0_s in (10, 400, 900):
            home.send(second + t0_s / 1000, t0_s, seq=int(t0_s))
    assert len(seconds(home)) == 3


def test_a_state_report_and_a_press_with_the_same_worthless_identity_are_two_things() -> None:
    home = Home()
    home.send(10, -40 * DAY_S, seq=0, values={"pressed": 0})
    home.send(14, -40 * DAY_S, seq=0)
    assert seconds(home) == [14]


@pytest.mark.parametrize("rate", [0.0001, 0.1, -1.0])
def test_a_clock_that_runs_slowly_or_backwards_swallows_no_press(rate: float) -> None:
    home = Home()
    times = (1000, 1060, 1120, 1180, 3000)
    for second in times:
        home.send(second, 500 + rate * (second - 1000))
    assert seconds(home) == list(times)


# -- buttons that report presses only ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", list(Outcome))
@pytest.mark.parametrize("clock", ["good", "none", "numbers"])
def test_a_button_that_reports_presses_only_calls_after_every_answer(outcome: Outcome, clock: str) -> None:
    home = Home()

    def press(second: float, number: int) -> None:
        if clock == "good":
            home.send(second)
        elif clock == "none":
            home.send(second, -40 * DAY_S)
        else:
            home.send(second, -40 * DAY_S, seq=number)

    press(10, 0)
    home.say(15, Action.RESOLVE, outcome)
    for number, second in enumerate((28, 39, 50, 61), 1):  # 13, 24, 35 and 46 s after the answer
        press(second, number)
        assert seconds(home)[-1] == second
        assert home.alerts[-1].state is State.FIRING
        home.say(second + 2, Action.RESOLVE, outcome)
    assert len(home.alerts) == 5


def test_pressed_again_after_i_am_coming_rings_again() -> None:
    home = Home()
    home.send(10)
    home.say(15, Action.ACKNOWLEDGE)
    assert home.alerts[-1].state is State.ACKNOWLEDGED
    home.send(27)
    assert (home.alerts[-1].state, home.alerts[-1].repeats, seconds(home)) == (State.FIRING, 1, [10, 27])
    home.say(30, Action.ATTEND)
    home.send(60)
    assert (home.alerts[-1].state, seconds(home)) == (State.FIRING, [10, 27, 60])


@pytest.mark.parametrize("clock", ["good", "none"])
def test_a_button_held_down_is_one_call(clock: str) -> None:
    home = Home()
    for second in range(10, 200, 4):
        home.send(second, None if clock == "good" else -40 * DAY_S)
    assert seconds(home) == [10]


def test_a_press_only_pendant_in_place_of_one_that_reported_releases_is_known_as_such() -> None:
    home = Home()
    home.send(10)
    home.send(11, values={"pressed": 0})
    home.change(100, RegistryChange("1", "unbind", device="call-1"))
    home.change(101, RegistryChange("2", "bind", binding=Binding("call-9", "resident/a", WARD)))
    for second in (110, 123, 136):
        home.send(second, device="call-9")
    assert seconds(home) == [10, 110, 123, 136]


@pytest.mark.parametrize(("sent_s", "calls"), [(0.0, 2), (None, 1)], ids=["no clock", "a clock"])
def test_a_gateway_without_a_clock_that_starts_again_loses_no_press(sent_s: float | None, calls: int) -> None:
    home = Home()
    sample, none = np.ones((1, 1, 1), np.float32), np.zeros(1, np.uint8)
    for second in (10, 3610):
        block = Block("button", ("call-1",), np.array([ns(second)]), np.array([-1]), 0.0, sample, none, (1, 1))
        home.raw(second, encode_batch(WARD, [block], gateway="g", seq=0, sent_ns=0 if sent_s is not None else ns(9)))
    assert len(home.rings()) == calls


# -- whose press it is ------------------------------------------------------------------------------------------------------


def given_to_b(how: str, at_s: float) -> Iterator[tuple[str, object]]:
    """Ways in which a pendant of resident a becomes that of b at `at_s`."""
    a, b = Binding("call-1", "resident/a", WARD), Binding("call-1", "resident/b", WARD)
    cut = ns(at_s)
    yield {
        "bind": ("change", RegistryChange("x", "bind", binding=b)),
        "dated": (
            "registry",
            RegistryData(bindings=(msgspec.structs.replace(a, to_ns=cut), msgspec.structs.replace(b, from_ns=cut))),
        ),
        "written over": ("registry", RegistryData(bindings=(b, Binding("band-1", "resident/a", WARD)))),
        "written over, a only in a bed": ("registry", RegistryData(bindings=(b,), assignments=(Assignment("resident/a", "bed/1"),))),
        "written over, a only in a room": ("registry", RegistryData(bindings=(b,), places=(Place("resident/a", "room/1", WARD),))),
        "only the new one": (
            "registry",
            RegistryData(bindings=(msgspec.structs.replace(b, from_ns=cut), Binding("band-1", "resident/a", WARD))),
        ),
    }[how]


WAYS = ("bind", "dated", "written over", "written over, a only in a bed", "written over, a only in a room", "only the new one")


@pytest.mark.parametrize("how", WAYS)
def test_a_press_that_waited_while_the_pendant_was_given_away_is_its_earlier_wearers(how: str) -> None:
    home = Home()
    for name, what in given_to_b(how, 1000):
        getattr(home, name)(1000, what)
    home.send(1100, 900, seq=5)
    assert home.rings() == [("resident/a", 1100)]
    assert home.alerts[-1].onset_ns == ns(900)
    assert home.alerts[-1].values == {"measured_ago_s": 200.0}
    home.send(1200, seq=6)
    assert home.rings() == [("resident/a", 1100), ("resident/b", 1200)]


def test_a_press_without_a_time_is_the_present_wearers_and_says_so() -> None:
    home = Home()
    home.send(10)
    home.change(1000, RegistryChange("x", "bind", binding=Binding("call-1", "resident/b", WARD)))
    home.send(1100, -40 * DAY_S)
    assert home.rings()[-1] == ("resident/b", 1100)
    assert home.alerts[-1].values == {"time_unknown": 1.0}


def test_a_press_right_after_the_binding_is_the_new_wearers_though_the_clock_is_a_little_slow() -> None:
    home = Home()
    home.change(1000, RegistryChange("x", "bind", binding=Binding("call-1", "resident/b", WARD)))
    home.send(1002, 998)
    assert home.rings() == [("resident/b", 1002)]


@pytest.mark.parametrize("reports", ["states", "presses", "one press"])
def test_a_clock_known_to_be_hours_behind_does_not_call_for_the_earlier_wearer(reports: str) -> None:
    home = Home()
    more: dict[str, Any] = {"values": {"pressed": 0}} if reports == "states" else {}
    for second in (100,) if reports == "one press" else (100, 400, 700):
        home.send(second, second - 7200, **more)
    home.change(1000, RegistryChange("x", "bind", binding=Binding("call-1", "resident/b", WARD)))
    home.send(1100, 1100 - 7200)
    assert home.rings()[-1] == ("resident/b", 1100)
    home.send(1200, 900 - 7200)  # this one did wait
    assert home.rings()[-1] == ("resident/a", 1200)


def test_presses_that_waited_together_say_nothing_about_the_clock() -> None:
    home = Home()
    home.change(1000, RegistryChange("x", "bind", binding=Binding("call-1", "resident/b", WARD)))
    for number, t0_s in enumerate((100, 300, 700)):
        home.send(1100 + number, t0_s)
    assert [subject for subject, _ in home.rings()] == ["resident/a"] * 3


@pytest.mark.parametrize("how", WAYS[2:3])
def test_a_pendant_that_goes_round_knows_each_wearer(how: str) -> None:
    home = Home()
    wearers = ("resident/b", "resident/c", "resident/a")
    others = tuple(Binding(f"band-{name[-1]}", name, WARD) for name in wearers)
    for number, name in enumerate(wearers, 1):
        home.registry(1000 * number, RegistryData(bindings=(Binding("call-1", name, WARD), *others)))
    for second in (500, 1500, 2500, 3500):
        home.send(4000 + second / 100, second)
    assert [subject for subject, _ in home.rings()] == ["resident/a", "resident/b", "resident/c", "resident/a"]


@pytest.mark.parametrize("when", ["while unbound", "now unbound", "wearer gone"])
def test_a_call_nobody_can_be_found_for_is_the_wards(when: str) -> None:
    home = Home()
    if when == "wearer gone":
        home.registry(1000, RegistryData(bindings=(Binding("call-1", "resident/b", WARD),)))
        home.send(1100, 900)
    elif when == "now unbound":
        home.change(1000, RegistryChange("x", "unbind", device="call-1"))
        home.send(1100)
    else:
        home.change(500, RegistryChange("x", "unbind", device="call-1"))
        home.change(1000, RegistryChange("y", "bind", binding=Binding("call-1", "resident/b", WARD)))
        home.send(1100, 900)
    assert home.rings() == []
    assert home.rings("device.call_unattributed") == [(f"ward/{WARD}", 1100)]
    assert home.alerts[-1].devices == ("call-1:button",)
    (kept,) = home.quarantined
    assert (kept.device, "bound to" in kept.detail) == ("call-1", True)
    home.say(1110, Action.RESOLVE, Outcome.TRUE)


def test_a_call_for_the_ward_sent_twice_is_one() -> None:
    home = Home()
    home.change(1000, RegistryChange("x", "unbind", device="call-1"))
    home.send(1100, 1100, seq=3)
    home.send(1105, 1100, seq=3)
    assert home.rings("device.call_unattributed") == [(f"ward/{WARD}", 1100)]


def test_a_state_report_from_before_the_binding_is_kept_and_calls_nobody() -> None:
    home = Home()
    home.registry(1000, RegistryData(bindings=(Binding("call-1", "resident/b", WARD),)))
    home.send(1100, 900, values={"pressed": 0})
    assert (home.told, len(home.quarantined), home.quarantined[0].reason) == ([], 1, "late")


def test_a_fall_that_a_camera_saw_before_it_was_moved_is_about_whom_it_watched_then() -> None:
    home = Home(RegistryData(bindings=(Binding("cam", "resident/a", WARD), Binding("call-1", "resident/b", WARD))))
    home.change(1000, RegistryChange("x", "bind", binding=Binding("cam", "resident/b", WARD)))
    home.send(1100, 900, device="cam", kind="camera_event", values={"code": 1, "confidence": 0.9})
    assert home.rings("camera.fall") == [("resident/a", 1100)]


def test_a_press_of_one_device_too_many_calls_all_the_same() -> None:
    home = Home(RegistryData(bindings=tuple(Binding(f"call-{i}", "resident/a", WARD) for i in range(9))))
    for i in range(9):
        home.send(10 + 20 * i, device=f"call-{i}")
    assert len(seconds(home)) == 9


def test_the_beds_cord_belongs_to_who_lay_there() -> None:
    bed = Binding("cord", "bed/1", WARD)
    home = Home(RegistryData(bindings=(bed,), assignments=(Assignment("resident/a", "bed/1"), Assignment("resident/b", "bed/2"))))
    home.registry(1000, RegistryData(bindings=(bed,), assignments=(Assignment("resident/b", "bed/1"), Assignment("resident/a", "bed/2"))))
    home.send(1100, 900, device="cord")
    home.send(1200, device="cord")
    assert home.rings() == [("resident/a", 1100), ("resident/b", 1200)]


# -- what a broker hands over again -----------------------------------------------------------------------------------------

RETAINED = Handover(retained=True)


@pytest.mark.parametrize("t0_s", [-START_NS / NS_PER_S, 10.0])
@pytest.mark.parametrize("answer", [None, Outcome.TRUE, Outcome.FALSE])
def test_a_retained_press_rings_once_however_often_the_broker_gives_it(t0_s: float, answer: Outcome | None) -> None:
    home = Home()
    home.send(10, t0_s)
    if answer is not None:
        home.say(20, Action.RESOLVE, answer)
    for second in (30, 400, 4000, DAY_S / 10):
        home.send(second, t0_s, handover=RETAINED)
    assert seconds(home) == [10]


def test_a_retained_press_that_nobody_saw_calls_once_and_says_that_its_time_is_unknown() -> None:
    home = Home()
    for second in (30, 400, 4000):
        home.send(second, -START_NS / NS_PER_S, handover=RETAINED)
    assert seconds(home) == [30]
    assert home.alerts[-1].values == {"time_unknown": 1.0}


def test_many_states_do_not_crowd_out_the_retained_press() -> None:
    home = Home()
    home.send(10, -START_NS / NS_PER_S)
    for second in range(20, 120):
        home.send(second, values={"pressed": 0})
    home.send(200, -START_NS / NS_PER_S, handover=RETAINED)
    assert seconds(home) == [10]


def test_a_press_right_after_its_retained_copy_is_not_lost() -> None:
    home = Home()
    home.send(10, -START_NS / NS_PER_S)
    home.send(1000, -START_NS / NS_PER_S, handover=RETAINED)  # the broker gives what it kept, then what it queued
    home.send(1000.01, -START_NS / NS_PER_S)
    assert seconds(home) == [10, 1000.01]
    other = Home()
    other.send(1000, -START_NS / NS_PER_S, handover=RETAINED)
    other.send(1000.01, -START_NS / NS_PER_S)
    assert seconds(other) == [1000]


def test_a_brokers_second_try_is_one_press_and_a_packet_number_that_comes_round_is_another() -> None:
    home = Home()
    home.send(10, -START_NS / NS_PER_S, handover=Handover(packet=7))
    home.send(200, -START_NS / NS_PER_S, handover=Handover(again=True, packet=7))
    assert seconds(home) == [10]
    home.send(400, -START_NS / NS_PER_S, handover=Handover(packet=7))
    home.send(600, -START_NS / NS_PER_S, handover=Handover(again=True, packet=8))  # its first try never came here
    assert seconds(home) == [10, 400, 600]


# -- a device that is taken away --------------------------------------------------------------------------------------------


def fever(home: Home, device: str, begin: int, end: int, rate_bpm: float) -> None:
    for second in range(begin, end):
        home.send(second, device=device, kind="vitals", rate_hz=1.0, values={"heart_rate_bpm": rate_bpm, "spo2_percent": 97})


BANDS = RegistryData(bindings=(Binding("band-1", "resident/a", WARD), Binding("band-2", "resident/b", WARD)))
SWAPPED = RegistryData(bindings=(Binding("band-1", "resident/b", WARD), Binding("band-2", "resident/a", WARD)))


@pytest.mark.parametrize("how", ["swapped", "unbound", "given away", "ended"])
@pytest.mark.parametrize("outcome", [Outcome.TRUE, Outcome.FALSE])
def test_taking_away_the_device_makes_its_open_alerts_stale_and_they_can_be_closed(how: str, outcome: Outcome) -> None:
    home = Home(BANDS)
    fever(home, "band-2", 0, 5, 70)
    fever(home, "band-1", 5, 60, 160)
    (alert,) = home.alerts
    assert (alert.code, alert.subject, alert.state) == ("heart.tachycardia", "resident/a", State.FIRING)
    if how == "swapped":
        home.registry(61, SWAPPED)
    elif how == "unbound":
        home.change(61, RegistryChange("x", "unbind", device="band-1"))
    elif how == "given away":
        home.change(61, RegistryChange("x", "bind", binding=Binding("band-1", "resident/c", WARD)))
    else:
        ended = tuple(msgspec.structs.replace(b, to_ns=ns(61)) if b.device == "band-1" else b for b in BANDS.bindings)
        home.registry(61, RegistryData(bindings=ended))
        home.send(62, device="band-2", kind="vitals", rate_hz=1.0, values={"heart_rate_bpm": 70})
    (alert,) = home.alerts
    assert (alert.state, alert.history[-1].reason, alert.history[-1].notify) == (State.STALE, Reason.DEVICE_UNBOUND, True)
    assert "band-1" in alert.history[-1].note
    if how == "swapped":
        fever(home, "band-2", 63, 100, 70)  # what the other band says now does not end what this one began
        assert home.alerts[0].state is State.STALE
    home.say(200, Action.RESOLVE, outcome, home.alerts[0])
    assert home.alerts[0].state is State.RESOLVED


@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize("code", ["heart.tachycardia", "fire.smoke"])
def test_what_the_next_device_still_measures_is_raised_anew(code: str, closed: bool) -> None:
    """A band changed in the middle of an alarm: the alert must not end in silence, whether or not somebody closed it meanwhile."""
    kind, subject = ("vitals", "resident/a") if code.startswith("heart") else ("room_air", "room/1")
    values: dict[str, float] = {"heart_rate_bpm": 160} if kind == "vitals" else {"smoke_od_per_m": 0.5, "temperature_c": 21}

    def measure(device: str, begin: int, end: int, values: dict[str, float] = values) -> None:
        for second in range(begin, end):
            home.send(second, device=device, kind=kind, rate_hz=1.0, values=values)

    home = Home(RegistryData(bindings=(Binding("old", subject, WARD),)))
    measure("old", 0, 120)
    assert [(alert.code, alert.state) for alert in home.alerts if alert.code == code] == [(code, State.FIRING)]
    home.registry(130, RegistryData(bindings=(Binding("new", subject, WARD),)))
    (alert,) = (alert for alert in home.alerts if alert.code == code)
    assert (alert.state, alert.history[-1].reason) == (State.STALE, Reason.DEVICE_UNBOUND)
    if closed:
        home.say(140, Action.RESOLVE, Outcome.TRUE, alert)
    measure("new", 150, 300)
    calm: dict[str, float] = {"heart_rate_bpm": 70} if kind == "vitals" else {"smoke_od_per_m": 0.0, "temperature_c": 21}
    again = [alert for alert in home.alerts if alert.code == code]
    assert [a.state for a in again] == ([State.RESOLVED, State.FIRING] if closed else [State.FIRING])
    assert len([ring for ring in home.rings(code) if ring[1] >= 150]) == 1
    measure("new", 300, 500, calm)
    assert not next(alert for alert in home.alerts if alert.id == again[-1].id).present  # the end that the new one reports counts


def test_a_silent_device_that_is_taken_away_leaves_its_alert_stale() -> None:
    home = Home(BANDS)
    fever(home, "band-1", 5, 60, 160)
    home.send(400, device="band-2", kind="vitals", rate_hz=1.0, values={"heart_rate_bpm": 70})
    assert home.alerts[0].state is State.STALE
    home.change(500, RegistryChange("x", "unbind", device="band-1"))
    assert home.alerts[0].state is State.STALE
    assert [c.transition.reason for c in home.told if c.alert.id == home.alerts[0].id][-1] is Reason.DEVICE_UNBOUND
    home.say(510, Action.RESOLVE, Outcome.TRUE, home.alerts[0])


def test_a_call_stays_a_call_when_its_button_is_taken_away() -> None:
    home = Home()
    home.send(10)
    home.change(20, RegistryChange("x", "unbind", device="call-1"))
    assert home.alerts[-1].state is State.FIRING


def test_limits_are_what_the_reasons_say() -> None:
    limits = AdmissionLimits()
    assert limits.resend_unmarked_ns < 11 * NS_PER_S < limits.resend_ns == 120 * NS_PER_S
