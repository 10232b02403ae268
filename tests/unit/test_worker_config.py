"""How a worker reaches Kafka: what is needed is asked for, and secrets stay secret."""

from __future__ import annotations

import ssl
from pathlib import Path
from urllib.parse import urlsplit

import faust
import pytest
from pydantic import ValidationError

from streams.kafka.config import Connection, KafkaConfig
from streams.kafka.topics import TOPICS
from streams.storage.snapshots import DirectoryStore
from streams.storage.snapshots_s3 import S3Config, S3Store
from streams.worker.app import _credentials, snapshot_store


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


def test_snapshots_go_to_a_folder_or_to_an_object_store(tmp_path: Path) -> None:
    folder = snapshot_store(KafkaConfig(snapshots=tmp_path / "here"))
    assert isinstance(folder, DirectoryStore)
    assert folder.root == tmp_path / "here"
    objects = KafkaConfig.model_validate({"snapshots": tmp_path / "not here", "snapshots_s3": {"bucket": "vigil", "region": "cn-hangzhou"}})
    assert isinstance(snapshot_store(objects), S3Store)
    assert not (tmp_path / "not here").exists()


def test_the_credentials_of_an_object_store_are_whole_and_not_shown() -> None:
    with pytest.raises(ValidationError, match="go together"):
        S3Config.model_validate({"bucket": "vigil", "access_key_id": "AKID"})
    both = S3Config.model_validate({"bucket": "vigil", "access_key_id": "AKID-hidden", "secret_access_key": "hidden"})
    assert "hidden" not in repr(both) + both.model_dump_json()


@pytest.mark.parametrize(
    "url", ["s3.example.org", "ftp://s3.example.org", "https://key:secret@s3.example.org", "https://s3.example.org/bucket"]
)
def test_the_address_of_an_object_store_is_an_address_and_nothing_else(url: str) -> None:
    with pytest.raises(ValidationError) as refused:
        S3Config.model_validate({"bucket": "vigil", "endpoint_url": url})
    assert "secret@" not in str(refused.value)


@pytest.mark.parametrize(
    ("addressing", "host", "path"),
    [("virtual", "vigil.s3.oss-cn-hangzhou.aliyuncs.com", "/a"), ("path", "s3.oss-cn-hangzhou.aliyuncs.com", "/vigil/a")],
)
def test_the_bucket_is_in_the_host_name_or_in_the_path(addressing: str, host: str, path: str) -> None:
    settings = {"bucket": "vigil", "endpoint_url": "https://s3.oss-cn-hangzhou.aliyuncs.com", "addressing": addressing}
    store = S3Store(S3Config.model_validate(settings | {"access_key_id": "key", "secret_access_key": "secret"}))
    asked = urlsplit(store._client.generate_presigned_url("get_object", Params={"Bucket": "vigil", "Key": "a"}))
    assert (asked.netloc, asked.path) == (host, path)
