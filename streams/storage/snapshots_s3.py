"""Snapshots in an object store that speaks S3: Amazon, Alibaba OSS, Tencent COS, MinIO, Ceph."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final, Literal, NoReturn, TypeVar

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from streams.storage.snapshots import NamedStore

T = TypeVar("T")

ATTEMPTS: Final = 2
"""Tries of a request: one busy answer is no reason to say that a snapshot was not stored; the next checkpoint tries again anyway."""

_REFUSALS: Final = {
    "NoSuchBucket": "the bucket does not exist: create it, or correct kafka.snapshots_s3.bucket",
    "AccessDenied": "the store denies access: give these credentials the right to list, read, write and delete under the prefix",
    "InvalidAccessKeyId": "the store does not know this access key: correct kafka.snapshots_s3.access_key_id",
    "SignatureDoesNotMatch": "the store refuses the signature: correct the secret access key, and the region",
    "AuthorizationHeaderMalformed": "the store refuses the signature: correct kafka.snapshots_s3.region",
    "RequestTimeTooSkewed": "the store's clock and this machine's differ: set both by NTP",
    "QuotaExceeded": "the store is full: free space, or raise its quota",
}
"""What operators can do about the codes they meet most; any other code is said as it is."""


class S3Config(BaseModel):
    """An object store for snapshots, instead of a folder."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    bucket: str = Field(
        pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", description="an existing bucket without versions; Tencent COS: with the -appid"
    )
    prefix: str = Field(
        default="vigil/snapshots", pattern=r"^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*$", description="put before every object's key"
    )
    endpoint_url: str | None = Field(
        default=None, pattern=r"^https?://[^\s/@?#]+/?$", description="address of the store, without the bucket; left out: Amazon"
    )
    region: str = Field(default="us-east-1", pattern=r"^[a-z0-9-]{1,40}$", description="the store's region; MinIO takes any")
    addressing: Literal["virtual", "path"] = Field(
        default="virtual", description="where the bucket's name goes: into the host name (OSS, COS, Amazon), or into the path (MinIO)"
    )
    access_key_id: SecretStr | None = Field(
        default=None, description="access key; left out: what boto3 finds (AWS_ACCESS_KEY_ID, a profile, the machine's role)"
    )
    secret_access_key: SecretStr | None = Field(default=None, description="its secret")
    ca_file: Path | None = Field(default=None, description="certificates that are trusted; none: those that come with botocore")
    timeout_s: float = Field(default=5.0, ge=0.2, le=60.0, description="silence of the store after which a try is given up")
    deadline_s: float = Field(
        default=20.0, ge=0.5, le=300.0, description="time a snapshot may take to be read or written, all tries together"
    )

    @model_validator(mode="after")
    def _whole_credentials(self) -> S3Config:
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise ValueError("access_key_id and secret_access_key go together: give both or neither")
        return self


