"""The JSON form of a chunk, as device makers see it: the documented contract.

The model says which fields there are and of which type. What depends on the kind (units, rates, channels, ranges, lengths)
is in `engine.kinds.KINDS`, is judged by `schemas.check` for both forms alike, and is added to the generated JSON Schema by
`schemas.generate`.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, get_args

from pydantic import BaseModel, ConfigDict, FailFast, Field

from engine.block import NO_SEQ

Value = float | None
"""A measured value; null means "not measured"."""
NoValueText = Literal["unavailable", "unknown", "none", "null", "nan", "NaN", "n/a", ""]
"""Texts that stand for "no value" where a number belongs (Home Assistant: unavailable, unknown). Any other is refused."""
NO_VALUE_TEXTS: Final[frozenset[str]] = frozenset(get_args(NoValueText))
Named = float | NoValueText | None
"""A value by channel name."""


class _FirstError(FailFast):
    """Stop a list at its first bad entry: millions of them must not become millions of error objects."""

    def __hash__(self) -> int:  # typing wants to put it in a set; FailFast, a dataclass with eq, has none
        return hash(self.fail_fast)


Sample = Annotated[list[Value], _FirstError()]


class Chunk(BaseModel):
    """What one device measured in one go: n samples of one kind, or a single reading by channel name."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    v: int = Field(description="Version of the contract: 1.")
    device: str = Field(description="Id of the device: 1 to 128 printable characters, the same for ever, unique in the home.")
    kind: str = Field(description="What the device measures.")
    t0_ns: int = Field(description="Device time of the first sample: UTC nanoseconds since 1970-01-01.")
    rate_hz: float = Field(
        0.0,
        description="Samples a second. Left out by kinds without a rate; a single reading of a slow kind may leave it out: the interval is measured.",
    )
    seq: int = Field(
        NO_SEQ, description="The device's own number of the chunk, counting up by one; the same number with the same t0_ns is a repeat."
    )
    unit: str = Field("", description="Unit of the samples; left out: the first unit of the kind.")
    shape: Annotated[list[int], _FirstError()] = Field(default_factory=list, description="pressure_map only: [rows, columns].")
    samples: Annotated[list[Sample | Value], _FirstError()] = Field(
        default_factory=list, description="One list per sample with one value per channel, or a flat list when there is one channel."
    )
    values: dict[str, Named] = Field(
        default_factory=dict, description="Instead of samples: one reading by channel name; channels left out are not measured."
    )
    quality: int = Field(
        0,
        description="Flags: 1 = the device itself says the chunk is not to be trusted, 2 = sent by a tester, not by a person in need, 4 = on its charger, worn by nobody.",
    )
