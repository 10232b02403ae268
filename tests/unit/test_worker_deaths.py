"""What is remembered of records on which workers died."""

from __future__ import annotations

import msgspec

from streams.storage.crash_log import LIVES_MAX, REMEMBERED_MAX, Deaths, read, written


def test_a_life_that_comes_no_further_is_counted_and_the_third_is_careful() -> None:
    deaths = Deaths()
    for _ in range(LIVES_MAX):
        deaths = deaths.begun(100)
        assert not deaths.careful
    assert deaths.begun(100).careful
    assert not deaths.begun(101).careful
    assert not deaths.saved(101).begun(101).careful


def test_whoever_is_gone_died_on_what_it_was_trying() -> None:
    deaths = Deaths(100, 3).about_to(120).begun(100)
    assert (deaths.crashes(120), deaths.trying, deaths.lives) == (1, -1, 4)
    assert deaths.about_to(130).begun(100).died == {120: 1, 130: 1}
    assert deaths.about_to(120).begun(121).died == {}, "a snapshot is behind it"


def test_an_exception_is_counted_once_though_the_record_was_being_tried() -> None:
    deaths = Deaths(100, 3).about_to(120).on(120).begun(100)
    assert deaths.died == {120: 1}


def test_one_record_is_not_forgotten_over_another() -> None:
    assert Deaths(100, 1).on(120).on(121).on(120).died == {120: 2, 121: 1}
    assert Deaths(100, 1).on(120).on(130).saved(125).died == {130: 1}


def test_notes_are_bounded_and_come_back() -> None:
    deaths = Deaths(0, 1)
    for offset in range(2 * REMEMBERED_MAX):
        deaths = deaths.on(offset)
    assert len(deaths.died) == REMEMBERED_MAX
    assert read(written(deaths), 0) == deaths
    assert written(Deaths(5)) is None
    assert read(None, 0) == Deaths()


def test_a_note_nobody_can_read_keeps_nobody_down() -> None:
    assert read('{"died": {"9": ', 3) == Deaths()


def test_a_record_that_was_taken_is_not_blamed() -> None:
    assert Deaths(100, 3).about_to(120).done().begun(100).died == {}


def test_a_note_of_the_version_before_counts() -> None:
    assert read('{"offset": 7, "crashes": 2, "why": "SystemError"}', 3) == Deaths(died={7: 2})


def test_the_version_before_reads_that_nothing_has_died() -> None:
    text = written(Deaths(100, 1).on(120))
    assert text is not None
    assert msgspec.json.decode(text, type=Before) == Before(-1, 0, "")


class Before(msgspec.Struct):
    """What that version reads; it ends itself when a field is not there."""

    offset: int
    crashes: int
    why: str
