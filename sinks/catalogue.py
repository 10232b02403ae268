"""Every type of sink there is. A new one is one line here; the configuration, its reference page, the sample file and the conformance suite follow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, Union

from pydantic import Field

from alerts.texts import Texts
from sinks import influx, jsonl, parquet, sqlite, webhook
from sinks.contract import Identity, Sink, SinkConfig
from sinks.declaration import Runs, SinkSpec

_ALL: Final = (
    webhook.SINK,
    influx.SINK,
    jsonl.SINK,
    sqlite.SINK,
    parquet.SINK,
)

SINKS: Final[dict[str, SinkSpec]] = {spec.type: spec for spec in _ALL}
"""What is declared about each type of sink, by type."""

if len(SINKS) < len(_ALL):
    raise TypeError(f"two sinks have the same type: {sorted(spec.type for spec in _ALL)}")

if TYPE_CHECKING:
    AnySinkConfig = SinkConfig
else:
    _Settings: Any = Union[tuple(spec.settings for spec in _ALL)]  # noqa: UP007 - made from the list
    AnySinkConfig = Annotated[_Settings, Field(discriminator="type")]
    """The settings of any one sink, told apart by `type`."""


def build(config: SinkConfig, texts: Texts, identity: Identity | None = None, where: Runs | None = None) -> Sink:
    """The sink that `config` describes. ValueError when it may not run `where`.

    `texts` (words for event codes) and `identity` (names for pseudonyms) are given to sinks that call people, and to no other.

    >>> from pathlib import Path
    >>> build(jsonl.JsonlConfig(path=Path("copy.jsonl")), Texts(())).name
    'jsonl'
    """
    spec = SINKS[config.type]
    if where is not None and where not in spec.runs:
        allowed = ", ".join(sorted(spec.runs))
        raise ValueError(f"a sink of type {spec.type} cannot run {where}: it runs {allowed}")
    return spec.build(config, texts, identity)
