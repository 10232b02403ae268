"""Detectors and models, built from one configuration."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, create_model

from detectors.catalogue import DETECTORS
from engine.detector import Detector, Params
from models.catalogue import MODELS

CLASSES: Final[tuple[type[Detector[Any, Any]], ...]] = (*DETECTORS, *MODELS)

_FIELDS: Final[dict[str, Any]] = {
    cls.spec.name: (cls.params_type, Field(default_factory=cls.params_type, description=(cls.__doc__ or "").splitlines()[0]))
    for cls in CLASSES
}

Parameters: type[BaseModel] = create_model("Parameters", __config__=ConfigDict(frozen=True, extra="forbid"), **_FIELDS)
"""Parameters of every detector and model, one section each, all optional."""


def detectors(parameters: BaseModel | None = None, *, only: tuple[str, ...] = ()) -> list[Detector[Any, Any]]:
    """Fresh instances of everything registered (or of the names in `only`), with `parameters`."""
    known = {cls.spec.name for cls in CLASSES}
    if not set(only) <= known:
        raise ValueError(f"unknown detector {sorted(set(only) - known)}; there are {sorted(known)}")
    chosen = parameters if parameters is not None else Parameters()
    return [cls(_section(chosen, cls.spec.name)) for cls in CLASSES if not only or cls.spec.name in only]


def _section(parameters: BaseModel, name: str) -> Params:
    section = getattr(parameters, name)
    if not isinstance(section, Params):
        raise TypeError(f"parameters of {name} must be its Params, got {type(section).__name__}")
    return section
