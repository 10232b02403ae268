"""Compile every kernel before the first resident is watched: a fall must not wait for a compiler."""

from __future__ import annotations

import fcntl
import gc
import importlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any, Final

import numpy as np

from engine import jit
from engine.detector import Detector
from engine.engine import Engine
from engine.frame import NS_PER_S
from engine.kinds import KINDS
from engine.registry import Registry
from schemas.codec import decode
from schemas.recording import START_NS, Recording
from streams.pipeline.assembly import CLASSES, detectors
from streams.recordings.format import Builder
from streams.recordings.replay import replay

SECONDS: Final = 12
POLL_S: Final = 0.25

Progress = Callable[[int, int, str], None]
"""Called with (done, total, what is being waited for), while compiling at least every `POLL_S`."""


def warm_up(progress: Progress | None = None) -> None:
    """Compile what no process on this machine has compiled yet, on all cores; then run every detector and model over its own examples,
    and one message through the whole core, so that this process has every kernel loaded."""
    tell = progress if progress is not None else _nobody
    if not jit.PYTHON_KERNELS and _missing():
        with _one_at_a_time(tell):
            _compile_side_by_side(tell)
    total = len(CLASSES) + 1
    for number, cls in enumerate(CLASSES):
        tell(number, total, f"loading {cls.spec.name}")
        _run_examples(cls)
    tell(total - 1, total, "loading core")
    replay(_seconds_of(KINDS))
    tell(total, total, "loaded")
    # What the compiler has left behind stays for good: 200,000 objects through which a full collection went for 0.2 s, while alerts waited.
    gc.collect()
    gc.freeze()


def _nobody(_done: int, _total: int, _what: str) -> None:
    pass


def _missing() -> int:
    return sum(not path.exists() for path in jit.indexes())


@contextmanager
def _one_at_a_time(tell: Progress) -> Iterator[None]:
    """Of several processes that start on an empty cache one compiles, on all cores; the others wait and find everything done."""
    root = jit.cache_root()
    root.mkdir(parents=True, exist_ok=True)
    total = len(jit.indexes())
    with (root / ".warm-up.lock").open("a") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                tell(total - _missing(), total, "another process compiles")
                threading.Event().wait(POLL_S)
        yield


def _compile_side_by_side(tell: Progress) -> None:
    """Each detector's kernels in a process of their own, as many at a time as there are cores; the largest first, for it ends last."""
    if not _missing():
        return
    total = len(jit.indexes())
    names = sorted((cls.spec.name for cls in CLASSES), key=_kernels_of, reverse=True)
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    with ProcessPoolExecutor(min(cores, len(names)), mp_context=get_context("spawn"), initializer=_end_with_parent) as pool:
        waiting: dict[Future[None], str] = {pool.submit(compile_kernels, name): name for name in names}
        while waiting:
            tell(total - _missing(), total, f"compiling {', '.join(list(waiting.values())[:cores])}")
            for done in wait(waiting, POLL_S, return_when=FIRST_COMPLETED).done:
                del waiting[done]
                try:
                    done.result()
                except BrokenProcessPool:
                    # Ended from outside, for want of memory say. What is missing is compiled in this process, one after the other.
                    return
    tell(total - _missing(), total, "compiled")


def compile_kernels(name: str) -> None:
    """Meet every kernel of the detector or model `name`, called by its examples and called by the engine."""
    cls = _class_of(name)
    _run_examples(cls)
    recording = _seconds_of(cls.spec.kinds)
    engine = Engine(detectors(only=(name,)), Registry(recording.registry))
    for record in recording.records:
        engine.advance(record.arrival_ns)
        for block in decode(record.payload).blocks:
            engine.step(block, record.arrival_ns)


def _class_of(name: str) -> type[Detector[Any, Any]]:
    return next(cls for cls in CLASSES if cls.spec.name == name)


def _kernels_of(name: str) -> int:
    source = sys.modules[_class_of(name).__module__].__file__
    folder = jit.cache_folder(Path(source)) if source is not None else None
    return sum(path.parent == folder for path in jit.indexes())


def _end_with_parent() -> None:
    """Ctrl-C ends a compiling process without a traceback, and none is left over when its parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parent = parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def _run_examples(cls: type[Detector[Any, Any]]) -> None:
    examples = importlib.import_module(cls.__module__.rpartition(".")[0] + ".examples")
    detector = cls(capacity=1)
    for frame in examples.positive():
        detector.step(frame)
        detector.tick(int(frame.t0_ns[0]) + NS_PER_S)


def _seconds_of(kinds: Collection[str]) -> Recording:
    """A few seconds of each of these kinds of sensor, so that every kernel is met as the engine calls it."""
    builder = Builder("warm-up", "warm-up")
    for kind in (KINDS[name] for name in KINDS if name in kinds):
        device = f"warm-{kind.name}"
        builder.bind(device, "room/warm-up" if kind.space == "room" else "resident/warm-up")
        rate_hz = min(max(kind.rate_hz_min, 1.0), kind.rate_hz_max)
        channels = len(kind.channels) or (64 * 32 if kind.name == "pressure_map" else 1)
        shape = (64, 32) if kind.name == "pressure_map" else None
        count = 1 if kind.timing == "irregular" else max(2, round(SECONDS * rate_hz))
        low = np.array([c.low for c in kind.channels]) if kind.channels else np.zeros(channels)
        samples = np.tile(np.maximum(low, 0.0), (count, 1))
        builder.add(device, kind.name, START_NS, rate_hz, samples, shape=shape)
    return builder.build()
