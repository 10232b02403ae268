"""`vigil replay`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streams.cli.common import ConfigOption, alert_line, example, fail, loaded, out, progress_bar

if TYPE_CHECKING:
    from streams.pipeline.core import CoreOutput

replay_app = typer.Typer()


@replay_app.command(epilog=example("vigil replay examples/fall.vigil --json events.jsonl"))
def replay(
    recording: Annotated[Path, typer.Argument(help="A recording folder (NAME.vigil).")],
    config: ConfigOption = None,
    json_out: Annotated[Path | None, typer.Option("--json", help="Write events, one JSON object a line.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only the summary.")] = False,
) -> None:
    """A recording through the very code that wakes somebody, as fast as the machine goes."""
    import msgspec

    from streams.recordings.format import RecordingError, count, read
    from streams.recordings.refusals import Refusals
    from streams.recordings.replay import replay as run_replay

    settings = loaded(config)
    try:
        total = count(recording)
        played = read(recording)
    except RecordingError as error:
        raise fail(str(error)) from error
    started_s = time.monotonic()

    def listen(output: CoreOutput) -> None:
        if not quiet:
            for transition, alert in output.transitions:
                if transition.notify:
                    out.print(alert_line(transition, alert, {}, settings.language, seconds_utc=True))

    with progress_bar() as progress:
        task = progress.add_task(f"replaying {recording.name}", total=total)
        done = run_replay(
            played, settings.parameters, settings.policy, progress=lambda n, _: progress.update(task, completed=n), listen=listen
        )
    took_s = time.monotonic() - started_s
    if json_out is not None:
        json_out.write_bytes(b"".join(msgspec.json.encode(event) + b"\n" for event in done.events))
    lived_s = max(done.exposure_s.values(), default=0.0)
    processed, received = sum(a.processed for a in done.accounts), sum(a.received for a in done.accounts)
    onsets = [e for e in done.events if e.phase == "onset"]
    out.print(
        f"{done.records} records, {len(done.exposure_s)} subjects, {lived_s:.0f} s lived in {took_s:.1f} s ({lived_s / max(took_s, 1e-9):.0f} x); "
        f"{received} readings received, {processed} processed, {sum(a.duplicate for a in done.accounts)} duplicate, "
        f"{sum(a.late for a in done.accounts)} late, {sum(a.quarantined for a in done.accounts)} quarantined"
    )
    for line in Refusals(done.rejects).sentences():
        out.print(f"  {line}", markup=False, soft_wrap=True)
    alerts = {alert.id: alert for transition, alert in done.transitions if transition.notify}
    out.print(f"{len(onsets)} events, {len(alerts)} alerts: {', '.join(sorted({a.code for a in alerts.values()})) or 'none'}")
