"""Compiled kernels on disk: found by content alone, and intact when two processes compile at once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from numba.core.caching import IndexDataCacheFile

from engine import jit
from streams.pipeline.assembly import CLASSES

ROOT = Path(__file__).resolve().parents[2]


def saved_at_once(cls: type[IndexDataCacheFile], folder: Path) -> list[object]:
    """What two writers that read the index at the same moment find under their own keys afterwards."""

    class Slow(cls):  # type: ignore[misc, valid-type]
        def _load_index(self) -> object:
            found = super()._load_index()
            time.sleep(0.1)
            return found

    def file() -> IndexDataCacheFile:
        return Slow(str(folder), "kernel", "")

    writers = [threading.Thread(target=file().save, args=(key, key * 3)) for key in ("a", "b")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    return [file().load(key) for key in ("a", "b")]


def test_two_writers_at_once_lose_and_mix_up_nothing(tmp_path: Path) -> None:
    assert saved_at_once(jit._SharedFile, tmp_path) == ["aaa", "bbb"]


def test_numba_alone_loses_or_mixes_up(tmp_path: Path) -> None:
    """As soon as this fails, `_SharedFile` can go."""
    assert saved_at_once(IndexDataCacheFile, tmp_path) != ["aaa", "bbb"]


@pytest.mark.skipif(jit.PYTHON_KERNELS, reason="kernels run as plain Python")
def test_every_kernel_has_an_index_below_the_folder_of_its_package() -> None:
    assert CLASSES
    assert len(jit.indexes()) == len(set(jit.indexes())) > 50
    assert {path.parent.parent for path in jit.indexes()} == {jit.cache_root()}


def test_the_same_sources_elsewhere_are_not_compiled_again(tmp_path: Path) -> None:
    code = (
        "from detectors.sos import examples, kernel; from detectors.catalogue import DETECTORS\n"
        "cls = next(c for c in DETECTORS if c.spec.name == 'sos'); d = cls(capacity=1)\n"
        "[d.step(f) for f in examples.positive()]\n"
        "print(sum(kernel.presses.stats.cache_hits.values()), sum(kernel.presses.stats.cache_misses.values()))\n"
    )
    said = []
    for place in ("one", "two"):
        for package in ("engine", "detectors"):
            shutil.copytree(ROOT / package, tmp_path / place / package, copy_function=shutil.copy)  # with another age, too
        env = {**os.environ, "VIGIL_KERNEL_CACHE": str(tmp_path / "kernels"), "PYTHONPATH": str(tmp_path / place)}
        said.append(subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True, check=True).stdout)
    assert [line.split() for line in said] == [["0", "1"], ["1", "0"]]
