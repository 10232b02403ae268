"""A first start: kernels compiled side by side, once, whoever else starts at the same moment, and nothing silent meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 1500
"""On a machine that is busy with other things compiling takes many times its minute."""

COUNT = """
from numba.core import event
compiled = []
class Listener(event.Listener):
    def on_start(self, e): compiled.append(e.data["dispatcher"].py_func.__qualname__)
    def on_end(self, e): pass
event.register("numba:compile", Listener())
from engine import jit
from streams.ops.warm_up import warm_up
if __name__ == "__main__":
    warm_up()
    print(len(compiled), sum(path.exists() for path in jit.indexes()), len(jit.indexes()))
"""


@pytest.mark.slow
@pytest.mark.timeout(2 * LIMIT_S)
def test_two_first_starts_at_once_compile_once_and_say_what_they_wait_for(tmp_path: Path) -> None:
    env = {**os.environ, "VIGIL_KERNEL_CACHE": str(tmp_path), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "streams.cli", "warm-up"]
    starts = [subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [start.communicate(timeout=LIMIT_S)[0] for start in starts]
    assert [start.returncode for start in starts] == [0, 0]
    assert sum("compiling heart" in text for text in said) == 1
    assert sum("another process compiles" in text for text in said) == 1
    # Whoever comes next finds everything: what runs call is what was compiled, down to the last signature.
    script = tmp_path / "count.py"
    script.write_text(COUNT, encoding="utf-8")
    after = subprocess.run([sys.executable, script], cwd=ROOT, env=env, capture_output=True, text=True, check=True, timeout=LIMIT_S).stdout
    compiled, there, known = map(int, after.split())
    assert compiled == 0
    assert there == known > 50
