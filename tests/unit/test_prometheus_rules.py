"""The alerting rules name metrics that exist, and fire when they should and not before."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from streams.canary.metrics import CanaryMetrics
from streams.worker.metrics import WorkerMetrics
from tests.conftest import missing_service

FOLDER = Path(__file__).parents[2] / "deploy" / "prometheus"
RULES = (FOLDER / "vigil-rules.yml").read_text(encoding="utf-8")


def names(registry: CollectorRegistry) -> set[str]:
    """Names under which samples of a registry are stored."""
    found = set()
    for family in registry.collect():
        found |= {family.name, *(family.name + ending for ending in ("_total", "_bucket", "_sum", "_count"))}
    return found


def test_every_metric_in_the_rules_is_published() -> None:
    published = names(WorkerMetrics().registry) | names(CanaryMetrics([0], []).registry)
    wanted = {name for line in RULES.splitlines() if "expr:" in line for name in re.findall(r"\b(?:vigil|process)_[a-z_]+", line)}
    assert len(wanted) == 8
    assert wanted - published == set()


def test_every_rule_says_what_to_do_in_both_languages() -> None:
    rules = RULES.split("- alert: ")[1:]
    assert len(rules) > 10
    for rule in rules:
        assert re.search(r"summary: .+\.", rule), rule
        assert re.search(r"summary_zh: .*[\u4e00-\u9fff]", rule), rule
        assert re.search(r"action: .+\.|action: .+\?", rule), rule
        assert re.search(r"priority: (high|medium|low)", rule), rule


@pytest.mark.services
@pytest.mark.parametrize("command", [["check", "rules", "vigil-rules.yml"], ["test", "rules", "vigil-rules.test.yml"]])
def test_promtool_agrees(command: list[str]) -> None:
    if shutil.which("promtool") is None:
        missing_service("promtool is not installed (Debian: prometheus)")
    done = subprocess.run(["promtool", *command], cwd=FOLDER, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
