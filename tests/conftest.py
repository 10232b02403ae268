"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks.quality.data import unpacked

_REQUIRED = os.environ.get("VIGIL_REQUIRE_SERVICES") == "1"


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Unpacked real recordings; skips where they cannot be had (they are not part of the project)."""
    root = unpacked()
    if root is None:
        pytest.skip("the real recordings are not on this machine (set QUALITY_DATA to a folder of unpacked data sets)")
    return root


def missing_service(reason: str) -> None:
    """Skip, or fail where VIGIL_REQUIRE_SERVICES=1 says that every real service must be there."""
    if _REQUIRED:
        pytest.fail(reason)
    pytest.skip(reason)
