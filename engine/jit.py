"""The one way to compile a kernel.

`fastmath=True` is never used: it assumes no NaN exists, and NaN is how Vigil says "missing". The flags below allow
reassociation and contraction but keep NaN and infinity meaningful. One trap remains and a test forbids it: `isfinite` of a
value computed in the kernel is folded to True; ask `x != x` or `abs(x) < np.inf` instead.

numba decides by a kernel's own file, its path and its age whether the compiled form is still good, and does not see that a constant
it imported has changed. So compiled kernels live in a folder named after the content of their package and of the engine, and by that
name alone they are found: an upgrade never runs old numbers, and the same sources elsewhere on the machine are not compiled again.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import numba
from numba.core.caching import IndexDataCacheFile

_F = TypeVar("_F", bound=Callable[..., Any])

FASTMATH: Final = {"nsz", "arcp", "contract", "afn", "reassoc"}
PYTHON_KERNELS: Final = os.environ.get("VIGIL_PYTHON_KERNELS", "") == "1"
"""True when kernels run as plain Python (debugging only; about 1,000 times slower). Never a silent fallback."""


_TOP: Final = Path(__file__).resolve().parents[1]
_digests: dict[Path, str] = {}


def _digest(folder: Path) -> str:
    """Of all sources in `folder`, read once."""
    if folder not in _digests:
        content = hashlib.blake2b(digest_size=12)
        for path in sorted(folder.rglob("*.py")):
            content.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
        _digests[folder] = content.hexdigest()
    return _digests[folder]


def cache_root() -> Path:
    """VIGIL_KERNEL_CACHE or a folder in the user's cache."""
    return Path(
        os.environ.get("VIGIL_KERNEL_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vigil" / "kernels"
    )


def cache_folder(source: Path) -> Path:
    """Where the compiled kernels of the package that holds `source` are: below `cache_root`, named after a digest of that package and
    of the engine, which is all a kernel may import from."""
    return cache_root() / f"{source.parent.name}-{_digest(_TOP / 'engine')}-{_digest(source.parent)}"


def kernel(function: _F) -> _F:
    """Compile a free function (arrays and scalars in and out) with numba, cached on disk, without the GIL.

    The undecorated twin stays reachable as `function.py_func`; the conformance suite compares both.
    """
    return _compiled(function, inline=False)


def inline_kernel(function: _F) -> _F:
    """`kernel` for what is called by kernels only: the compiler always inlines it, so that nothing is passed or counted."""
    return _compiled(function, inline=True)


def indexes() -> tuple[Path, ...]:
    """The file of each kernel known to this process that is there as soon as a form of it is compiled, below its `cache_folder`."""
    return tuple(_indexes)


class _SharedFile(IndexDataCacheFile):  # type: ignore[misc]
    """numba's cache of one kernel, for processes that compile at the same time.

    numba reads the index, takes the next free number, then writes index and code, all without a lock (0.68.1): two processes that do so
    at once for two signatures take the same number, and one signature is then run with the other's machine code.
    """

    def save(self, key: object, data: object) -> None:
        with (Path(self._cache_path) / ".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            super().save(key, data)


_indexes: list[Path] = []


def _compiled(function: _F, *, inline: bool) -> _F:
    if PYTHON_KERNELS:
        cast("Any", function).py_func = function
        return function
    folder = cache_folder(Path(function.__code__.co_filename).resolve())
    numba.config.CACHE_DIR = str(folder)
    compiled = numba.njit(cache=True, nogil=True, fastmath=FASTMATH, error_model="numpy", forceinline=inline)(function)
    # numba's own choice is a folder named after the path of the source, and a stamp of its age.
    cache = compiled._cache
    cache._cache_file = _SharedFile(str(folder), cache._impl.filename_base, "")
    _indexes.append(folder / f"{cache._impl.filename_base}.nbi")
    return cast("_F", compiled)
