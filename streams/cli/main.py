"""The command `vigil`: what there is, each in a file of its own."""

from __future__ import annotations

import typer

from streams.cli.backup import backup_app
from streams.cli.canary import canary_app
from streams.cli.config import config_app
from streams.cli.dead_letters import dead_letters_app
from streams.cli.evaluate import evaluate_app
from streams.cli.import_ import import_app
from streams.cli.ingest import ingest_app
from streams.cli.record import record_app
from streams.cli.registry import registry_app
from streams.cli.replay import replay_app
from streams.cli.run import run_app
from streams.cli.simulate import simulate_app
from streams.cli.sink import sink_app
from streams.cli.topics import topics_app
from streams.cli.warm_up import warm_up_app
from streams.cli.worker import worker_app

app = typer.Typer(
    name="vigil",
    help="Real-time safety engine for nursing homes.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for single in (run_app, warm_up_app, replay_app, evaluate_app, record_app, import_app, simulate_app, backup_app):
    app.add_typer(single)
for name, group in (
    ("config", config_app),
    ("worker", worker_app),
    ("ingest", ingest_app),
    ("topics", topics_app),
    ("registry", registry_app),
    ("canary", canary_app),
    ("sink", sink_app),
    ("dead-letters", dead_letters_app),
):
    app.add_typer(group, name=name)
