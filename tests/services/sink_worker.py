"""A process that delivers numbered items, to be killed: `python -m tests.services.sink_worker <config.json> <folder> <first> <count> <last>`.

Prints `put <n>` once item n is put; with `last` = "yes" it then drains, and prints `done` when nothing waits any more.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from pydantic import TypeAdapter

from sinks.base import ItemKind
from sinks.catalogue import AnySinkConfig, build
from sinks.delivery import Delivery, DeliverySettings
from sinks.examples import item


def kind_of(takes: frozenset[ItemKind], index: int) -> ItemKind:
    """Which kind item `index` is: every kind the sink takes in turn."""
    kinds = [kind for kind in ItemKind if kind in takes]
    return kinds[index % len(kinds)]


def main(config_file: str, folder: str, first: str, count: str, last: str) -> None:
    """Deliver items first..count."""
    sink = build(TypeAdapter[AnySinkConfig](AnySinkConfig).validate_json(Path(config_file).read_bytes()))
    settings = DeliverySettings(batch_max=7, backoff_first_s=0.05, backoff_max_s=0.2)
    delivery = Delivery(sink, Path(folder), settings)
    delivery.start()
    print("ready", flush=True)
    for index in range(int(first), int(count)):
        delivery.put([item(kind_of(sink.takes, index), index)])
        print(f"put {index}", flush=True)
        time.sleep(0.002)
    if last == "yes":
        give_up = time.monotonic() + 60
        while delivery.figures().queued and time.monotonic() < give_up:
            time.sleep(0.02)
        figures = delivery.figures()
        empty = delivery.close(10)
        print("done" if empty and not figures.dead and not any(figures.shed[kind] for kind in figures.shed) else figures, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
