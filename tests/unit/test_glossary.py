"""The glossary defines each term once, in a sentence, and only terms that the tree uses."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GLOSSARY = ROOT / "docs" / "glossary.md"
ROWS = re.findall(r"^\| \*\*(.+?)\*\* \| (.+) \|$", GLOSSARY.read_text(encoding="utf-8"), re.MULTILINE)
FOLDERS = ("engine", "detectors", "models", "alerts", "schemas", "sinks", "streams", "simulator", "console", "docs")


@cache
def tree() -> str:
    files = [path for folder in FOLDERS for pattern in ("*.py", "*.md") for path in (ROOT / folder).rglob(pattern) if path != GLOSSARY]
    return "\n".join(path.read_text(encoding="utf-8") for path in [*files, ROOT / "README.md"])


def test_every_row_is_read() -> None:
    assert len(ROWS) == GLOSSARY.read_text(encoding="utf-8").count("| **")
    assert len(ROWS) > 70


@pytest.mark.parametrize(("term", "meaning"), ROWS, ids=[term for term, _ in ROWS])
def test_a_term_occurs_in_the_tree_and_has_one_sentence(term: str, meaning: str) -> None:
    words = rf"\b{re.escape(term)}".replace(r"\ ", r"[\s_-]").replace(r"\-", "[- ]?")
    assert re.search(words, tree(), re.IGNORECASE), f"{term} is not used outside the glossary"
    assert meaning.endswith("."), meaning
    assert not re.search(r"\. [A-Z]", meaning), f"more than one sentence: {meaning}"


def test_every_term_is_defined_once() -> None:
    assert [term for term, count in Counter(term for term, _ in ROWS).items() if count > 1] == []
