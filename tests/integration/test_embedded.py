"""The embedded Vigil: what it says equals what replay says, whatever happens to the process."""

from __future__ import annotations

import asyncio
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from alerts.model import Action, Command, Outcome
from console.backend import SystemView
from engine.frame import NS_PER_S
from engine.outputs import Reason
from engine.registry import Binding, RegistryData
from schemas.recording import START_NS
from sinks.delivery import Delivery
from sinks.sqlite import SqliteConfig, SqliteReader, SqliteSink
from streams.embedded.backend import Backend
from streams.embedded.vigil import Vigil
from streams.pipeline.registry_change import RegistryChange
from streams.recordings.replay import replay
from streams.storage.crash_log import read
from streams.storage.journal_records import Topic
from tests.integration.wards import TEN_MINUTES, Stream, running, write_registry
from tests.services.receiver import Receiver, receiving

LIVES = 20
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def stream() -> Stream:
    return Stream(TEN_MINUTES)


def embedded(folder: Path, **more: object) -> Vigil:
    sink = Delivery(SqliteSink(SqliteConfig(path=folder / "vigil.db")), folder / "spool")
    return Vigil(folder, deliveries=[sink], live=False, **more)  # type: ignore[arg-type]


def test_embedded_and_replay_give_byte_identical_events(stream: Stream, tmp_path: Path) -> None:
    heard: list[bytes] = []
    steps: list[bytes] = []

    def listen(said: object) -> None:
        heard.extend(msgspec.json.encode(e) for e in said.outputs.events)  # type: ignore[attr-defined]
        steps.extend(msgspec.json.encode(t) for t, _ in said.transitions)  # type: ignore[attr-defined]

    vigil = embedded(tmp_path, listeners=[listen])
    vigil.start()
    first_ns = stream.records[0].arrival_ns
    vigil.journal.append(*_registry(stream, first_ns)).result(10)
    for record in stream.records:
        vigil.telemetry(record.payload, record.arrival_ns)
    assert vigil.drain(120)
    vigil.stop()
    expected = replay(stream.recording(), settle_s=0)
    assert len(expected.events) >= 10
    assert heard == [msgspec.json.encode(e) for e in expected.events]
    assert steps == [msgspec.json.encode(t) for t, _ in expected.transitions]
    stored = SqliteReader(tmp_path / "vigil.db").events_since(0, 10_000)[0]
    assert [msgspec.json.encode(e) for e in stored] == heard


def _registry(stream: Stream, at_ns: int) -> tuple[Topic, bytes, int]:
    return Topic.REGISTRY, msgspec.json.encode(RegistryChange("r", "replace", "test", stream.registry)), at_ns


