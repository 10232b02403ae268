"""The canary without Kafka: its falls are seen by the real detector, and its alarm does what it must, whatever is heard and when."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
from aiokafka.partitioner import murmur2

from alerts.events import CANARY_MISSING
from alerts.model import Action, Alert, Command, Outcome, Reason, Refusal, State, Transition
from alerts.policy import CANARY_PREFIX
from detectors.falls.params import FallParams
from engine.events import Priority, event_id
from engine.frame import NS_PER_S
from engine.registry import Assignment, Binding, RegistryData
from streams.canary.config import CLIP_S, CanaryConfig
from streams.canary.monitor import AUTHOR, CODE, FallMonitor
from streams.canary.process import Canary
from streams.canary.state_folder import SavedState, StateFolder
from streams.canary.wearers import FALL_AT_S, FallSchedule, wearers
from streams.config import ConfigError, load
from streams.kafka.config import KafkaConfig
from streams.kafka.records import CANARY, headers, parse
from streams.pipeline.assembly import Parameters
from streams.pipeline.core import Core, CoreOutput
from streams.pipeline.partition import Partition
from streams.pipeline.records import Kind
from streams.pipeline.registries import Registries

START_S = 1_760_000_400
BOUND_S = 60.0
PARTITIONS = 4


def lived(every_s: int, seconds: int, refractory_s: float) -> tuple[list[tuple[str, int]], CoreOutput]:
    """(subject, second) of the falls of four wearers, and what the real core says about them, a second's data arriving at its end."""
    worn, schedule = wearers(PARTITIONS), FallSchedule(every_s)
    registry = RegistryData(bindings=tuple(binding for wearer in worn for binding in wearer.registry().bindings))
    core = Core(Parameters(falls=FallParams(refractory_s=refractory_s)), registry)
    fallen, said = [], CoreOutput.nothing()
    for second in range(START_S, START_S + seconds):
        for wearer in worn:
            if schedule.falls(wearer.partition, second) and second - START_S >= FALL_AT_S and second < START_S + seconds - 4:
                fallen.append((wearer.subject, second))
            payload = wearer.message(second, schedule.samples(wearer.partition, second))
            said.add(core.telemetry(payload, (second + 1) * NS_PER_S))
    return fallen, said


