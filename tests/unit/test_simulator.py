"""The simulated ward as a whole: determinism, truth, registry, network troubles, demo, benchmark blocks."""

from __future__ import annotations

from itertools import takewhile
from pathlib import Path

import msgspec
import numpy as np
import pytest

from engine.frame import NS_PER_S
from engine.outputs import Reason
from engine.registry import Registry
from schemas.codec import decode
from schemas.recording import Record
from simulator import home
from simulator.demo import OVERDUE, OVERDUE_LAIN_S, demo_scenario, demo_stream
from simulator.scenario import Incident, Scenario, Trouble, load
from simulator.simulation import Simulation, recording, simulate
from simulator.standard import standard_blocks, standard_registry
from simulator.transport import GARBAGE, UNKNOWN_DEVICE
from streams.recordings.format import read, write

SMALL = Scenario(residents=4, seconds=20, seed=9, kinds=("accel", "ecg", "vitals", "room_air", "position"))


def played(scenario: Scenario) -> tuple[list[Record], Simulation]:
    ward = simulate(scenario)
    return list(ward), ward


def chunks(records: list[Record]) -> list[tuple[int, str, str, int]]:
    """(arrival, device, kind, t0) of every chunk."""
    return [
        (arrival, device, block.kind, int(t0))
        for arrival, payload, _ in records
        for block in decode(payload).blocks
        for device, t0 in zip(block.devices, block.t0_ns, strict=True)
    ]


def test_same_seed_same_bytes_other_seed_other_bytes() -> None:
    first, second, third = (played(msgspec.structs.replace(SMALL, seed=seed))[0] for seed in (9, 9, 10))
    assert first == second
    assert [r.payload for r in first] != [r.payload for r in third]


def test_a_resident_more_does_not_make_incidents_move() -> None:
    incident = Incident("fall", at_s=12, who=1, duration_s=30)
    truths = [Simulation(Scenario(residents=n, seconds=60, incidents=(incident,))).truth() for n in (2, 30)]
    assert truths[0] == truths[1]


def test_arrivals_never_go_back_and_come_after_the_measurement() -> None:
    records, _ = played(SMALL)
    arrivals = [r.arrival_ns for r in records]
    assert arrivals == sorted(arrivals)
    assert all(0 < arrival - t0 < 1.5 * NS_PER_S for arrival, _, _, t0 in chunks(records))
    assert not any(decode(r.payload).rejects for r in records)


def test_everybody_who_sends_is_bound() -> None:
    ward = Simulation(Scenario(residents=5, seconds=15, ecg_every=2))
    registry = Registry(ward.registry())
    subjects = {(kind, registry.subject(device, t0)) for _, device, kind, t0 in chunks(list(ward))}
    assert ("pressure_map", "resident/r-005") in subjects
    assert ("room_air", "room/103") in subjects
    assert {s for kind, s in subjects if kind == "ecg"} == {"resident/r-001", "resident/r-003", "resident/r-005"}
    assert not any(subject is None for _, subject in subjects)


def test_names_are_made_up_distinct_and_cover_everybody() -> None:
    names = home.identity(Scenario(residents=60))
    assert len(names) == len({i.name for i in names.values()}) == 60
    assert names["resident/r-003"].bed == "102-1"


def test_truth_says_when_each_incident_is_dangerous() -> None:
    incidents = (
        Incident("fall", at_s=10, who=4, duration_s=50),
        Incident("near_fall", at_s=10, who=5, duration_s=50),
        Incident("sos", at_s=3, who=0),
        Incident("no_turn", at_s=0, who=1, duration_s=9000),
        Incident("no_turn", at_s=0, who=2, duration_s=7000),
        Incident("steam", at_s=0, who=0, duration_s=300),
        Incident("spo2_low", at_s=100, who=3, duration_s=90),
    )
    truth = Simulation(Scenario(residents=6, seconds=600, incidents=incidents)).truth()
    start = Scenario().start_ns
    assert [(t.subject, t.code, (t.start_ns - start) / NS_PER_S, (t.end_ns - start) / NS_PER_S) for t in truth] == [
        ("resident/r-001", "sos.pressed", 3, 4),
        ("resident/r-005", "falls.fall", 10, 60),
        ("resident/r-005", "camera.fall", 13, 60),
        ("resident/r-004", "heart.spo2_low", 130, 190),
        ("resident/r-002", "pressure_injury.turn_overdue", 7200, 9000),
    ]


