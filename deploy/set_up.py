"""Set Vigil up beside its sources: a virtual environment, the locked packages, compiled detectors. `make` calls it; nothing but Python is needed.

What it waits for is said all the time: a bar on a terminal, else a line every few seconds. Packages are installed by uv, which fetches
and unpacks side by side; uv itself comes with pip, by the hash in requirements.lock, and gets the index, proxy and certificate that
pip is configured with.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCK, DEV_LOCK = ROOT / "requirements.lock", ROOT / "requirements-dev.lock"
LINE_EVERY_S = 4.0
BAR_CELLS = 20

# What pip is told, and the variable by which uv is told the same.
UV_VARIABLES = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "trusted-host": "UV_INSECURE_HOST",
    "timeout": "UV_HTTP_TIMEOUT",
    "cert": "SSL_CERT_FILE",
    "proxy": "ALL_PROXY",
}


class Waiting:
    """Says what is being waited for, and how far it is."""

    def __init__(self, steps: int) -> None:
        self.steps, self.step, self.title = steps, 0, ""
        self._begun_s, self._said_s = time.monotonic(), 0.0
        self._terminal = sys.stdout.isatty()

    def begin(self, title: str) -> None:
        self.step, self.title, self._said_s = self.step + 1, title, 0.0
        self.show("")

    def show(self, how_far: str, part: float = 0.0) -> None:
        """`part` of the step is done, 0 to 1."""
        now_s = time.monotonic()
        if not self._terminal and now_s - self._said_s < LINE_EVERY_S:
            return
        self._said_s = now_s
        done = round(BAR_CELLS * (self.step - 1 + part) / self.steps)
        detail = f": {how_far}" if how_far else ""
        text = f"[{'#' * done}{'.' * (BAR_CELLS - done)}] {self.step}/{self.steps} {self.title}{detail}  {now_s - self._begun_s:.0f} s"
        sys.stdout.write(f"\r\x1b[K{text}" if self._terminal else f"{text}\n")
        sys.stdout.flush()

    def pass_on(self, line: str) -> None:
        """A line of a command that says itself how far it is."""
        self._said_s = time.monotonic()
        sys.stdout.write(line)
        sys.stdout.flush()


def run(waiting: Waiting, command: list[str], env: dict[str, str] | None = None, fetched: Fetched | None = None) -> None:
    """`command`, its output kept back unless it fails; then this process ends with its status."""
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
        while True:
            try:
                status = process.wait(0.2)
                break
            except subprocess.TimeoutExpired:
                waiting.show(*(fetched.progress() if fetched is not None else ("",)))
        if status:
            output.seek(0)
            sys.exit(f"\n{''.join(output.readlines()[-40:])}\nset-up failed at: {waiting.title}")


def relay(waiting: Waiting, command: list[str]) -> None:
    """`command`, which says itself how far it is; until it does, and without a terminal whenever it is silent, this process does."""
    if sys.stdout.isatty():
        waiting.pass_on("\n")  # the line of this step stays; below it the command draws a bar of its own
        status = subprocess.run(command, cwd=ROOT, check=False).returncode
    else:
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, bufsize=1)
        over = threading.Event()

        def lines() -> None:
            while not over.wait(0.2):
                waiting.show("")

        thread = threading.Thread(target=lines, daemon=True)
        thread.start()
        for line in process.stdout or ():
            waiting.pass_on(line)
        over.set()
        thread.join()
        status = process.wait()
    if status:
        sys.exit(status)


class Fetched:
    """How many packages uv has unpacked into its cache since; those that were there before are quick."""

    def __init__(self, cache: Path, total: int) -> None:
        self._folder, self._total = cache / "archive-v0", total
        self._before = self._count()

    def _count(self) -> int:
        try:
            return sum(1 for _ in self._folder.iterdir())
        except OSError:
            return 0

    def progress(self) -> tuple[str, float]:
        new = min(max(self._count() - self._before, 0), self._total)
        return f"{new} of up to {self._total} fetched", new / self._total


def supported() -> tuple[int, int]:
    """The first and the first too new minor version of Python 3, from pyproject.toml."""
    found = re.search(r'requires-python = ">=3\.(\d+),<3\.(\d+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    if found is None:
        sys.exit("pyproject.toml does not say which Python it requires")
    return int(found[1]), int(found[2])


def is_supported(version: tuple[int, int]) -> bool:
    low, high = supported()
    return version[0] == 3 and low <= version[1] < high


def venv_version(python: Path) -> tuple[int, int] | None:
    """The version of the environment that is there, None where none is or its interpreter is gone."""
    try:
        said = subprocess.run([python, "-c", "import sys; print(*sys.version_info[:2])"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    major, minor = said.split()
    return int(major), int(minor)


def uv_requirement() -> str:
    """uv as it stands in the lock, with its hashes."""
    found = re.search(r"^uv==.*(?:\\\n    --hash=\S+ ?)+", LOCK.read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        sys.exit("requirements.lock has no uv")
    return found[0] + "\n"


def uv_environment(pip_settings: str, environment: dict[str, str]) -> dict[str, str]:
    """`environment` with what `pip config list` says put in uv's words. What is set for uv itself goes first."""
    result = dict(environment)
    for line in pip_settings.splitlines():
        found = re.fullmatch(r"(?:global|install|:env:)\.([a-z-]+)='(.*)'", line)
        if found is None or found[1] not in UV_VARIABLES:
            continue
        values = found[2].replace("\\n", " ").split()
        result.setdefault(UV_VARIABLES[found[1]], ("," if found[1] == "find-links" else " ").join(values))
        if found[1] == "extra-index-url":  # pip takes a version from whichever index has it, and the hash is in the lock
            result.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")
    return result


