"""What makes many small kernels as quick as one large one.

numba passes a NamedTuple of arrays by value, about a kilobyte for this detector, and counts a reference to each array with an atomic
instruction, at every call of a sub-kernel. Measured on 125 Hz ECG that was two thirds of the time. So sub-kernels are inlined by the
compiler, and an entry kernel works on arrays that carry no count: its caller holds them for as long as it runs.
"""

from __future__ import annotations

from typing import Any, TypeVar

from numba.core import types
from numba.extending import intrinsic, overload

from engine.jit import inline_kernel

__all__ = ["borrow", "inline_kernel"]

T = TypeVar("T")


def borrow(group: T) -> T:
    """The NamedTuple `group` with arrays that carry no reference count (in a kernel; plain Python returns it as it is).

    Only for arguments of an entry kernel, which outlive it, and never to be returned from it.
    """
    return group


@intrinsic  # type: ignore[untyped-decorator]
def _uncounted(_: Any, group: Any) -> Any:
    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        items = []
        for index, kind in enumerate(signature.args[0].types):
            item = builder.extract_value(args[0], index)
            if isinstance(kind, types.Array):
                array = context.make_array(kind)(context, builder, item)
                array.meminfo = array.meminfo.type(None)
                array.parent = array.parent.type(None)
                item = array._getvalue()
            items.append(item)
        return context.make_tuple(builder, signature.return_type, items)

    return group(group), build


@overload(borrow)
def _borrow_in_a_kernel(group):  # type: ignore[no-untyped-def]  # noqa: ARG001 - numba compares signatures, annotations included
    def take(group):  # type: ignore[no-untyped-def]
        return _uncounted(group)

    return take