def test_smouldering_plug_is_true_in_the_order_of_its_signs_and_in_the_signal() -> None:
    scenario = Scenario(
        residents=2, seconds=300, kinds=("room_air", "electrical"), incidents=(Incident("smoulder", at_s=20, who=0, duration_s=240),)
    )
    ward = Simulation(scenario)
    truth = {t.code: (t.start_ns - scenario.start_ns) / NS_PER_S for t in ward.truth()}
    assert list(truth) == [
        "fire.residual_current",
        "fire.cable_heat",
        "fire.smoke",
        "fire.rate_of_rise",
        "fire.heat",
    ]  # four minutes are no CO dose
    seconds = [ward.blocks_at(s) for s in range(300)]
    air = np.concatenate([b.samples[0] for blocks in seconds for b in blocks if b.kind == "room_air"])
    current = np.concatenate([b.samples[0] for blocks in seconds for b in blocks if b.kind == "electrical"])
    for code, values, level in (
        ("fire.residual_current", current[:, 0], 300),
        ("fire.cable_heat", current[:, 1], 70),
        ("fire.smoke", air[:, 0], 0.02),
        ("fire.heat", air[:, 2], 46),
    ):
        assert np.flatnonzero(values > level)[0] == pytest.approx(truth[code], abs=8), code


def test_a_long_smoulder_poisons_the_air() -> None:
    truth = Simulation(Scenario(residents=2, seconds=3600, incidents=(Incident("smoulder", at_s=0, who=0, duration_s=5400),))).truth()
    assert "fire.co" in {t.code for t in truth}


def test_an_endless_ward_has_truth_up_to_a_time_only() -> None:
    ward = Simulation(Scenario(residents=3, seconds=float("inf"), incidents=(Incident("sos", at_s=5, who=2, every_s=100, stride=2),)))
    with pytest.raises(ValueError, match="never ends"):
        ward.truth()
    assert [t.subject for t in ward.truth(301)] == ["resident/r-003", "resident/r-002", "resident/r-001"]


def test_seconds_must_be_lived_in_order() -> None:
    ward = Simulation(SMALL)
    ward.blocks_at(0)
    with pytest.raises(ValueError, match="in order"):
        ward.blocks_at(2)


def test_dropout_loses_just_that_device_and_time() -> None:
    whole, _ = played(SMALL)
    holed, ward = played(msgspec.structs.replace(SMALL, troubles=(Trouble("dropout", at_s=5, duration_s=3, device="patch-002"),)))
    lost = {c[1:] for c in chunks(whole)} - {c[1:] for c in chunks(holed)}
    assert lost == {("patch-002", "ecg", SMALL.start_ns + s * NS_PER_S) for s in (5, 6, 7)}
    assert ward.transport.tally["dropped"] == 3


def test_a_long_dropout_is_a_silent_device_and_a_short_one_is_not() -> None:
    troubles = (Trouble("dropout", at_s=5, duration_s=60, device="patch-002"), Trouble("dropout", at_s=9, duration_s=200, device="air-102"))
    truth = Simulation(msgspec.structs.replace(SMALL, seconds=600, troubles=troubles)).truth()
    assert [(t.subject, t.code, (t.start_ns - SMALL.start_ns) / NS_PER_S) for t in truth] == [("room/102", "device.silent", 9)]


