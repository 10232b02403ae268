"""Real services that integration tests share, one for each module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import missing_service
from tests.services import influx, kafka


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kafka.Cluster]:
    """A Kafka broker."""
    if (why := kafka.missing()) is not None:
        missing_service(why)
    with kafka.running(tmp_path_factory.mktemp("kafka")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[influx.Influx]:
    """An InfluxDB."""
    if (why := influx.missing()) is not None:
        missing_service(why)
    with influx.running(tmp_path_factory.mktemp("influx")) as server:
        yield server
