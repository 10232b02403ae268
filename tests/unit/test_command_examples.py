"""Every command's help ends with an example, and the example works in a folder that holds examples/."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from alerts.model import Action, Command
from engine.frame import NS_PER_S
from schemas.recording import START_NS
from sinks.delivery.dead_letters import DeadLetters, open_letters
from sinks.delivery.errors import ErrorLog
from sinks.examples import item
from sinks.items import ItemKind
from streams.canary.monitor import FallMonitor
from streams.canary.state_folder import SavedState, StateFolder
from streams.canary.wearers import wearers
from streams.config import load
from streams.recordings.format import count, read
from tests.command_examples import ROOT, UNTIL_STOPPED, WITH_KAFKA, Started, examples, run_example

START_S: Final = 240.0
"""The first time kernels are compiled."""
ONCALL: Final = Path("vigil-data/spool/oncall")
REFUSED: Final = item(ItemKind.ALERT)
SLOW_IMPORTS: Final = ("numba", "river", "scipy", "pyarrow", "faust", "aiokafka", "httpx")
EXAMPLES: Final = examples()


def scorecard(kind: str) -> str:
    return Path(f"build/scorecard/scorecard.{kind}").read_text(encoding="utf-8")


def event_codes() -> set[str]:
    return {json.loads(line)["code"] for line in Path("events.jsonl").read_text(encoding="utf-8").splitlines()}


def begins_alike(captured: Path, original: Path) -> bool:
    """Vigil was stopped when it had seen the fall, so the end may be missing."""
    payloads = [record.payload for record in read(captured).records]
    return len(payloads) > 20 and payloads == [record.payload for record in read(original).records][: len(payloads)]


def members(path: Path) -> list[str]:
    with tarfile.open(path) as tar:
        return tar.getnames()


def commands_left() -> list[Command | None]:
    return [command for _, command in StateFolder(load(Path("vigil.toml")).canary.folder).left_commands()]


SHOWS: Final[dict[str, Callable[[str], bool]]] = {
    "warm-up": lambda _: True,  # it ends with 0 or not
    "replay": lambda said: "falls.fall" in said and "falls.fall" in event_codes(),
    "evaluate": lambda _: "falls.fall" in scorecard("json") and "falls.fall" in scorecard("html"),
    "record": lambda _: begins_alike(Path("captured.vigil"), Path("examples/fall.vigil")),
    "backup": lambda _: "vigil-data/vigil.db" in members(Path("vigil-backup.tar.gz")),
    "import": lambda _: read(Path("night.vigil")).meta.source == "RR series" and count(Path("night.vigil")) > 50,
    "simulate": lambda _: "falls.fall" in {truth.code for truth in read(Path("mine.vigil")).truth},
    "config sample": lambda _: tomllib.loads(Path("vigil.toml").read_text(encoding="utf-8")) == {},
    "config reference": lambda _: "kafka.connection.brokers" in Path("configuration.md").read_text(encoding="utf-8"),
    "config schema": lambda _: "policy" in json.loads(Path("vigil.schema.json").read_text(encoding="utf-8"))["properties"],
    "config check": lambda said: "vigil.toml is fine" in said,
    "ingest token": lambda said: len(said.splitlines()) == 2 and said.endswith(" gateway-1 home/east\n"),
    "canary acknowledge": lambda _: [c.action for c in commands_left() if c is not None] == [Action.ACKNOWLEDGE],
    "dead-letters list": lambda said: REFUSED.id in said and "receiver answered 422" in said,
    "dead-letters replay": lambda said: REFUSED.id in said and not open_letters(ONCALL),
    "dead-letters acknowledge": lambda said: REFUSED.id in said and not open_letters(ONCALL),
}
"""What must be there after the example of a command."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the examples ask for it: examples/, a configuration, beats to import, the data of a run, an alarm of the canary."""
    path = tmp_path_factory.mktemp("commands")
    (path / "examples").symlink_to(ROOT / "examples")
    (path / "night.rr").write_text("0.4\n" + "0.8\n" * 1_000, encoding="utf-8")
    (path / "vigil.toml").touch()

    started = Started(EXAMPLES["run"], path, path / "run.log")
    started.wait_said("falls.fall", START_S)
    assert started.stop() == 0, started.said()
    assert "is watching" in started.said()
    return path


def test_every_command_has_an_example_that_is_run() -> None:
    assert [name for name, line in EXAMPLES.items() if not line] == []
    assert set(SHOWS) | {"run"} | WITH_KAFKA == set(EXAMPLES)
    assert set(EXAMPLES) >= UNTIL_STOPPED


@pytest.mark.parametrize("name", SHOWS)
def test_the_example_works(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    if name == "canary acknowledge":
        missed()
    if name.startswith("dead-letters"):
        ONCALL.mkdir(exist_ok=True)
        assert DeadLetters(ONCALL, 1 << 20, "oncall", ErrorLog()).write(REFUSED, "receiver answered 422: it will not take this message")
    assert SHOWS[name](run_example(EXAMPLES[name]))


def missed() -> None:
    """A canary whose fall nobody has reported."""
    wearer = wearers(1)[0]
    monitor = FallMonitor([wearer], bound_s=8.0)
    monitor.expect_fall(wearer.partition, START_NS)
    changes, _ = monitor.tick(START_NS + 60 * NS_PER_S)
    assert changes
    StateFolder(load(Path("vigil.toml")).canary.folder).save(SavedState(monitor.snapshot(), {}))


def test_help_does_not_wait_for_what_a_command_may_need() -> None:
    code = "import sys, typer; from streams.cli.main import app; typer.main.get_command(app); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert "streams.cli.main" in loaded
    assert set(SLOW_IMPORTS) & set(loaded) == set()
