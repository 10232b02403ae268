"""Whatever a button's clock and numbers do: no press that comes alone is lost, and what is said at once again is one call."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.sos.detector import SosDetector
from engine.block import NO_SEQ, Block
from engine.clocks import AdmissionLimits
from engine.engine import Engine
from engine.events import Event
from engine.frame import NS_PER_S
from engine.registry import Binding, Registry, RegistryData

T0_NS = 1_767_600_000 * NS_PER_S
LIMITS = AdmissionLimits()
HOME = RegistryData(bindings=(Binding("call", "resident/a", "h/1"),))
ALONE_NS = LIMITS.resend_ns + 1
SECOND = st.integers(1, 400)


class Report(NamedTuple):
    after_ns: int
    t0_ns: int | None
    seq: int
    pressed: float
    retained: bool = False


CLOCKS = st.one_of(
    st.just(None),  # right
    st.integers(0, 3),  # stands still, or is set back to the same again and again
    st.integers(T0_NS - 3 * NS_PER_S, T0_NS + 3 * NS_PER_S),
    st.integers(0, 2**62),
)
REPORTS = st.lists(
    st.builds(
        Report,
        st.one_of(SECOND.map(lambda s: s * NS_PER_S), st.just(ALONE_NS), st.integers(0, NS_PER_S)),
        CLOCKS,
        st.sampled_from((NO_SEQ, 0, 1, 2, 7)),
        st.sampled_from((1.0, 1.0, 1.0, 0.0)),
        st.just(False),
    ),
    max_size=40,
)


def play(engine: Engine, reports: list[Report], arrival_ns: int = T0_NS) -> list[list[Event]]:
    found = []
    for report in reports:
        arrival_ns += report.after_ns
        t0_ns = arrival_ns if report.t0_ns is None else report.t0_ns
        block = Block(
            "button", ("call",), np.array([t0_ns]), np.array([report.seq]), 0.0, np.full((1, 1, 1), report.pressed, np.float32),
            np.zeros(1, np.uint8), (1, 1), retained=report.retained,
        )  # fmt: skip
        found.append([event for event in engine.step(block, arrival_ns).events if event.code == "sos.pressed"])
    return found


def home() -> Engine:
    return Engine([SosDetector()], Registry(HOME))


@settings(max_examples=150, deadline=None)
@given(REPORTS)
def test_a_press_long_after_the_last_report_always_calls_with_an_event_of_its_own(reports: list[Report]) -> None:
    found = play(home(), reports)
    for report, events in zip(reports, found, strict=True):
        if report.pressed and report.after_ns >= ALONE_NS:
            assert len(events) == 1
    ids = [event.id for events in found for event in events]
    assert len(set(ids)) == len(ids)


@settings(max_examples=80, deadline=None)
@given(REPORTS, st.data())
def test_what_comes_twice_at_once_or_from_a_brokers_store_changes_nothing(reports: list[Report], data: st.DataObject) -> None:
    twice: list[Report] = []
    for report in reports:
        twice.append(report)
        if report.t0_ns is not None and data.draw(st.booleans()):
            twice.append(report._replace(after_ns=0, retained=data.draw(st.booleans())))
    once, again = play(home(), reports), play(home(), twice)
    assert [event.id for events in again for event in events] == [event.id for events in once for event in events]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(11, 60), CLOCKS), min_size=1, max_size=20))
def test_presses_of_a_button_that_counts_are_never_one(presses: list[tuple[int, int | None]]) -> None:
    found = play(home(), [Report(s * NS_PER_S, t0_ns, number, 1.0) for number, (s, t0_ns) in enumerate(presses)])
    assert [len(events) for events in found[:1]] == [1]
    stopped = [events for (_, t0_ns), events in zip(presses, found, strict=True) if t0_ns is not None and t0_ns <= 3]
    assert all(len(events) == 1 for events in stopped)


@settings(max_examples=60, deadline=None)
@given(REPORTS, st.integers(0, 40))
def test_snapshot_and_restore_go_unnoticed(reports: list[Report], cut: int) -> None:
    whole, first, second = home(), home(), Engine([SosDetector()])
    expected = play(whole, reports)
    found = play(first, reports[:cut])
    second.restore(first.snapshot())
    found += play(second, reports[cut:], T0_NS + sum(report.after_ns for report in reports[:cut]))
    assert found == expected
    assert second.snapshot() == whole.snapshot()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 200), st.sampled_from("abcd"), st.booleans(), st.booleans()), max_size=8), st.data())
def test_a_press_is_whose_the_device_was_when_it_was_pressed(moves: list[tuple[int, str, bool, bool]], data: st.DataObject) -> None:
    """Registries that date what they say, registries that are written over, and times when nobody has the device, in any order."""
    everybody = tuple(Binding(f"band-{name}", f"resident/{name}", "h/1") for name in "abcd")
    engine = Engine([SosDetector()], Registry(RegistryData(bindings=(Binding("call", "resident/a", "h/1"), *everybody))))
    now_ns, wearers = T0_NS, [(0, "resident/a")]
    for after_s, name, dated, bound in moves:
        now_ns += after_s * NS_PER_S
        own = (Binding("call", f"resident/{name}", "h/1", from_ns=now_ns if dated else 0),) if bound else ()
        engine.set_registry(RegistryData(bindings=(*own, *everybody)), now_ns)
        wearers.append((now_ns, f"resident/{name}" if bound else ""))
    t_ns = data.draw(st.integers(T0_NS, now_ns + 50 * NS_PER_S))
    arrival_ns = max(now_ns, t_ns) + 100 * NS_PER_S
    (events,) = play(engine, [Report(0, t_ns, NO_SEQ, 1.0)], arrival_ns)
    wearer = next(name for since_ns, name in reversed(wearers) if since_ns <= t_ns)
    assert [event.subject for event in events] == ([wearer] if wearer else [])
