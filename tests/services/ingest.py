"""A real ingest process, and a hook that kills it at a named step."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

from streams.kafka.config import KafkaConfig


class IngestProcess:
    """`python -m tests.services.ingest`; `die` = (step, n): SIGKILL itself at the n-th such step. It is up when this returns.

    With a configuration file instead of settings: `vigil ingest run`.
    """

    def __init__(self, kafka: KafkaConfig | Path, log: Path, die: tuple[str, int] | None = None, **settings: Any) -> None:
        self.log = log
        settings = {"spool": str(log.parent / "spool"), "port": 0} | settings
        begins = log.stat().st_size if log.exists() else 0
        if isinstance(kafka, Path):
            command = [sys.executable, "-m", "streams.cli", "ingest", "run", "--config", str(kafka)]
        else:
            command = [sys.executable, "-m", "tests.services.ingest", kafka.model_dump_json(), json.dumps(settings)]
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                [*command, *(map(str, die) if die is not None else ())], stdout=out, stderr=out, cwd=Path(__file__).parents[2]
            )
        give_up = time.monotonic() + 30
        while (found := re.search(rb"http://127.0.0.1:\d+", log.read_bytes()[begins:])) is None:
            if time.monotonic() > give_up or self.process.poll() is not None:
                raise TimeoutError(f"ingest does not listen:\n{self.tail()}")
            time.sleep(0.05)
        self.url = found[0].decode()

    def drained(self, timeout_s: float = 60.0) -> None:
        """Wait until everything taken is in Kafka."""
        give_up = time.monotonic() + timeout_s
        while (health := httpx.get(f"{self.url}/healthz", timeout=10).json())["spooled"]:
            if time.monotonic() > give_up:
                raise TimeoutError(f"it stays {health}:\n{self.tail()}")
            time.sleep(0.1)

    def counted(self, name: str) -> float:
        """A figure of its /metrics; 0 while it is not there."""
        found = re.search(rf"^{re.escape(name)} (\S+)$", httpx.get(f"{self.url}/metrics", timeout=10).text, re.MULTILINE)
        return float(found[1]) if found is not None else 0.0

    def wait_counted(self, name: str, at_least: float, timeout_s: float = 60.0) -> None:
        """Until a figure has grown so far."""
        give_up = time.monotonic() + timeout_s
        while (seen := self.counted(name)) < at_least:
            if time.monotonic() > give_up:
                raise TimeoutError(f"{name} stays {seen}:\n{self.tail()}")
            time.sleep(0.05)

    def stop(self, timeout_s: float = 30.0) -> int:
        """SIGTERM; the exit status."""
        self.process.terminate()
        return self.wait(timeout_s)

    def wait(self, timeout_s: float) -> int:
        """The exit status; TimeoutError with the log's end when it goes on living."""
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            self.kill()
            raise TimeoutError(f"ingest did not end:\n{self.tail()}") from error

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()

    def tail(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-4000:]


def main() -> None:
    """The process."""
    from streams.ingest.config import IngestConfig
    from streams.ingest.service import run

    kafka, config = KafkaConfig.model_validate_json(sys.argv[1]), IngestConfig.model_validate_json(sys.argv[2])
    left = {sys.argv[3]: int(sys.argv[4])} if len(sys.argv) > 3 else {}

    def step(name: str) -> None:
        if name in left:
            left[name] -= 1
            if left[name] <= 0:
                os.kill(os.getpid(), signal.SIGKILL)

    run(kafka, config, step=step)


if __name__ == "__main__":
    main()
