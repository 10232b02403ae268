"""Streams in another unit than they say are refused with the unit they look like; true data never is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.block import NO_SEQ, Block
from engine.engine import Engine
from engine.frame import NS_PER_S
from engine.outputs import Reason, Reject
from engine.registry import Binding, Registry, RegistryData
from engine.scales import LOOKS
from schemas.codec import decode, encode_batch
from streams.recordings.format import read

T0_NS = 1_767_571_200 * NS_PER_S
EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "examples").glob("*.vigil"))
G = 9.80665
Samples = NDArray[np.float32]


def home() -> Engine:
    return Engine([], Registry(RegistryData(bindings=(Binding("d", "resident/a", "h/1"),))))


def chunks(kind: str, samples: Samples, rate_hz: float, seconds: float) -> Iterator[tuple[Block, int]]:
    """`samples` (n, c) of device d in chunks of `seconds`, each with its arrival."""
    n = round(seconds * rate_hz)
    for start in range(0, samples.shape[0] - n + 1, n):
        t0_ns = T0_NS + round(start / rate_hz * NS_PER_S)
        one = np.array([t0_ns], np.int64)
        part = np.ascontiguousarray(samples[None, start : start + n], np.float32)
        flags = np.zeros(1, np.uint8)
        yield Block(kind, ("d",), one, np.array([NO_SEQ]), rate_hz, part, flags, (1, part.shape[2])), t0_ns + n * NS_PER_S


def refused(engine: Engine, kind: str, samples: Samples, rate_hz: float, seconds: float = 1.0) -> list[Reject]:
    """What the engine refuses of `samples`, through the codec as a device would send them."""
    found: list[Reject] = []
    for block, arrival_ns in chunks(kind, samples, rate_hz, seconds):
        decoded = decode(encode_batch("h/1", [block]))
        found += decoded.rejects
        for each in decoded.blocks:
            found += engine.step(each, arrival_ns).rejects
    return found


def looks(rejects: list[Reject]) -> set[str]:
    return {reject.detail.rpartition("it looks like ")[2] for reject in rejects}


@cache
def recorded(example: str, kind: str) -> tuple[Samples, float]:
    """The stream of `kind` in an example with the most samples, in order: (n, c), Hz."""
    parts: dict[str, list[Samples]] = {}
    rates: dict[str, float] = {}
    for record in read(next(path for path in EXAMPLES if path.stem == example)).records:
        for block in decode(record.payload).blocks:
            if block.kind == kind:
                for row, device in enumerate(block.devices):
                    parts.setdefault(device, []).append(block.samples[row])
                    rates[device] = block.rate_hz
    longest = max(parts, key=lambda device: len(parts[device]))
    return np.concatenate(parts[longest]), rates[longest]


def lying(seconds: float, rate_hz: float = 50.0, down: tuple[float, float, float] = (0, 0, 1), seed: int = 1) -> Samples:
    """A resident who lies still and breathes, in g."""
    noise = np.random.default_rng(seed).normal(0, 0.01, (round(seconds * rate_hz), 3))
    return (np.array(down) + noise).astype(np.float32)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_no_example_is_doubted(path: Path) -> None:
    recording = read(path)
    engine = Engine([], Registry(recording.registry))
    for record in recording.records:
        for block in decode(record.payload).blocks:
            assert [r.detail for r in engine.step(block, record.arrival_ns).rejects if r.reason is Reason.BAD_UNIT] == []


@pytest.mark.parametrize("seconds", [0.32, 1.0, 5.0])
@pytest.mark.parametrize("example", ["fall", "stumble"])
def test_acceleration_in_m_per_s2_taken_for_g_is_refused_with_its_unit(example: str, seconds: float) -> None:
    samples, rate_hz = recorded(example, "accel")
    engine = home()
    found = refused(engine, "accel", samples * G, rate_hz, seconds)
    assert looks([r for r in found if r.reason is Reason.BAD_UNIT]) == {"m/s2, say unit m/s2"}
    assert sum(r.readings for r in found) > 0.9 * samples.shape[0]
    (account,) = engine.accounts()
    assert account.received == account.processed + account.quarantined
    assert account.quarantined == sum(r.readings for r in found if r.reason is Reason.BAD_UNIT)


def test_the_first_second_is_enough() -> None:
    found = refused(home(), "accel", lying(1) * np.float32(G), 50.0)
    assert [(r.reason, r.readings) for r in found] == [(Reason.BAD_UNIT, 50)]
    assert "9.8" in found[0].detail


def test_acceleration_in_g_taken_for_m_per_s2_is_refused_once_the_wearer_has_turned() -> None:
    upright = lying(20) / np.float32(G)
    turned = lying(20, down=(1, 0, 0)) / np.float32(G)
    engine = home()
    assert refused(engine, "accel", upright, 50.0) == []
    found = refused(engine, "accel", turned, 50.0)
    assert looks(found) == {"g that was sent as m/s2, say unit g"}
    assert len(found) >= 14


@pytest.mark.parametrize(("seconds", "told"), [(290, False), (320, True)])
def test_or_once_a_still_wearer_has_been_at_a_tenth_of_gravity_for_minutes(seconds: int, told: bool) -> None:
    found = refused(home(), "accel", lying(seconds) / np.float32(G), 50.0)
    assert looks(found) == ({"g that was sent as m/s2, say unit g"} if told else set())


def test_a_sensor_without_gravity_that_is_off_by_a_tenth_is_at_0_now_and_then() -> None:
    off = lying(200) - np.array([0, 0, 0.9], np.float32)
    right = lying(3) - np.array([0, 0, 1], np.float32)
    assert refused(home(), "accel", np.concatenate([off, right, off]), 50.0) == []


@pytest.mark.parametrize("per_g", [64, 256, 1000, 1024, 4096, 16384])
def test_mg_and_raw_counts_are_refused(per_g: int) -> None:
    samples = lying(5, down=(0.6, 0.0, 0.8)) * np.float32(per_g)
    found = refused(home(), "accel", samples, 50.0)
    assert {r.reason for r in found} == {Reason.OUT_OF_RANGE}
    if per_g in {1000, 1024}:
        assert looks(found) == {"mg: send g"}
    else:
        levels = [float(said.split(" of them to 1 g")[0].split()[-1]) for said in looks(found)]
        np.testing.assert_allclose(levels, per_g, rtol=0.02)
    assert len(found) == 5


def free_fall() -> Samples:
    fall = lying(10)
    fall[200:300] *= 0.02
    fall[300:303] *= 12.0
    return fall


def washing() -> Samples:
    """A band in a dryer: shaken to 6 g for seconds."""
    t = np.arange(500) / 50.0
    return np.stack([6 * np.sin(9 * t), 6 * np.cos(9 * t), 1 + 0 * t], axis=1).astype(np.float32)


@pytest.mark.parametrize(
    "true",
    [
        lambda: lying(60),
        free_fall,
        washing,
        lambda: lying(60) - np.array([0, 0, 1], np.float32),
        lambda: lying(60) - np.array([0, 0, 0.9], np.float32),
        lambda: np.zeros((3000, 3), np.float32),
        lambda: np.full((3000, 3), np.nan, np.float32),
        lambda: lying(60) * np.float32(1.1),
        lambda: np.full((3000, 3), 16.0, np.float32),
    ],
    ids=["at rest", "free fall", "shaken", "gravity removed", "gravity removed, offset", "dead", "missing", "10 % wrong", "saturated"],
)
def test_true_acceleration_is_never_refused(true: Callable[[], Samples]) -> None:
    engine = home()
    samples = true()
    assert refused(engine, "accel", samples, 50.0) == []
    assert engine.totals()[0] == samples.shape[0]


def test_a_device_that_was_put_right_is_believed_again() -> None:
    engine = home()
    assert len(refused(engine, "accel", lying(20) * np.float32(G), 50.0)) == 20
    later = [
        (block._replace(t0_ns=block.t0_ns + 60 * NS_PER_S), t_ns + 60 * NS_PER_S) for block, t_ns in chunks("accel", lying(20), 50.0, 1.0)
    ]
    assert sum(len(engine.step(block, arrival_ns).rejects) for block, arrival_ns in later) == 2


def test_a_fall_that_shakes_the_wrong_unit_out_of_its_band_stays_refused() -> None:
    """Walking and falling in m/s2 are not at 9.8 all the time: single chunks must not slip through."""
    samples = np.concatenate([lying(10), free_fall(), lying(10)]) * np.float32(0.8 * G)
    samples[:500] /= np.float32(0.8)
    assert len(refused(home(), "accel", np.clip(samples, -19, 19), 50.0)) >= 28


# -- ECG ---------------------------------------------------------------------------------------------------------------


HEARTS = ["tachycardia", "bradycardia", "atrial-fibrillation", "quiet"]


@pytest.mark.parametrize("seconds", [0.064, 1.0])
@pytest.mark.parametrize("example", HEARTS)
def test_an_ecg_in_mv_sent_as_uv_is_refused_with_its_unit(example: str, seconds: float) -> None:
    samples, rate_hz = recorded(example, "ecg")
    engine = home()
    found = refused(engine, "ecg", samples / 1000, rate_hz, seconds)
    assert looks(found) == {"mV sent as uV, or V sent as mV"}
    taken_s = (samples.shape[0] - sum(r.readings for r in found)) / rate_hz
    assert taken_s < 20, "the rest of the recording is refused"


@pytest.mark.parametrize("example", HEARTS)
def test_an_ecg_in_uv_sent_as_mv_is_refused(example: str) -> None:
    samples, rate_hz = recorded(example, "ecg")
    engine = home()
    found = refused(engine, "ecg", samples * 1000, rate_hz)
    taken_s = (samples.shape[0] - sum(r.readings for r in found)) / rate_hz
    assert {r.reason for r in found} <= {Reason.OUT_OF_RANGE, Reason.BAD_UNIT}
    assert "uV: say unit uV" in looks(found)
    assert taken_s < 0.1 * samples.shape[0] / rate_hz


def test_a_small_ecg_in_uv_that_stays_in_range_is_refused_too() -> None:
    samples, rate_hz = recorded("tachycardia", "ecg")
    small = samples * 1000 * (60 / np.ptp(samples * 1000))
    assert looks(refused(home(), "ecg", small, rate_hz)) == {"uV that was sent as mV, say unit uV"}


def test_a_heart_that_stops_is_not_taken_for_a_wrong_unit() -> None:
    """Once a stream had the amplitude of an ECG its flat line is an asystole, however small its noise."""
    samples, rate_hz = recorded("quiet", "ecg")
    beats = samples[: round(30 * rate_hz)]
    rest = np.tile(samples / 1000, (3, 1))
    engine = home()
    assert refused(engine, "ecg", np.concatenate([beats, rest]), rate_hz) == []


def noise(height_mv: float, rate_hz: float) -> Samples:
    return np.random.default_rng(3).normal(0, height_mv / 6, (round(120 * rate_hz), 1)).astype(np.float32)


@pytest.mark.parametrize("rate_hz", [100.0, 250.0, 500.0])
@pytest.mark.parametrize("height_mv", [0.0003, 0.002, 0.008, 0.015])
def test_noise_without_a_heart_is_no_wrong_unit(height_mv: float, rate_hz: float) -> None:
    assert refused(home(), "ecg", noise(height_mv, rate_hz), rate_hz) == []


@pytest.mark.parametrize("height_mv", [0.0, 0.002, 0.015, 45.0])
def test_a_flat_line_and_drift_are_no_wrong_unit(height_mv: float) -> None:
    t = np.arange(120 * 250) / 250
    drift = height_mv / 2 * np.sin(2 * np.pi * t / 20)
    assert refused(home(), "ecg", drift[:, None].astype(np.float32), 250.0) == []


# -- state ---------------------------------------------------------------------------------------------------------------


def test_the_verdict_survives_a_snapshot_at_any_moment() -> None:
    samples = np.concatenate([lying(3) * np.float32(G), lying(6), lying(3) * np.float32(G)])
    straight = home()
    wanted = [len(straight.step(block, t_ns).rejects) for block, t_ns in chunks("accel", samples, 50.0, 1.0)]
    found = []
    engine = home()
    for block, t_ns in chunks("accel", samples, 50.0, 1.0):
        again = home()
        again.restore(engine.snapshot())
        engine = again
        found.append(len(engine.step(block, t_ns).rejects))
    assert found == wanted
    assert sum(wanted) == 8


def test_somebody_is_told_of_a_stream_that_was_never_in_the_right_unit() -> None:
    engine = home()
    events = []
    for block, arrival_ns in chunks("accel", lying(240) * np.float32(G), 50.0, 1.0):
        events += engine.step(block, arrival_ns).events
    assert engine.totals()[0] == 0
    assert {(event.subject, event.phase, event.code.partition(".")[0]) for event in events} == {("resident/a", "onset", "device")}


def test_only_the_wrong_device_of_a_block_is_refused() -> None:
    who = RegistryData(bindings=(Binding("a", "resident/a", "h/1"), Binding("b", "resident/b", "h/1")))
    engine = Engine([], Registry(who))
    both = np.stack([lying(1), lying(1) * np.float32(G), lying(1) * np.float32(G)])
    one = np.full(3, T0_NS, np.int64)
    block = Block("accel", ("a", "b", "nobody"), one, np.full(3, NO_SEQ), 50.0, both, np.zeros(3, np.uint8), (1, 3))
    out = engine.step(block, T0_NS + NS_PER_S)
    assert {(r.reason, r.device) for r in out.rejects} == {(Reason.BAD_UNIT, "b"), (Reason.UNKNOWN_DEVICE, "nobody")}
    assert engine.totals() == (50, 0, 0, 100)


def test_many_streams_fit() -> None:
    names = tuple(f"d{i}" for i in range(200))
    engine = Engine([], Registry(RegistryData(bindings=tuple(Binding(name, f"resident/{name}", "h/1") for name in names))))
    samples = np.repeat(lying(1)[None] * np.float32(G), 200, axis=0)
    block = Block("accel", names, np.full(200, T0_NS), np.full(200, NO_SEQ), 50.0, samples, np.zeros(200, np.uint8), (1, 3))
    assert len(engine.step(block, T0_NS + NS_PER_S).rejects) == 200


def test_every_verdict_has_its_sentence() -> None:
    assert all("it looks like" in said for said in LOOKS.values())
