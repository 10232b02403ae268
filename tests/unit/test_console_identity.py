"""The identity file."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.storage.identity import Person, load_people


def test_people_are_read_and_a_missing_file_is_nobody(tmp_path: Path) -> None:
    path = tmp_path / "identity.json"
    assert load_people(path) == {}
    path.write_text('{"resident/r-1": {"name": "王秀英", "room": "201", "bed": "A"}, "room/k": {"name": "Kitchen"}}', "utf-8")
    assert load_people(path) == {"resident/r-1": Person("王秀英", "201", "A"), "room/k": Person("Kitchen")}


@pytest.mark.parametrize(
    ("text", "said"),
    [("[]", "must map subjects"), ('{"resident/r-1": {"name": 7}}', "must map"), ('{"r-1": {}}', "'r-1'"), ("{", "identity.json")],
)
def test_a_file_that_cannot_be_used_is_said(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "identity.json"
    path.write_text(text, "utf-8")
    with pytest.raises(ValueError, match=said):
        load_people(path)