def test_outage_delays_everything_and_loses_nothing() -> None:
    whole, _ = played(SMALL)
    held, ward = played(msgspec.structs.replace(SMALL, troubles=(Trouble("outage", at_s=4, duration_s=8),)))
    assert sorted(c[1:] for c in chunks(whole)) == sorted(c[1:] for c in chunks(held))
    start, end = SMALL.start_ns + 5 * NS_PER_S, SMALL.start_ns + 12 * NS_PER_S
    assert not any(start <= r.arrival_ns < end for r in held)
    times = [t0 for arrival, device, kind, t0 in chunks(held) if kind == "accel" and device == "wb-001"]
    assert times != sorted(times)
    assert ward.transport.tally["stored"] >= 8


def test_duplicates_are_the_same_bytes_again() -> None:
    records, ward = played(msgspec.structs.replace(SMALL, troubles=(Trouble("duplicate", probability=0.5),)))
    again = len(records) - len({r.payload for r in records})
    assert again == ward.transport.tally["duplicates"] > 5


def test_late_batches_come_later_by_the_offset() -> None:
    records, ward = played(msgspec.structs.replace(SMALL, troubles=(Trouble("late", probability=0.3, offset_s=4),)))
    late = sum(arrival - t0 > 4 * NS_PER_S for arrival, device, kind, t0 in chunks(records) if kind == "accel" and device == "wb-001")
    assert 1 <= late <= ward.transport.tally["late"]


def test_clocks_are_skewed_drift_and_step() -> None:
    troubles = (
        Trouble("skew", device="wb-001", offset_s=-2.0, drift_ppm=1000),
        Trouble("step", device="wb-002", at_s=10, offset_s=3.0),
    )
    records, _ = played(msgspec.structs.replace(SMALL, troubles=troubles))
    accel = [(device, t0 - SMALL.start_ns) for _, device, kind, t0 in chunks(records) if kind == "accel"]
    one = [t0 / NS_PER_S for device, t0 in accel if device == "wb-001"]
    two = [t0 / NS_PER_S for device, t0 in accel if device == "wb-002"]
    assert one == pytest.approx([s - 2.0 + 1e-3 * s for s in range(20)])
    assert two == pytest.approx([s + (3.0 if s >= 10 else 0) for s in range(20)])


def test_unknown_device_and_garbage_are_refused_with_many_reasons() -> None:
    troubles = (Trouble("unknown_device", at_s=2, duration_s=3), Trouble("garbage", duration_s=6))
    records, ward = played(msgspec.structs.replace(SMALL, troubles=troubles))
    assert sum(device == UNKNOWN_DEVICE for _, device, _, _ in chunks(records)) == ward.transport.tally["unknown"] == 3
    registry = Registry(ward.registry())
    assert registry.binding(UNKNOWN_DEVICE, SMALL.start_ns) is None
    rejects = [reject for r in records for reject in decode(r.payload).rejects]
    assert len(rejects) == ward.transport.tally["garbage"] == len(GARBAGE)
    assert {r.reason for r in rejects} >= {Reason.MALFORMED, Reason.UNKNOWN_KIND, Reason.UNKNOWN_VERSION, Reason.OUT_OF_RANGE}


def test_demo_opens_with_five_alarms_and_a_mattress_that_remembers() -> None:
    start = 1_760_000_400_000_000_000
    ward = demo_stream(1, start)
    soon = {t.code: (t.subject, (t.start_ns - start) / NS_PER_S) for t in ward.truth(90) if t.start_ns < start + 100 * NS_PER_S}
    assert soon["falls.fall"][1] == pytest.approx(20, abs=1)
    assert soon["pressure_injury.turn_overdue"] == (f"resident/r-{OVERDUE + 1:03d}", 30)
    assert {"sos.pressed", "heart.tachycardia", "fire.residual_current", "fire.smoke"} <= set(soon)
    records = list(takewhile(lambda r: r.arrival_ns < start + 3 * NS_PER_S, ward))
    stored = [b for r in records for b in decode(r.payload).blocks if b.kind == "pressure_map" and b.devices == (f"map-{OVERDUE + 1:03d}",)]
    assert sum(b.samples.shape[1] for b in stored) == OVERDUE_LAIN_S
    assert int(stored[0].t0_ns[0]) == start - OVERDUE_LAIN_S * NS_PER_S
    assert not any(decode(r.payload).rejects for r in records)


