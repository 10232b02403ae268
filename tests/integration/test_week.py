"""The short form of `make week`: an ordinary day of two rooms calls nobody because of devices."""

from __future__ import annotations

import msgspec
import pytest

from benchmarks.week import play
from benchmarks.week.__main__ import sentences
from benchmarks.week.life import Away, How, Life
from engine.watch import Blind, Hazard

DAYS = 0.125
"""Three hours from midnight on."""


def lived(monkeypatch: pytest.MonkeyPatch, *aways: Away, says: bool = True) -> play.Week:
    """Two residents through `aways`, with 2 % of the chunks lost and a restart of the gateway after an hour."""

    def ordinary(walking: list[bool], ecg: list[bool], days: int, seed: int, devices: list[str]) -> Life:
        del walking, ecg, days, seed
        return Life(sorted(aways, key=lambda away: away.from_s), 3600.0, dict.fromkeys(devices, 0.02))

    monkeypatch.setattr(play, "ordinary", ordinary)
    return play.week(2, DAYS, says=says)


ORDINARY = (
    Away("out of reach", ("wb-002", "sos-002", "tag-002"), 4500, 5500),
    Away("battery replaced", ("patch-001",), 6000, 6240, restarts=True),
    Away("charger, night", ("wb-001",), 1000, 9500, How.GONE),
)


def test_ordinary_life_calls_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    found = lived(monkeypatch, *ORDINARY)
    assert found.told == []
    assert found.rejected == 0
    watched_s, blind_s = found.coverage_s[Hazard.FALL]
    # The band on its charger and the one out of reach; a chunk that is lost makes nobody blind.
    assert blind_s == pytest.approx(8500 + 1000, abs=120)
    assert watched_s + blind_s == pytest.approx(2 * 3 * 3600, abs=60)
    assert found.blind_s[Hazard.FALL, Blind.ON_CHARGER] == pytest.approx(8500, abs=300)
    assert found.aways == {"out of reach": 1, "battery replaced": 1, "charger, night": 1}
    assert any(line.startswith("technical alerts: 0, 0.000 a resident-day (none)") for line in sentences(found))
    assert msgspec.json.encode({"told": found.told})


def test_a_band_that_goes_off_without_a_word_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The measure is one: it counts what does call."""
    found = lived(monkeypatch, ORDINARY[2], says=False)
    assert {(told.code, told.subject, told.source.partition(":")[0]) for told in found.told} == {
        ("device.silent", "resident/r-001", "wb-001")
    }
    assert found.told[0].at_s == pytest.approx(1000 + 1800, abs=30)
