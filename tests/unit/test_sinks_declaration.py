"""A sink is declared once. A throw-away one, with one line in the catalogue, is everywhere it has to be, as if it had always been there."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final, Literal

import pytest

from alerts.policy import CANARY_PREFIX
from sinks.catalogue import SINKS, build
from sinks.contract import SinkConfig
from sinks.declaration import Audience, Runs, SinkSpec
from sinks.delivery import DeliverySettings
from sinks.jsonl import JsonlConfig, JsonlSink
from streams.pipeline.assembly import TEXTS

ROOT: Final = Path(__file__).parents[2]

PAGER: Final = '''
"""Calls a pager. Declared for a test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from pydantic import Field

from alerts.texts import Texts
from sinks.contract import Identity, SinkConfig
from sinks.declaration import Audience, Runs, SinkSpec
from sinks.items import Item, ItemKind
from sinks.outcome import ACCEPTED, Outcome


class PagerConfig(SinkConfig):
    """One pager."""

    type: Literal["pager"] = "pager"
    number: str = Field(description="number to call", examples=["110"])


class PagerSink:
    """Calls."""

    name = "pager"
    takes = frozenset({ItemKind.ALERT})

    def __init__(self, config: PagerConfig, texts: Texts, identity: Identity | None = None) -> None:
        self.texts = texts
        self.identity = identity

    def deliver(self, items: Sequence[Item]) -> list[Outcome]:
        return [ACCEPTED] * len(items)

    def close(self) -> None:
        pass


SINK: Final = SinkSpec(settings=PagerConfig, sink=PagerSink, audience=Audience.ON_CALL, runs=frozenset({Runs.BESIDE_WORKERS}))
'''

PROBE: Final = f'''
import json
from sinks.catalogue import SINKS, build
from sinks.declaration import Runs
from sinks.examples import item
from sinks.items import AlertChange, ItemKind
import msgspec
import streams.config as config
from streams.pipeline.assembly import TEXTS

assert SINKS["pager"].sink.__module__ == "sinks.pager"
made = config.VigilConfig.model_validate({{"sinks": [{{"name": "night", "to": {{"type": "pager", "number": "1"}}}}]}})
to = made.sinks[0].to
real = item(ItemKind.ALERT)
alert = msgspec.structs.replace(real.body.alert, subject="{CANARY_PREFIX}3")
simulated = real._replace(body=AlertChange(real.body.transition, alert))
try:
    build(to, TEXTS, where=Runs.EMBEDDED)
    embedded = "runs"
except ValueError as error:
    embedded = str(error)
print(json.dumps({{
    "left_out": [SINKS[to.type].leave_out(one) for one in (real, simulated)],
    "batch_max": SINKS[to.type].delivery(made.sinks[0].delivery).batch_max,
    "identity": build(to, TEXTS, dict, where=Runs.BESIDE_WORKERS).identity is dict,
    "texts": build(to, TEXTS, dict, where=Runs.BESIDE_WORKERS).texts is TEXTS,
    "embedded": embedded,
    "schema": "PagerConfig" in json.dumps(config.VigilConfig.model_json_schema()),
    "reference": 'to.type = "pager"' in config.reference(),
    "sample": '#number = "110"' in config.sample(),
}}))
'''


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The project with a throw-away sink: one module, and one line in the catalogue."""
    for name in ("engine", "alerts", "schemas", "detectors", "models", "streams", "console"):
        (tmp_path / name).symlink_to(ROOT / name)
    ignore = shutil.ignore_patterns("__pycache__")
    for name in ("sinks", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignore)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "sinks" / "pager.py").write_text(PAGER, encoding="utf-8")
    catalogue = tmp_path / "sinks" / "catalogue.py"
    text = catalogue.read_text(encoding="utf-8")
    text = text.replace("    parquet.SINK,\n", "    parquet.SINK,\n    pager.SINK,\n").replace(
        "import influx, jsonl,", "import influx, jsonl, pager,"
    )
    assert text.count("pager") == 2
    catalogue.write_text(text, encoding="utf-8")
    return tmp_path


def run_in(tree: Path, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    done = subprocess.run([sys.executable, *arguments], cwd=tree, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def test_one_line_makes_a_sink_for_people_whom_no_canary_calls(tree: Path) -> None:
    told = json.loads(run_in(tree, "-c", PROBE))
    assert told.pop("embedded") == "a sink of type pager cannot run embedded: it runs beside_workers"
    assert told == {
        "left_out": [False, True],
        "batch_max": 1,
        "identity": True,
        "texts": True,
        "schema": True,
        "reference": True,
        "sample": True,
    }


def test_one_line_gets_a_sink_every_conformance_check(tree: Path) -> None:
    listed = run_in(tree, "-m", "pytest", "--collect-only", "-p", "no:cacheprovider", "tests/conformance/test_sinks.py")
    checks = set(re.findall(r"(test_\w+)\[pager\]", listed))
    assert checks == set(re.findall(r"(test_\w+)\[jsonl\]", listed))
    assert "test_a_repeat_does_not_double" in checks


def test_a_sink_cannot_be_declared_without_its_audience_or_where_it_runs() -> None:
    with pytest.raises(TypeError, match="audience"):
        SinkSpec(settings=JsonlConfig, sink=JsonlSink, runs=frozenset(Runs))  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="runs"):
        SinkSpec(settings=JsonlConfig, sink=JsonlSink, audience=Audience.MACHINES)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="may run nowhere"):
        SinkSpec(settings=JsonlConfig, sink=JsonlSink, audience=Audience.MACHINES, runs=frozenset())


def test_a_type_that_is_not_said_is_refused() -> None:
    class Nameless(SinkConfig):
        type: str = "nameless"

    class TwoNames(SinkConfig):
        type: Literal["one", "two"] = "one"

    for settings in (Nameless, TwoNames):
        with pytest.raises(TypeError, match=f"{settings.__name__} must say `type: Literal"):
            SinkSpec(settings=settings, sink=JsonlSink, audience=Audience.MACHINES, runs=frozenset(Runs))


def test_what_is_declared_today() -> None:
    assert {type_: spec.audience for type_, spec in SINKS.items()} == {
        "webhook": Audience.ON_CALL,
        "influx": Audience.DASHBOARD,
        "jsonl": Audience.MACHINES,
        "sqlite": Audience.MACHINES,
        "parquet": Audience.MACHINES,
    }
    assert all(spec.runs == frozenset(Runs) for spec in SINKS.values())


def test_names_go_to_those_on_call_alone(tmp_path: Path) -> None:
    asked: list[object] = []

    class Nosy:
        def __init__(self, *given: object) -> None:
            asked.append(given)

    for audience in Audience:
        spec = SinkSpec(settings=JsonlConfig, sink=Nosy, audience=audience, runs=frozenset(Runs))  # type: ignore[arg-type]
        config = JsonlConfig(path=tmp_path / "x")
        spec.build(config, TEXTS, lambda _: {})
        assert (len(asked.pop()) == 3) is (audience is Audience.ON_CALL)  # type: ignore[arg-type]


def test_a_dashboard_is_for_people_and_not_called_one_at_a_time() -> None:
    assert SINKS["influx"].delivery(DeliverySettings()) == DeliverySettings()
    assert Audience.DASHBOARD.people
    assert type(build(JsonlConfig(path=Path("never-written")), TEXTS, where=Runs.EMBEDDED)) is JsonlSink
