"""Rules of the house that a machine can hold."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
PACKAGES: Final = ("engine", "detectors", "models", "alerts", "schemas", "sinks", "streams", "simulator", "console", "benchmarks")
CORE: Final = frozenset({"engine", "detectors", "models", "alerts"})
PIPELINE: Final = CORE | {"schemas", "sinks"}
PROCESSES: Final = frozenset({"streams.embedded", "streams.worker", "streams.ingest", "streams.sink_process", "streams.canary"})
"""Folders of streams/ that are processes: none imports another."""
TRANSPORT: Final = frozenset({"streams.storage", "streams.intake", "streams.kafka", "streams.ops", "streams.recordings"})

# A room is a top-level package, a folder of streams/, or a module that stands directly in streams/. What each may import:
ALLOWED: Final[dict[str, frozenset[str]]] = {
    "engine": frozenset(),
    "schemas": frozenset({"engine"}),
    "alerts": frozenset({"engine"}),
    "detectors": frozenset({"engine"}),
    "models": frozenset({"engine"}),
    "sinks": frozenset({"engine", "alerts", "schemas"}),
    "simulator": frozenset({"engine", "schemas"}),
    "console": CORE | {"schemas", "streams.intake", "streams.pipeline", "streams.storage"},
    "streams.pipeline": PIPELINE,
    "streams.storage": PIPELINE | {"streams.pipeline"},
    "streams.recordings": PIPELINE | {"streams.pipeline", "streams.storage"},
    "streams.intake": PIPELINE | {"streams.pipeline", "streams.storage"},
    "streams.ops": PIPELINE | {"streams.pipeline", "streams.recordings"},
    "streams.kafka": PIPELINE | {"streams.pipeline", "streams.storage", "streams.ops"},
    "streams.worker": PIPELINE | TRANSPORT | {"streams.pipeline"},
    "streams.ingest": PIPELINE | TRANSPORT | {"streams.pipeline"},
    "streams.sink_process": PIPELINE | TRANSPORT | {"streams.pipeline"},
    "streams.canary": PIPELINE | TRANSPORT | {"streams.pipeline", "simulator"},
    "streams.config": PIPELINE
    | TRANSPORT
    | {"streams.pipeline"}
    | PROCESSES - {"streams.embedded"},  # of a process only its module `config`
    "streams.embedded": PIPELINE | TRANSPORT | {"streams.pipeline", "streams.config", "console"},
    "streams.cli": PIPELINE | TRANSPORT | PROCESSES | {"streams.pipeline", "streams.config", "console", "simulator"},
}
"""benchmarks/ may import everything, nothing may import benchmarks/."""

PURE: Final = ("engine", "detectors", "models", "alerts", "streams/pipeline")
FORBIDDEN: Final = frozenset({
    "aiokafka", "asyncio", "boto3", "concurrent", "datetime", "faust", "httpx", "io", "kafka", "logging", "multiprocessing", "os", "pathlib",
    "prometheus_client", "pyarrow", "random", "secrets", "shutil", "signal", "socket", "sqlite3", "starlette", "structlog", "subprocess",
    "tempfile", "threading", "time", "uuid",
})  # fmt: skip
JIT: Final = ROOT / "engine" / "jit.py"  # names the folder of compiled kernels: the one place in the core that touches files

LINES_MAX: Final = 400
ROOM_PERCENT_MAX: Final = 20.0


def source(package: str) -> list[Path]:
    """Every module below a folder, in one order."""
    return sorted((ROOT / package).rglob("*.py"))


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path: Path) -> set[str]:
    """Top-level names of what a module imports, wherever in it."""
    return {name.partition(".")[0] for name in imported(path)}


def imported(path: Path) -> set[str]:
    """Dotted names that a module imports, wherever in it: `from a import b` gives a.b, which may be a module or a name of one."""
    found = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def room(name: str) -> str:
    """The room of a dotted name: two parts of it below streams, else one."""
    return ".".join(name.split(".")[: 2 if name.startswith("streams.") else 1])


@cache
def modules() -> dict[str, frozenset[str]]:
    """Module -> modules of the project that it imports."""
    paths = {module(path): path for package in PACKAGES for path in source(package)}
    found = {}
    for name, path in paths.items():
        targets = (target if target in paths else target.rpartition(".")[0] for target in imported(path))
        found[name] = frozenset(target for target in targets if target in paths and target != name)
    return found


def rooms(edges: Mapping[str, Iterable[str]]) -> dict[str, set[str]]:
    """The same, room by room."""
    found: dict[str, set[str]] = {room(name): set() for name in edges}
    for name, targets in edges.items():
        found[room(name)] |= {room(target) for target in targets} - {room(name), "streams"}
    return found


def cycles(edges: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """Strongly connected components with more than one member (Tarjan 1972, SIAM J. Comput. 1(2), section 4)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for target in edges.get(name, ()):
            if target not in index:
                visit(target)
                low[name] = min(low[name], low[target])
            elif target in stack:
                low[name] = min(low[name], index[target])
        if low[name] == index[name]:
            component = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(component) > 1:
                found.append(sorted(component))

    for name in edges:
        if name not in index:
            visit(name)
    return found


