"""Measurements as Parquet files: `date=<day>/name=<measurement>/<id>.parquet`, the layout every analytics tool reads.

Of a day long past the many small files of a folder become one (`whole-<id>.parquet`, which names its sources until they are gone).
A file appears whole or not at all (written beside, fsync, rename). Every row carries the id of the item it came in, and a file's
metadata lists them, so that what a crash left unacknowledged is known and not written twice.
"""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import Field

from engine.outputs import Measurements
from sinks.contract import SinkConfig, refusal
from sinks.declaration import Audience, Runs, SinkSpec
from sinks.items import Item, ItemKind
from sinks.outcome import ACCEPTED, Outcome, Rejected, Retry, all_retry

_NS_PER_DAY: Final = 86_400 * 1_000_000_000
_ITEMS_KEY: Final = b"vigil.items"
_SOURCES_KEY: Final = b"vigil.sources"
_NAME_MAX: Final = 100
_MERGE_AFTER_DAYS: Final = 2
"""Late data has usually come by then; what comes later still is merged in its turn."""
_GROUP_ROWS: Final = 500_000
"""Rows of one row group of a merged file; bounds the memory of merging to some tens of MB."""
_KNOWN_MAX: Final = 100_000
_RECENT_FILES: Final = 256
"""Newest files whose item ids are read on opening: more than one batch writes (a file per day and measurement name)."""


class ParquetConfig(SinkConfig):
    """A folder of Parquet files."""

    type: Literal["parquet"] = "parquet"
    root: Path = Field(description="folder; created when missing", examples=["/var/lib/vigil/copy"])
    compression: Literal["zstd", "snappy", "none"] = Field(default="zstd", description="column compression")

    def for_instance(self, instance: str) -> Self:
        """A folder of its own below the root."""
        return self.model_copy(update={"root": self.root / instance})


class _Group(NamedTuple):
    """Where rows belong together."""

    day: int
    name: str
    columns: tuple[str, ...]


class ParquetSink:
    """Writes one file per batch, day, measurement and column set. Give its delivery a long linger and a large batch: fewer, larger files.

    Columns: `t_ns` (int64, nanoseconds since 1970 UTC), `subject` and `item` (text), and one float32 for each column of the measurements,
    in the unit of its name (`heart_rate_bpm`), null where missing. `read` gives them back.

    >>> from tempfile import TemporaryDirectory
    >>> from sinks.examples import T0_NS, item
    >>> with TemporaryDirectory() as folder:
    ...     sink = ParquetSink(ParquetConfig(root=Path(folder)))
    ...     sink.deliver([item(ItemKind.MEASUREMENTS), item(ItemKind.MEASUREMENTS)])  # a repeat is accepted and not written again
    ...     rows = read(Path(folder), "vitals", T0_NS, T0_NS + 1)
    ...     rows.num_rows, rows["heart_rate_bpm"].to_pylist()
    [Accepted(), Accepted()]
    (2, [71.5, None])
    """

    name = "parquet"
    takes = frozenset({ItemKind.MEASUREMENTS})

    def __init__(self, config: ParquetConfig) -> None:
        self._config = config
        self._known: OrderedDict[tuple[int, str], None] | None = None
        self._newest_day = 0
        self._to_merge: list[Path] = []

    def deliver(self, items: Sequence[Item]) -> list[Outcome]:
        """Write what is new: one outcome an item. A disk that refuses leaves whole files only, and is a retry of the whole batch."""
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
            self._merge_one(max((group.day for group in groups), default=0))
        except (OSError, pa.ArrowException) as error:
            return all_retry(Retry(f"Parquet: {getattr(error, 'strerror', None) or type(error).__name__}"), len(items))
        return outcomes

    def close(self) -> None:
        """Nothing stays open between batches."""

    def _opened(self) -> OrderedDict[tuple[int, str], None]:
        if self._known is None:
            self._config.root.mkdir(parents=True, exist_ok=True)
            for left in self._config.root.glob("date=*/name=*/*.part"):
                left.unlink()
            for folder in {path.parent for path in self._config.root.glob("date=*/name=*/whole-*.parquet")}:
                _drop_sources(folder)
            files = sorted(self._config.root.glob("date=*/name=*/*.parquet"), key=lambda path: path.stat().st_mtime_ns)
            known: OrderedDict[tuple[int, str], None] = OrderedDict()
            for path in files[-_RECENT_FILES:]:
                known.update({(_day(path.parent), key): None for key in _noted(path, _ITEMS_KEY)})
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
        self._publish(folder / f"{name}.parquet", table.schema, [table])

    def _publish(self, path: Path, schema: pa.Schema, tables: Iterable[pa.Table]) -> None:
        """Write a file beside, force it to disk, let it appear."""
        part = path.with_suffix(".part")
        with part.open("wb") as file:
            with pq.ParquetWriter(file, schema, compression=self._config.compression) as writer:
                for table in tables:
                    writer.write_table(table)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        handle = os.open(path.parent, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)

    def _merge_one(self, day: int) -> None:
        """Merge one folder of a past day, so that a batch is never held up by many."""
        if day > self._newest_day:
            self._newest_day = day
            past = (folder for folder in self._config.root.glob("date=*/name=*") if _day(folder) <= day - _MERGE_AFTER_DAYS)
            self._to_merge = sorted((folder for folder in past if len(list(folder.glob("*.parquet"))) > 1), reverse=True)
        if not self._to_merge:
            return
        folder = self._to_merge.pop()
        sources = sorted(folder.glob("*.parquet"), key=lambda path: path.stat().st_mtime_ns)
        names = [path.name for path in sources]
        merged = pa.unify_schemas([pq.read_schema(path).remove_metadata() for path in sources])
        schema = merged.with_metadata({_SOURCES_KEY: " ".join(names)})
        whole = hashlib.blake2b("\n".join(names).encode(), digest_size=16).hexdigest()
        self._publish(folder / f"whole-{whole}.parquet", schema, _gathered(sources, schema))
        _drop_sources(folder)


