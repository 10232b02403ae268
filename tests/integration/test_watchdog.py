"""Whether the engine moves: what the service manager is told, what /healthz says, and that a hung engine is not taken for a living one."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from console.app import create_app
from console.server import ConsoleServer
from engine.registry import Binding, RegistryData
from streams.cli.run import EXIT_HUNG
from streams.config import VigilConfig
from streams.embedded.backend import Backend
from streams.embedded.service import Service
from streams.embedded.vigil import Vigil
from streams.ops.service_manager import FEEDS, ServiceManager
from streams.pipeline.core import CoreOutput
from streams.pipeline.registry_change import RegistryChange
from tests.integration.wards import running

WATCHDOG_S = 2.0
WATCHDOG = "WATCHDOG=1"
REGISTRY = RegistryData(bindings=(Binding("pendant-1", "resident/a", "h/1"),))
ROOT = Path(__file__).resolve().parents[2]


class Manager:
    """The service manager's end of NOTIFY_SOCKET."""

    def __init__(self, path: Path) -> None:
        self.environment = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": str(int(WATCHDOG_S * 1e6))}
        self.told: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            self.told += self._socket.recv(4096).decode().split("\n")

    def fed(self) -> int:
        """How often the watchdog was fed so far."""
        return self.told.count(WATCHDOG)


@pytest.fixture
def manager(tmp_path: Path) -> Manager:
    return Manager(tmp_path / "notify")


def wait_for(condition: Callable[[], object], give_up_s: float = 60) -> None:
    give_up = time.monotonic() + give_up_s
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.05)


def press(seq: int) -> dict[str, Any]:
    return {"v": 1, "device": "pendant-1", "kind": "button", "t0_ns": time.time_ns(), "seq": seq, "samples": [1]}


def falls_silent(manager: Manager) -> None:
    """It is not fed any more: the manager would end the process."""

    def silent() -> bool:
        before = manager.fed()
        time.sleep(WATCHDOG_S * 1.5)
        return manager.fed() == before

    wait_for(silent)


def test_the_service_manager_is_told_of_every_part_of_a_life(tmp_path: Path, manager: Manager) -> None:
    with running(tmp_path / "data", environment=manager.environment) as vigil:
        wait_for(lambda: "READY=1" in manager.told)
        assert httpx.get(f"{vigil.url}/livez", timeout=30).status_code == 200
        wait_for(lambda: manager.fed() >= 2 * FEEDS)  # with nothing coming in, too
        assert vigil.stop() == 0
    wait_for(lambda: "STOPPING=1" in manager.told)
    assert set(manager.told) == {"READY=1", "STOPPING=1", WATCHDOG}


class Gate:
    """A listener that holds the engine's thread while it is shut."""

    def __init__(self) -> None:
        self.is_open = threading.Event()
        self.is_open.set()
        self.held = threading.Event()

    def __call__(self, _: CoreOutput) -> None:
        if not self.is_open.is_set():
            self.held.set()
            self.is_open.wait(300)


@contextmanager
def watched(folder: Path, manager: Manager, gate: Gate) -> Iterator[Service]:
    config = VigilConfig.model_validate({"data_dir": folder, "listen": {"port": 0}})
    folder.mkdir()
    (folder / "registry.json").write_bytes(msgspec.json.encode(REGISTRY))
    line = ServiceManager(manager.environment)
    service = Service(config, listeners=[gate], on_progress=line.progress)
    service.start()
    try:
        yield service
    finally:
        gate.is_open.set()
        service.stop()
        line.close()


