"""A registry.json becomes one record for each ward, and nothing of it is lost on the way."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import structlog

from engine.registry import Assignment, Binding, CareSetting, Place, RegistryData
from streams.kafka import topics
from streams.kafka.registry_reader import REFUSED, RegistryRecord, apply_record
from streams.kafka.registry_topic import refusal_reason, select_wards, shared_subjects, split_by_ward
from streams.pipeline.registries import Registries, usable

EAST, WEST = "home/east", "home/west"
DATA = RegistryData(
    bindings=(Binding("wb-1", "resident/r-1", EAST), Binding("mat-1", "bed/1-A", EAST), Binding("wb-2", "resident/r-2", WEST)),
    assignments=(Assignment("resident/r-1", "bed/1-A"), Assignment("resident/r-2", "bed/2-A")),
    places=(Place("bed/1-A", "room/1", EAST), Place("resident/r-2", "room/2", WEST)),
    care=(CareSetting("resident/r-2", "heart", "rate_bpm_max", 130.0),),
)


def test_each_ward_has_its_own_part_and_nothing_is_lost() -> None:
    parts = split_by_ward(DATA)
    assert list(parts) == [EAST, WEST]
    assert [b.device for b in parts[EAST].bindings] == ["wb-1", "mat-1"]
    assert parts[EAST].assignments == DATA.assignments[:1]
    assert parts[WEST].assignments == DATA.assignments[1:]  # nobody says where that bed stands: its resident does
    assert parts[WEST].care == DATA.care
    assert parts[EAST].places + parts[WEST].places == DATA.places


def test_the_examples_of_one_ward_stay_whole() -> None:
    data = msgspec.json.decode((Path(__file__).parents[2] / "examples/fall.vigil/registry.json").read_bytes(), type=RegistryData)
    assert split_by_ward(data) == {"demo/ward-1": data}


@pytest.mark.parametrize(
    ("more", "lost"),
    [
        (RegistryData(places=(Place("room/9", "room/9", "home/north"),)), "room/9"),
        (RegistryData(assignments=(Assignment("resident/r-9", "bed/9-A"),)), "bed/9-A"),
        (RegistryData(care=(CareSetting("resident/r-9", "heart", "rate_bpm_max", 130.0),)), "resident/r-9"),
    ],
)
def test_what_belongs_to_no_ward_is_named(more: RegistryData, lost: str) -> None:
    with pytest.raises(ValueError, match=lost):
        split_by_ward(msgspec.structs.replace(more, bindings=DATA.bindings))


@pytest.mark.parametrize("ward", ["", "vigil/canary-3"])
def test_a_binding_names_a_ward_of_people(ward: str) -> None:
    with pytest.raises(ValueError, match="device wb-9"):
        split_by_ward(RegistryData(bindings=(Binding("wb-9", "resident/r-9", ward),)))


def test_wards_can_be_chosen_and_a_wrong_name_is_told() -> None:
    parts = split_by_ward(DATA)
    assert select_wards(parts, ()) == parts
    assert list(select_wards(parts, [WEST])) == [WEST]
    with pytest.raises(ValueError, match="home/wset, only in home/east, home/west"):
        select_wards(parts, ["home/wset"])


def test_what_the_worker_would_refuse_is_refused_before_it_is_sent() -> None:
    number = topics.partition_of(EAST, 4)
    now = [Registries() for _ in range(4)]
    assert refusal_reason(split_by_ward(DATA), now, None, None) is None
    neighbour = RegistryData(bindings=(Binding("wb-1", "resident/r-7", "home/other"),))
    now[number] = now[number].changed("home/other", msgspec.json.encode(neighbour), 0)
    why = refusal_reason(split_by_ward(DATA), now, None, None)
    assert why is not None
    assert "device wb-1 is bound twice" in why
    assert refusal_reason({"home/other": neighbour}, now, None, None) is None  # replaces what was said of it


def test_one_pseudonym_in_two_wards_at_one_time_is_told() -> None:
    now = [Registries({"home/other": RegistryData(bindings=(Binding("wb-8", "resident/r-1", "home/other", to_ns=100),))})]
    assert shared_subjects(split_by_ward(DATA), now) == ["resident/r-1 (home/east, home/other)"]
    later = RegistryData(bindings=(Binding("wb-1", "resident/r-1", EAST, from_ns=100),))
    assert shared_subjects(split_by_ward(later), now) == []  # moved
    assert shared_subjects(split_by_ward(DATA), [Registries({EAST: DATA})]) == []  # what the ward itself said before


REFUSED_VALUES = [b"no registry", b'{"bindings":"\xff"}', b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"]


@pytest.mark.parametrize("value", REFUSED_VALUES, ids=["no JSON", "no text", "too deep"])
def test_a_record_that_is_no_registry_leaves_the_old_one_in_force_and_is_logged(value: bytes) -> None:
    before = Registries({EAST: DATA}, 7)
    with structlog.testing.capture_logs() as lines:
        after = apply_record(before, RegistryRecord(3, 7, EAST, value))
    assert (after.wards, after.next_offset) == ({EAST: DATA}, 8)
    assert [(line["event"], line["ward"], line["partition"], line["offset"]) for line in lines] == [(REFUSED, EAST, 3, 7)]


def test_a_record_that_the_core_refuses_leaves_the_old_one_in_force() -> None:
    before = Registries({EAST: DATA}, 7)
    twice = RegistryData(bindings=(Binding("wb-1", "resident/r-7", "home/other"),))
    record = RegistryRecord(3, 7, "home/other", msgspec.json.encode(twice))
    assert apply_record(before, record, lambda all_: usable(all_, None, None)).wards == {EAST: DATA}
    assert apply_record(before, record).wards.keys() == {EAST, "home/other"}  # nobody asked the core


def test_an_empty_record_withdraws_its_ward() -> None:
    assert apply_record(Registries({EAST: DATA}, 7), RegistryRecord(3, 9, EAST, b"")).wards == {}