def _gathered(sources: Sequence[Path], schema: pa.Schema) -> Iterator[pa.Table]:
    """The rows of `sources` in tables of about _GROUP_ROWS; a column that a source lacks is null."""
    waiting: list[pa.Table] = []
    for path in sources:
        table = pq.read_table(path, partitioning=None).replace_schema_metadata(None)
        waiting.append(pa.concat_tables([schema.empty_table().replace_schema_metadata(None), table], promote_options="default"))
        if sum(table.num_rows for table in waiting) >= _GROUP_ROWS:
            yield pa.concat_tables(waiting).combine_chunks()
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting).combine_chunks()


def _noted(path: Path, key: bytes) -> list[str]:
    """A list of names in a file's metadata."""
    noted: bytes = (pq.read_schema(path).metadata or {}).get(key, b"")
    return noted.decode().split()


def _day(folder: Path) -> int:
    """The day of a `date=<day>/name=<measurement>` folder."""
    return int(np.datetime64(folder.parent.name.removeprefix("date="), "D").astype(int))


def _files(folder: Path) -> list[Path]:
    """The files that count: a merged file stands for its sources, also before they are deleted."""
    gone = {name for path in folder.glob("whole-*.parquet") for name in _noted(path, _SOURCES_KEY)}
    return sorted(path for path in folder.glob("*.parquet") if path.name not in gone)


def _drop_sources(folder: Path) -> None:
    kept = set(_files(folder))
    for path in folder.glob("*.parquet"):
        if path not in kept:
            path.unlink()


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
    """Rows of measurement `name` with t_ns (nanoseconds since 1970 UTC) in [from_ns, to_ns), in time order; None when there are none.

    OSError or pyarrow.ArrowException when a file cannot be read.
    """
    first, last = from_ns // _NS_PER_DAY, (to_ns - 1) // _NS_PER_DAY
    tables = []
    for folder in sorted(root.glob(f"date=*/name={name}")):
        if first <= _day(folder) <= last:
            tables += [pq.read_table(path, partitioning=None) for path in _files(folder)]
    if not tables:
        return None
    table = pa.concat_tables(tables, promote_options="default")
    kept = table.filter(pc.and_(pc.greater_equal(table["t_ns"], from_ns), pc.less(table["t_ns"], to_ns)))
    return kept.sort_by([("t_ns", "ascending"), ("subject", "ascending")])


SINK: Final = SinkSpec(settings=ParquetConfig, sink=ParquetSink, audience=Audience.MACHINES, runs=frozenset(Runs))
