"""docker-compose.yml and systemd units are not run here: what can be known of them without an engine is."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from streams.cli.main import app
from streams.config import load
from streams.intake.http_server import CONNECTIONS_MAX, connections_max
from tests.conftest import missing_service

ROOT = Path(__file__).parents[2]
COMPOSE = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
SECRETS = dict.fromkeys(
    ("VIGIL_CONSOLE_PASSWORD", "VIGIL_DEVICE_TOKEN", "VIGIL_INFLUX_TOKEN", "VIGIL_WEBHOOK_SECRET"), "0123456789abcdef0123"
) | {"VIGIL_WEBHOOK_URL": "https://oncall.example/alerts"}


def commands() -> list[list[str]]:
    return [json.loads(found) for found in re.findall(r"^    command: (\[.*\])$", COMPOSE, re.MULTILINE)]


def test_compose_starts_the_kafka_that_is_tested() -> None:
    pom = (ROOT / "deploy" / "kafka" / "pom.xml").read_text(encoding="utf-8")
    tested = re.search(r"<artifactId>kafka_2\.13</artifactId>\s*<version>([^<]+)<", pom)
    started = re.search(r"image: apache/kafka:(\S+)", COMPOSE)
    assert tested is not None
    assert started is not None
    assert started[1] == tested[1]


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_what_compose_starts_is_a_command(command: list[str]) -> None:
    *words, option, path = command
    assert (option, path) == ("--config", "/etc/vigil/vigil.toml")
    shown = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0, shown.output
    assert "--config" in shown.output


@pytest.mark.parametrize("name", ["vigil.compose.toml", "vigil.distributed.toml"])
def test_the_configurations_of_compose_can_be_used(name: str) -> None:
    assert f"./deploy/{name}:/etc/vigil/vigil.toml:ro" in COMPOSE
    config = load(ROOT / "deploy" / name, SECRETS)
    started = {command[2] for command in commands() if command[:2] == ["sink", "run"]}
    assert name == "vigil.compose.toml" or started == {sink.name for sink in config.sinks}


def test_every_secret_of_compose_is_in_the_example_of_its_environment() -> None:
    given = set(re.findall(r"^(\w+)=", (ROOT / "deploy" / "env.example").read_text(encoding="utf-8"), re.MULTILINE))
    wanted = set(re.findall(r"\$\{(\w+):[?-]", COMPOSE)) - {"TZ"}
    assert wanted <= given
    assert "COMPOSE_PROFILES" in given


UNITS = sorted((ROOT / "deploy" / "systemd").glob("*.service"))


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_starts_a_command_with_options_it_has(unit: Path) -> None:
    found = re.search(r"^ExecStart=/opt/vigil/\.venv/bin/vigil (.+)$", unit.read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None
    words = found[1].split()
    shown = CliRunner().invoke(app, [*words[:2], "--help"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0, shown.output
    assert {word for word in words if word.startswith("--")} <= set(re.findall(r"--\w+", shown.output))


@pytest.mark.parametrize("name", [unit.name.replace("@.", "@oncall.") for unit in UNITS])
def test_systemd_understands_a_unit_and_what_all_units_share(name: str, tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        missing_service("systemd-analyze is not installed")
        return
    shutil.copytree(ROOT / "deploy" / "systemd", tmp_path, dirs_exist_ok=True)
    for unit in tmp_path.glob("*.service"):
        unit.write_text(unit.read_text(encoding="utf-8").replace("/opt/vigil/.venv/bin/vigil", "/bin/true"), encoding="utf-8")

    def said() -> str:
        environment = {**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"}
        verified = subprocess.run([analyze, "verify", "--man=no", name], env=environment, capture_output=True, text=True, check=False)
        return str(verified.stderr)

    assert "vigil" not in said()
    with (tmp_path / "vigil-.service.d" / "common.conf").open("a", encoding="utf-8") as shared:
        shared.write("Misspelt=1\n")
    assert "Misspelt" in said()  # systemd reads it for this unit


def test_a_vigil_that_hangs_is_started_again_and_has_descriptors_enough(tmp_path: Path) -> None:
    unit = (ROOT / "deploy" / "vigil.service").read_text(encoding="utf-8")
    said = dict(re.findall(r"^(\w+)=(.*)$", unit, re.MULTILINE))
    assert (said["Type"], said["NotifyAccess"], said["Restart"]) == ("notify", "main", "always")
    assert 10 < int(said["WatchdogSec"]) <= 120  # more than the engine may pause, less than a person should lie
    shared = (ROOT / "deploy" / "systemd" / "vigil-.service.d" / "common.conf").read_text(encoding="utf-8")
    for text in (unit, shared):
        found = re.search(r"^LimitNOFILE=(\d+)$", text, re.MULTILINE)
        assert found is not None
        assert connections_max(int(found[1])) == CONNECTIONS_MAX
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        missing_service("systemd-analyze is not installed")
        return
    (tmp_path / "vigil.service").write_text(unit.replace("/opt/vigil/.venv/bin/vigil", "/bin/true"), encoding="utf-8")
    verified = subprocess.run([analyze, "verify", "--man=no", str(tmp_path / "vigil.service")], capture_output=True, text=True, check=False)
    assert "vigil.service" not in verified.stderr