def test_demo_brings_an_incident_every_few_minutes_for_hours() -> None:
    ward = Simulation(demo_scenario(1, 0))
    starts = sorted({i.at_s for i in ward.world.script.instances(0, 6 * 3600)})
    assert max(np.diff(starts)) < 600
    assert all(ward.truth(6 * 3600)[k].start_ns <= ward.truth(6 * 3600)[k + 1].start_ns for k in range(20))


@pytest.mark.parametrize("residents", [24, 130, 450])
def test_standard_blocks_are_whole_wards_of_bound_devices(residents: int) -> None:
    registry = Registry(standard_registry(residents))
    seconds = list(standard_blocks(residents, 3))
    assert len(seconds) == 3
    for second, blocks in enumerate(seconds):
        for kind, per in (("accel", 1), ("ecg", 1), ("vitals", 1), ("bed", 1), ("pressure_map", 1), ("room_air", 2)):
            mine = [b for b in blocks if b.kind == kind]
            devices = [d for b in mine for d in b.devices]
            assert len(devices) == len(set(devices)) == residents // per
            assert all(registry.binding(d, 0) for d in devices)
            assert {int(t) for b in mine for t in b.t0_ns} == {int(mine[0].t0_ns[0])}
            assert all(b.samples.shape[0] == len(b.devices) for b in mine)
        assert int(blocks[0].seq[0]) == second


def test_standard_blocks_copies_are_out_of_step() -> None:
    first = next(iter(standard_blocks(450, 1)))
    ecg = np.concatenate([b.samples for b in first if b.kind == "ecg"])
    assert not np.array_equal(ecg[0], ecg[200])


def test_scenario_from_toml_and_refusals(tmp_path: Path) -> None:
    path = tmp_path / "ward.toml"
    path.write_text('residents = 4\nseed = 3\n[[incidents]]\nkind = "fall"\nat_s = 30\nwho = 2\n[[troubles]]\nkind = "outage"\nat_s = 10\n')
    assert load(path) == Scenario(
        residents=4, seed=3, incidents=(Incident("fall", at_s=30, who=2),), troubles=(Trouble("outage", at_s=10),)
    )
    path.write_text('residents = 4\n[[incidents]]\nkind = "earthquake"\nat_s = 30\n')
    with pytest.raises(msgspec.ValidationError, match="earthquake"):
        load(path)
    with pytest.raises(ValueError, match="has 0 to 1"):
        Scenario(residents=4, incidents=(Incident("smoulder", at_s=1, who=2),))
    with pytest.raises(ValueError, match="no kind"):
        Scenario(kinds=("telepathy",))


def test_recording_holds_what_the_ward_sent(tmp_path: Path) -> None:
    scenario = msgspec.structs.replace(SMALL, name="tiny", incidents=(Incident("sos", at_s=5, who=1),))
    write(tmp_path / "tiny.vigil", recording(scenario))
    back = read(tmp_path / "tiny.vigil")
    records, ward = played(scenario)
    assert back.meta.name == "tiny"
    assert back.registry == ward.registry()
    assert back.truth == ward.truth()
    assert list(back.records) == records


_EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.mark.parametrize("plan", sorted((_EXAMPLES / "scenarios").glob("*.toml")), ids=lambda path: path.stem)
def test_examples_are_what_their_scenarios_make(plan: Path) -> None:
    folder = _EXAMPLES / f"{plan.stem}.vigil"
    kept = read(folder)
    ward = Simulation(load(plan))
    assert kept.meta.name == plan.stem
    assert kept.truth == ward.truth()
    assert kept.registry == ward.registry()
    assert [(r.arrival_ns, len(r.payload)) for r in kept.records] == [(r.arrival_ns, len(r.payload)) for r in ward.records()]
    assert sum(part.stat().st_size for part in folder.iterdir()) < 300_000
