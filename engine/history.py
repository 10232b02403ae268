"""Whom devices were about before the registry was changed.

A registry may be replaced by one that no longer says who had a device before. What was in force is remembered here, so that what was
measured then stays the resident's who wore the device then.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import msgspec


class Span(msgspec.Struct, frozen=True, array_like=True):
    """`device` was about `subject` ("": nobody), in `ward`, during [from_ns, to_ns)."""

    device: str
    from_ns: int
    to_ns: int
    subject: str
    ward: str


class Told(NamedTuple):
    """What a registry says of a device at a time: subject and ward ("" for nobody), and whether it was written down for that very time
    (else it is only what holds from now on, without a beginning)."""

    subject: str
    ward: str
    dated: bool


class History:
    """Spans by device, in order, without overlap. Behind the last span of a device the registry counts."""

    def __init__(self, spans: Iterable[Span] = ()) -> None:
        self._spans: dict[str, list[Span]] = {}
        for span in spans:
            self._spans.setdefault(span.device, []).append(span)

    def __contains__(self, device: str) -> bool:
        return device in self._spans

    def __iter__(self) -> Iterator[str]:
        return iter(self._spans)

    def of(self, device: str) -> list[Span]:
        """The spans of `device`, oldest first."""
        return self._spans.get(device, [])

    def at(self, device: str, t_ns: int) -> Span | None:
        """The span of `device` at `t_ns`, None where the registry counts."""
        spans = self._spans.get(device)
        if not spans:
            return None
        index = bisect_right([span.from_ns for span in spans], t_ns) - 1
        return spans[index] if index >= 0 and t_ns < spans[index].to_ns else None

    def edges(self, device: str) -> list[int]:
        """When the spans of `device` begin and end."""
        return [edge for span in self._spans.get(device, ()) for edge in (span.from_ns, span.to_ns)]

    def spans(self) -> list[Span]:
        """All, for the snapshot."""
        return [span for spans in self._spans.values() for span in spans]

    def replace(self, device: str, spans: list[Span]) -> None:
        """From now on `spans` is what is known of `device`."""
        if spans:
            self._spans[device] = spans
        else:
            self._spans.pop(device, None)

    def pruned(self, before_ns: int) -> History:
        """A copy without what ended before `before_ns`."""
        return History(span for span in self.spans() if span.to_ns > before_ns)


def past_of(
    device: str, edges: Iterable[int], between: tuple[int, int], said: Callable[[int], Told], was: Callable[[int], Told]
) -> list[Span]:
    """The spans of `device` in [begin_ns, now_ns): where the new registry dates what it says, that (`said`), else what `was` in force."""
    begin_ns, now_ns = between
    points = sorted({begin_ns, *(edge for edge in edges if begin_ns < edge < now_ns)})
    spans: list[Span] = []
    differs = False
    for from_ns, to_ns in zip(points, [*points[1:], now_ns], strict=True):
        new, old = said(from_ns), was(from_ns)
        told = new if new.dated else old
        differs = differs or (told.subject, told.ward) != (new.subject, new.ward)
        if spans and (spans[-1].subject, spans[-1].ward) == (told.subject, told.ward):
            spans[-1] = msgspec.structs.replace(spans[-1], to_ns=to_ns)
        else:
            spans.append(Span(device, from_ns, to_ns, told.subject, told.ward))
    return spans if differs else []
