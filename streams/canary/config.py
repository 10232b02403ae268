"""The settings of `vigil canary`."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from streams.ops.http_server import OperationsConfig

CLIP_S: Final = 24
"""Seconds of walking, a fall, lying, getting up and sitting down (streams.canary.wearers)."""


class CanaryConfig(BaseModel):
    """`vigil canary`: a simulated wearer on every partition, who falls at regular intervals."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    every_s: int = Field(
        default=300,
        ge=CLIP_S + 1,
        le=86_400,
        description="seconds from one simulated fall of a partition to its next; longer than parameters.falls.refractory_s",
    )
    bound_s: float = Field(
        default=60.0, ge=5.0, le=3600.0, description="seconds from a simulated fall to its alert, after which the alarm is raised"
    )
    folder: Path = Field(
        default=Path("vigil-canary"), description="folder of the canary's alarm and of what its webhooks have not accepted yet"
    )
    operations: OperationsConfig = Field(default_factory=OperationsConfig, description="/metrics and /healthz of the canary")
