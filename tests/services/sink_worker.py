"""A process that delivers numbered items, to be killed: the "lives" of a sink, forked off one warm process.

`python -m tests.services.sink_worker` prints `ready`, then reads one life a line, `<config.json> <folder> <first> <count> <last> <out>`, forks it and waits for
its end: imported once, killed as often as wanted. A life writes into the named pipe `out`: `pid <n>`, `put <n>` once item n is put; with
`last` = "yes" it then drains, and writes `done` when nothing waits any more.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Final, TextIO

from pydantic import TypeAdapter

from sinks.catalogue import AnySinkConfig, build
from sinks.delivery import Delivery, DeliverySettings
from sinks.examples import item
from sinks.items import ItemKind
from streams.pipeline.assembly import TEXTS

_KILLED_WITHIN_S: Final = 60.0
"""How long a life that is to be killed waits for it: it must not end before, or its killer would find another process under its id."""


def kind_of(takes: frozenset[ItemKind], index: int) -> ItemKind:
    """Which kind item `index` is: every kind the sink takes in turn."""
    kinds = [kind for kind in ItemKind if kind in takes]
    return kinds[index % len(kinds)]


def live(config_file: str, folder: str, first: str, count: str, last: str, out: TextIO) -> None:
    """Deliver items first..count."""
    sink = build(TypeAdapter[AnySinkConfig](AnySinkConfig).validate_json(Path(config_file).read_bytes()), TEXTS)
    settings = DeliverySettings(batch_max=7, backoff_first_s=0.05, backoff_max_s=0.2)
    delivery = Delivery(sink, Path(folder), settings)
    delivery.start()
    for index in range(int(first), int(count)):
        delivery.put([item(kind_of(sink.takes, index), index)])
        print(f"put {index}", file=out, flush=True)
        time.sleep(0.002)
    if last == "yes":
        give_up = time.monotonic() + 60
        while delivery.statistics().queued and time.monotonic() < give_up:
            time.sleep(0.02)
        figures = delivery.statistics()
        empty = delivery.close(10)
        print("done" if empty and not figures.dead and not any(figures.shed.values()) else figures, file=out, flush=True)
    else:
        time.sleep(_KILLED_WITHIN_S)


def main() -> None:
    """One life after the other."""
    # The client takes a second to import, which every life would spend again.
    import influxdb_client.client.write_api  # noqa: F401

    print("ready", flush=True)
    for line in sys.stdin:
        config_file, folder, first, count, last, pipe = line.rstrip("\n").split("\t")
        child = os.fork()
        if child:
            os.waitpid(child, 0)
            continue
        code = 1
        try:
            with Path(pipe).open("w", encoding="utf-8") as out:
                print(f"pid {os.getpid()}", file=out, flush=True)
                live(config_file, folder, first, count, last, out)
            code = 0
        finally:
            os._exit(code)


if __name__ == "__main__":
    main()
