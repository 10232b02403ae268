"""Setting up: what the locks hold, what is handed from pip to uv, and that nothing is silent."""

from __future__ import annotations

import importlib.util
import io
import re
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest
from rich.console import Console

from streams.cli.progress import waiting

ROOT = Path(__file__).resolve().parents[2]
PIN = re.compile(r"^([a-z0-9.-]+)==", re.MULTILINE)


@pytest.fixture(scope="module")
def set_up() -> ModuleType:
    spec = importlib.util.spec_from_file_location("set_up", ROOT / "deploy" / "set_up.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_locks_hold_hashes_no_place_and_nothing_twice() -> None:
    run, dev = ((ROOT / name).read_text(encoding="utf-8") for name in ("requirements.lock", "requirements-dev.lock"))
    assert len(PIN.findall(run)) > 50
    assert not set(PIN.findall(run)) & set(PIN.findall(dev))
    for lock in (run, dev):
        assert not re.search(r"://|^--|/opt|find-links|index-url", lock, re.MULTILINE)
        for block in re.split(r"\n(?=\S)", lock):
            assert "--hash=sha256:" in block, block.splitlines()[0]


def test_what_runs_needs_none_of_what_tests() -> None:
    run = set(PIN.findall((ROOT / "requirements.lock").read_text(encoding="utf-8")))
    assert not run & {"pytest", "mypy", "ruff", "hypothesis", "playwright"}


def test_make_looks_for_every_interpreter_that_is_supported(set_up: ModuleType) -> None:
    low, high = set_up.supported()
    looked_for = re.search(r"foreach minor,([\d ]+),", (ROOT / "Makefile").read_text(encoding="utf-8"))
    assert looked_for is not None
    assert [int(minor) for minor in looked_for[1].split()] == list(range(high - 1, low - 1, -1))
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'target-version = "py3{low}"' in pyproject
    assert f'python_version = "3.{low}"' in pyproject
    assert set_up.is_supported(sys.version_info[:2])
    assert not set_up.is_supported((3, low - 1))
    assert not set_up.is_supported((3, high))


def test_uv_is_taken_from_the_lock_by_hash(set_up: ModuleType) -> None:
    wanted = set_up.uv_requirement()
    assert re.match(r"uv==[\d.]+ ", wanted)
    assert wanted.count("--hash=sha256:") > 5
    assert len(PIN.findall(wanted)) == 1
    assert wanted.rstrip()[-1] != "\\"


def test_uv_is_told_what_pip_is_told(set_up: ModuleType) -> None:
    said = "\n".join(
        (
            "global.index-url='https://mirror.example/simple'",
            "global.extra-index-url='\\nhttps://one.example/simple\\nhttps://two.example/simple'",
            ":env:.cert='/etc/ssl/own.pem'",
            "install.trusted-host='mirror.example'",
            "global.find-links='/wheels /more'",
            "global.disable-pip-version-check='1'",
            "freeze.index-url='https://other.example'",
        )
    )
    env = set_up.uv_environment(said, {"PATH": "/bin", "SSL_CERT_FILE": "/mine.pem"})
    assert env == {
        "PATH": "/bin",
        "SSL_CERT_FILE": "/mine.pem",
        "UV_DEFAULT_INDEX": "https://mirror.example/simple",
        "UV_INDEX": "https://one.example/simple https://two.example/simple",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_INSECURE_HOST": "mirror.example",
        "UV_FIND_LINKS": "/wheels,/more",
    }


def test_a_command_that_fails_is_shown_and_ends_the_set_up(set_up: ModuleType) -> None:
    with pytest.raises(SystemExit) as ended:
        set_up.run(set_up.Waiting(5), [sys.executable, "-c", "print('the reason'); raise SystemExit(3)"])
    assert "the reason" in str(ended.value)


def test_without_a_terminal_what_is_waited_for_is_said_though_nobody_tells_anything_new() -> None:
    out = io.StringIO()
    with waiting(Console(file=out, width=200), "loading", line_every_s=0.02) as tell:
        until(lambda: "loading" in out.getvalue())
        tell(3, 6, "compiling heart")
        until(lambda: out.getvalue().count("compiling heart") >= 2)
    assert "[##########..........] 3/6 compiling heart  0 s" in out.getvalue()
    assert "\x1b" not in out.getvalue()
    lines = out.getvalue()
    time.sleep(0.06)
    assert out.getvalue() == lines


def until(true: object) -> None:
    assert callable(true)
    for _ in range(2000):
        if true():
            return
        time.sleep(0.005)
    pytest.fail("it never came")
