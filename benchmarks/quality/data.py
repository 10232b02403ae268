"""Where the real recordings are. They are not part of the project."""

from __future__ import annotations

import os
import shutil
import tarfile
from pathlib import Path

ARCHIVES = Path(__file__).resolve().parents[3] / "shared" / "data"


def unpacked() -> Path | None:
    """The folder of unpacked data sets: QUALITY_DATA, or a cache filled from the archives; None when there is neither."""
    named = os.environ.get("QUALITY_DATA")
    if named:
        return Path(named)
    if not ARCHIVES.is_dir():
        return None
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "vigil-data"
    cache.mkdir(parents=True, exist_ok=True)
    for archive in sorted(ARCHIVES.glob("*.tar.xz")):
        target = cache / archive.name.removesuffix(".tar.xz")
        if not target.is_dir():
            draft = cache / f".{target.name}.{os.getpid()}"
            with tarfile.open(archive) as tar:
                tar.extractall(draft, filter="data")
            try:
                (draft / target.name).rename(target)
            except OSError:  # another process unpacked it meanwhile
                if not target.is_dir():
                    raise
            shutil.rmtree(draft)
    return cache
