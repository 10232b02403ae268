"""Certificates, users and passwords of a broker that wants them: a listener with SASL over TLS and one with mutual TLS."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import trustme
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from streams.kafka.config import Connection

USER: Final = "vigil"
PASSWORD: Final = "a horse & a battery = staple"
HOST: Final = "127.0.0.1"

_PROPERTIES: Final = """
ssl.keystore.type=PEM
ssl.keystore.location={root}/server.pem
ssl.truststore.type=PEM
ssl.truststore.location={root}/ca.pem
listener.name.mutual.ssl.client.auth=required
listener.name.sasl.sasl.enabled.mechanisms=SCRAM-SHA-512,PLAIN
listener.name.sasl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_{user}="{password}";
"""


class Security:
    """Files under `root`: the authority, the broker's certificate for HOST, a client's, and an authority nobody knows."""

    def __init__(self, root: Path, sasl_port: int, mutual_port: int) -> None:
        root.mkdir(parents=True)
        self.root = root
        self.sasl_port, self.mutual_port = sasl_port, mutual_port
        authority = trustme.CA()
        self.ca_file, self.client_file, self.stranger_file = root / "ca.pem", root / "client.pem", root / "stranger.pem"
        authority.cert_pem.write_to_path(self.ca_file)
        trustme.CA().cert_pem.write_to_path(self.stranger_file)
        authority.issue_cert("worker.vigil").private_key_and_cert_chain_pem.write_to_path(self.client_file)
        server = authority.issue_cert(HOST)
        # Kafka reads keys in the PKCS #8 form only.
        key = load_pem_private_key(server.private_key_pem.bytes(), None)
        chain = [key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), *(pem.bytes() for pem in server.cert_chain_pems)]
        (root / "server.pem").write_bytes(b"".join(chain))

    @property
    def listeners(self) -> str:
        """For `listeners` and `advertised.listeners`."""
        return f",SASL://{HOST}:{self.sasl_port},MUTUAL://{HOST}:{self.mutual_port}"

    @property
    def protocols(self) -> str:
        """For `listener.security.protocol.map`."""
        return ",SASL:SASL_SSL,MUTUAL:SSL"

    @property
    def properties(self) -> str:
        """Further lines of server.properties."""
        return _PROPERTIES.format(root=self.root, user=USER, password=PASSWORD)

    @property
    def format_arguments(self) -> list[str]:
        """For the storage tool: SCRAM's users are in the cluster's metadata."""
        return ["--add-scram", f'SCRAM-SHA-512=[name="{USER}",password="{PASSWORD}"]']

    def sasl(self, **more: object) -> Connection:
        """A connection with user and password over TLS; `more` replaces some settings."""
        settings: dict[str, object] = {
            "brokers": f"{HOST}:{self.sasl_port}",
            "security": "SASL_SSL",
            "username": USER,
            "password": PASSWORD,
            "ca_file": self.ca_file,
        }
        return Connection.model_validate(settings | more)

    def mutual(self, **more: object) -> Connection:
        """A connection by certificates alone; `more` replaces some settings."""
        settings: dict[str, object] = {
            "brokers": f"{HOST}:{self.mutual_port}",
            "security": "SSL",
            "ca_file": self.ca_file,
            "cert_file": self.client_file,
        }
        return Connection.model_validate(settings | more)
