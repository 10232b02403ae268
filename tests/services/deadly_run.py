"""`vigil run` over a folder with one record on which the process is gone: `python -m tests.services.deadly_run FOLDER`.

It prints how many records were skipped and applied, once it comes through.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from engine.outputs import Reason
from streams.embedded.vigil import Vigil
from streams.pipeline.core import Core, CoreOutput

DEADLY = b"deadly"


def main() -> None:
    """The process."""
    folder = Path(sys.argv[1])
    first = not (folder / "journal").exists()
    real = Core.telemetry

    def telemetry(self: Core, payload: bytes, *more: Any) -> CoreOutput:
        if payload == DEADLY:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(self, payload, *more)

    vigil = Vigil(folder, live=False, snapshot_every_s=1000)
    if first:
        for payload in (b"{}", DEADLY, b"[]"):
            vigil.telemetry(payload, 1_767_571_200_000_000_000).result(30)
    Core.telemetry = telemetry  # type: ignore[method-assign]
    vigil.start()
    if not vigil.drain(60):
        sys.exit("the journal was not read to its end")
    print("skipped", vigil.rejected[Reason.INTERNAL][0], "applied", vigil.core.messages)
    vigil.stop()


if __name__ == "__main__":
    main()
