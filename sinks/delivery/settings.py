"""What can be set about a delivery."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class DeliverySettings(BaseModel):
    """How hard one sink is tried, and how much may wait for it."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    batch_max: int = Field(default=500, ge=1, le=100_000, description="items given to the sink at once")
    linger_s: float = Field(default=0.0, ge=0.0, le=3600.0, description="seconds to gather a batch of measurements; other kinds never wait")
    backoff_first_s: float = Field(default=0.5, gt=0.0, le=60.0, description="seconds to the first retry; doubles with every failure")
    backoff_max_s: float = Field(
        default=30.0, gt=0.0, le=3600.0, description="longest seconds between retries, unless the target asks for more"
    )
    wait_max_s: float = Field(default=300.0, gt=0.0, le=86_400.0, description="longest wait a target may ask for (Retry-After)")
    spool_max_bytes: int = Field(
        default=256 << 20, ge=1 << 10, description="bytes that may wait; beyond, measurements are shed first, alerts never"
    )
    memory_max_items: int = Field(default=10_000, ge=1, description="waiting items kept decoded; the rest is read from the spool when due")
    remembered_max: int = Field(default=10_000, ge=0, description="delivered ids of alerts, audit entries and events kept against repeats")
    sync_s: float = Field(default=0.2, gt=0.0, le=60.0, description="longest seconds between write and fsync")
    dead_max_bytes: int = Field(
        default=64 << 20, ge=1 << 10, description="bytes of dead letters per kind before the older half goes; alerts' never"
    )
