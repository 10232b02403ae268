"""Every kind of sink there is, by hand: what is in here can be configured and passes the conformance suite."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import Field

from alerts.texts import Texts
from sinks.base import Sink
from sinks.influx import InfluxConfig, InfluxSink
from sinks.jsonl import JsonlConfig, JsonlSink
from sinks.parquet import ParquetConfig, ParquetSink
from sinks.sqlite import SqliteConfig, SqliteSink
from sinks.webhook import Identity, WebhookConfig, WebhookSink

AnySinkConfig = Annotated[SqliteConfig | ParquetConfig | JsonlConfig | WebhookConfig | InfluxConfig, Field(discriminator="type")]
"""The configuration of any one sink, told apart by `type`."""

SINKS: Final[dict[str, type[Any]]] = {
    "sqlite": SqliteSink,
    "parquet": ParquetSink,
    "jsonl": JsonlSink,
    "webhook": WebhookSink,
    "influx": InfluxSink,
}
"""Class by `type`."""


def build(config: AnySinkConfig, texts: Texts, identity: Identity | None = None) -> Sink:
    """The sink of `config`; `texts` and `identity` are given to those that write to people."""
    if isinstance(config, WebhookConfig):
        return WebhookSink(config, texts, identity)
    sink: Sink = SINKS[config.type](config)
    return sink
