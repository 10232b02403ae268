"""`vigil warm-up`."""

from __future__ import annotations

import typer

from streams.cli.common import example, progress_bar

warm_up_app = typer.Typer()


@warm_up_app.command("warm-up", epilog=example("vigil warm-up"))
def warm_up() -> None:
    """Compile the detectors, once per machine and version, so that `vigil run` starts at once."""
    from streams.ops.warm_up import warm_up

    with progress_bar() as progress:
        task = progress.add_task("compiling detectors (once per machine)", total=None)
        warm_up(lambda done, total, name: progress.update(task, completed=done, total=total, description=f"compiling {name}"))
