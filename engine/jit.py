"""The one way to compile a kernel.

`fastmath=True` is never used: it assumes no NaN exists, and NaN is how Vigil says "missing". The flags below allow
reassociation and contraction but keep NaN and infinity meaningful. One trap remains and a test forbids it: `isfinite` of a
value computed in the kernel is folded to True; ask `x != x` or `abs(x) < np.inf` instead.

numba decides by a kernel's own file whether its compiled form is still good, and does not see that a constant it imported has
changed. So compiled kernels live in a folder named after the content of all core sources: an upgrade never runs old numbers.
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


_CORE: Final = ("engine", "detectors", "models", "schemas")


def cache_folder() -> Path:
    """Where this version's compiled kernels are: VIGIL_KERNEL_CACHE or the user's cache, below it a digest of the core."""
    root = Path(
        os.environ.get("VIGIL_KERNEL_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vigil" / "kernels"
    )
    digest = hashlib.blake2b(digest_size=12)
    top = Path(__file__).resolve().parents[1]
    for package in _CORE:
        for path in sorted((top / package).rglob("*.py")):
            digest.update(path.relative_to(top).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return root / digest.hexdigest()


if not PYTHON_KERNELS:
    numba.config.CACHE_DIR = str(cache_folder())


def kernel(function: _F) -> _F:
    """Compile a free function (arrays and scalars in and out) with numba, cached on disk, without the GIL.

    The undecorated twin stays reachable as `function.py_func`; the conformance suite compares both.
    """
    if PYTHON_KERNELS:
        cast("Any", function).py_func = function
        return function
    return cast("_F", numba.njit(cache=True, nogil=True, fastmath=FASTMATH, error_model="numpy")(function))
