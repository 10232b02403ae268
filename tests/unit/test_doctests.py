"""The examples in the docstrings of detectors, models and importers are executed, and each of these has one."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
from types import ModuleType
from typing import Any, Final

import pytest

import detectors
import engine
import models
import schemas
import streams.recordings
from engine.detector import Detector
from streams.pipeline.assembly import CLASSES
from streams.recordings import importers
from streams.recordings.importers.catalogue import IMPORTERS

PACKAGES: Final[tuple[ModuleType, ...]] = (engine, detectors, models, schemas, streams.recordings)
TESTS: Final = [
    test
    for package in PACKAGES
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    for test in doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(module.name))
    if test.examples
]
IMPORTER_MODULES: Final = sorted(
    module.name for module in pkgutil.iter_modules(importers.__path__, f"{importers.__name__}.") if not module.name.endswith(".catalogue")
)


@pytest.mark.parametrize("test", TESTS, ids=lambda test: test.name)
def test_the_examples_hold(test: doctest.DocTest) -> None:
    said: list[str] = []
    doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test, out=said.append)
    assert not said, "".join(said)


def examples(thing: object) -> list[doctest.Example]:
    return doctest.DocTestParser().get_examples(inspect.getdoc(thing) or "")


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.spec.name)
def test_every_detector_and_model_is_shown_firing_and_staying_quiet(cls: type[Detector[Any, Any]]) -> None:
    wanted = [example.want for example in examples(cls)]
    assert any(event.code in want for event in cls.spec.events for want in wanted), "no example fires"
    assert any("[]" in want for want in wanted), "no example stays quiet"


@pytest.mark.parametrize("name", IMPORTER_MODULES)
def test_every_importer_is_shown_reading_a_file(name: str) -> None:
    module = importlib.import_module(name)
    public = [thing for key, thing in vars(module).items() if not key.startswith("_") and inspect.getmodule(thing) is module]
    assert [example for thing in (module, *public) for example in examples(thing)], f"{name} has no example"


def test_the_importers_of_the_command_were_found() -> None:
    assert len(IMPORTER_MODULES) >= len(IMPORTERS) - 1  # a module may serve two names of the command
    assert len(TESTS) >= len(CLASSES) + len(IMPORTER_MODULES)
