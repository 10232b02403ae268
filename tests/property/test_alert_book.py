"""What holds for every sequence of events, commands and ticks."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from alerts.book import AlertBook
from alerts.model import Action, Command, Outcome, Reason, Refusal, State, Transition
from engine.events import Event, Phase, event_id
from engine.frame import NS_PER_S
from streams.pipeline.assembly import DEFAULT_CODES
from streams.pipeline.assembly import HomePolicy as Policy

CODES = ("falls.fall", "heart.asystole", "heart.atrial_fibrillation", "pressure_injury.turn_overdue", "device.silent")
SUBJECTS = ("resident/a", "resident/b")
TIGHT = Policy(open_per_condition_max=2, closed_max=3, history_max=12, active_max=2, event_ids_max=3)


def _event(code: str, subject: str, onset_s: int, phase: Phase, at_ns: int) -> Event:
    detector = code.partition(".")[0]
    onset_ns = onset_s * NS_PER_S
    return Event(event_id(detector, code, subject, onset_ns, phase), detector, code, subject, phase, 2, onset_ns, at_ns, at_ns, 1.0, {})


Step = tuple[str, tuple[object, ...]]
EVENT = st.tuples(
    st.just("event"),
    st.tuples(st.sampled_from(CODES), st.sampled_from(SUBJECTS), st.integers(0, 6), st.sampled_from(("onset", "clear"))),
)
COMMAND = st.tuples(
    st.just("command"),
    st.tuples(st.sampled_from(list(Action)), st.integers(0, 5), st.sampled_from((*Outcome, None)), st.sampled_from(("n-1", "n-2", ""))),
)
TICK = st.tuples(st.just("tick"), st.tuples(st.one_of(st.integers(0, 400), st.just(20_000))))
STEPS = st.lists(st.one_of(EVENT, EVENT, COMMAND, TICK), max_size=60)


class Play:
    """Feeds steps to a book; time goes on by a second a step, more with a tick."""

    def __init__(self, book: AlertBook) -> None:
        self.book = book
        self.now_ns = 1000 * NS_PER_S
        self.count = 0

    def step(self, step: Step) -> list[Transition] | Refusal:
        kind, args = step
        self.now_ns += NS_PER_S
        self.count += 1
        if kind == "event":
            code, subject, onset_s, phase = args
            return self.book.apply(_event(code, subject, onset_s, phase, self.now_ns))  # type: ignore[arg-type]
        if kind == "tick":
            self.now_ns += int(str(args[0])) * NS_PER_S
            return self.book.tick(self.now_ns)
        action, index, outcome, by = args
        alerts = [*self.book.open(), *self.book.closed()]
        key = alerts[index % len(alerts)].id if alerts else "a-none"  # type: ignore[operator]
        return self.book.command(Command(f"c{self.count}", action, key, by, self.now_ns, outcome))  # type: ignore[arg-type]


def _flat(results: list[list[Transition] | Refusal]) -> list[Transition]:
    return [step for result in results if isinstance(result, list) for step in result]


ALLOWED = {
    None: {State.PENDING, State.FIRING},
    State.PENDING: {State.PENDING, State.FIRING, State.RESOLVED, State.STALE},
    State.FIRING: {State.FIRING, State.ACKNOWLEDGED, State.RESOLVED, State.STALE},
    State.ACKNOWLEDGED: {State.ACKNOWLEDGED, State.FIRING, State.RESOLVED, State.STALE},
    State.STALE: {State.STALE, State.PENDING, State.FIRING, State.ACKNOWLEDGED, State.RESOLVED},
}


@settings(max_examples=300, deadline=None)
@given(STEPS)
def test_every_life_is_a_chain_with_reasons(steps: list[Step]) -> None:
    play = Play(AlertBook(TIGHT))
    done = _flat([play.step(step) for step in steps])
    assert len({step.id for step in done}) == len(done)
    lives: dict[str, list[Transition]] = {}
    for step in done:
        lives.setdefault(step.alert_id, []).append(step)
        assert isinstance(step.reason, Reason)
        assert step.to_state in ALLOWED[step.from_state]
    for life in lives.values():
        assert [step.sequence for step in life] == list(range(len(life)))
        assert life[0].from_state is None
        for before, after in itertools.pairwise(life):
            assert after.from_state is before.to_state
            assert after.at_ns >= before.at_ns
        assert all(step.to_state is not State.RESOLVED for step in life[:-1])
    ended = {key for key, life in lives.items() if life[-1].to_state is State.RESOLVED}
    assert {alert.id for alert in play.book.open()} == set(lives) - ended


@settings(max_examples=300, deadline=None)
@given(STEPS)
def test_missing_data_and_time_alone_never_resolve(steps: list[Step]) -> None:
    play = Play(AlertBook(TIGHT))
    for step in steps:
        result = play.step(step)
        for change in _flat([result]):
            if change.to_state is State.RESOLVED:
                assert change.reason in {Reason.RESOLVED_BY_STAFF, Reason.CLEARED, Reason.CLEARED_WHILE_PENDING}
                alert = play.book.alert(change.alert_id)
                # A clock or a detector may end only what was reported over, and never from stale.
                if alert is not None and change.reason is not Reason.RESOLVED_BY_STAFF:
                    assert not alert.active
                    assert change.from_state is not State.STALE
    firing = {alert.id for alert in play.book.open() if alert.active}
    for hours in range(1, 100):
        play.book.tick(play.now_ns + hours * 3600 * NS_PER_S)
    assert firing <= {alert.id for alert in play.book.open()}


@settings(max_examples=200, deadline=None)
@given(STEPS, st.integers(0, 60))
def test_snapshot_and_restore_go_unnoticed(steps: list[Step], cut: int) -> None:
    whole, first = Play(AlertBook(TIGHT)), Play(AlertBook(TIGHT))
    expected = [whole.step(step) for step in steps]
    head = [first.step(step) for step in steps[:cut]]
    second = Play(AlertBook(TIGHT))
    second.book.restore(first.book.snapshot())
    second.now_ns, second.count = first.now_ns, first.count
    assert head + [second.step(step) for step in steps[cut:]] == expected
    assert second.book.snapshot() == whole.book.snapshot()


@settings(max_examples=200, deadline=None)
@given(STEPS)
def test_applying_an_event_twice_changes_nothing(steps: list[Step]) -> None:
    once, twice = Play(AlertBook(TIGHT)), Play(AlertBook(TIGHT))
    for step in steps:
        assert once.step(step) == twice.step(step)
        if step[0] == "event":
            before = (twice.book.open(), twice.book.closed())
            code, subject, onset_s, phase = step[1]
            again = _event(code, subject, onset_s, phase, twice.now_ns)  # type: ignore[arg-type]
            assert twice.book.apply(again) == []
            assert (twice.book.open(), twice.book.closed()) == before


@settings(max_examples=200, deadline=None)
@given(STEPS)
def test_a_new_life_safety_onset_always_rings(steps: list[Step]) -> None:
    play = Play(AlertBook(TIGHT))
    seen: set[tuple[object, ...]] = set()
    for step in steps:
        result = play.step(step)
        if step[0] != "event" or step[1] in seen:
            continue
        seen.add(step[1])
        if step[1][3] == "onset" and DEFAULT_CODES[str(step[1][0])].life_safety:
            assert any(change.notify and change.to_state is State.FIRING for change in _flat([result]))


@settings(max_examples=200, deadline=None)
@given(STEPS)
def test_an_onset_longer_after_the_last_than_regroup_is_told_or_pending(steps: list[Step]) -> None:
    play = Play(AlertBook(TIGHT))
    last_ns: dict[tuple[str, str], int] = {}
    seen: set[tuple[object, ...]] = set()
    for step in steps:
        result = play.step(step)
        if step[0] != "event" or step[1] in seen:
            continue
        seen.add(step[1])
        code, subject = str(step[1][0]), str(step[1][1])
        since_ns = play.now_ns - last_ns.get((code, subject), -(2**62))
        last_ns[code, subject] = play.now_ns
        if step[1][3] == "onset" and since_ns > DEFAULT_CODES[code].regroup_s * NS_PER_S:
            assert any(change.notify or change.to_state is State.PENDING for change in _flat([result]))