@pytest.mark.parametrize(("every_s", "refractory_s"), [(300, 60.0), (61, 60.0), (CLIP_S + 1, 5.0)])
def test_every_simulated_fall_is_seen_two_seconds_later_and_calls_nobody(every_s: int, refractory_s: float) -> None:
    fallen, said = lived(every_s, 4 * every_s, refractory_s)
    assert said.outputs.rejects == []
    seen = {(event.subject, (event.onset_ns - NS_PER_S // 2) // NS_PER_S): event for event in said.outputs.events}
    assert len(fallen) >= 3 * PARTITIONS
    assert set(fallen) <= set(seen)
    assert {(seen[fall].arrival_ns // NS_PER_S) - fall[1] for fall in fallen} == {2}, "settled by the data of the next second"
    assert min(seen[fall].score for fall in fallen) > 0.6, "well above the limit, so that no rounding ever decides"
    assert said.transitions
    assert not any(step.notify for step, _ in said.transitions)


def test_each_partition_has_a_wearer_whose_ward_falls_on_it() -> None:
    for partitions in (1, 3, 16, 64):
        worn = wearers(partitions)
        assert [wearer.partition for wearer in worn] == list(range(partitions))
        assert [(murmur2(wearer.ward.encode()) & 0x7FFFFFFF) % partitions for wearer in worn] == list(range(partitions))
        assert len({wearer.device for wearer in worn}) == len({wearer.subject for wearer in worn}) == partitions


@pytest.mark.parametrize("owned", [range(4), range(4, 8), range(12, 16), range(16)])
def test_the_falls_of_any_worker_are_spread_over_the_time(owned: range) -> None:
    schedule = FallSchedule(300)
    fallen = sorted(second for second in range(START_S, START_S + 300) for p in owned if schedule.falls(p, second))
    assert len(fallen) == len(owned)
    gaps = [later - earlier for earlier, later in pairwise([*fallen, fallen[0] + 300])]
    assert max(gaps) - min(gaps) <= 1


def ns(second: float) -> int:
    return START_S * NS_PER_S + round(second * NS_PER_S)


def heard(monitor: FallMonitor, partition: int, fell_s: float, at_s: float, reason: Reason = Reason.ONSET) -> list[State]:
    """The fall of `fell_s` is read from the alerts topic at `at_s`; what the alarm becomes."""
    onset_ns = ns(fell_s + 0.7)
    subject = f"{CANARY_PREFIX}{partition}"
    key = event_id("falls", CODE, subject, onset_ns, "onset")
    alert = Alert(
        f"a-{key}", CODE, subject, 0, False, State.FIRING, onset_ns, ns(at_s), ns(at_s), onset_ns, ns(at_s), 1.0, {}, 0, 1, (key,), (), ()
    )
    step = Transition(f"a-{key}-0", alert.id, 0, None, State.FIRING, reason, ns(at_s), key, "", notify=False)
    changes, _ = monitor.on_alert(step, alert, ns(at_s))
    return [change.transition.to_state for change in changes]


def test_a_fall_that_comes_back_in_time_is_no_news() -> None:
    monitor = FallMonitor(wearers(PARTITIONS), BOUND_S)
    monitor.expect_fall(1, ns(0))
    assert heard(monitor, 1, 0, 3) == []
    assert monitor.tick(ns(1000)) == ([], [])
    assert monitor.missing == {}


def test_a_missed_fall_calls_once_however_long_it_lasts_and_stays_until_seen() -> None:
    monitor = FallMonitor(wearers(PARTITIONS), BOUND_S)
    calls = 0
    for turn in range(3):
        monitor.expect_fall(1, ns(turn * 300))
        assert monitor.tick(ns(turn * 300 + BOUND_S - 1)) == ([], [])
        changes, missed = monitor.tick(ns(turn * 300 + BOUND_S + 1))
        calls += len(changes)
        assert missed == [1]
    assert calls == 1
    (alarm,) = monitor.open()
    assert (alarm.code, alarm.subject, alarm.priority, alarm.values["partition"]) == (CANARY_MISSING, CANARY, Priority.HIGH, 1.0)
    assert alarm.devices == (wearers(PARTITIONS)[1].ward,)
    monitor.expect_fall(1, ns(900))
    heard(monitor, 1, 900, 903)
    assert monitor.missing == {}
    assert monitor.tick(ns(100_000)) == ([], [])
    assert [alarm.state for alarm in monitor.open()] == [State.FIRING]
    done = monitor.command(Command("c", Action.ACKNOWLEDGE, alarm.id, "li", ns(100_001)))
    assert isinstance(done, list)
    assert [step.to_state for step, _ in monitor.tick(ns(100_002))[0]] == [State.RESOLVED]
    assert monitor.open() == []


def test_a_late_answer_is_counted_and_does_not_make_well() -> None:
    monitor = FallMonitor(wearers(PARTITIONS), BOUND_S)
    monitor.expect_fall(2, ns(0))
    monitor.tick(ns(BOUND_S + 1))
    assert heard(monitor, 2, 0, BOUND_S + 5) == []
    assert set(monitor.missing) == {2}


def test_an_acknowledged_alarm_that_is_still_blind_stays_open() -> None:
    monitor = FallMonitor(wearers(PARTITIONS), BOUND_S)
    monitor.expect_fall(0, ns(0))
    ((_, alarm),) = monitor.tick(ns(BOUND_S + 1))[0]
    monitor.command(Command("c", Action.ACKNOWLEDGE, alarm.id, "li", ns(100)))
    assert monitor.tick(ns(50_000)) == ([], [])
    assert [alarm.state for alarm in monitor.open()] == [State.ACKNOWLEDGED]
    assert monitor.missing_wards == {wearers(PARTITIONS)[0].ward: ns(0)}


def test_others_alerts_and_commands_are_none_of_its_business() -> None:
    monitor = FallMonitor(wearers(PARTITIONS), BOUND_S)
    monitor.expect_fall(0, ns(0))
    heard(monitor, PARTITIONS + 3, 0, 3)
    heard(monitor, 0, 200, 203)
    heard(monitor, 0, 0, 3, Reason.RESOLVED_BY_STAFF)
    assert monitor.command(Command("c", Action.ACKNOWLEDGE, "a-other", "li", ns(4))) is None
    assert monitor.tick(ns(BOUND_S + 1))[1] == [0]
    ((alarm),) = monitor.open()
    assert isinstance(monitor.command(Command("d", Action.ACKNOWLEDGE, alarm.id, "", ns(70))), Refusal), (
        "nobody acknowledges without a name"
    )


def test_falls_under_way_are_forgotten_when_the_canary_itself_was_held_up() -> None:
    monitor = FallMonitor(wearers(PARTITIONS), BOUND_S)
    monitor.expect_fall(0, ns(0))
    monitor.cancel_expected()
    assert monitor.tick(ns(1000)) == ([], [])


def test_the_alarm_survives_a_restart_and_is_told_again_under_the_same_ids(tmp_path: Path) -> None:
    monitor, folder = FallMonitor(wearers(PARTITIONS), BOUND_S), StateFolder(tmp_path / "canary")
    monitor.expect_fall(3, ns(0))
    changes, _ = monitor.tick(ns(BOUND_S + 1))
    folder.save(SavedState(monitor.snapshot(), {"alerts": {0: 7}}))
    saved = StateFolder(tmp_path / "canary").load()
    assert saved is not None
    assert saved.positions == {"alerts": {0: 7}}
    again = FallMonitor(wearers(PARTITIONS), BOUND_S)
    again.restore(saved.monitor)
    assert [step.id for step, _ in again.alarm_history()] == [step.id for step, _ in changes]
    assert again.missing == monitor.missing
    again.expect_fall(3, ns(300))
    assert again.tick(ns(300 + BOUND_S + 1)) == ([], [3]), "still the same alarm"
    with pytest.raises(ValueError, match="delete the file"):
        again.restore(msgspec.msgpack.encode((99, b"", {})))


def test_the_inbox_gives_commands_in_order_and_says_what_is_none(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path)
    first = Command("one", Action.ACKNOWLEDGE, "a-1", "li", 0)
    folder.leave_command(first)
    (tmp_path / "commands" / "two.json").write_bytes(b"{nonsense")
    assert [command for _, command in folder.left_commands()] == [first, None]


def test_its_fall_is_closed_and_not_audited() -> None:
    monitor, (wearer, *_) = FallMonitor(wearers(1), BOUND_S), wearers(1)
    part = Partition(0, registries=Registries({wearer.ward: wearer.registry()}))
    schedule = FallSchedule(61)
    opened: list[tuple[str, Command]] = []
    for offset, second in enumerate(range(START_S, START_S + 70)):
        stamp_ns = (second + 1) * NS_PER_S
        record = parse(offset, stamp_ns, wearer.ward.encode(), wearer.message(second, schedule.samples(0, second)), headers())
        for item in part.apply(record).items:
            change = item.body
            if hasattr(change, "transition") and (closing := monitor.closing_command(change.transition, change.alert)) is not None:
                opened.append(closing)
    assert opened
    for offset, (ward, command) in enumerate(opened, start=70):
        assert (ward, command.by, command.outcome) == (wearer.ward, AUTHOR, Outcome.TEST)
        given = headers(kind=Kind.COMMAND)
        items = part.apply(parse(offset, (START_S + 80) * NS_PER_S, ward.encode(), msgspec.json.encode(command), given)).items
        assert [item.kind.value for item in items] == ["alert"], "closed, and nobody did anything to anybody"
    assert part.core.book.open() == []


@pytest.mark.parametrize(
    "data",
    [
        RegistryData(bindings=(Binding("wb-1", f"{CANARY_PREFIX}1", "home/ward-1"),)),
        RegistryData(assignments=(Assignment(f"{CANARY_PREFIX}1", "bed/1"),)),
    ],
)
def test_no_device_of_a_person_can_be_bound_to_a_canary(data: RegistryData) -> None:
    with pytest.raises(ValueError, match="call nobody"):
        Core().set_registry(data, START_S * NS_PER_S)


def test_a_fall_within_the_detectors_refractory_time_cannot_be_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "vigil.toml"
    path.write_text("[canary]\nevery_s = 60\n")
    with pytest.raises(ConfigError, match="refractory_s"):
        load(path)


def test_events_of_the_alarm_have_the_ids_of_their_facts() -> None:
    one, two = (FallMonitor(wearers(PARTITIONS), BOUND_S) for _ in range(2))
    ids = []
    for monitor, looked_s in ((one, BOUND_S + 1), (two, BOUND_S + 9)):
        monitor.expect_fall(0, ns(0))
        ids.append([step.id for step, _ in monitor.tick(ns(looked_s))[0]])
    assert ids[0] == ids[1] != []


@pytest.mark.parametrize("value", [b"", b"no command", b'{"id":"\xff"}', b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"])
def test_what_is_no_command_and_no_alert_does_not_end_the_canary(value: bytes, tmp_path: Path) -> None:
    canary = Canary(KafkaConfig(partitions=1), CanaryConfig(folder=tmp_path), [])

    async def spoken_to() -> None:
        await canary._on_command(SimpleNamespace(value=value, timestamp=0))
        await canary._on_alert(value)

    asyncio.run(spoken_to())
    assert canary._monitor.open() == []
    assert not canary._outbox