class S3Store(NamedStore):
    """`<prefix>/<partition>/<epoch>-<next_offset>.snap` in a bucket. An object store writes an object wholly or not at all.

    OSError says in one sentence what the store refused; the credentials are never part of it. After a write to which the store did
    not answer, writes are refused at once for `deadline_s`: the partitions of a worker take turns, and must not all wait for a
    dead store.
    """

    def __init__(self, config: S3Config) -> None:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError

        self._config = config
        self._errors = (BotoCoreError, ClientError)
        self._where = f"{config.endpoint_url or 'Amazon S3'}, bucket {config.bucket}"
        self._rests_until_s = 0.0
        key, secret = config.access_key_id, config.secret_access_key
        self._client: Any = boto3.session.Session().client(
            "s3",
            endpoint_url=config.endpoint_url,
            region_name=config.region,
            verify=str(config.ca_file) if config.ca_file is not None else None,
            aws_access_key_id=key.get_secret_value() if key is not None else None,
            aws_secret_access_key=secret.get_secret_value() if secret is not None else None,
            config=Config(
                connect_timeout=config.timeout_s,
                read_timeout=config.timeout_s,
                retries={"total_max_attempts": ATTEMPTS, "mode": "standard"},
                signature_version="s3v4",
                s3={"addressing_style": config.addressing},
                # By default botocore sends checksums as trailers of a chunked body, which OSS and others refuse. The state has its own.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )

    def _key(self, partition: int, name: str = "") -> str:
        return f"{self._config.prefix}/{partition:05d}/{name}"

    def _names(self, partition: int) -> list[str]:
        folder = self._key(partition)

        def ask() -> list[str]:
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._config.bucket, Prefix=folder)
            return [entry["Key"].removeprefix(folder) for page in pages for entry in page.get("Contents", [])]

        return self._bounded(ask)

    def _read(self, partition: int, name: str) -> bytes | None:
        def ask() -> bytes | None:
            try:
                with self._client.get_object(**self._object(partition, name))["Body"] as body:
                    return bytes(body.read())
            except self._errors as error:
                if _code(error) == "NoSuchKey":
                    return None
                raise

        return self._bounded(ask)

    def _write(self, partition: int, name: str, data: bytes) -> None:
        rests_s = self._rests_until_s - time.monotonic()
        if rests_s > 0:
            raise OSError(f"the store did not answer a moment ago and is not asked again for {rests_s:.0f} s")
        # Read piece by piece, each sent within timeout_s; bytes would be one piece, the whole of which must be sent in that time.
        body = io.BytesIO(data)
        try:
            self._bounded(lambda: self._client.put_object(**self._object(partition, name), Body=body, ContentLength=len(data)))
        except TimeoutError:
            self._rests_until_s = time.monotonic() + self._config.deadline_s
            raise

    def _delete(self, partition: int, name: str) -> None:
        self._bounded(lambda: self._client.delete_object(**self._object(partition, name)))

    def _object(self, partition: int, name: str) -> dict[str, str]:
        return {"Bucket": self._config.bucket, "Key": self._key(partition, name)}

    def _bounded(self, ask: Callable[[], T]) -> T:
        """What `ask` returns, within deadline_s whatever the store, the network and the name service do; errors as OSError.

        A thread that is given up ends with its sockets. What it still writes is a snapshot like any other, under its own name.
        """
        answer: Future[T] = Future()

        def run() -> None:
            try:
                answer.set_result(ask())
            except Exception as error:  # noqa: BLE001 - raised again by the caller's thread
                answer.set_exception(error)

        threading.Thread(target=run, name="snapshot-s3", daemon=True).start()
        try:
            return answer.result(self._config.deadline_s)
        except TimeoutError:
            raise TimeoutError(
                f"{self._where}: no end within {self._config.deadline_s:g} s: the store or the way to it is too slow"
            ) from None
        except self._errors as error:
            self._refused(error)

    def _refused(self, error: Exception) -> NoReturn:
        """The error as an OSError; the store's own words are left out, they may repeat what was sent."""
        if (code := _code(error)) is not None:
            raise OSError(f"{self._where}: {_REFUSALS.get(code, f'the store answers {code}')}") from None
        kind = type(error).__name__
        if kind in {"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError"}:
            raise OSError(f"{self._where}: no credentials: set kafka.snapshots_s3.access_key_id and secret_access_key") from None
        if kind == "SSLError":
            raise OSError(f"{self._where}: its certificate is not trusted or not for this host: correct ca_file or endpoint_url") from None
        if kind == "EndpointConnectionError":
            raise TimeoutError(f"{self._where}: the store cannot be reached: is it up, and is endpoint_url right?") from None
        raise TimeoutError(
            f"{self._where}: no answer within {self._config.timeout_s:g} s a try ({kind}): is the store up and reachable?"
        ) from None


def _code(error: Exception) -> str | None:
    """The store's error code; None when it did not answer."""
    answer: dict[str, Any] = getattr(error, "response", None) or {}
    return str(answer.get("Error", {}).get("Code", "an unknown error")) if answer else None
