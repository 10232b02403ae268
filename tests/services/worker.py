"""A real worker process, and a hook that kills it at a named step of a checkpoint."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from streams.kafka.config import KafkaConfig

STARTED: Final = "started"
OWNING: Final = "partitions assigned"
"""What a worker's log says."""
POISON: Final = b"poison"
"""A payload that begins so throws an exception in the core of this process."""
DEADLY: Final = b"deadly"
"""On a payload that begins so this process is gone without a word."""
WARM: Final = "warm"
STEPS: Final = ("before outputs", "after outputs", "after snapshot", "after commit")


class Child:
    """A process of ours that logs into `log`, to be stopped or killed."""

    def __init__(self, command: Sequence[str], log: Path) -> None:
        self.log = log
        self._begins = log.stat().st_size if log.exists() else 0
        with log.open("ab") as out:
            self.process = subprocess.Popen([sys.executable, "-m", *command], stdout=out, stderr=out, cwd=Path(__file__).parents[2])

    def stop(self, timeout_s: float = 60.0) -> int:
        """SIGTERM; the exit status."""
        self.process.terminate()
        return self.wait(timeout_s)

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()

    def wait(self, timeout_s: float) -> int:
        """The exit status; TimeoutError with the log's end when it goes on living."""
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            self.kill()
            raise TimeoutError(f"the process did not end:\n{self.tail()}") from error

    def wait_logged(self, text: str, timeout_s: float) -> None:
        """Until this process has logged `text`; TimeoutError with the log's end when it does not."""
        give_up = time.monotonic() + timeout_s
        while text.encode() not in self.log.read_bytes()[self._begins :]:
            if time.monotonic() > give_up or self.process.poll() is not None:
                raise TimeoutError(f"the process did not say {text!r}:\n{self.tail()}")
            time.sleep(0.1)

    def tail(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-4000:]


class WorkerProcess(Child):
    """`python -m tests.services.worker` with a configuration; `die` = (step, n): SIGKILL itself at the n-th such step.

    `warm`: kernels are loaded before it starts, as in `vigil worker run`; else when they are needed, which is quicker for a life of
    seconds.
    """

    def __init__(self, config: KafkaConfig, log: Path, die: tuple[str, int] | None = None, *, warm: bool = False) -> None:
        arguments = map(str, die) if die is not None else [WARM] if warm else []
        super().__init__(["tests.services.worker", config.model_dump_json(), *arguments], log)


def main() -> None:
    """The process."""
    from streams.ops import logs
    from streams.ops.warm_up import warm_up
    from streams.pipeline.core import Core, CoreOutput
    from streams.worker.app import run

    logs.configure()

    config = KafkaConfig.model_validate_json(sys.argv[1])
    left = {sys.argv[2]: int(sys.argv[3])} if len(sys.argv) > 3 else {}

    real = Core.telemetry

    def telemetry(self: Core, payload: bytes, *more: Any) -> CoreOutput:
        if payload.startswith(POISON):
            raise SystemError("a bug nobody knows yet")
        if payload.startswith(DEADLY):
            os.kill(os.getpid(), signal.SIGKILL)
        return real(self, payload, *more)

    Core.telemetry = telemetry  # type: ignore[method-assign]

    def step(name: str) -> None:
        if name in left:
            left[name] -= 1
            if left[name] <= 0:
                os.kill(os.getpid(), signal.SIGKILL)

    if WARM in sys.argv:
        warm_up()
    print(STARTED, flush=True)
    run(config, step=step)


if __name__ == "__main__":
    main()
