"""Every command that a page names is one that Vigil accepts."""

from __future__ import annotations

import re
from typing import Final

import msgspec
import pytest

from alerts.model import Action, Command, Outcome
from streams.pipeline.partition import command_in
from tests.unit.test_docs import PAGES, ROOT, name_of

_SPAN: Final = re.compile(r"`([^`\n]+)`")
KNOWN: Final = {*Action, *Outcome, *(field.name for field in msgspec.structs.fields(Command)), "commands", "alerts"}
"""What one word in code may be where a page speaks of commands: an action, an outcome, a field, a topic."""


def paragraphs(text: str) -> list[str]:
    """The paragraphs that show a command."""
    return [paragraph for paragraph in text.split("\n\n") if '"action"' in paragraph]


def test_some_page_shows_a_command() -> None:
    assert sum(len(paragraphs(page.read_text(encoding="utf-8"))) for page in PAGES) >= 2


@pytest.mark.parametrize("page", [page for page in PAGES if paragraphs(page.read_text(encoding="utf-8"))], ids=name_of)
def test_every_command_of_a_page_is_accepted(page: object) -> None:
    for paragraph in paragraphs(page.read_text(encoding="utf-8")):  # type: ignore[attr-defined]
        spans = _SPAN.findall(paragraph)
        shown = [span for span in spans if '"action"' in span]
        assert shown
        for span in shown:
            assert command_in(span.encode()).action in Action
        words = {span for span in spans if re.fullmatch(r"[a-z_]+", span)}
        assert words <= KNOWN, f"{sorted(words - KNOWN)} is no command and belongs to none"


def test_the_contract_names_every_action_and_outcome() -> None:
    text = (ROOT / "docs" / "contracts.md").read_text(encoding="utf-8")
    section = text.split("### Commands")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `([a-z]+)` \|(.*)$", section, re.MULTILINE)
    assert [name for name, _ in rows] == list(Action)
    assert set(Outcome) <= set(_SPAN.findall(dict(rows)[Action.RESOLVE]))