def test_commands_are_carried_out_once_and_survive_a_restart(stream: Stream, tmp_path: Path) -> None:
    vigil = embedded(tmp_path)
    vigil.start()
    vigil.change_registry(RegistryChange("r", "replace", "test", stream.registry)).result(10)
    for record in stream.records[: len(stream.records) // 3]:
        vigil.telemetry(record.payload, record.arrival_ns)
    assert vigil.drain(120)
    (alert, *_) = vigil.core.book.open()
    at_ns = stream.records[len(stream.records) // 3].arrival_ns
    assert vigil.command(Command("c1", Action.ACKNOWLEDGE, alert.id, "li", at_ns)).result(10) is None
    assert vigil.command(Command("c2", Action.RESOLVE, alert.id, "li", at_ns + 1, Outcome.TRUE, "helped up")).result(10) is None
    refused = vigil.command(Command("c3", Action.ACKNOWLEDGE, alert.id, "li", at_ns + 2)).result(10)
    assert refused is not None
    assert refused.reason == "closed"
    vigil.stop()
    again = embedded(tmp_path)
    again.start()
    assert again.drain(30)
    assert alert.id not in {a.id for a in again.core.book.open()}
    again.stop()
    audit = SqliteReader(tmp_path / "vigil.db").audit_since(0)[0]
    assert [(a.id, a.by, a.action) for a in audit if a.action != "registry"] == [
        ("c1", "li", "acknowledge"),
        ("c2", "li", "resolve"),
        ("c3", "li", "acknowledge"),
    ]


def test_a_registry_that_contradicts_itself_is_refused_and_nothing_changes(stream: Stream, tmp_path: Path) -> None:
    vigil = embedded(tmp_path)
    vigil.start()
    vigil.change_registry(RegistryChange("r", "replace", "test", stream.registry)).result(10)
    broken = msgspec.structs.replace(stream.registry, bindings=(*stream.registry.bindings, stream.registry.bindings[0]))
    with pytest.raises(ValueError, match="bound twice"):
        vigil.change_registry(RegistryChange("r2", "replace", "test", broken)).result(10)
    assert vigil.core.engine.registry.data == stream.registry
    assert vigil.running
    vigil.stop()


def test_a_record_that_kills_the_engine_is_skipped_after_two_crashes(
    stream: Stream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from streams.pipeline.core import Core

    real = Core.telemetry

    def deadly(self: Core, payload: bytes, *more: Any) -> object:
        if payload == b"poison":
            raise SystemError("a bug nobody knows yet")
        return real(self, payload, *more)

    monkeypatch.setattr(Core, "telemetry", deadly)
    first = embedded(tmp_path)
    first.start()
    at_ns = stream.records[0].arrival_ns
    first.telemetry(b"poison", at_ns).result(10)
    first.telemetry(stream.records[0].payload, at_ns).result(10)
    for attempt in range(2):
        vigil = first if attempt == 0 else embedded(tmp_path)
        if attempt:
            vigil.start()
        vigil._thread.join(30)
        assert isinstance(vigil.error, SystemError)
        vigil.stop()
    third = embedded(tmp_path)
    third.start()
    assert third.drain(30)
    assert third.error is None
    assert third.rejected[Reason.INTERNAL][0] == 1
    third.stop()


def test_poison_records_between_two_snapshots_are_all_skipped(stream: Stream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from streams.pipeline.core import Core

    real = Core.telemetry

    def deadly(self: Core, payload: bytes, *more: Any) -> object:
        if payload.startswith(b"poison"):
            raise SystemError("a bug nobody knows yet")
        return real(self, payload, *more)

    monkeypatch.setattr(Core, "telemetry", deadly)
    at_ns = stream.records[0].arrival_ns
    lives = 0
    while True:
        vigil = embedded(tmp_path, snapshot_every_s=1000)
        vigil.start()
        if lives == 0:
            for payload in (b"poison 1", stream.records[0].payload, b"poison 2", stream.records[1].payload):
                vigil.telemetry(payload, at_ns).result(10)
        assert vigil.drain(60)
        lives += 1
        if vigil.running:
            break
        vigil.stop()
        assert lives < 6, "two poison records keep the ward down"
    assert lives == 5
    assert vigil.rejected[Reason.INTERNAL][0] == 2
    vigil.stop()


def test_an_unreadable_note_about_poison_does_not_keep_vigil_down(tmp_path: Path) -> None:
    vigil = embedded(tmp_path)
    (tmp_path / "snapshots" / str(vigil.journal.identity)).mkdir(exist_ok=True)
    vigil.snapshots.set_note(vigil.journal.identity, '{"9": ')
    vigil.stop()
    again = embedded(tmp_path)
    again.start()
    again.change_registry(RegistryChange("r", "replace", "test", RegistryData())).result(10)
    assert again.running
    again.stop()


def test_a_crash_while_time_passes_blames_no_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vigil = Vigil(tmp_path)

    def broken(_: int) -> object:
        raise SystemError("a bug nobody knows yet")

    monkeypatch.setattr(vigil.core, "advance", broken)
    vigil.start()
    vigil._thread.join(10)
    assert isinstance(vigil.error, SystemError)
    assert read(vigil.snapshots.note(vigil.journal.identity), 0).crashes_at == {}
    vigil.stop()


def test_a_record_on_which_the_process_is_gone_without_a_word_is_skipped(tmp_path: Path) -> None:
    """kill -9 on one record, as a fault in compiled code would: the ward is watched again after five deaths."""
    command = [sys.executable, "-m", "tests.services.deadly_run", str(tmp_path)]
    ends = [subprocess.run(command, cwd=ROOT, timeout=120, check=False, capture_output=True, text=True) for _ in range(6)]
    assert [end.returncode for end in ends] == [-signal.SIGKILL] * 5 + [0], ends[-1].stderr[-2000:]
    assert ends[-1].stdout.splitlines()[-1] == "skipped 1 applied 2"


def test_a_command_that_takes_too_long_is_carried_out_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.embedded.backend.ANSWER_S", 0.1)
    vigil = embedded(tmp_path)
    slow, real = threading.Event(), vigil.core.command

    def sleepy(command: Command) -> object:
        slow.wait(10)
        return real(command)

    monkeypatch.setattr(vigil.core, "command", sleepy)
    vigil.start()
    result = asyncio.run(Backend(vigil).command(Command("c1", Action.ACKNOWLEDGE, "nothing", "li", 1)))
    assert "will be carried out" in result.reason
    slow.set()
    assert vigil.drain(10)
    vigil.change_registry(RegistryChange("r", "replace", "test", RegistryData())).result(10)
    assert vigil.running
    vigil.stop()
    (entry, _) = SqliteReader(tmp_path / "vigil.db").audit_since(0)[0]
    assert (entry.id, entry.action) == ("c1", "acknowledge")


def _press(vigil: Vigil, number: int) -> None:
    at_ns = START_NS + number * NS_PER_S
    chunk = {"v": 1, "device": "call-1", "kind": "button", "t0_ns": at_ns, "seq": number, "samples": [1]}
    vigil.telemetry(msgspec.json.encode(chunk), at_ns).result(10)


def _lived(folder: Path, presses: range) -> Vigil:
    """A life with a registry and `presses` of one button, a second apart."""
    vigil = embedded(folder, snapshot_every_s=0.2)
    vigil.start()
    registry = RegistryData(bindings=(Binding("call-1", "resident/a", "h/1"),))
    vigil.change_registry(RegistryChange("r", "replace", "test", registry)).result(60)
    for number in presses:
        _press(vigil, number)
    assert vigil.drain(120)
    vigil.stop()
    return vigil


def test_a_journal_that_was_moved_away_takes_its_snapshots_along(tmp_path: Path) -> None:
    first = _lived(tmp_path, range(60))
    (tmp_path / "journal").rename(tmp_path / "journal.old")
    second = _lived(tmp_path, range(60, 80))
    assert second.journal.identity != first.journal.identity
    assert next(iter(second.snapshots.newest_first(second.journal.identity))).next_offset == 21
    third = embedded(tmp_path)
    assert third.next_offset == 21
    assert third.core.snapshot() == second.core.snapshot()
    third.stop()
    (tmp_path / "journal").rename(tmp_path / "journal.second")
    (tmp_path / "journal.old").rename(tmp_path / "journal")
    back = embedded(tmp_path)
    assert back.core.snapshot() == first.core.snapshot()
    back.stop()


def test_a_damaged_journal_keeps_what_its_snapshot_knows(tmp_path: Path) -> None:
    before = _lived(tmp_path, range(60))
    (segment,) = (tmp_path / "journal").glob("*.log")
    raw = bytearray(segment.read_bytes())
    raw[len(raw) // 3] ^= 1
    segment.write_bytes(raw)
    after = embedded(tmp_path)
    assert after.next_offset == before.next_offset == 61
    assert after.core.snapshot() == before.core.snapshot()
    after.start()
    _press(after, 60)
    assert after.drain(30)
    view = next(d for d in asyncio.run(_view(after)).deliveries if d.name == "journal")
    assert ".damaged" in view.detail
    after.stop()
    again = embedded(tmp_path)
    assert again.next_offset == 62
    again.stop()


async def _view(vigil: Vigil) -> SystemView:
    return Backend(vigil).system()


def test_the_system_page_looks_while_the_engine_works(stream: Stream, tmp_path: Path) -> None:
    vigil = embedded(tmp_path)
    vigil.start()
    vigil.change_registry(RegistryChange("r", "replace", "test", RegistryData())).result(10)
    at_ns = stream.records[0].arrival_ns
    chunks = ({"v": 1, "device": f"d{n}", "kind": "button", "t0_ns": at_ns, "samples": [1]} for n in range(3000))
    sent = [vigil.telemetry(msgspec.json.encode(chunk), at_ns) for chunk in chunks]
    looks = 0
    while vigil.next_offset < len(sent):
        asyncio.run(_view(vigil))
        looks += 1
    assert looks > 5
    deadline = time.monotonic() + 10
    while asyncio.run(_view(vigil)).totals.quarantined < len(sent):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    view = asyncio.run(_view(vigil))
    assert len(view.unbound) == len(sent)
    assert view.totals.received == len(sent)
    vigil.stop()


def _send(stream: Stream, address: list[str], progress: list[int], done: threading.Event) -> None:
    client = httpx.Client(timeout=5)
    for number, record in enumerate(stream.records):
        headers = {"vigil-arrival-ns": str(record.arrival_ns), "idempotency-key": f"m{number}"}
        while not done.is_set():
            try:
                if client.post(f"{address[0]}/v1/chunks", content=record.payload, headers=headers).status_code in {202, 422}:
                    break
            except httpx.TransportError:
                client.close()
                client = httpx.Client(timeout=5)
            time.sleep(0.02)
        progress[0] = number + 1
    done.set()


def _stored(folder: Path) -> tuple[list[bytes], list[bytes], dict[str, str], list[tuple[object, ...]]]:
    reader = SqliteReader(folder / "vigil.db")
    events = sorted(msgspec.json.encode(e) for e in reader.events_since(0, 100_000)[0])
    transitions = sorted(msgspec.json.encode(t) for t in reader.transitions_since(0, 100_000)[0])
    alerts: dict[str, str] = {t.alert_id: reader.alert(t.alert_id).state.value for t in reader.transitions_since(0, 100_000)[0]}  # type: ignore[union-attr]
    accounts: list[tuple[object, ...]] = sorted(
        (a.device, a.kind, a.hour_ns, a.received, a.processed, a.duplicate, a.late, a.quarantined) for a in reader.accounts(0, 2**62)
    )
    return events, transitions, alerts, accounts


def _config(folder: Path, receiver: Receiver) -> Path:
    path = folder.with_suffix(".toml")
    path.write_text(
        f'snapshot_every_s = 1.0\n[[sinks]]\nname = "oncall"\n[sinks.to]\ntype = "webhook"\nurl = "{receiver.url}"\nsecret = "0123456789abcdef0123"\n',
        encoding="utf-8",
    )
    return path


@pytest.mark.timeout(1500)
@pytest.mark.slow
def test_killed_twenty_times_equals_never_killed(stream: Stream, tmp_path: Path) -> None:
    rng = random.Random(20260101)
    results = {}
    keys: dict[str, Counter[str]] = {}
    for name, deaths in (("never", []), ("killed", sorted(rng.sample(range(20, len(stream.records) - 5), LIVES)))):
        folder = tmp_path / name
        write_registry(folder, stream)
        with receiving() as receiver:
            config = _config(folder, receiver)
            address, progress, done = [""], [0], threading.Event()
            sender = threading.Thread(target=_send, args=(stream, address, progress, done), daemon=True)
            for death in [*deaths, None]:
                with running(folder, "--sender-clock", "--config", str(config)) as lives:
                    address[0] = lives.url
                    if not sender.is_alive() and not done.is_set():
                        sender.start()
                    while progress[0] < (death if death is not None else len(stream.records)) and lives.process.poll() is None:
                        time.sleep(0.005)
                    assert lives.process.poll() is None, (folder / "stderr.log").read_text()[-2000:]
                    if death is not None:
                        time.sleep(rng.random() * 0.3)
                        lives.kill()
                    else:
                        lives.drained()
                        assert lives.stop() == 0
            keys[name] = Counter(receiver.keys)
        results[name] = _stored(folder)
    assert len(results["never"][0]) >= 10
    for part, whole in zip(results["killed"], results["never"], strict=True):
        assert part == whole
    assert set(keys["killed"]) == set(keys["never"])
    with sqlite3.connect(tmp_path / "killed" / "vigil.db") as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_unknown_registry_means_quarantine_not_silence(tmp_path: Path, stream: Stream) -> None:
    vigil = embedded(tmp_path)
    vigil.start()
    vigil.change_registry(RegistryChange("r", "replace", "test", RegistryData())).result(10)
    for record in stream.records[:10]:
        vigil.telemetry(record.payload, record.arrival_ns)
    assert vigil.drain(30)
    processed, _, _, quarantined = vigil.core.engine.totals()
    vigil.stop()
    assert processed == 0
    assert quarantined > 0
