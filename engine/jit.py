"""The one way to compile a kernel.

`fastmath=True` is never used: it assumes no NaN exists, and NaN is how Vigil says "missing". The flags below allow
reassociation and contraction but keep NaN and infinity meaningful.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

import numba

_F = TypeVar("_F", bound=Callable[..., Any])

FASTMATH: Final = {"nsz", "arcp", "contract", "afn", "reassoc"}
PYTHON_KERNELS: Final = os.environ.get("VIGIL_PYTHON_KERNELS", "") == "1"
"""True when kernels run as plain Python (debugging only; about 1,000 times slower). Never a silent fallback."""


def kernel(function: _F) -> _F:
    """Compile a free function (arrays and scalars in and out) with numba, cached on disk, without the GIL.

    The undecorated twin stays reachable as `function.py_func`; the conformance suite compares both.
    """
    if PYTHON_KERNELS:
        cast("Any", function).py_func = function
        return function
    return cast("_F", numba.njit(cache=True, nogil=True, fastmath=FASTMATH, error_model="numpy")(function))
