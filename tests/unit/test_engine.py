"""The engine on a detector simple enough to know every answer."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import numpy as np
import pytest

from engine.block import NO_SEQ, Block
from engine.clocks import AdmissionLimits
from engine.detector import NOTHING, Detector, Params, Spec, StepResult
from engine.engine import Engine
from engine.events import Detection, Ends, EventType, Priority, Subject, Text
from engine.frame import NS_PER_S, Frame, Int64, frame
from engine.outputs import Outputs, Reason, Reject
from engine.registry import Assignment, Binding, CareSetting, Registry, RegistryData

T0 = 1_767_600_000 * NS_PER_S
HIGH = EventType(
    "level.high", description="high", priority=Priority.HIGH, life_safety=True, ends=Ends.STAFF, regroup_s=60.0, hold_s=0.0,
    data_kinds=None, subject=Subject.ANY, zh=Text("高", "查看"), en=Text("High", "Look"),
)  # fmt: skip


class LevelParams(Params):
    level_g: float = 5.0


class LevelState(NamedTuple):
    seen: Int64


class Level(Detector[LevelParams, LevelState]):
    """Fires for every chunk whose first sample reaches the level; counts samples per slot."""

    spec: ClassVar[Spec] = Spec(
        "level", 1, ("accel", "button"), (HIGH,), 1.0, 0.0, (), ("level_g",),
        {"feature.level": ("seen_count",)},
    )  # fmt: skip
    params_type = LevelParams

    def initial_state(self, capacity: int) -> LevelState:
        return LevelState(np.zeros(capacity, np.int64))

    def step(self, frame: Frame) -> StepResult:
        if frame.samples[0, 0, 0] == 13:
            raise RuntimeError("unlucky")
        self.state.seen[frame.slot] += frame.samples.shape[1]
        found = [
            Detection(int(slot), "level.high", int(t0), int(t0))
            for slot, t0, value in zip(frame.slot, frame.t0_ns, frame.samples[:, 0, 0], strict=True)
            if value >= self.columns["level_g"][slot]
        ]
        return StepResult(found, []) if found else NOTHING


def block(
    device: str | tuple[str, ...],
    t_s: float | list[float],
    value: float = 1.0,
    *,
    n: int = 10,
    rate: float = 10.0,
    seq: Any = NO_SEQ,
    kind: str = "accel",
) -> Block:
    devices = (device,) if isinstance(device, str) else device
    k = len(devices)
    times = (T0 + (np.broadcast_to(np.asarray(t_s, float), (k,)) * NS_PER_S)).astype(np.int64)
    channels = 1 if kind == "button" else 3
    samples = np.full((k, n, channels), value, np.float32)
    return Block(
        kind, devices, times, np.broadcast_to(np.asarray(seq, np.int64), (k,)).copy(), rate, samples, np.zeros(k, np.uint8), (1, channels)
    )


def at(t_s: float) -> int:
    return T0 + int(t_s * NS_PER_S)


def home(**more: Any) -> Registry:
    return Registry(
        RegistryData(
            bindings=(Binding("w1", "resident/a", "h/1"), Binding("w2", "resident/b", "h/1"), Binding("m1", "bed/1", "h/1")), **more
        )
    )


@pytest.fixture
def engine() -> Engine:
    return Engine([Level(capacity=2)], home())


def closes(engine: Engine) -> dict[str, tuple[int, ...]]:
    for account in engine.accounts():
        assert account.received == account.processed + account.duplicate + account.late + account.quarantined
    return {f"{a.device}:{a.kind}": (a.processed, a.duplicate, a.late, a.quarantined) for a in engine.accounts()}


def test_an_event_carries_subject_and_a_stable_id(engine: Engine) -> None:
    (event,) = engine.step(block("w1", 0, 9.0), at(1)).events
    assert (event.subject, event.code, event.onset_ns, event.arrival_ns) == ("resident/a", "level.high", T0, at(1))
    again = Engine([Level()], home()).step(block("w1", 0, 9.0), at(5)).events[0]
    assert again.id == event.id


def test_duplicates_are_dropped_and_counted(engine: Engine) -> None:
    engine.step(block("w1", 0, 9.0, seq=1), at(1))
    assert engine.step(block("w1", 0, 9.0, seq=1), at(1)).events == []
    assert closes(engine) == {"w1:accel": (10, 10, 0, 0)}


def test_a_chunk_held_for_its_predecessor_is_fed_in_order(engine: Engine) -> None:
    engine.step(block("w1", 0, seq=0), at(1))
    assert engine.step(block("w1", 2, 9.0, seq=2), at(3)).events == []
    assert engine.held() == 1
    out = engine.step(block("w1", 1, 8.0, seq=1), at(3.1))
    assert [e.onset_ns for e in out.events] == [at(1), at(2)]
    assert closes(engine) == {"w1:accel": (30, 0, 0, 0)}


def test_a_held_chunk_does_not_wait_for_ever(engine: Engine) -> None:
    engine.step(block("w1", 0, seq=0), at(1))
    engine.step(block("w1", 2, 9.0, seq=2), at(3))
    assert [e.onset_ns for e in engine.advance(at(5)).events] == [at(2)]
    late = engine.step(block("w1", 1, 9.0, seq=1), at(6))
    assert late.events == []
    assert [(x.device, x.readings) for x in late.late] == [("w1", 10)]
    assert closes(engine) == {"w1:accel": (20, 0, 10, 0)}


def test_a_clock_set_back_restarts_the_stream_and_loses_nothing(engine: Engine) -> None:
    engine.step(block("w1", 30, seq=5), at(31))
    assert len(engine.step(block("w1", 0, 9.0, seq=6), at(32)).events) == 1


def test_small_clock_slips_stay_on_the_grid(engine: Engine) -> None:
    engine.step(block("w1", 0, seq=5), at(1))
    (event,) = engine.step(block("w1", 0.8, 9.0, seq=6), at(2)).events
    assert event.onset_ns == at(1)


def radio(t_s: float, seq: int, value: float = 1.0) -> Block:
    return block("w1", t_s, value, n=16, rate=250.0, seq=seq)  # 64 ms


@pytest.mark.parametrize("wrong_s", [-0.2, -0.1, -0.05, 0.03, 0.1, 0.2])
def test_numbered_chunks_without_a_hole_stay_on_the_grid_however_the_stamps_wobble(engine: Engine, wrong_s: float) -> None:
    for number in range(4):
        engine.step(radio(0.064 * number, number), at(1 + number / 100))
    (event,) = engine.step(radio(0.256 + wrong_s, 4, 9.0), at(1.1)).events
    assert event.onset_ns == at(0.256)
    assert engine.devices.streams.next_ns[0] == at(0.32)


def test_a_lost_chunk_is_as_long_as_the_numbers_say_where_the_stamp_wobbles(engine: Engine) -> None:
    engine.step(radio(0, 0), at(1))
    engine.step(radio(0.128 + 0.1, 2, 9.0), at(1.1))
    assert engine.held() == 1
    (event,) = engine.advance(at(4)).events
    assert event.onset_ns == at(0.128)


@pytest.mark.parametrize("pause_s", [0.3, 2.0])
def test_a_device_that_paused_is_not_put_back_on_the_grid(engine: Engine, pause_s: float) -> None:
    engine.step(radio(0, 0), at(1))
    (event,) = engine.step(radio(0.064 + pause_s, 1, 9.0), at(4)).events
    assert event.onset_ns == at(0.064 + pause_s)


@pytest.mark.parametrize(("t_s", "reason"), [(100.0, Reason.TIME_FUTURE), (-9e5, Reason.TIME_PAST)])
def test_impossible_times_are_refused(engine: Engine, t_s: float, reason: Reason) -> None:
    (reject,) = engine.step(block("w1", t_s), at(1)).rejects
    assert reject.reason is reason
    assert closes(engine) == {"w1:accel": (0, 0, 0, 10)}
    assert len(engine.step(block("w1", 2, 9.0), at(3)).events) == 1


def test_an_unknown_device_is_refused_counted_and_offered_and_the_rest_goes_on(engine: Engine) -> None:
    out = engine.step(block(("w1", "stranger", "w2"), 0, 9.0), at(1))
    assert [e.subject for e in out.events] == ["resident/a", "resident/b"]
    assert [(r.reason, r.device) for r in out.rejects] == [(Reason.UNKNOWN_DEVICE, "stranger")]
    assert engine.devices.unbound["stranger"].readings == 10
    engine.set_registry(RegistryData(bindings=(*home().data.bindings, Binding("stranger", "resident/c", "h/1"))), at(2))
    assert engine.step(block("stranger", 2, 9.0), at(3)).events[0].subject == "resident/c"


def test_a_flood_is_cut_off_but_the_first_press_is_not(engine: Engine) -> None:
    reasons = []
    for i in range(1000):
        out = engine.step(block("w1", i / 1000, 9.0, kind="button", n=1), at(1 + i / 1000))
        reasons += [r.reason for r in out.rejects]
        if i == 0:
            assert len(out.events) == 1
    assert set(reasons) == {Reason.RATE_EXCEEDED}
    assert 380 < len(reasons) < 400
    closes(engine)


def test_a_bed_reports_about_whoever_lies_in_it() -> None:
    stays = (Assignment("resident/a", "bed/1", at(0), at(10)), Assignment("resident/b", "bed/1", at(20)))
    engine = Engine([Level()], home(assignments=stays))
    subjects = [engine.step(block("m1", t, 9.0), at(t + 1)).events[-1].subject for t in (0, 12, 25)]
    assert subjects == ["resident/a", "bed/1", "resident/b"]
    late = engine.step(block("m1", 13, 9.0), at(27))
    assert (len(late.late), late.events) == (1, [])


def test_two_sensors_of_one_kind_do_not_share_a_slot() -> None:
    engine = Engine([Level()], Registry(RegistryData(bindings=(Binding("w1", "resident/a", "h"), Binding("w2", "resident/a", "h")))))
    engine.step(block(("w1", "w2"), 0), at(1))
    assert engine.slots.subjects == ["resident/a", "resident/a"]


def test_one_device_twice_in_a_block_is_taken_in_order(engine: Engine) -> None:
    out = engine.step(block(("w1", "w1"), [0, 1], 9.0), at(2))
    assert [e.onset_ns for e in out.events] == [at(0), at(1)]


def test_silence_is_an_event_and_so_is_the_return(engine: Engine) -> None:
    engine.step(block("w1", 0), at(1))
    quiet = engine.advance(at(200))
    assert (quiet.events, [(change.source, change.missing) for change in quiet.data]) == ([], [("w1:accel", True)])
    (event,) = (e for e in engine.advance(at(3700)).events if e.code == "device.silent")
    assert (event.code, event.phase, event.subject, event.device) == ("device.silent", "onset", "resident/a", "w1:accel")
    back = engine.step(block("w1", 3800), at(3801)).events
    assert [(e.code, e.phase) for e in back] == [("device.silent", "clear")]
    assert back[0].onset_ns == event.onset_ns


def test_ticks_do_not_depend_on_who_asks() -> None:
    seen: list[list[int]] = [[], []]

    class Clock(Level):
        log: list[int]

        def tick(self, now_ns: int) -> StepResult:
            self.log.append(now_ns)
            return NOTHING

    for log, times in zip(seen, ([1.0, 1.5, 2.2, 9.9], [1.0, 9.9]), strict=True):
        clock = Clock()
        clock.log = log
        engine = Engine([clock])
        for t in times:
            engine.advance(at(t))
    assert seen[0] == seen[1] == [at(t) for t in range(2, 10)]


def test_a_failing_detector_is_quarantined_and_starts_afresh(engine: Engine) -> None:
    engine.step(block("w1", 0), at(1))
    (reject,) = engine.step(block("w1", 1, 13.0), at(2)).rejects
    assert reject.reason is Reason.INTERNAL
    assert "unlucky" in reject.detail
    assert engine.detectors[0].state.seen[0] == 0
    assert len(engine.step(block("w1", 2, 9.0), at(3)).events) == 1


def test_care_settings_reach_the_column_and_are_checked(engine: Engine) -> None:
    care = (CareSetting("resident/a", "level", "level_g", 50.0),)
    engine.set_registry(RegistryData(bindings=home().data.bindings, care=care), at(0))
    out = engine.step(block(("w1", "w2"), 0, 9.0), at(1))
    assert [e.subject for e in out.events] == ["resident/b"]
    with pytest.raises(ValueError, match="unknown detector"):
        engine.set_registry(RegistryData(care=(CareSetting("resident/a", "nope", "x", 1.0),)), at(2))


def test_snapshot_and_restore_mid_stream_equal_an_uninterrupted_run() -> None:
    rng = np.random.default_rng(5)
    calls = []
    t = 0.0
    for i in range(300):
        t += rng.choice([0.0, 1.0, 1.0, 5.0])
        calls.append((block(("w1", "w2", "x"), t, float(rng.uniform(0, 7)), seq=i if rng.random() < 0.9 else i + 2), at(t + 1 + i / 1000)))
    whole, first = Engine([Level()], home()), Engine([Level()], home())
    expected = Outputs.empty()
    for call in calls:
        expected.add(whole.step(*call))
    got = Outputs.empty()
    for call in calls[:150]:
        got.add(first.step(*call))
    second = Engine([Level()])
    second.restore(first.snapshot())
    for call in calls[150:]:
        got.add(second.step(*call))
    assert got.events == expected.events
    assert (got.late, got.rejects, second.accounts()) == (expected.late, expected.rejects, whole.accounts())
    assert second.snapshot() == whole.snapshot()
    closes(second)


def test_accounts_are_closed_each_hour(engine: Engine) -> None:
    engine.step(block("w1", 0), at(1))
    accounts = engine.advance(at(7200)).accounts
    assert [(a.device, a.received, a.processed) for a in accounts] == [("w1", 10, 10)]
    assert engine.accounts() == []


class Other(Level):
    """The same under another name."""

    spec: ClassVar[Spec] = Level.spec._replace(name="other", events=(), features={})


def test_a_new_detector_starts_cold_and_the_rest_goes_on(engine: Engine) -> None:
    engine.step(block("w1", 0, seq=1), at(1))
    upgraded = Engine([Level(), Other()])
    upgraded.restore(engine.snapshot())
    assert upgraded.cold == ["other"]
    assert upgraded.registry.data == engine.registry.data
    assert upgraded.detectors[0].state.seen[0] == 10
    upgraded.step(block("w1", 0, seq=1), at(1))
    upgraded.step(block("w1", 1, seq=2), at(2))
    assert closes(upgraded) == {"w1:accel": (20, 10, 0, 0)}
    with pytest.raises(ValueError, match="start cold"):
        upgraded.restore(b"nonsense")


def test_a_resident_who_left_is_forgotten(engine: Engine) -> None:
    engine.step(block("w1", 0), at(1))
    engine.set_registry(RegistryData(bindings=(Binding("w1", "resident/new", "h/1"),)), at(2))
    engine.step(block("w1", 2), at(3))
    assert engine.slots.subjects == ["resident/new"]
    assert engine.detectors[0].state.seen[0] == 10


def test_frames_are_what_they_say() -> None:
    with pytest.raises(ValueError, match="k, n, c"):
        frame("accel", [0, 1], [0, 0], 50, np.zeros((1, 5, 3), np.float32))


def test_hold_can_be_switched_off() -> None:
    engine = Engine([Level()], home(), limits=AdmissionLimits(hold_ns=0))
    engine.step(block("w1", 0, seq=0), at(1))
    assert len(engine.step(block("w1", 5, 9.0, seq=5), at(6)).events) == 1


def test_made_up_device_names_cannot_fill_the_memory(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.devices.UNBOUND_STREAMS_MAX", 50)
    for i in range(200):
        engine.step(block(f"ghost{i}", 0), at(1))
    assert len(engine.devices.names) <= 52
    assert sum(a.quarantined for a in engine.accounts()) == 2000
    assert len(engine.step(block("w1", 0, 9.0), at(1)).events) == 1
    assert engine.totals() == (10, 0, 0, 2000)


def test_a_clock_that_is_set_by_years_does_not_tick_through_them(engine: Engine) -> None:
    engine.advance(1)
    engine.step(block("w1", 0), at(1))
    assert len(engine.step(block("w1", 1, 9.0), at(2)).events) == 1


def test_care_settings_survive_a_failing_detector(engine: Engine) -> None:
    care = (CareSetting("resident/a", "level", "level_g", 50.0),)
    engine.set_registry(RegistryData(bindings=home().data.bindings, care=care), at(0))
    engine.step(block("w1", 0, 13.0), at(1))
    assert engine.step(block("w1", 1, 9.0), at(2)).events == []


def test_a_device_that_lives_a_thousand_times_too_fast_is_refused_for_its_clock(engine: Engine) -> None:
    reasons = [
        r.reason
        for i in range(1000)
        for r in engine.step(block(("w1", "w2"), [float(i), i / 1000], 9.0 if i == 999 else 1.0), at(1 + i / 1000)).rejects
    ]
    assert reasons.count(Reason.TIME_FUTURE) > 900
    closes(engine)


def many(count: int) -> RegistryData:
    return RegistryData(bindings=tuple(Binding(f"d{i}", "resident/a", "h/1") for i in range(count)))


def test_one_device_too_many_is_refused_and_a_freed_lane_is_taken() -> None:
    engine = Engine([Level()], Registry(many(9)))
    for i in range(9):
        engine.step(block(f"d{i}", 0), at(1))
    (reject,) = engine.step(block("d8", 1, 9.0), at(2)).rejects
    assert "unbind one" in reject.detail
    engine.set_registry(RegistryData(bindings=many(9).bindings[1:]), at(3))
    assert engine.step(block("d8", 4, 9.0), at(5)).events[0].subject == "resident/a"
    assert engine.slots.subjects == ["resident/a"] * 8


def test_a_replaced_device_feeds_the_same_slot() -> None:
    engine = Engine([Level()], Registry(many(1)))
    for day in range(20):
        device = f"new{day}"
        engine.set_registry(RegistryData(bindings=(Binding(device, "resident/a", "h/1"),)), at(100 * day))
        engine.step(block(device, 100 * day + 1), at(100 * day + 2))
    assert engine.slots.subjects == ["resident/a"]


def test_the_silence_of_a_replaced_device_ends(engine: Engine) -> None:
    engine.step(block("w1", 0), at(1))
    assert [e.phase for e in engine.advance(at(3700)).events if e.code == "device.silent"] == ["onset"]
    out = engine.set_registry(RegistryData(bindings=(Binding("new", "resident/a", "h/1"),)), at(3701))
    assert [(e.code, e.phase, e.subject) for e in out.events if e.code != "device.never_heard"] == [
        ("device.unbound", "onset", "resident/a"),
        ("device.silent", "clear", "resident/a"),
    ]


def test_a_device_whose_data_cannot_be_used_is_announced(engine: Engine) -> None:
    codes = []
    for i in range(200):  # years old, and ten times faster than it can be measured: stored, too long ago
        codes += [e.code for e in engine.step(block("w1", -9e8 + 10 * i), at(1 + i)).events]
    assert codes == ["device.clock_unusable"]
    assert closes(engine)["w1:accel"] == (0, 0, 0, 2000)


@pytest.mark.parametrize("t_s", [-1.7e9, 62, 300, -8 * 86_400])
def test_a_press_calls_whatever_its_clock_says(engine: Engine, t_s: float) -> None:
    (event,) = engine.step(block("w1", t_s, 9.0, kind="button", n=1, rate=0.0), at(1)).events
    assert event.onset_ns == at(1)


def test_an_unnumbered_clock_set_back_is_followed_after_a_moment(engine: Engine) -> None:
    engine.step(block("w1", 59), at(1))
    fates = [len(engine.step(block("w1", float(t), 9.0), at(t + 1)).events) for t in range(1, 10)]
    assert fates == [0, 0, 0, 0, 1, 1, 1, 1, 1]
    assert closes(engine)["w1:accel"] == (60, 0, 40, 0)


def test_a_measured_rate_that_wobbles_is_one_rate(engine: Engine) -> None:
    seen = []

    class Rates(Level):
        def step(self, frame: Frame) -> StepResult:
            seen.append(frame.rate_hz)
            return super().step(frame)

    engine = Engine([Rates()], home())
    for i, rate in enumerate((10.0, 10.05, 9.9, 10.1, 12.5, 12.4)):
        engine.step(block("w1", float(i), rate=rate), at(i + 1))
    assert seen == [10.0] * 4 + [12.5] * 2


def test_rows_at_different_rates_reach_the_detector_apart(engine: Engine) -> None:
    seen = []

    class Rates(Level):
        def step(self, frame: Frame) -> StepResult:
            seen.append((frame.rate_hz, frame.slot.tolist()))
            return super().step(frame)

    engine = Engine([Rates()], home())
    engine.step(block("w1", 0, rate=10.0), at(1))
    engine.step(block("w2", 0, rate=10.1), at(1))
    engine.step(block(("w1", "w2"), 1, rate=10.0), at(2))
    assert seen == [(10.0, [0]), (10.1, [1]), (10.0, [0]), (10.1, [1])]


def test_a_full_hold_is_fed_after_what_was_accepted(engine: Engine) -> None:
    engine.step(block("w1", 0, seq=0), at(1))
    out = engine.step(block(("w1",) * 11, [float(t) for t in range(11, 0, -1)], 9.0, seq=list(range(11, 0, -1))), at(12))
    assert [e.onset_ns for e in out.events] == [at(t) for t in range(1, 12)]


def test_a_removed_care_setting_is_no_longer_in_force(engine: Engine) -> None:
    engine.step(block("w1", 0), at(1))
    care = (CareSetting("resident/a", "level", "level_g", 50.0),)
    engine.set_registry(RegistryData(bindings=home().data.bindings, care=care), at(2))
    engine.set_registry(home().data, at(3))
    assert engine.detectors[0].columns["level_g"][0] == 5.0


def test_a_repeat_after_a_change_of_registry_is_still_a_repeat(engine: Engine) -> None:
    engine.step(block("w1", 99, seq=99), at(100))
    engine.set_registry(
        RegistryData(bindings=(Binding("w1", "resident/new", "h/1", from_ns=at(100)), Binding("w2", "resident/b", "h/1"))), at(100)
    )
    out = engine.step(block("w1", 99, 9.0, seq=99), at(101))
    assert out.events == []
    assert closes(engine)["w1:accel"] == (10, 0, 10, 0)


def test_free_slots_are_taken_in_the_same_order_after_a_restore() -> None:
    names = [f"s{i}" for i in range(5)]
    engine = Engine([Level()], Registry(RegistryData(bindings=tuple(Binding(n, f"resident/{n}", "h") for n in names))))
    for name in names:
        engine.step(block(name, 0), at(1))
    engine.set_registry(RegistryData(bindings=(Binding("s1", "resident/s1", "h"),)), at(2))
    again = Engine([Level()])
    again.restore(engine.snapshot())
    more = RegistryData(bindings=(Binding("s1", "resident/s1", "h"), Binding("x", "resident/x", "h"), Binding("y", "resident/y", "h")))
    for one in (engine, again):
        one.set_registry(more, at(3))
        one.step(block(("x", "y"), 4), at(5))
    assert engine.slots.subjects == again.slots.subjects
    assert engine.snapshot() == again.snapshot()


def test_made_up_kinds_share_one_account(engine: Engine) -> None:
    engine.refuse([Reject(Reason.UNKNOWN_KIND, "", "w9", f"kind{i}", 1, b"") for i in range(1000)], at(1))
    assert [(a.device, a.kind, a.quarantined) for a in engine.accounts()] == [("", "", 1000)]
