"""What all tests share."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[1]
_ARCHIVES = _ROOT.parent / "shared" / "data"
_REQUIRED = os.environ.get("VIGIL_REQUIRE_SERVICES") == "1"


def unpacked_data() -> Path | None:
    """The folder of unpacked real recordings: QUALITY_DATA, or a cache filled from the archives; None when neither exists."""
    named = os.environ.get("QUALITY_DATA")
    if named:
        return Path(named)
    if not _ARCHIVES.is_dir():
        return None
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "vigil-data"
    cache.mkdir(parents=True, exist_ok=True)
    for archive in sorted(_ARCHIVES.glob("*.tar.xz")):
        name = archive.name.removesuffix(".tar.xz")
        if not (cache / name).is_dir():
            with tarfile.open(archive) as tar:
                tar.extractall(cache, filter="data")
    return cache


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Unpacked real recordings; skips where they cannot be had (they are not part of the project)."""
    root = unpacked_data()
    if root is None:
        pytest.skip("the real recordings are not on this machine (set QUALITY_DATA to a folder of unpacked data sets)")
    return root


def missing_service(reason: str) -> None:
    """Skip, or fail where VIGIL_REQUIRE_SERVICES=1 says that every real service must be there."""
    if _REQUIRED:
        pytest.fail(reason)
    pytest.skip(reason)
