"""Which chunks may travel in one block without a stream being reordered."""

from __future__ import annotations

from collections.abc import Hashable, Iterable


def grouped(chunks: Iterable[tuple[Hashable, Hashable]]) -> list[list[int]]:
    """Indices of chunks, grouped by form; each chunk is given as (form, stream).

    A form is what chunks of a block share, a stream is (device, kind). Groups are in order of their first chunk, and a chunk
    joins the newest group of its form unless its stream has gone on in a later group: read group by group, every stream keeps
    its order.
    """
    groups: list[list[int]] = []
    newest: dict[Hashable, int] = {}
    reached: dict[Hashable, int] = {}
    for index, (form, stream) in enumerate(chunks):
        group = newest.get(form, -1)
        if group < 0 or group < reached.get(stream, -1):
            group = newest[form] = len(groups)
            groups.append([])
        groups[group].append(index)
        reached[stream] = group
    return groups
