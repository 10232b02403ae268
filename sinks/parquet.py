"""Measurements as Parquet files: `date=<day>/name=<measurement>/<id>.parquet`, the layout every analytics tool reads.

A file appears whole or not at all (written beside, fsync, rename). Every row carries the id of the item it came in, and a file's
metadata lists them, so that what a crash left unacknowledged is known and not written twice.
"""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import Field

from engine.outputs import Measurements
from sinks.base import ACCEPTED, Item, ItemKind, Outcome, Rejected, Retry, SinkConfig, all_retry, refusal

_NS_PER_DAY: Final = 86_400 * 1_000_000_000
_ITEMS_KEY: Final = b"vigil.items"
_NAME_MAX: Final = 100
_KNOWN_MAX: Final = 100_000
_RECENT_FILES: Final = 256
"""Newest files whose item ids are read on opening: more than one batch writes (a file per day and measurement name)."""


class ParquetConfig(SinkConfig):
    """A folder of Parquet files."""

    type: Literal["parquet"] = "parquet"
    root: Path = Field(description="folder; created when missing")
    compression: Literal["zstd", "snappy", "none"] = Field(default="zstd", description="column compression")


class _Group(NamedTuple):
    """Where rows belong together."""

    day: int
    name: str
    columns: tuple[str, ...]


class ParquetSink:
    """Writes one file per batch, day, measurement and column set. Give its delivery a long linger and a large batch: fewer, larger files."""

    name = "parquet"
    takes = frozenset({ItemKind.MEASUREMENTS})

    def __init__(self, config: ParquetConfig) -> None:
        self._config = config
        self._known: OrderedDict[tuple[int, str], None] | None = None

    def deliver(self, items: Sequence[Item]) -> list[Outcome]:
        """Write what is new; a disk that fails leaves whole files only, and the rest is tried again."""
        outcomes: list[Outcome] = []
        groups: dict[_Group, dict[str, Measurements]] = {}
        try:
            known = self._opened()
            for item in items:
                refused = refusal(item, self.takes) or _unfit(item.body)
                outcomes.append(refused if refused is not None else ACCEPTED)
                if refused is None and isinstance(item.body, Measurements):
                    _sort_in(groups, known, item.id, item.body)
            for group, parts in groups.items():
                self._write(group, parts)
                for key in parts:
                    known[group.day, key] = None
            while len(known) > _KNOWN_MAX:
                known.popitem(last=False)
        except OSError as error:
            return all_retry(Retry(f"Parquet: {error.strerror or type(error).__name__}"), len(items))
        return outcomes

    def close(self) -> None:
        """Nothing stays open between batches."""

    def _opened(self) -> OrderedDict[tuple[int, str], None]:
        if self._known is None:
            self._config.root.mkdir(parents=True, exist_ok=True)
            for left in self._config.root.glob("date=*/name=*/*.part"):
                left.unlink()
            files = sorted(self._config.root.glob("date=*/name=*/*.parquet"), key=lambda path: path.stat().st_mtime_ns)
            known: OrderedDict[tuple[int, str], None] = OrderedDict()
            for path in files[-_RECENT_FILES:]:
                day = int(np.datetime64(path.parent.parent.name.removeprefix("date="), "D").astype(int))
                ids = (pq.read_schema(path).metadata or {}).get(_ITEMS_KEY, b"").decode().split()
                known.update({(day, key): None for key in ids})
            self._known = known
        return self._known

    def _write(self, group: _Group, parts: dict[str, Measurements]) -> None:
        counts = [len(rows.subjects) for rows in parts.values()]
        values = np.concatenate([rows.values for rows in parts.values()])
        arrays: dict[str, Any] = {
            "t_ns": pa.array(np.concatenate([rows.t_ns for rows in parts.values()]), pa.int64()),
            "subject": pa.array([subject for rows in parts.values() for subject in rows.subjects], pa.string()),
            "item": pa.array(np.repeat(list(parts), counts).tolist(), pa.string()),
        }
        for index, column in enumerate(group.columns):
            # NaN is how the core says missing; null is how Parquet does.
            arrays[column] = pa.array(values[:, index], pa.float32(), from_pandas=True)
        ids = list(parts)
        table = pa.table(arrays).replace_schema_metadata({_ITEMS_KEY: " ".join(ids)})
        folder = self._config.root / f"date={np.datetime64(group.day, 'D')}" / f"name={group.name}"
        folder.mkdir(parents=True, exist_ok=True)
        name = hashlib.blake2b("\n".join((*group.columns, "", *ids)).encode(), digest_size=16).hexdigest()
        part = folder / f"{name}.part"
        with part.open("wb") as file:
            pq.write_table(table, file, compression=self._config.compression)
            file.flush()
            os.fsync(file.fileno())
        part.replace(folder / f"{name}.parquet")
        handle = os.open(folder, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)


def _sort_in(
    groups: dict[_Group, dict[str, Measurements]], known: OrderedDict[tuple[int, str], None], key: str, rows: Measurements
) -> None:
    """Cut `rows` by day and add the parts that are not stored yet to their groups."""
    days = rows.t_ns // _NS_PER_DAY
    for day in sorted(set(days.tolist())):
        if (day, key) in known:
            continue
        mine = days == day
        part = rows
        if not mine.all():
            subjects = tuple(subject for subject, kept in zip(rows.subjects, mine, strict=True) if kept)
            part = Measurements(rows.name, subjects, rows.t_ns[mine], rows.columns, rows.values[mine])
        groups.setdefault(_Group(day, rows.name, rows.columns), {})[key] = part


def _unfit(body: Any) -> Rejected | None:
    """Why measurements cannot be a table in a folder of their own; None when they can."""
    name: str = body.name
    if not name or len(name) > _NAME_MAX or not all(c.isalnum() or c in "._-" for c in name) or name.startswith("."):
        return Rejected(f"a measurement name must be 1 to {_NAME_MAX} letters, digits, dots, dashes or underscores, got {name!r}")
    columns: tuple[str, ...] = body.columns
    if len({*columns, "t_ns", "subject", "item"}) != len(columns) + 3:
        return Rejected(f"columns of {name} must differ from each other and from t_ns, subject, item, got {list(columns)}")
    return None


def read(root: Path, name: str, from_ns: int, to_ns: int) -> pa.Table | None:
    """Rows of measurement `name` with t_ns in [from_ns, to_ns), in time order; None when there are none."""
    first, last = from_ns // _NS_PER_DAY, (to_ns - 1) // _NS_PER_DAY
    tables = []
    for folder in sorted(root.glob(f"date=*/name={name}")):
        day = int(np.datetime64(folder.parent.name.removeprefix("date="), "D").astype(int))
        if first <= day <= last:
            tables += [pq.read_table(path, partitioning=None) for path in sorted(folder.glob("*.parquet"))]
    if not tables:
        return None
    table = pa.concat_tables(tables, promote_options="default")
    kept = table.filter(pc.and_(pc.greater_equal(table["t_ns"], from_ns), pc.less(table["t_ns"], to_ns)))
    return kept.sort_by([("t_ns", "ascending"), ("subject", "ascending")])
