"""The short form of `make faults`: one danger of each detector and kind of stream through every device fault.

What remains silent in the long form stands in docs/faults.md.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from benchmarks.faults.case import Case, watched_closely
from benchmarks.faults.catalogue import FAULT_BY_NAME, FAULTS
from benchmarks.faults.fault import Fault, everywhere, scene
from benchmarks.faults.judge import GOOD, Outcome, run
from benchmarks.faults.page import page
from benchmarks.faults.report import Writer, loaded
from benchmarks.faults.sources import examples
from benchmarks.faults.stream import Chunk
from benchmarks.faults.table import PAGE, catalogue, filled, outcome

FAULTS_LEAST: Final = 40
SHORT: Final = (
    "detectors/falls",
    "detectors/heart",
    "detectors/fire",
    "detectors/sos",
    "detectors/camera",
    "examples/spo2-low",
    "examples/asystole",
)
"""Dangers that are seen within a minute or two. Hours of a mattress are for the long form, but for a few faults."""
SEED: Final = 1


TOLD_AFTER_S: Final = 120.0
OPEN: Final[dict[str, frozenset[str]]] = {}
"""Silent to this day, and said so in docs/faults.md: by danger, the faults."""


@cache
def dangers(source: str) -> tuple[Case, ...]:
    return tuple(watched_closely(case, TOLD_AFTER_S) for case in examples()[source]())


@pytest.mark.parametrize("source", SHORT)
def test_each_fault_ends_in_the_alarm_or_in_the_true_reason(source: str) -> None:
    found = [run(case, fault, SEED) for case in dangers(source)[:1] for fault in FAULTS if fault.applies(case) and not fault.blind_s]
    assert len(found) >= FAULTS_LEAST
    failed = {
        r.fault: f"{r.outcome}: alarm {r.alarm_s}, due {r.due_s}, told {r.technical} {r.error}" for r in found if r.outcome not in GOOD
    }
    known = OPEN.get(source, frozenset())
    assert {name: why for name, why in failed.items() if name not in known} == {}
    assert known <= set(failed), "what is mended leaves the list, and docs/faults.md"


def test_there_are_enough_faults_and_each_says_what_does_so() -> None:
    assert len(FAULTS) == len(FAULT_BY_NAME) >= FAULTS_LEAST
    assert all(fault.device for fault in FAULTS)


@pytest.mark.parametrize("source", SHORT)
def test_messages_come_in_order_of_arrival_and_the_same_for_the_same_seed(source: str) -> None:
    for case in dangers(source)[:1]:
        for fault in filter(_applies(case), FAULTS):
            chunks = case.until(case.alarm_ns + 60_000_000_000)
            arrivals = [message.arrival_ns for message in fault.apply(chunks, scene(case, 5))]
            assert arrivals == sorted(arrivals), fault.name
            assert arrivals == [message.arrival_ns for message in fault.apply(chunks, scene(case, 5))], fault.name


def _applies(case: Case) -> Callable[[Fault], bool]:
    return lambda fault: fault.applies(case)


def _nothing_dangerous(chunks: object, one: object) -> list[Chunk]:
    del one
    assert isinstance(chunks, list)
    calm = chunks[:20]
    return [calm[number % 20].later(chunk.t0_ns - calm[number % 20].t0_ns) for number, chunk in enumerate(chunks)]


def test_a_silent_run_is_seen_as_one() -> None:
    (case,) = dangers("detectors/falls")
    hidden = Fault("hides the danger", "test", "nobody", _nothing_dangerous, costless=True, applies=everywhere)
    assert run(case, hidden, SEED).outcome is Outcome.SILENT
    dead = FAULT_BY_NAME["falls silent"]
    assert run(case, dead, SEED).outcome is Outcome.TOLD
    assert run(case, dead._replace(reasons=frozenset({"clock"})), SEED).outcome is Outcome.UNTRUE
    held = FAULT_BY_NAME["90 s late"]
    assert run(case, held, SEED).outcome is Outcome.ALARM
    assert run(case, held._replace(delay_s=0.0), SEED).outcome is Outcome.LATE


def test_results_are_kept_and_shown(tmp_path: Path) -> None:
    (case,) = dangers("detectors/falls")
    with Writer(tmp_path / "faults.jsonl") as writer:
        writer.add([run(case, FAULT_BY_NAME[name], SEED) for name in ("no seq", "falls silent")])
    results = loaded(tmp_path / "faults.jsonl")
    assert results == writer.results
    web = page(results, ["somewhere: nothing"])
    assert "falls silent" in web
    assert "somewhere: nothing" in web
    assert "| no seq | 1 alarm |" in outcome(results)


def test_the_page_lists_the_faults_as_they_are() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert filled(text, "faults", catalogue()) == text, "write it anew: python -m benchmarks.faults.table"
