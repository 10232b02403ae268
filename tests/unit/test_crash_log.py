"""What is remembered of records on which workers died."""

from __future__ import annotations

from streams.storage.crash_log import REMEMBERED_MAX, RESTARTS_MAX, CrashLog, read, written


def test_a_life_that_comes_no_further_is_counted_and_the_third_is_careful() -> None:
    crash_log = CrashLog()
    for _ in range(RESTARTS_MAX):
        crash_log = crash_log.started(100)
        assert not crash_log.notes_each_record
    assert crash_log.started(100).notes_each_record
    assert not crash_log.started(101).notes_each_record
    assert not crash_log.checkpointed(101).started(101).notes_each_record


def test_whoever_is_gone_died_on_what_it_was_trying() -> None:
    crash_log = CrashLog(100, 3).before(120).started(100)
    assert (crash_log.crashes(120), crash_log.applying, crash_log.restarts) == (1, -1, 4)
    assert crash_log.before(130).started(100).gone_at == {120: 1, 130: 1}
    assert crash_log.before(120).started(121).gone_at == {}, "a snapshot is behind it"
    twice = crash_log.before(120).started(100)
    assert not twice.is_poison(120), "somebody may have killed it twice"
    assert twice.before(120).started(100).is_poison(120)


def test_an_exception_is_counted_once_though_the_record_was_being_tried() -> None:
    crash_log = CrashLog(100, 3).before(120).crashed(120).started(100)
    assert (crash_log.crashes_at, crash_log.gone_at) == ({120: 1}, {})
    assert crash_log.crashed(120).is_poison(120)


def test_one_record_is_not_forgotten_over_another() -> None:
    assert CrashLog(100, 1).crashed(120).crashed(121).crashed(120).crashes_at == {120: 2, 121: 1}
    assert CrashLog(100, 1).crashed(120).crashed(130).checkpointed(125).crashes_at == {130: 1}


def test_notes_are_bounded_and_come_back() -> None:
    crash_log = CrashLog(0, 1)
    for offset in range(2 * REMEMBERED_MAX):
        crash_log = crash_log.crashed(offset)
    assert len(crash_log.crashes_at) == REMEMBERED_MAX
    assert read(written(crash_log), 0) == crash_log
    assert written(CrashLog(5)) is None
    assert read(None, 0) == CrashLog()


def test_a_note_nobody_can_read_keeps_nobody_down() -> None:
    assert read('{"died": {"9": ', 3) == CrashLog()


def test_a_record_that_was_taken_is_not_blamed() -> None:
    assert CrashLog(100, 3).before(120).after().started(100).gone_at == {}


def test_a_note_of_the_version_before_counts() -> None:
    assert read('{"from_offset": 5, "lives": 2, "died": {"7": 2}, "trying": 9}', 3) == CrashLog(5, 2, {7: 2}, {}, 9)
