"""Devices that send, and say nothing of the person: somebody is called or told, whatever the readings "processed"."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
import numpy as np
import pytest

from alerts.model import Alert, State, Transition
from detectors.pressure_injury.examples import maps
from detectors.pressure_injury.posture import SUPINE
from engine.frame import NS_PER_S
from engine.registry import Binding, CareSetting, RegistryData
from schemas.recording import START_NS, Meta, Record, Recording
from streams.pipeline.assembly import EVENT_BY_CODE
from streams.recordings.replay import replay

SUBJECT: Final = "resident/a"
BOUND: Final = RegistryData(bindings=(Binding("d-1", SUBJECT, "home/ward"),))


def chunk(at_s: float, kind: str, **fields: Any) -> Record:
    """A message measured at `at_s` that arrives half a second later."""
    t0_ns = START_NS + round(at_s * NS_PER_S)
    return Record(t0_ns + NS_PER_S // 2, msgspec.json.encode({"v": 1, "device": "d-1", "kind": kind, "t0_ns": t0_ns, **fields}))


def called(records: Iterable[Record], registry: RegistryData = BOUND) -> list[tuple[float, Alert]]:
    """Whoever is called or told: (seconds from the beginning, alert)."""
    steps: Sequence[tuple[Transition, Alert]] = replay(Recording(Meta("devices", "test"), registry, (), iter(records))).transitions
    return [((t.at_ns - START_NS) / NS_PER_S, a) for t, a in steps if t.notify and t.to_state is State.FIRING]


def technical(alert: Alert) -> bool:
    return EVENT_BY_CODE[alert.code].scoring.technical


@pytest.mark.parametrize("seq", [True, False])
@pytest.mark.parametrize("every_s", [1, 5])
def test_an_oxygen_saturation_of_0_is_said(every_s: int, seq: bool) -> None:
    """97, then 0: the probe is off the finger, which nobody may take for a well resident."""
    records = [
        chunk(at, "vitals", values={"spo2_percent": 97 if at < 120 else 0}, rate_hz=1 / every_s, **({"seq": at} if seq else {}))
        for at in range(0, 2700, every_s)
    ]
    found = [(at, alert) for at, alert in called(records) if at > 120]
    assert found
    assert {alert.subject for _, alert in found} == {SUBJECT}


REFUSED: Final = {
    "a field nobody knows": {"values": {"heart_rate_bpm": 70}, "battery": 80},
    "another version": {"v": 2, "values": {"heart_rate_bpm": 70}},
    "a unit of another kind": {"unit": "mV", "values": {"heart_rate_bpm": 70}},
    "several samples without a rate": {"samples": [[70, 14, 97, None, None, None]] * 2},
    "values no sensor measures": {"values": {"heart_rate_bpm": 7000}, "rate_hz": 1},
    "a time as text": {"t0_ns": "2026-01-05T00:00:00Z", "values": {"heart_rate_bpm": 70}},
    "two channels too few": {"samples": [[70, 14, 97, None]], "rate_hz": 1},
}


@pytest.mark.parametrize("why", REFUSED)
def test_a_bound_device_whose_every_message_is_refused_is_said(why: str) -> None:
    found = called(chunk(at, "vitals", **REFUSED[why]) for at in range(0, 900, 5))
    assert [(alert.subject, technical(alert)) for _, alert in found] == [(SUBJECT, True)]
    assert found[0][1].code not in {"device.silent", "device.never_heard"}, "it sends: that is not why"


def test_a_device_that_was_well_and_is_refused_from_then_on_is_said() -> None:
    good = [chunk(at, "vitals", values={"heart_rate_bpm": 70}, rate_hz=1, seq=at) for at in range(120)]
    bad = [chunk(at, "vitals", values={"heart_rate_bpm": 70}, rate_hz=1, seq=at, battery=80) for at in range(120, 600)]
    found = called([*good, *bad])
    assert [(alert.subject, technical(alert)) for _, alert in found] == [(SUBJECT, True)]
    assert found[0][1].code != "device.silent", "it sends: that is not why"


@pytest.mark.parametrize("rate_hz", [1 / 60, None], ids=["rate said", "no rate"])
def test_a_pressure_map_a_minute_is_judged(rate_hz: float | None) -> None:
    """On the same side for 80 minutes where 30 are allowed: the turn is said to be due."""
    shape = (64, 32)
    cells = maps(SUPINE, 80, np.random.default_rng(3), shape=shape)
    more = {} if rate_hz is None else {"rate_hz": rate_hz}
    records = [chunk(60.0 * n, "pressure_map", shape=shape, samples=[cells[n].tolist()], seq=n, **more) for n in range(80)]
    care = CareSetting(SUBJECT, "pressure_injury", "turn_interval_s", 1800.0)
    found = called(records, msgspec.structs.replace(BOUND, care=(care,)))
    assert found
    assert {alert.subject for _, alert in found} == {SUBJECT}
    (due,) = [at for at, alert in found if alert.code == "pressure_injury.turn_overdue"]
    assert 1800 <= due <= 1800 + 180
