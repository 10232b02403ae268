"""The soak in short: every part of it runs, and what has to be true in an hour is true in a minute. How fast is not judged here.

Its parts `same` and `kills` have their short forms in test_run_and_worker and test_sink_consumer.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.soak.__main__ import SHORT, parts
from benchmarks.soak.page import page
from tests.services import kafka

pytestmark = [pytest.mark.services, pytest.mark.slow, pytest.mark.timeout(420)]

RSS_MB_MAX = 700


def test_a_backlog_goes_through_one_worker_and_through_two_and_alerts_are_timed(broker: kafka.Cluster, tmp_path: Path) -> None:
    run = parts(SHORT, {})
    throughput = run["throughput"](broker.bootstrap, tmp_path / "throughput")
    assert throughput["records"] == SHORT.wards * SHORT.load_s
    assert all(throughput[name]["mb_a_second"] > 0 for name in ("bare_before", "workers_1", "workers_2", "bare_after"))
    latency = run["latency"](broker.bootstrap, tmp_path)
    assert latency["presses"] > 0
    assert latency["missed"] == 0
    html = page({"throughput": throughput, "latency": latency})
    assert html.count("<svg") == 2


def test_a_backlog_starves_nobody(broker: kafka.Cluster, tmp_path: Path) -> None:
    figures = parts(SHORT, {})["backlog"](broker.bootstrap, tmp_path)
    assert figures["live_wards_meanwhile"]["presses"] > 0
    assert figures["live_wards_meanwhile"]["missed"] == 0
    assert figures["the_wards_own_presses_behind_its_backlog"]["presses"] > 0
    assert figures["the_wards_own_presses_behind_its_backlog"]["missed"] == 0
    assert figures["rss_mb"]["max"] < RSS_MB_MAX


def test_a_whole_vigil_loses_and_repeats_nothing(broker: kafka.Cluster, tmp_path: Path) -> None:
    figures = parts(SHORT, {})["hour"](broker.bootstrap, tmp_path)
    assert figures["readings"]["answered_with_a_refusal"] == 0
    assert figures["readings"]["sent"] == figures["readings"]["accounted_for"]
    assert figures["presses"] > 0
    assert figures["presses_missed_at_the_receiver"] == 0
    assert figures["webhook_repeats_of_a_key"] == 0
    assert page({"hour": figures}).count("<svg") == 1
