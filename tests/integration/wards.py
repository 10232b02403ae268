"""Simulated streams and running Vigils for the integration tests."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import httpx
import msgspec

from schemas.recording import START_NS, Meta, Record, Recording
from simulator.scenario import Incident, Scenario, Trouble
from simulator.simulation import Simulation

TEN_MINUTES = Scenario(
    name="ten-minutes",
    seed=11,
    residents=6,
    seconds=600,
    start_ns=START_NS,
    ecg_every=2,
    incidents=(
        Incident("fall", at_s=60.3, who=1, duration_s=90, variant="forward"),
        Incident("sos", at_s=120.5, who=2),
        Incident("tachycardia", at_s=150, who=0, duration_s=120, level=165),
        Incident("smoulder", at_s=260, who=2, duration_s=200),
        Incident("fall", at_s=420.1, who=3, duration_s=90),
        Incident("bradycardia", at_s=470, who=2, duration_s=100, level=32),
    ),
    troubles=(
        Trouble("duplicate", probability=0.03),
        Trouble("late", probability=0.03, offset_s=1.2),
        Trouble("dropout", at_s=300, duration_s=60, device="wb-006"),
        Trouble("outage", at_s=380, duration_s=10),
    ),
)


class Stream:
    """A scenario lived through once, kept in memory."""

    def __init__(self, scenario: Scenario) -> None:
        ward = Simulation(scenario)
        self.registry = ward.registry()
        self.truth = ward.truth()
        self.records: list[Record] = list(ward.records())

    def recording(self) -> Recording:
        return Recording(Meta("ward", "simulator"), self.registry, self.truth, iter(self.records))


class Running:
    """A `vigil run` process. `descriptors`: its soft and hard limit of open files; `environment` is added to this process's."""

    def __init__(
        self,
        folder: Path,
        log: IO[str],
        *arguments: str,
        descriptors: tuple[int, int] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        limited = [] if descriptors is None else ["prlimit", f"--nofile={descriptors[0]}:{descriptors[1]}"]
        self.process = subprocess.Popen(
            [*limited, sys.executable, "-m", "streams.cli", "run", "--data", str(folder), "--port", "0", *arguments],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={**os.environ, **(environment or {})},
        )
        self.url = self._address()
        # What it says later is read and dropped: a full pipe would stop it.
        threading.Thread(target=lambda: [None for _ in self.process.stdout or ()], daemon=True).start()

    def _address(self) -> str:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            found = re.search(r"http://[0-9.]+:\d+", line)
            if found:
                return found.group()
        raise AssertionError("vigil run ended without an address")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(60)

    def drained(self, timeout_s: float = 120) -> None:
        """Wait until the core has seen everything."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            view = httpx.get(f"{self.url}/api/system", timeout=10).json()
            (journal,) = [d for d in view["deliveries"] if d["name"] == "journal"]
            if journal["waiting"] == 0:
                return
            time.sleep(0.1)
        raise AssertionError("the core did not catch up")

    def heard(self, devices: set[str], timeout_s: float) -> None:
        """Wait until the core has taken something of each of `devices`."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline and self.process.poll() is None:
            view = httpx.get(f"{self.url}/api/system", timeout=30).json()
            if devices <= {device["device"] for device in view["devices"]}:
                return
            time.sleep(0.2)
        raise AssertionError(f"nothing was heard of {sorted(devices)}")


@contextmanager
def running(folder: Path, *arguments: str, **more: Any) -> Iterator[Running]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "stderr.log").open("a") as log:
        vigil = Running(folder, log, *arguments, **more)
        try:
            yield vigil
        finally:
            if vigil.process.poll() is None:
                vigil.kill()


def write_registry(folder: Path, stream: Stream) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "registry.json").write_bytes(msgspec.json.encode(stream.registry))
