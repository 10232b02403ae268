"""What every process publishes about itself: memory, CPU, file handles, garbage collection, versions."""

from __future__ import annotations

import importlib.metadata
import platform

from prometheus_client import CollectorRegistry, GCCollector, Info, ProcessCollector


def versions() -> dict[str, str]:
    """The versions of Vigil, of the libraries that carry its streams, and of Python."""
    names = {"version": "vigil-care", "faust": "faust-streaming", "aiokafka": "aiokafka"}
    return {name: importlib.metadata.version(package) for name, package in names.items()} | {"python": platform.python_version()}


def process_registry() -> CollectorRegistry:
    """A Prometheus registry that already has the figures of this process and its versions."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    GCCollector(registry=registry)
    Info("vigil_build", "What runs here.", registry=registry).info(versions())
    return registry