def test_an_engine_that_hangs_feeds_no_watchdog(tmp_path: Path, manager: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate()
    with watched(tmp_path / "data", manager, gate) as service, httpx.Client(base_url=service.url, timeout=30) as client:
        wait_for(lambda: manager.fed() >= FEEDS)
        gate.is_open.clear()
        assert gate.held.wait(60)
        falls_silent(manager)
        monkeypatch.setattr("console.app.ENGINE_STALL_MS", 1000)
        for path in ("/healthz", "/livez"):
            answer = client.get(path)
            assert answer.status_code == 503
            assert answer.json()["engine_age_ms"] > 1000
        assert client.post("/v1/chunks", json=press(1)).status_code == 202  # what comes is kept meanwhile
        before = manager.fed()
        gate.is_open.set()
        wait_for(lambda: manager.fed() > before)
        wait_for(lambda: client.get("/healthz").status_code == 200)
        wait_for(lambda: "sos.pressed" in {alert["code"] for alert in client.get("/api/alerts").json()})


def test_a_disk_that_hangs_is_no_progress(tmp_path: Path, manager: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then nothing comes in any more and time does not pass for the detectors, though the engine's loop turns."""
    works = threading.Event()
    works.set()
    with watched(tmp_path / "data", manager, Gate()) as service:
        wait_for(lambda: manager.fed() >= FEEDS)
        commit = service.vigil.journal._commit

        def slow(group: Any) -> None:
            works.wait(300)
            commit(group)

        monkeypatch.setattr(service.vigil.journal, "_commit", slow)
        works.clear()
        stored = service.vigil.telemetry(msgspec.json.encode(press(1)))
        falls_silent(manager)
        assert not stored.done()
        before = manager.fed()
        works.set()
        wait_for(lambda: manager.fed() > before)


def test_without_a_service_manager_nothing_is_told() -> None:
    line = ServiceManager({})
    assert line.watchdog_s is None
    line.ready()
    line.progress()
    line.stopping()
    line.close()


def test_the_watchdog_of_another_process_is_not_fed(tmp_path: Path, manager: Manager) -> None:
    assert ServiceManager({**manager.environment, "WATCHDOG_PID": "1"}).watchdog_s is None
    assert ServiceManager(manager.environment).watchdog_s == WATCHDOG_S
    gone = ServiceManager({**manager.environment, "NOTIFY_SOCKET": str(tmp_path / "nobody")})
    gone.ready()  # said in the log, and Vigil goes on


HUNG = """
import sys, threading
from pathlib import Path
import streams.cli.run as run
from streams.config import VigilConfig
from streams.embedded.service import Service
run.HUNG_S = 1.0
service = Service(VigilConfig.model_validate({"data_dir": sys.argv[1], "listen": {"port": 0}}), listeners=[lambda _: threading.Event().wait()])
service.start()
run._wait(service, threading.Event())
"""


def test_an_engine_that_hangs_ends_its_process_and_says_where(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", HUNG, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == EXIT_HUNG
    assert "the engine has not moved" in done.stderr
    assert "_publish" in done.stderr


class SteppedClock:
    """The wall clock, set by somebody."""

    def __init__(self) -> None:
        self.step_ns = 0

    def __call__(self) -> int:
        return time.time_ns() + self.step_ns


@pytest.mark.parametrize("step_h", [-1, 1])
def test_setting_the_clock_neither_stops_the_engine_nor_hides_that_it_has_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step_h: int
) -> None:
    clock, gate = SteppedClock(), Gate()
    monkeypatch.setattr("console.app.now_ms", lambda: clock() // 1_000_000)
    vigil = Vigil(tmp_path, clock=clock, listeners=[gate])
    server = ConsoleServer(create_app(Backend(vigil)), vigil.board.live)
    vigil.start()
    server.start()
    with httpx.Client(base_url=server.url, timeout=30) as client:
        vigil.change_registry(RegistryChange("r", "replace", "test", REGISTRY)).result(60)
        clock.step_ns = step_h * 3600 * 10**9
        wait_for(lambda: client.get("/healthz").json()["engine_age_ms"] < 1000)
        assert client.get("/healthz").status_code == 200
        vigil.telemetry(msgspec.json.encode(press(1)))
        monkeypatch.setattr("console.app.ENGINE_STALL_MS", 1000)
        gate.is_open.clear()
        assert gate.held.wait(60)
        wait_for(lambda: client.get("/healthz").status_code == 503)
        assert client.get("/healthz").json()["engine_age_ms"] >= 1000
        with client.stream("GET", "/events") as stream:  # what the browser judges by
            lines = stream.iter_lines()
            snapshot = next(line for line in lines if line.startswith("data: "))
            assert msgspec.json.decode(snapshot.removeprefix("data: "))["engine_age_ms"] >= 1000
            ping = next(line for line in lines if line.startswith("data: "))
            assert msgspec.json.decode(ping.removeprefix("data: "))["engine_age_ms"] >= 1000
        gate.is_open.set()
        wait_for(lambda: client.get("/healthz").status_code == 200)
    server.stop()
    vigil.stop()
