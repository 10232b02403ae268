"""`vigil run` and `vigil worker` say the same about one stream. The long form, half an hour with real recordings, is in benchmarks/soak."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import missing_service
from tests.integration.kafka_wards import Bench, config_for
from tests.integration.one_stream import same as run_and_worker_say_the_same
from tests.integration.one_stream import stream
from tests.services import kafka

SECONDS = 120.0


@pytest.mark.services
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_run_and_worker_say_the_same_about_one_stream(tmp_path: Path) -> None:
    if (why := kafka.missing()) is not None:
        missing_service(why)
    with kafka.running(tmp_path / "kafka") as cluster:
        bench = Bench(config_for(cluster.bootstrap, tmp_path / "snapshots", "same-"))
        figures = run_and_worker_say_the_same(bench, stream(SECONDS), tmp_path)
        bench.close()
    assert figures["events"] >= 10
    assert {"falls.fall", "heart.ventricular_fibrillation", "fire.smoke", "sos.pressed"} <= set(figures["alerts_by_code"])
