"""One dispatcher behind run, worker and replay: they agree byte for byte, and what is changed in it is seen in all three."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from engine.events import Event
from sinks.delivery import Delivery
from sinks.items import Item, ItemKind
from sinks.jsonl import JsonlConfig, JsonlSink
from streams.embedded.vigil import Vigil
from streams.kafka.config import KafkaConfig
from streams.kafka.records import NS_PER_MS
from streams.pipeline.assembly import HomePolicy
from streams.pipeline.partition import Applied, Partition
from streams.pipeline.records import Input, Kind
from streams.pipeline.registries import Registries
from streams.pipeline.registry_change import RegistryChange
from streams.recordings.format import read
from streams.recordings.replay import replay
from streams.recordings.scorecard import evaluate
from streams.storage.snapshots import DirectoryStore
from streams.worker.assigned_partition import AssignedPartition
from streams.worker.outbox import Outbox
from streams.worker.owner import Owner

TURN = "pressure_injury.turn_overdue"
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
NAMES = ("fall", "sos", "bad-network", "spo2-low")


def by_replay(name: str, _: Path) -> list[bytes]:
    """Through `vigil replay`."""
    return [msgspec.json.encode(event) for event in replay(read(EXAMPLES / f"{name}.vigil"), settle_s=0).events]


def by_run(name: str, folder: Path) -> list[bytes]:
    """Through the journal of `vigil run`, out of a real sink."""
    recording = read(EXAMPLES / f"{name}.vigil")
    sink = JsonlSink(JsonlConfig(path=folder / "events.jsonl", kinds=frozenset({ItemKind.EVENT})))
    heard: list[bytes] = []
    vigil = Vigil(
        folder / "data",
        deliveries=[Delivery(sink, folder / "spool")],
        live=False,
        listeners=[lambda output: heard.extend(msgspec.json.encode(event) for event in output.outputs.events)],
    )
    vigil.start()
    vigil.change_registry(RegistryChange("first", "replace", "test", recording.registry)).result(60)
    for record in recording.records:
        vigil.telemetry(record.payload, record.arrival_ns).result(60)
    assert vigil.drain(120)
    error = vigil.error
    vigil.stop()
    if error is not None:
        raise error
    return heard


class Gathering(Outbox):
    """Keeps the items instead of a producer."""

    def __init__(self) -> None:
        super().__init__(None, "", 0)
        self.items: list[Item] = []

    def put(self, items: Any) -> None:
        self.items += items

    async def pump(self) -> None:
        """Nothing is ready: nothing was put."""


def by_worker(name: str, folder: Path) -> list[bytes]:
    """Through the worker's owner, record by record as Kafka gives them."""

    async def life() -> list[bytes]:
        recording = read(EXAMPLES / f"{name}.vigil")
        owner = Owner(KafkaConfig(live=False), DirectoryStore(folder / "snapshots"))
        outbox = Gathering()
        partition = Partition(0, live=False, registries=Registries({"ward": recording.registry}))
        owned = owner.owned[0] = AssignedPartition(partition, outbox, 1, None)
        for offset, record in enumerate(recording.records):
            headers = (("arrival_ns", b"%d" % record.arrival_ns),)
            message = SimpleNamespace(
                offset=offset,
                timestamp=record.arrival_ns // NS_PER_MS,
                key=b"ward",
                value=record.payload,
                headers=headers,
                partition=0,
            )
            await owner.apply(owned, message)
        return [msgspec.json.encode(item.body) for item in outbox.items if isinstance(item.body, Event)]

    return asyncio.run(life())


SHELLS: tuple[Callable[[str, Path], list[bytes]], ...] = (by_replay, by_run, by_worker)


@pytest.mark.parametrize("name", NAMES)
def test_run_worker_and_replay_agree(name: str, tmp_path: Path) -> None:
    outputs = [shell(name, tmp_path / shell.__name__) for shell in SHELLS]
    assert outputs[0], f"{name} raises nothing: nothing was compared"
    assert outputs[0] == outputs[1] == outputs[2]


@pytest.mark.parametrize("shell", SHELLS)
def test_a_mutation_of_the_dispatcher_is_seen_in_every_shell(
    shell: Callable[[str, Path], list[bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = shell("fall", tmp_path / "sound")
    real = Partition.apply

    def deaf(self: Partition, record: Input) -> Applied:
        """Telemetry is dispatched as the passing of time."""
        return real(self, record._replace(kind=Kind.TIME) if record.kind is Kind.TELEMETRY else record)

    monkeypatch.setattr(Partition, "apply", deaf)
    assert sound
    assert shell("fall", tmp_path / "deaf") == []


def test_replay_and_evaluate_apply_the_policy() -> None:
    """A turn overdue that must hold for an hour calls nobody in 36 minutes; with the default it does."""
    patient = HomePolicy.model_validate({"codes": {TURN: {"pending_s": 3600.0}}})
    recording = EXAMPLES / "turn-overdue.vigil"
    for policy, called in ((None, 1), (patient, 0)):
        done = replay(read(recording), None, policy)
        assert [event.code for event in done.events] == [TURN]
        assert len({alert.id for step, alert in done.transitions if step.notify}) == called
        rows = {row.code: row for row in evaluate([recording], None, policy).rows}
        assert rows[TURN].called == called
