"""Rules of the house that a machine can hold."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("engine", "detectors", "models", "alerts", "schemas", "sinks", "streams", "simulator", "console", "benchmarks")

# What each package may import. streams/recordings/format.py and streams/recordings/intervals.py are shapes and arithmetic that the simulator and the
# quality suite share with the shells.
ALLOWED = {
    "engine": set(),
    "schemas": {"engine"},
    "alerts": {"engine"},
    "detectors": {"engine"},
    "models": {"engine"},
    "sinks": {"engine", "alerts", "schemas"},
    "simulator": {"engine", "schemas", "streams"},
    "console": set(PACKAGES) - {"benchmarks", "simulator"},
    "streams": set(PACKAGES) - {"benchmarks"},
    "benchmarks": set(PACKAGES),
}
PURE = ("engine", "detectors", "models", "alerts")
FORBIDDEN = {
    "time",
    "datetime",
    "random",
    "io",
    "logging",
    "socket",
    "subprocess",
    "threading",
    "asyncio",
    "structlog",
    "httpx",
    "uuid",
    "secrets",
    "tempfile",
}
JIT = ROOT / "engine" / "jit.py"  # names the folder of compiled kernels: the one place in the core that touches files


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.partition(".")[0])
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_arrows_point_inwards(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        outside = imports(path) & set(PACKAGES) - ALLOWED[package] - {package}
        assert not outside, f"{path.relative_to(ROOT)} imports {outside}"


@pytest.mark.parametrize("package", PURE)
def test_the_core_has_no_io_clock_log_or_randomness(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        if path == JIT:
            continue
        assert not imports(path) & FORBIDDEN, f"{path.relative_to(ROOT)} imports {imports(path) & FORBIDDEN}"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in {"open", "print", "input"}, f"{path.relative_to(ROOT)} calls {node.func.id}"


def test_no_kernel_asks_isfinite() -> None:
    for package in ("engine", "detectors", "models", "schemas"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.FunctionDef) and any("kernel" in ast.unparse(d) for d in node.decorator_list):
                    assert "isfinite" not in ast.unparse(node), (
                        f"{path.relative_to(ROOT)}: {node.name} uses isfinite, which is folded to True in a kernel"
                    )


def test_every_test_module_has_a_name_of_its_own_package() -> None:
    for folder in {path.parent for path in (ROOT / "tests").rglob("test_*.py")}:
        assert (folder / "__init__.py").exists(), f"{folder.relative_to(ROOT)} needs __init__.py, or equal file names collide"


def tracked() -> list[Path]:
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout: an unpacked source archive has nothing tracked")
def test_no_machine_path_and_no_large_file_is_tracked() -> None:
    pattern = re.compile(rb"(?<![\w.~])/(root|home|work|Users)/\w")
    for path in tracked():
        assert path.stat().st_size <= 1_000_000, f"{path.relative_to(ROOT)} is larger than 1 MB"
        if path != Path(__file__).resolve():
            assert not pattern.search(path.read_bytes()), (
                f"{path.relative_to(ROOT)} names a path of somebody's machine: {pattern.search(path.read_bytes())}"
            )


@pytest.mark.parametrize("package", PACKAGES)
def test_files_stay_readable(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 600, f"{path.relative_to(ROOT)} is too long"