def set_up(venv: Path, *, dev: bool) -> None:
    """Bring `venv` to what the locks say; the packages for developing with `dev`."""
    binaries = venv / "bin"
    python = str(binaries / "python")
    waiting = Waiting(5)
    waiting.begin("virtual environment")
    version = venv_version(Path(python))
    if version is None or not is_supported(version):
        run(waiting, [sys.executable, "-m", "venv", "--clear", str(venv)])

    waiting.begin("installer")
    with tempfile.TemporaryDirectory() as folder:
        wanted = Path(folder) / "uv.txt"
        wanted.write_text(uv_requirement(), encoding="utf-8")
        pip = [python, "-m", "pip", "--disable-pip-version-check"]
        run(waiting, [*pip, "install", "--quiet", "--no-compile", "--no-deps", "--require-hashes", "-r", str(wanted)])
    settings = subprocess.run([*pip, "config", "list"], capture_output=True, text=True, check=True).stdout
    env = uv_environment(settings, {**os.environ, "VIRTUAL_ENV": str(venv)})

    waiting.begin("packages")
    locks = [LOCK, DEV_LOCK] if dev else [LOCK]
    total = sum(len(re.findall(r"^\S+==", lock.read_text(encoding="utf-8"), re.MULTILINE)) for lock in locks)
    uv = str(binaries / "uv")
    cache = subprocess.run([uv, "cache", "dir"], env=env, capture_output=True, text=True, check=True).stdout.strip()
    run(waiting, [uv, "pip", "sync", "--require-hashes", *map(str, locks)], env, Fetched(Path(cache), total))

    waiting.begin("Vigil itself")
    run(waiting, [uv, "pip", "install", "--no-deps", "--no-build-isolation", "--offline", "--editable", "."], env)

    waiting.begin("detectors, compiled once per machine")
    relay(waiting, [str(binaries / "vigil"), "warm-up"])
    (venv / ".ready").touch()
    if dev:
        (venv / ".ready-dev").touch()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--venv", type=Path, default=Path(".venv"))
    parser.add_argument("--dev", action="store_true", help="what tests and linters need, too")
    arguments = parser.parse_args()
    if not is_supported(sys.version_info[:2]):
        low, high = supported()
        sys.exit(
            f"Vigil needs Python 3.{low} to 3.{high - 1}, this is {sys.version.split()[0]}: call make PYTHON=/path/to/python3.{high - 1}"
        )
    set_up((ROOT / arguments.venv).absolute(), dev=arguments.dev)
