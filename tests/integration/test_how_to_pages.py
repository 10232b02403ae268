"""The how-to pages, followed step by step in a copy of the tree: what they say to write is written, what they say to run is run.

A step is a line of one of these forms, and the block of code after it. A block without such a line before it fails the test, so
nothing on the pages is untried.

    Write `path`:                              In `path`, before `line`, add:        In `path`, change `line` to:
    Run:                                       In `path`, after `line`, add:         It prints:
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final, NamedTuple

import pytest

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = ("add-a-device-kind.md", "add-a-detector.md", "add-a-sink.md")
COPIED: Final = (
    "alerts", "benchmarks", "console", "deploy", "detectors", "docs", "engine", "examples", "models", "schemas", "simulator", "sinks", "streams", "tests",
)  # fmt: skip
FORMS: Final = (
    r"Write `(?P<path>[^`]+)`:",
    r"In `(?P<path>[^`]+)`, (?P<how>before|after) `(?P<line>[^`]+)`, add:",
    r"In `(?P<path>[^`]+)`, (?P<how>change) `(?P<line>[^`]+)` to:",
    r"(?P<how>Run):",
    r"It (?P<how>prints):",
)
RUN_S: Final = 280

pytestmark = pytest.mark.slow


class Step(NamedTuple):
    """`how`: "write", "before", "after", "change", "run" or "prints"."""

    how: str
    path: str
    line: str
    block: str


def steps(page: str) -> list[Step]:
    """The steps of a page in order. ValueError for a block of code that no step introduces."""
    found = []
    for match in re.finditer(r"^([^\n]*)\n+```\w*\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        said = next((m for form in FORMS if (m := re.fullmatch(form, match[1]))), None)
        if said is None:
            raise ValueError(f"no step introduces the block after {match[1]!r}")
        words = {"how": "write", "path": "", "line": "", **said.groupdict()}
        found.append(Step(words["how"].lower(), words["path"], words["line"], match[2]))
    return found


def edited(text: str, step: Step) -> str:
    """`text` after an edit; ValueError when the line that is named is not there exactly once."""
    lines = text.splitlines(keepends=True)
    places = [number for number, line in enumerate(lines) if line.rstrip("\n") == step.line]
    if len(places) != 1:
        raise ValueError(f"{step.path} holds the line {step.line!r} {len(places)} times")
    first = places[0] + (step.how == "after")
    return "".join([*lines[:first], step.block, *lines[first + (step.how == "change") :]])


def run(block: str, folder: Path) -> str:
    """A block of shell commands, up to the first that fails; what they print."""
    tools = Path(sys.executable).parent
    environment = {
        **os.environ,
        "PYTHONPATH": str(folder),
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
        "MAKEFLAGS": f"BIN={tools} READY=",  # the environment is there already
        "PYTEST_ADDOPTS": "-p no:cacheprovider",
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block], cwd=folder, env=environment, capture_output=True, text=True, timeout=RUN_S, check=False
    )
    assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
    assert "no tests ran" not in done.stdout
    return done.stdout


@pytest.mark.parametrize("name", PAGES)
def test_the_page_works(name: str, tmp_path: Path) -> None:
    for package in COPIED:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / file, tmp_path)
    printed, ran = "", 0
    for step in steps((ROOT / "docs" / name).read_text(encoding="utf-8")):
        path = tmp_path / step.path
        match step.how:
            case "run":
                printed, ran = run(step.block, tmp_path), ran + 1
            case "prints":
                assert printed.endswith(step.block), printed
            case "write":
                assert not path.exists(), f"{step.path} is there already"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(step.block, encoding="utf-8")
            case _:
                path.write_text(edited(path.read_text(encoding="utf-8"), step), encoding="utf-8")
    assert ran


def test_a_block_that_no_step_introduces_is_refused() -> None:
    with pytest.raises(ValueError, match="no step introduces the block after 'For example:'"):
        steps("Write `a.py`:\n\n```python\nx = 1\n```\n\nFor example:\n\n```python\nx = 2\n```\n")


def test_an_edit_at_a_line_that_is_not_there_is_refused() -> None:
    assert edited("a\nb\n", Step("before", "f", "b", "x\n")) == "a\nx\nb\n"
    assert edited("a\nb\n", Step("after", "f", "a", "x\n")) == "a\nx\nb\n"
    assert edited("a\nb\n", Step("change", "f", "a", "x\n")) == "x\nb\n"
    with pytest.raises(ValueError, match="0 times"):
        edited("a\nb\n", Step("after", "f", "c", "x\n"))
