"""Settings of `vigil sink run`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from streams.ops.http_server import OperationsConfig


class SinkProcessConfig(BaseModel):
    """Settings that every sink process shares; its target is in its [[sinks]] entry."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: Path = Field(
        default=Path("vigil-sinks"), description="folder of delivered ids and dead letters, one below it for each sink process"
    )
    begin: Literal["earliest", "latest"] = Field(
        default="earliest",
        description="where a sink that never ran begins: with all that the topics still hold, or with what comes from now on",
    )
    drain_s: float = Field(
        default=10.0, ge=0.0, le=300.0, description="seconds for which a process that is asked to end still delivers queued items"
    )
    late_after_s: float = Field(
        default=300.0, gt=0.0, le=86_400.0, description="age in seconds above which a delivered alert counts as late"
    )
    stalled_s: float = Field(
        default=60.0, ge=2.0, le=3600.0, description="seconds without reading, while records wait, after which a sink process ends itself"
    )
    operations: OperationsConfig = Field(default_factory=OperationsConfig, description="/metrics and /healthz")
