"""The alert state machine, one story a test."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from alerts.book import AlertBook
from alerts.events import CANARY_MISSING
from alerts.model import Action, Alert, Command, Outcome, Reason, Refusal, RefusalReason, State, Transition
from alerts.policy import CANARY_PREFIX, CodePolicy
from alerts.texts import LANGUAGES, STATE_NAMES
from engine.events import Ends, Event, Phase, Priority, event_id
from engine.frame import NS_PER_S
from engine.kinds import SOURCES
from streams.pipeline.assembly import DEFAULT_CODES, TEXTS
from streams.pipeline.assembly import HomePolicy as Policy

T0_NS = 1_760_000_000 * NS_PER_S
text = TEXTS.of


def event(
    code: str, onset_s: float, phase: Phase = "onset", *, at_s: float | None = None, subject: str = "resident/r-1", device: str = ""
) -> Event:
    onset_ns = T0_NS + round(onset_s * NS_PER_S)
    at_ns = T0_NS + round((onset_s if at_s is None else at_s) * NS_PER_S)
    detector = code.partition(".")[0]
    key = event_id(detector, code, subject, onset_ns, phase, device)
    return Event(key, detector, code, subject, phase, Priority.MEDIUM, onset_ns, at_ns, at_ns, 1.0, {"x": onset_s}, device)


def say(alert: Alert, action: Action, at_s: float, *, by: str = "n-7", outcome: Outcome | None = None, key: str = "") -> Command:
    return Command(key or f"{action}-{at_s}-{by}", action, alert.id, by, T0_NS + round(at_s * NS_PER_S), outcome, "")


def tick(book: AlertBook, at_s: float) -> list[Transition]:
    return book.tick(T0_NS + round(at_s * NS_PER_S))


def accepted(result: list[Transition] | Refusal) -> list[Transition]:
    assert isinstance(result, list), result
    return result


def refused(result: list[Transition] | Refusal) -> RefusalReason:
    assert isinstance(result, Refusal), result
    assert result.detail
    return result.reason


def test_a_fall_fires_at_once_and_only_staff_end_it() -> None:
    book = AlertBook(Policy())
    (step,) = book.apply(event("falls.fall", 0, at_s=3))
    assert (step.from_state, step.to_state, step.reason, step.notify) == (None, State.FIRING, Reason.ONSET, True)
    (alert,) = book.open()
    assert (alert.onset_ns, alert.arrival_ns) == (T0_NS, T0_NS + 3 * NS_PER_S)
    assert alert.priority == Priority.HIGH
    assert tick(book, 86_400) == []
    accepted(book.command(say(alert, Action.ACKNOWLEDGE, 100_000)))
    accepted(book.command(say(alert, Action.ATTEND, 100_060)))
    (done,) = accepted(book.command(say(alert, Action.RESOLVE, 100_300, outcome=Outcome.TRUE)))
    assert (done.from_state, done.to_state, done.by, done.outcome) == (State.ACKNOWLEDGED, State.RESOLVED, "n-7", Outcome.TRUE)
    closed = book.alert(alert.id)
    assert closed is not None
    assert [s.sequence for s in closed.history] == [0, 1, 2, 3]
    assert book.open() == []


def test_a_second_fall_rings_again_although_the_first_is_acknowledged() -> None:
    book = AlertBook(Policy())
    book.apply(event("falls.fall", 0))
    accepted(book.command(say(book.open()[0], Action.ACKNOWLEDGE, 10)))
    (step,) = book.apply(event("falls.fall", 60))
    assert (step.from_state, step.to_state, step.reason, step.notify) == (State.ACKNOWLEDGED, State.FIRING, Reason.REPEATED, True)
    (alert,) = book.open()
    assert alert.repeats == 1
    assert len(alert.event_ids) == 2


@pytest.mark.parametrize("code", ["heart.respiration_high", "pressure_injury.turn_overdue", "device.silent"])
def test_a_condition_whose_end_was_never_reported_does_not_swallow_the_next(code: str) -> None:
    book = AlertBook(Policy())
    regroup_s = DEFAULT_CODES[code].regroup_s
    book.apply(event(code, 0))
    tick(book, DEFAULT_CODES[code].pending_s)
    accepted(book.command(say(book.open()[0], Action.ACKNOWLEDGE, 60)))
    (echo,) = book.apply(event(code, regroup_s))
    assert (echo.reason, echo.to_state, echo.notify) == (Reason.REPEATED, State.ACKNOWLEDGED, False)
    (step,) = book.apply(event(code, 2 * regroup_s + 1))
    assert (step.from_state, step.to_state, step.reason, step.notify) == (State.ACKNOWLEDGED, State.FIRING, Reason.REPEATED, True)
    (alert,) = book.open()
    assert (alert.repeats, alert.acknowledged) == (2, False)
    (step,) = accepted(book.command(say(alert, Action.ACKNOWLEDGE, 2 * regroup_s + 60)))
    assert step.reason == Reason.ACKNOWLEDGED_BY_STAFF


def test_a_repeat_long_after_rings_also_when_the_data_was_missing_meanwhile() -> None:
    book = AlertBook(Policy())
    book.apply(event("pressure_injury.turn_overdue", 0))
    accepted(book.command(say(book.open()[0], Action.ACKNOWLEDGE, 60)))
    book.apply(event("device.silent", 100))
    steps = book.apply(event("pressure_injury.turn_overdue", 7200))
    assert [(s.reason, s.to_state, s.notify) for s in steps] == [
        (Reason.DATA_RETURNED, State.ACKNOWLEDGED, True),
        (Reason.REPEATED, State.FIRING, True),
    ]


def test_a_fall_long_after_is_an_alert_of_its_own_up_to_the_bound() -> None:
    book = AlertBook(Policy(open_per_condition_max=2))
    for onset_s in (0, 1000, 2000):
        book.apply(event("falls.fall", onset_s))
    assert sorted(alert.repeats for alert in book.open()) == [0, 1]
    assert book.counters.joined_at_bound == 1


def test_the_same_event_twice_changes_nothing() -> None:
    book = AlertBook(Policy())
    book.apply(event("falls.fall", 0))
    before = book.open()
    assert book.apply(event("falls.fall", 0, at_s=5)) == []
    assert book.open() == before
    assert book.counters.duplicates == 1


def test_a_pending_condition_calls_only_when_it_holds() -> None:
    book = AlertBook(Policy())
    (step,) = book.apply(event("heart.atrial_fibrillation", 0))
    assert (step.to_state, step.notify) == (State.PENDING, False)
    assert tick(book, 29) == []
    (step,) = tick(book, 30)
    assert (step.to_state, step.reason, step.notify) == (State.FIRING, Reason.HELD, True)

    short = AlertBook(Policy())
    short.apply(event("heart.atrial_fibrillation", 0))
    (step,) = short.apply(event("heart.atrial_fibrillation", 0, "clear", at_s=10))
    assert (step.to_state, step.reason, step.notify) == (State.RESOLVED, Reason.CLEARED_WHILE_PENDING, False)
    assert tick(short, 100) == []


def test_a_condition_that_flaps_is_one_alert() -> None:
    book = AlertBook(Policy())
    book.apply(event("fire.prewarning", 0, subject="room/1"))
    (step,) = book.apply(event("fire.prewarning", 0, "clear", at_s=10, subject="room/1"))
    assert step.reason == Reason.CONDITION_CLEARED
    (step,) = book.apply(event("fire.prewarning", 60, subject="room/1"))
    assert (step.reason, step.to_state) == (Reason.REPEATED, State.FIRING)
    assert tick(book, 1000) == []  # the hold time of the first clear is void
    book.apply(event("fire.prewarning", 60, "clear", at_s=1000, subject="room/1"))
    assert tick(book, 1119) == []
    (step,) = tick(book, 1120)
    assert (step.to_state, step.reason) == (State.RESOLVED, Reason.CLEARED)


def test_a_latched_condition_waits_to_be_seen() -> None:
    book = AlertBook(Policy())
    book.apply(event("heart.asystole", 0))
    book.apply(event("heart.asystole", 0, "clear", at_s=8))
    assert tick(book, 10_000) == []
    accepted(book.command(say(book.open()[0], Action.ACKNOWLEDGE, 10_000)))
    assert tick(book, 10_029) == []
    (step,) = tick(book, 10_030)
    assert step.reason == Reason.CLEARED


def test_missing_data_makes_stale_and_never_resolves() -> None:
    book = AlertBook(Policy())
    book.apply(event("pressure_injury.turn_overdue", 0))
    book.apply(event("pressure_injury.turn_overdue", 0, "clear", at_s=100))  # hold time runs
    steps = book.apply(event("device.silent", 120))
    assert [(s.to_state, s.reason) for s in steps] == [(State.FIRING, Reason.ONSET), (State.STALE, Reason.DATA_MISSING)]
    assert steps[1].notify
    assert tick(book, 90_000) == []
    steps = book.apply(event("device.silent", 120, "clear", at_s=90_000))
    assert [(s.to_state, s.reason) for s in steps] == [(State.RESOLVED, Reason.CLEARED), (State.FIRING, Reason.DATA_RETURNED)]
    (step,) = tick(book, 90_060)
    assert step.reason == Reason.CLEARED


def test_a_fall_stays_firing_when_the_wearable_dies() -> None:
    book = AlertBook(Policy())
    book.apply(event("falls.fall", 0))
    (step,) = book.apply(event("device.silent", 60))
    assert step.reason == Reason.ONSET
    assert {alert.state for alert in book.open()} == {State.FIRING}


def test_stale_lasts_until_every_device_that_matters_speaks() -> None:
    book = AlertBook(Policy())
    book.apply(event("heart.bradycardia", 0))
    for device, at_s in (("patch:ecg", 10), ("mat:vitals", 10), ("mat:bed", 20)):
        book.apply(event("device.silent", at_s, device=device))
    silent = book.open()[-1]
    assert (silent.repeats, silent.devices) == (2, ("mat:bed", "mat:vitals", "patch:ecg"))
    book.apply(event("device.silent", 10, "clear", at_s=30, device="mat:vitals"))
    assert book.open()[0].state is State.STALE
    book.apply(event("device.silent", 10, "clear", at_s=40, device="patch:ecg"))  # the bed does not measure the heart
    assert book.open()[0].state is State.FIRING
    assert book.open()[-1].devices == ("mat:bed",)


def test_silence_of_a_device_that_measures_something_else_leaves_an_alert_alone() -> None:
    book = AlertBook(Policy())
    book.apply(event("heart.bradycardia", 0))
    assert len(book.apply(event("device.silent", 10, device="door-1:door"))) == 1
    assert book.open()[0].state is State.FIRING


def test_an_alert_can_be_acknowledged_while_stale() -> None:
    book = AlertBook(Policy())
    book.apply(event("heart.bradycardia", 0))
    book.apply(event("device.silent", 10))
    alert = book.open()[0]
    (step,) = accepted(book.command(say(alert, Action.ACKNOWLEDGE, 20)))
    assert (step.to_state, book.open()[0].acknowledged) == (State.STALE, True)
    book.apply(event("device.silent", 10, "clear", at_s=30))
    assert book.open()[0].state is State.ACKNOWLEDGED


def test_new_data_of_its_own_detector_ends_stale() -> None:
    book = AlertBook(Policy())
    book.apply(event("heart.bradycardia", 0))
    book.apply(event("device.silent", 10))
    steps = book.apply(event("heart.bradycardia", 50))
    assert [s.reason for s in steps] == [Reason.DATA_RETURNED, Reason.REPEATED]


def test_refusals_are_values() -> None:
    book = AlertBook(Policy())
    book.apply(event("heart.asystole", 0))
    alert = book.open()[0]
    ghost = say(alert, Action.ACKNOWLEDGE, 1)
    assert refused(book.command(Command("g", Action.ACKNOWLEDGE, "a-nothing", "n-7", ghost.at_ns))) == RefusalReason.UNKNOWN_ALERT
    assert refused(book.command(say(alert, Action.ACKNOWLEDGE, 1, by=""))) == RefusalReason.NO_AUTHOR
    assert refused(book.command(say(alert, Action.RESOLVE, 1))) == RefusalReason.NO_OUTCOME
    assert refused(book.command(say(alert, Action.RESOLVE, 1, outcome=Outcome.TRUE))) == RefusalReason.STILL_PRESENT
    accepted(book.command(ghost))
    assert accepted(book.command(ghost)) == []  # the same command, delivered twice
    assert refused(book.command(say(alert, Action.ACKNOWLEDGE, 2, by="n-8"))) == RefusalReason.ALREADY
    accepted(book.command(say(alert, Action.RESOLVE, 3, outcome=Outcome.FALSE)))
    assert refused(book.command(say(alert, Action.ATTEND, 4))) == RefusalReason.CLOSED
    book.apply(event("heart.atrial_fibrillation", 10))
    assert refused(book.command(say(book.open()[0], Action.ACKNOWLEDGE, 11))) == RefusalReason.PENDING
    assert book.counters.refusals == 7


def test_history_is_bounded_and_keeps_what_people_did() -> None:
    book = AlertBook(Policy(history_max=10, event_ids_max=4, active_max=3))
    book.apply(event("falls.fall", 0))
    accepted(book.command(say(book.open()[0], Action.ACKNOWLEDGE, 1)))
    for second in range(2, 40):
        book.apply(event("falls.fall", second))
    (alert,) = book.open()
    assert alert.repeats == 38
    assert len(alert.history) == 10
    assert alert.history_dropped == 30
    assert [s.reason for s in alert.history[:2]] == [Reason.ONSET, Reason.ACKNOWLEDGED_BY_STAFF]
    assert len(alert.active) <= 4
    assert book.counters.onsets_untracked == 36


def test_an_alert_with_untracked_onsets_is_not_cleared_by_a_detector() -> None:
    book = AlertBook(Policy(active_max=1, codes={"fire.prewarning": CodePolicy(priority=Priority.LOW, hold_s=0)}))
    for second in range(3):
        book.apply(event("fire.prewarning", second))
    for second in range(3):
        book.apply(event("fire.prewarning", second, "clear", at_s=10))
    assert book.open()[0].state is State.FIRING


def test_closed_alerts_are_what_is_shed() -> None:
    book = AlertBook(Policy(closed_max=2))
    for index in range(4):
        book.apply(event("falls.fall", index, subject=f"resident/{index}"))
    for alert in book.open():
        accepted(book.command(say(alert, Action.RESOLVE, 10, outcome=Outcome.TEST, key=alert.id)))
    assert len(book.closed()) == 2
    assert book.counters.closed_dropped == 2


def test_an_unknown_code_still_calls_somebody() -> None:
    book = AlertBook(Policy())
    (step,) = book.apply(event("gas.leak", 0))
    assert step.to_state is State.FIRING
    assert book.counters.unknown_codes == 1
    assert "gas.leak" in text("gas.leak", "en").title


def test_restore_refuses_what_is_no_snapshot() -> None:
    with pytest.raises(ValueError, match="no alert book snapshot"):
        AlertBook(Policy()).restore(b"\x00garbage")


def test_a_life_safety_code_cannot_be_delayed() -> None:
    with pytest.raises(ValidationError, match="must be 0"):
        CodePolicy(priority=Priority.HIGH, life_safety=True, pending_s=1)


def test_a_home_that_changes_one_code_keeps_the_others() -> None:
    own = CodePolicy(priority=Priority.LOW, ends=Ends.STAFF)
    policy = Policy(codes={"fire.prewarning": own})
    assert policy.of("fire.prewarning") == own
    assert policy.of("falls.fall") == DEFAULT_CODES["falls.fall"]
    assert Policy.model_validate(policy.model_dump()) == policy
    assert Policy().codes == DEFAULT_CODES


def contract_codes() -> dict[str, str]:
    page = (Path(__file__).resolve().parents[2] / "docs" / "contracts.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([a-z_0-9., ]+) \| ([a-z ]+) \| (staff|detector|engine|canary) \|$", page, re.MULTILINE)
    return {code.strip(): cleared for codes, _, cleared in rows for code in codes.split(",")}


def test_every_code_of_the_contract_has_a_policy_and_texts_in_both_languages() -> None:
    codes = contract_codes()
    assert len(codes) > 20
    assert set(DEFAULT_CODES) == set(codes)
    assert set(TEXTS) == set(codes)
    for code, cleared in codes.items():
        assert (DEFAULT_CODES[code].ends is Ends.STAFF) == (cleared == "staff"), code
        for language in LANGUAGES:
            title, action = text(code, language)
            assert title
            assert len(action) > 10
        assert re.search(r"[\u4e00-\u9fff]", text(code, "zh-CN").title)
        assert re.fullmatch(r"[\x20-\x7e]+", text(code, "en").what_to_do)
        assert (DEFAULT_CODES[code].data_kinds or frozenset()) <= SOURCES, code
    assert set(STATE_NAMES) == {state.value for state in State}


def test_one_setting_of_a_code_leaves_the_others_at_their_default() -> None:
    rules = Policy.model_validate({"codes": {"falls.fall": {"regroup_s": 60.0}}}).of("falls.fall")
    assert rules == DEFAULT_CODES["falls.fall"].model_copy(update={"regroup_s": 60.0})
    assert rules.life_safety


def test_a_canary_takes_the_whole_way_and_calls_nobody() -> None:
    book = AlertBook(Policy())
    canary = f"{CANARY_PREFIX}3"
    (began,) = book.apply(event("falls.fall", 0, subject=canary))
    (again,) = book.apply(event("falls.fall", 4000, subject=canary))
    (person,) = book.apply(event("falls.fall", 4000))
    assert [began.to_state, began.notify, again.to_state, again.notify] == [State.FIRING, False, State.FIRING, False]
    assert began.alert_id != again.alert_id
    opened = {alert.subject: alert for alert in book.open()}
    assert (opened[canary].priority, opened[canary].life_safety) == (Priority.INFORMATION, False)
    assert person.notify
    assert (opened["resident/r-1"].priority, opened["resident/r-1"].life_safety) == (Priority.HIGH, True)
    (silent,) = book.apply(event("device.silent", 5000, subject=canary, device="vigil-canary-3:accel"))
    assert not silent.notify
    closed = book.command(say(opened[canary], Action.RESOLVE, 5001, by="canary", outcome=Outcome.TEST))
    assert isinstance(closed, list)
    assert [(t.to_state, t.notify) for t in closed] == [(State.RESOLVED, False)]


def test_a_missed_canary_stays_until_it_sings_again_and_a_person_has_seen_it() -> None:
    book = AlertBook(Policy())
    (began,) = book.apply(event(CANARY_MISSING, 0, subject="vigil/canary", device="3"))
    assert began.notify
    (next_one,) = book.apply(event(CANARY_MISSING, 60, subject="vigil/canary", device="4"))
    (much_later,) = book.apply(event(CANARY_MISSING, 400, subject="vigil/canary", device="5"))
    assert (next_one.notify, much_later.notify) == (False, True)
    (alert,) = book.open()
    assert alert.devices == ("3", "4", "5")
    for device, onset_s in (("3", 0), ("4", 60), ("5", 400)):
        (step,) = book.apply(event(CANARY_MISSING, onset_s, "clear", subject="vigil/canary", device=device, at_s=500 + onset_s))
        assert (step.to_state, step.notify) == (State.FIRING, False)
    assert tick(book, 90_000) == []
    book.command(say(alert, Action.ACKNOWLEDGE, 90_001))
    (over,) = tick(book, 90_002)
    assert over.to_state is State.RESOLVED


def test_a_channel_without_data_makes_only_what_rests_on_it_stale() -> None:
    book = AlertBook(Policy())
    for code in ("heart.spo2_low", "heart.bradycardia", "falls.fall"):
        book.apply(event(code, 0))
    at_ns = T0_NS + 300 * NS_PER_S
    (step,) = book.data("resident/r-1", "ox:vitals.spo2_percent", at_ns, missing=True)
    assert (step.to_state, step.reason, step.notify) == (State.STALE, Reason.DATA_MISSING, True)
    book.apply(event("device.silent", 400, device="ox:vitals"))
    again = AlertBook(Policy())
    again.restore(book.snapshot())
    for one in (book, again):
        assert one.data("resident/r-1", "ox:vitals.spo2_percent", at_ns, missing=False) == []  # the device itself is silent now
        steps = one.apply(event("device.silent", 400, "clear", at_s=500, device="ox:vitals"))
        assert [s.reason for s in steps if s.to_state is not State.RESOLVED] == [Reason.DATA_RETURNED] * 2
    assert again.open() == book.open()
