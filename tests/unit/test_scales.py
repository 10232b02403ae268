"""Streams in another unit than they say are refused with the unit they look like; true data never is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.block import NO_SEQ, Block
from engine.engine import Engine
from engine.frame import NS_PER_S
from engine.outputs import Reason, Reject
from engine.registry import Binding, Registry, RegistryData
from schemas.codec import decode
from simulator.ecg import EcgModel
from streams.recordings.format import load
from streams.recordings.replay import replay

T0_NS = 1_767_571_200 * NS_PER_S
EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "examples").glob("*.vigil"))
