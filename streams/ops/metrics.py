"""Metrics that every process of Vigil exports about itself."""

from __future__ import annotations

import importlib.metadata
import platform

from prometheus_client import CollectorRegistry, GCCollector, Info, ProcessCollector


def versions() -> dict[str, str]:
    """What runs here."""
    names = {"version": "vigil-care", "faust": "faust-streaming", "aiokafka": "aiokafka"}
    return {name: importlib.metadata.version(package) for name, package in names.items()} | {"python": platform.python_version()}


def process_registry() -> CollectorRegistry:
    """A registry of its own with what every process exports: memory, CPU, file handles, garbage collection, versions."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    GCCollector(registry=registry)
    Info("vigil_build", "What runs here.", registry=registry).info(versions())
    return registry
