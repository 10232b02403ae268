"""The one way to compile a kernel.

`fastmath=True` is never used: it assumes no NaN exists, and NaN is how Vigil says "missing". The flags below allow
reassociation and contraction but keep NaN and infinity meaningful. One trap remains and a test forbids it: `isfinite` of a
value computed in the kernel is folded to True; ask `x != x` or `abs(x) < np.inf` instead.

numba decides by a kernel's own file whether its compiled form is still good, and does not see that a constant it imported has
changed. So compiled kernels live in a folder named after the content of their package and of the engine: an upgrade never runs old numbers.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import numba

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


def cache_folder(source: Path) -> Path:
    """Where the compiled kernels of the package that holds `source` are: VIGIL_KERNEL_CACHE or the user's cache, below it a
    digest of that package and of the engine, which is all a kernel may import from."""
    root = Path(
        os.environ.get("VIGIL_KERNEL_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vigil" / "kernels"
    )
    return root / f"{source.parent.name}-{_digest(_TOP / 'engine')}-{_digest(source.parent)}"


def kernel(function: _F) -> _F:
    """Compile a free function (arrays and scalars in and out) with numba, cached on disk, without the GIL.

    The undecorated twin stays reachable as `function.py_func`; the conformance suite compares both.
    """
    return _compiled(function, inline=False)


def inline_kernel(function: _F) -> _F:
    """`kernel` for what is called by kernels only: the compiler always inlines it, so that nothing is passed or counted."""
    return _compiled(function, inline=True)


def _compiled(function: _F, *, inline: bool) -> _F:
    if PYTHON_KERNELS:
        cast("Any", function).py_func = function
        return function
    numba.config.CACHE_DIR = str(cache_folder(Path(function.__code__.co_filename).resolve()))
    return cast("_F", numba.njit(cache=True, nogil=True, fastmath=FASTMATH, error_model="numpy", forceinline=inline)(function))
