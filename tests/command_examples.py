"""The example at the end of every command's help, found and run."""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import typer
from typer.testing import CliRunner

from streams.cli.common import EXAMPLE
from streams.cli.main import app

ROOT: Final = Path(__file__).parents[1]
UNTIL_STOPPED: Final = frozenset({"run", "worker run", "ingest run", "canary run", "sink run"})
"""Commands that end on SIGTERM."""
WITH_KAFKA: Final = frozenset({
    "worker run", "ingest run", "topics create", "topics check", "registry publish", "registry show", "registry withdraw", "canary run",
    "sink list", "sink run",
})  # fmt: skip
"""Commands that tests/integration/test_command_examples.py runs, on a real broker."""


def examples() -> dict[str, str]:
    """Command, without `vigil`, -> its example; "" for a command without one."""
    return dict(_leaves(typer.main.get_command(app), ""))


def _leaves(command: Any, name: str) -> Iterator[tuple[str, str]]:
    if hasattr(command, "commands"):
        for word, inner in command.commands.items():
            yield from _leaves(inner, f"{name} {word}".strip())
    else:
        yield name, (command.epilog or "").partition(EXAMPLE)[2].strip()


def words_of(line: str) -> tuple[list[str], str]:
    """The arguments after `vigil`, and the file that standard output goes to ("" for none)."""
    call, _, target = (part.strip() for part in line.partition(">"))
    program, *words = shlex.split(call)
    if program != "vigil":
        raise ValueError(f"an example must begin with vigil, this does not: {line}")
    return words, target


def run_example(line: str) -> str:
    """Run it in the working directory to its end; what it says. AssertionError when it fails."""
    words, target = words_of(line)
    result = CliRunner().invoke(app, words)
    if result.exit_code != 0:
        raise AssertionError(f"{line}: {result.output} {result.exception or ''}")
    if target:
        Path(target).write_text(result.stdout, encoding="utf-8")
    return result.output


class Started:
    """An example that runs until it is stopped, as a process of its own in `folder`; what it says goes to `log`."""

    def __init__(self, line: str, folder: Path, log: Path) -> None:
        words, _ = words_of(line)
        self._log = log
        with log.open("wb") as out:
            self._process = subprocess.Popen([sys.executable, "-m", "streams.cli", *words], cwd=folder, stdout=out, stderr=out)

    def wait_said(self, text: str, timeout_s: float) -> None:
        """Until it has said `text`; it is ended, and TimeoutError shows what it said instead, when it does not."""
        give_up = time.monotonic() + timeout_s
        while text not in self.said():
            if time.monotonic() > give_up or self._process.poll() is not None:
                self._process.kill()
                raise TimeoutError(f"it did not say {text!r}: {self.said()[-4000:]}")
            time.sleep(0.1)

    def said(self) -> str:
        """Everything so far."""
        return self._log.read_text(encoding="utf-8")

    def stop(self, timeout_s: float = 60.0) -> int:
        """SIGTERM; the exit status."""
        self._process.terminate()
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise
