"""Data full of holes: a stream of which something usable comes every second may still be one that nobody can be watched by."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec
import numpy as np
import pytest

from detectors.falls.detector import FallDetector
from detectors.heart.detector import HeartDetector
from engine.frame import NS_PER_S
from engine.kinds import KINDS
from engine.registry import Binding, CareSetting
from engine.watch import Hazard
from streams.pipeline.core import Core, CoreOutput
from tests.unit.test_ledger import at, core, technical

HZ: Final = 25
CARE: Final = tuple(CareSetting("resident/a", "watch", f"{hazard}_s", 300.0) for hazard in (Hazard.FALL, Hazard.HEART))
BAND: Final = Binding("wb", "resident/a", "w")
SECONDS: Final = 1200

Sent = tuple[float, dict[str, Any]]
"""Seconds after the beginning at which a message arrives, and what is said otherwise in it."""


def still(rng: np.random.Generator, n: int = HZ) -> list[list[float]]:
    return rng.normal([0, 0, 1], 0.02, (n, 3)).round(3).tolist()  # type: ignore[no-any-return]


def lived(home: Core, messages: Iterator[Sent], device: str = "wb", until_s: float = SECONDS) -> CoreOutput:
    output, rng = CoreOutput.nothing(), np.random.default_rng(1)
    for arrival_s, more in messages:
        n = int(more.pop("n", HZ))
        body = {"v": 1, "device": device, "kind": "accel", "rate_hz": HZ, "unit": "g", "samples": still(rng, n)} | more
        output.add(home.telemetry(msgspec.json.encode(body), at(arrival_s)))
    output.add(home.advance(at(until_s)))
    return output


def every_second(keep: Callable[[int], bool] = lambda _: True, **more: Any) -> Iterator[Sent]:
    for t in range(SECONDS):
        if keep(t):
            yield t + 1, {"t0_ns": at(t), "seq": t} | more


def in_bursts(every_s: int) -> Iterator[Sent]:
    return ((-(-(t + 1) // every_s) * every_s, {"t0_ns": at(t), "seq": t}) for t in range(SECONDS))


def stored() -> Iterator[Sent]:
    """Half an hour from a store, ten times as fast, and then live."""
    for t in range(-1800, SECONDS):
        yield max(t + 1, (t + 1801) / 10), {"t0_ns": at(t), "seq": t + 1800}


def numbered(step_s: float, **more: Any) -> Iterator[Sent]:
    return ((t * step_s + step_s, {"t0_ns": at(t * step_s), "seq": t} | more) for t in range(round(SECONDS / step_s)))


def swapped() -> Iterator[Sent]:
    for t in range(0, SECONDS, 2):
        yield t + 2, {"t0_ns": at(t + 1)}
        yield t + 2.1, {"t0_ns": at(t)}


def every_second_late(by_s: float) -> Iterator[Sent]:
    """Too late to wait for."""
    sent = ((t + 1 + by_s * (t % 2), {"t0_ns": at(t)}) for t in range(SECONDS))
    return iter(sorted(sent, key=lambda entry: entry[0]))


LUCK: Final = np.random.default_rng(3).random(SECONDS)

NOTHING_TO_SAY: Final = {
    "all of it": every_second(),
    "one in fifty lost": every_second(lambda t: LUCK[t] >= 0.02),
    "one in ten lost": every_second(lambda t: LUCK[t] >= 0.1),
    "bursts of 30 s": in_bursts(30),
    "bursts of 50 s": in_bursts(50),
    "messages of 20 s": numbered(20.0, n=20 * HZ),
    "a crystal 5 % fast": numbered(1 / 1.05),
    "stored, then live": stored(),
    "in the wrong order, no numbers": swapped(),
}
TOLD: Final = {
    "every second one lost": (every_second(lambda t: t % 2 == 0), "incomplete"),
    "three in ten lost": (every_second(lambda t: LUCK[t] >= 0.3), "incomplete"),
    "every second one seconds late, no numbers": (every_second_late(6.1), "incomplete"),
    "pauses of 20 s, numbers go on": (
        ((t + 1, {"t0_ns": at(t), "seq": n}) for n, t in enumerate(t for t in range(SECONDS) if t % 40 < 20)),
        "incomplete",
    ),
    "every second one empty": (
        ((t, m | ({"samples": [[None] * 3] * HZ} if m["seq"] % 2 else {})) for t, m in every_second()),
        "no_value",
    ),
    "every second one poor": (((t, m | {"quality": m["seq"] % 2}) for t, m in every_second()), "poor_quality"),
    "twice the rate declared": (every_second(rate_hz=2 * HZ), "rate_unusable"),
    "half of the rate declared": (every_second(rate_hz=HZ / 2), "rate_unusable"),
    "half of the samples": (every_second(n=HZ // 2), "rate_unusable"),
}


@pytest.mark.parametrize("name", NOTHING_TO_SAY)
def test_what_comes_late_or_nearly_whole_is_no_fault(name: str) -> None:
    home = core(BAND, care=CARE)
    assert technical(lived(home, NOTHING_TO_SAY[name])) == []
    assert list(home.engine.watching.coverage.not_watched()) == []


@pytest.mark.parametrize("name", TOLD)
def test_too_little_of_it_is_told_with_the_reason(name: str) -> None:
    messages, reason = TOLD[name]
    home = core(BAND, care=CARE)
    output = lived(home, messages)
    assert [entry[:2] for entry in technical(output)] == [(f"device.{reason}", "onset")]
    (event,) = [e for e in output.outputs.events if e.code == f"device.{reason}"]
    assert event.decided_ns - at(0) <= 400 * NS_PER_S
    watching_s, blind_s = home.engine.watching.coverage.seconds()["resident/a", Hazard.FALL]
    assert blind_s > 0.9 * (watching_s + blind_s)


@pytest.mark.parametrize("beats", [1, 4])
def test_beats_that_a_device_leaves_out_are_missing_and_no_matter_of_its_rate(beats: int) -> None:
    """It numbers what it sends, so no number is missing."""
    home = core(BAND, care=CARE)
    output, t, n, rng = CoreOutput.nothing(), 0.0, 0, np.random.default_rng(4)
    while t < SECONDS:
        rr_ms = rng.normal(880, 40, beats).round().tolist()
        t0, t = t, t + sum(rr_ms) / 1000
        if rng.random() >= 0.4:
            body = {"v": 1, "device": "wb", "kind": "rr_interval", "t0_ns": at(t0), "seq": n, "samples": rr_ms}
            output.add(home.telemetry(msgspec.json.encode(body), at(t + 0.2)))
            n += 1
    output.add(home.advance(at(t)))
    assert [entry[:2] for entry in technical(output)] == [("device.incomplete", "onset")]


def test_it_ends_when_the_data_is_whole_again_and_not_before() -> None:
    home = core(BAND, care=CARE)

    def bad_then_fair_then_good() -> Iterator[Sent]:
        lost = {"bad": lambda t: LUCK[t] < 0.3, "fair": lambda t: t % 11 == 0, "good": lambda _: False}
        for t in range(SECONDS):
            part = "bad" if t < 500 else "fair" if t < 800 else "good"
            if not lost[part](t):
                yield t + 1, {"t0_ns": at(t), "seq": t}

    output = lived(home, bad_then_fair_then_good())
    assert [entry[:2] for entry in technical(output)] == [("device.incomplete", "onset"), ("device.incomplete", "clear")]
    end = output.outputs.events[-1]
    assert 800 <= (end.decided_ns - at(0)) / NS_PER_S <= 1050


def test_many_at_once_are_one_case_of_the_ward() -> None:
    bands = tuple(Binding(f"wb-{i}", f"resident/{i}", "w") for i in range(8))
    home = core(*bands, care=tuple(CareSetting(b.subject, "watch", "fall_s", 300.0) for b in bands))
    output, rng = CoreOutput.nothing(), np.random.default_rng(2)
    for t in range(0, 900, 2):
        for band in bands:
            body = {
                "v": 1,
                "device": band.device,
                "kind": "accel",
                "rate_hz": HZ,
                "unit": "g",
                "t0_ns": at(t),
                "seq": t,
                "samples": still(rng),
            }
            output.add(home.telemetry(msgspec.json.encode(body), at(t + 1)))
    assert [entry[:3] for entry in technical(output)] == []
    assert [(e.code, e.phase, e.subject) for e in output.outputs.events] == [("device.outage", "onset", "ward/w")]


def test_the_share_goes_on_after_a_snapshot() -> None:
    one, two = core(BAND, care=CARE), core(BAND, care=CARE)
    messages = list(every_second(lambda t: t % 2 == 0))
    expected = technical(lived(one, iter([(t, dict(m)) for t, m in messages])))
    rng, said = np.random.default_rng(1), []
    for number, (arrival_s, more) in enumerate(messages):
        body = {"v": 1, "device": "wb", "kind": "accel", "rate_hz": HZ, "unit": "g", "samples": still(rng)} | more
        said += technical(two.telemetry(msgspec.json.encode(body), at(arrival_s)))
        if number in {37, 100}:
            state = two.snapshot()
            two = core(BAND, care=CARE)
            two.restore(state)
    assert said == expected
    assert said


@pytest.mark.parametrize("spec", [FallDetector.spec, HeartDetector.spec])
def test_what_comes_without_a_pause_names_the_share_it_needs(spec: Any) -> None:
    for kind, signals in spec.watches.items():
        continuous = KINDS[kind].timing == "interval" or KINDS[kind].rate_hz_max > 1.0
        assert all((signal.share_min > 0.0) == (continuous and kind != "vitals") for signal in signals), kind
