"""`vigil warm-up`."""

from __future__ import annotations

import typer

from streams.cli.common import example, out
from streams.cli.progress import waiting

warm_up_app = typer.Typer()


@warm_up_app.command("warm-up", epilog=example("vigil warm-up"))
def warm_up() -> None:
    """Compile the detectors, once per machine and version, so that `vigil run` starts at once."""
    with waiting(out, "loading the detectors") as tell:
        from streams.ops.warm_up import warm_up as compile_all

        compile_all(tell)
