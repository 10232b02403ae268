"""The examples in the docstrings of sinks/ are executed, and every public sink has one of settings and an attempt."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
from types import ModuleType
from typing import Final

import pytest

import sinks
from sinks.catalogue import SINKS

PACKAGES: Final[tuple[ModuleType, ...]] = (sinks,)
MODULES: Final = sorted(module.name for package in PACKAGES for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."))


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_hold(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name), report=True)
    assert result.failed == 0


def examples(thing: object) -> list[doctest.Example]:
    return doctest.DocTestParser().get_examples(inspect.getdoc(thing) or "")


@pytest.mark.parametrize("type_", SINKS)
def test_every_sink_has_an_executed_example(type_: str) -> None:
    spec = SINKS[type_]
    source = "".join(example.source for example in examples(spec.sink))
    assert spec.settings.__name__ in source
    module = importlib.import_module(spec.settings.__module__)
    public = [thing for name, thing in vars(module).items() if not name.startswith("_") and inspect.getmodule(thing) is module]
    tried = "".join(example.source for thing in public for example in examples(thing))
    assert "item(" in tried, "no example delivers an item, or shows what would be sent of it"


def test_the_examples_were_found() -> None:
    finder = doctest.DocTestFinder()
    count = sum(len(test.examples) for name in MODULES for test in finder.find(importlib.import_module(name)))
    assert count >= 40
