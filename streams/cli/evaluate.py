"""`vigil evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from streams.cli.common import ConfigOption, example, fail, loaded, out, progress_bar

evaluate_app = typer.Typer()


@evaluate_app.command(epilog=example("vigil evaluate examples/fall.vigil examples/stumble.vigil"))
def evaluate(
    recordings: Annotated[list[Path], typer.Argument(help="Recording folders with truth.")],
    config: ConfigOption = None,
    report: Annotated[Path, typer.Option(help="Folder for scorecard.json and scorecard.html.")] = Path("build/scorecard"),
) -> None:
    """A scorecard: sensitivity, false alarms per resident-day, time to alert, each with a 95 % interval, and how much of the time was watched."""
    from streams.recordings.scorecard import coverage_table, html_page, table, to_json
    from streams.recordings.scorecard import evaluate as run_evaluate

    settings = loaded(config)
    with progress_bar() as progress:
        task = progress.add_task("evaluating", total=None)

        def advance(name: str, number: int, total: int) -> None:
            progress.update(task, completed=number - 1, total=total, description=f"evaluating {name}")

        try:
            card = run_evaluate(recordings, settings.parameters, settings.policy, progress=advance)
        except ValueError as error:
            raise fail(str(error)) from error
    out.print(table(card))
    if card.coverage:
        out.print()
        out.print(coverage_table(card))
    report.mkdir(parents=True, exist_ok=True)
    (report / "scorecard.json").write_bytes(to_json(card))
    (report / "scorecard.html").write_text(html_page(card), encoding="utf-8")
    out.print(f"written: {report / 'scorecard.json'}, {report / 'scorecard.html'}")
