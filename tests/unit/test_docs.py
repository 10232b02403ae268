"""What the documentation says exists: links, commands, options, make targets; and the commands of the README do what they should."""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
from pathlib import Path
from typing import Any, Final

import pytest
import typer
from typer.testing import CliRunner

from alerts.model import Action
from streams.cli.main import app

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "detectors/*/README.md", "models/*/README.md", "examples/README.md")
    for path in ROOT.glob(pattern)
)
READMES: Final = (ROOT / "README.md", ROOT / "README.zh-CN.md")
PICTURE_BYTES_MAX: Final = 300_000
UNTIL_STOPPED: Final = ["run"]
"""Commands that do not end by themselves: their options are checked, they are not run here."""


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def fenced(text: str) -> list[str]:
    """Lines of the shell blocks, without comments."""
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [re.sub(r"(^|\s)#.*", "", line).strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


def commands(text: str) -> list[str]:
    """Every `vigil …` in a shell block or in inline code, up to a pipe, a redirection or the next command."""
    spans = fenced(text) + re.findall(r"`([^`\n]+)`", text)
    found = [re.search(r"(?:^|bin/)vigil ([a-z-][^|>&;]*)", span) for span in spans]
    return [f"vigil {match[1].strip()}" for match in found if match is not None]


def command_of(words: list[str]) -> tuple[Any, list[str]]:
    """The click command that `words` call, and what is left for it; KeyError when there is none."""
    command: Any = typer.main.get_command(app)
    while words and hasattr(command, "commands"):
        command = command.commands[words[0].rstrip(",")]
        words = words[1:]
    return command, words


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_resolve(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    links = [link.split("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if not link.startswith(("http://", "https://", "#"))]
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_and_options_exist(page: Path) -> None:
    for line in commands(page.read_text(encoding="utf-8")):
        command, rest = command_of(shlex.split(line)[1:])
        known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
        used = {word.split("=")[0] for word in rest if re.match(r"--?[a-z]", word)}
        assert used <= known, f"{line}: {sorted(used - known)}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_make_targets_and_modules_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {match for span in fenced(text) + re.findall(r"`([^`\n]+)`", text) for match in re.findall(r"\bmake ([a-z]+)\b", span)}
    assert named <= targets
    modules = re.findall(r"python -m ([a-z_.]+)", text)
    assert [module for module in modules if importlib.util.find_spec(module) is None] == []


def test_the_pages_were_found() -> None:
    assert {"README.md", "README.zh-CN.md", "docs/operations.md", "docs/decisions/README.md"} <= {name_of(page) for page in PAGES}
    assert len(commands(READMES[0].read_text(encoding="utf-8"))) > 5


def test_both_readmes_give_the_same_commands_pictures_and_ways_on() -> None:
    english, chinese = (path.read_text(encoding="utf-8") for path in READMES)
    assert fenced(english) == fenced(chinese)
    assert english.count("\n## ") == chinese.count("\n## ")
    assert english.count("\n### ") == chinese.count("\n### ")

    def targets(text: str) -> set[str]:
        return {link.replace(".zh-CN", "").replace(".en.", ".") for link in re.findall(r"\]\(([^)\s]+)\)", text)}

    assert targets(english) == targets(chinese)


def test_the_commands_of_the_readme_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    done = []
    for line in fenced(READMES[0].read_text(encoding="utf-8")):
        call, _, target = (part.strip() for part in line.partition(">"))
        words = shlex.split(call)
        if words[0] != "vigil" or words[1] in UNTIL_STOPPED:
            continue
        result = CliRunner().invoke(app, words[1:])
        assert result.exit_code == 0, f"{line}: {result.output}"
        if target:
            Path(target).write_text(result.stdout, encoding="utf-8")
        done.append(words[1])
    assert done.count("replay") == 2
    assert {"evaluate", "import", "simulate", "config"} <= set(done)
    assert (tmp_path / "build/mine.vigil/truth.jsonl").exists()
    assert (tmp_path / "build/scorecard/scorecard.html").exists()
    shutil.rmtree(tmp_path / "build")


def test_every_decision_is_in_the_index() -> None:
    folder = ROOT / "docs/decisions"
    index = (folder / "README.md").read_text(encoding="utf-8")
    assert [page.name for page in sorted(folder.glob("0*.md")) if f"({page.name})" not in index] == []


def test_pictures_are_small_and_all_are_shown() -> None:
    pictures = sorted((ROOT / "docs/images").iterdir())
    shown = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert [p.name for p in pictures if p.stat().st_size > PICTURE_BYTES_MAX or f"images/{p.name}" not in shown] == []
    assert pictures


def test_the_commands_that_staff_are_offered_are_those_that_are_accepted() -> None:
    text = (ROOT / "docs" / "distributed.md").read_text(encoding="utf-8")
    (offer,) = re.findall(r"^A command is JSON.*?\)\)", text, re.MULTILINE | re.DOTALL)
    offered = set(re.findall(r'"action": "(\w+)"', offer)) | set(re.findall(r"or `(\w+)`", offer))
    assert offered == {action.value for action in Action}