def test_cycles_are_found() -> None:
    assert cycles({"a": ["b"], "b": ["c"], "c": ["a", "d"], "d": []}) == [["a", "b", "c"]]
    assert cycles({"a": ["b", "c"], "b": ["c"], "c": []}) == []


def test_every_room_has_its_rule() -> None:
    there = set(rooms(modules())) - {"streams", "benchmarks"}
    assert there == set(ALLOWED), f"without a rule: {sorted(there - set(ALLOWED))}; gone: {sorted(set(ALLOWED) - there)}"
    assert cycles(ALLOWED) == [], "the rules themselves go round in a circle"


@pytest.mark.parametrize("name", ALLOWED)
def test_arrows_point_inwards(name: str) -> None:
    outside = {
        f"{importer} imports {target}"
        for importer, targets in modules().items()
        for target in targets
        if room(importer) == name and room(target) not in ALLOWED[name] | {name, "streams"}
    }
    assert not outside


def test_no_process_imports_another() -> None:
    assert set(ALLOWED) >= PROCESSES
    assert [(name, other) for name in PROCESSES for other in ALLOWED[name] & PROCESSES] == []
    of_processes = {target for target in modules()["streams.config"] if room(target) in PROCESSES}
    assert of_processes
    assert {target.rpartition(".")[2] for target in of_processes} == {"config"}


def test_the_pipeline_knows_only_the_items_of_sinks() -> None:
    used = {
        target for name, targets in modules().items() if room(name) == "streams.pipeline" for target in targets if room(target) == "sinks"
    }
    assert used == {"sinks.items"}


def test_nothing_imports_in_a_circle() -> None:
    assert cycles(modules()) == []
    assert cycles(rooms(modules())) == []


@pytest.mark.parametrize("package", PURE)
def test_the_core_has_no_io_clock_log_or_randomness(package: str) -> None:
    assert source(package)
    for path in source(package):
        if path == JIT:
            continue
        assert not imports(path) & FORBIDDEN, f"{path.relative_to(ROOT)} imports {imports(path) & FORBIDDEN}"
        for node in ast.walk(tree(path)):
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
    for path in source(package):
        lines = len(path.read_text(encoding="utf-8").splitlines())
        assert lines <= LINES_MAX, f"{path.relative_to(ROOT)} has {lines} lines: split it by what its parts do"


def test_no_room_is_a_drawer() -> None:
    """Lines of code that are neither empty nor a comment, tests left out."""
    lines: dict[str, int] = {}
    for package in PACKAGES:
        for path in source(package):
            code = [line for line in map(str.strip, path.read_text(encoding="utf-8").splitlines()) if line and not line.startswith("#")]
            lines[room(module(path))] = lines.get(room(module(path)), 0) + len(code)
    percent = {name: round(100 * count / sum(lines.values()), 1) for name, count in lines.items()}
    assert {name: share for name, share in percent.items() if share > ROOM_PERCENT_MAX} == {}
