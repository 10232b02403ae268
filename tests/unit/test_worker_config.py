"""How a worker reaches Kafka: what is needed is asked for, and secrets stay secret."""

from __future__ import annotations

import ssl

import faust
import pytest
from pydantic import ValidationError

from streams.topics import TOPICS
from streams.worker.app import _credentials
from streams.worker.config import Connection, KafkaConfig


def test_a_password_is_asked_for_and_not_shown() -> None:
    with pytest.raises(ValidationError, match="needs username and password"):
        Connection(security="SASL_SSL", username="vigil")
    secret = Connection(security="SASL_PLAINTEXT", username="vigil", password="correct horse")
    assert "correct horse" not in repr(KafkaConfig(connection=secret))
    arguments = secret.client()
    assert arguments["sasl_plain_password"] == "correct horse"
    assert arguments["sasl_mechanism"] == "SCRAM-SHA-512"
    assert "ssl_context" not in arguments
    credentials = _credentials(secret)
    assert isinstance(credentials, faust.SASLCredentials)
    assert (credentials.username, credentials.password) == ("vigil", "correct horse")


def test_tls_checks_certificates_and_names() -> None:
    context = Connection(security="SSL").client()["ssl_context"]
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert isinstance(_credentials(Connection(security="SSL")), faust.SSLCredentials)
    assert _credentials(Connection()) is None


@pytest.mark.parametrize("brokers", ["", "kafka", "kafka:9092,", "kafka:9092 other:9092"])
def test_an_address_that_is_none_is_refused(brokers: str) -> None:
    with pytest.raises(ValidationError):
        Connection(brokers=brokers)


def test_a_copy_may_be_lost_without_stopping_writes() -> None:
    for spec in TOPICS:
        assert spec.settings(3)["min.insync.replicas"] == "2"
        assert spec.settings(1)["min.insync.replicas"] == "1"
        assert spec.settings(3)["cleanup.policy"] == ("compact" if spec.compacted else "delete")
