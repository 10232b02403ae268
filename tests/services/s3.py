"""A real S3 server (S3Proxy over a folder) on a free loopback port, with AWS signatures version 4 demanded."""

from __future__ import annotations

import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from streams.storage.snapshots_s3 import S3Config
from tests.services.jars import Jars
from tests.services.kafka import free_ports

JARS: Final = Jars("S3Proxy", Path(__file__).parents[2] / "deploy" / "s3" / "pom.xml", "s3proxy", "vigil-s3proxy")
ACCESS_KEY: Final = "vigil-test-access-key"
SECRET_KEY: Final = "vigil-test-secret-key"
BUCKET: Final = "vigil-snapshots"
_START_S: Final = 60.0

# A request whose body is signed as a whole is held in memory: 128 MB, more than any snapshot here.
_PROPERTIES: Final = """
s3proxy.endpoint=http://127.0.0.1:{port}
s3proxy.authorization=aws-v4
s3proxy.identity={identity}
s3proxy.credential={credential}
s3proxy.v4-max-non-chunked-request-size=134217728
jclouds.provider=filesystem-nio2
jclouds.identity=unused
jclouds.credential=unused
jclouds.filesystem.basedir={data}
"""

_LOGBACK: Final = """
<configuration>
  <appender name="out" class="ch.qos.logback.core.ConsoleAppender"><encoder><pattern>%d %p %m%n</pattern></encoder></appender>
  <root level="WARN"><appender-ref ref="out"/></root>
</configuration>
"""


def missing() -> str | None:
    """Why the server cannot run here; None when it can."""
    return JARS.missing()


class S3Server:
    """One server over `root`; what is stored outlives `stop`. `bucket` exists."""

    def __init__(self, root: Path) -> None:
        (self.port,) = free_ports(1)
        self.data = root / "data"
        (self.data / BUCKET).mkdir(parents=True)
        self._log = root / "server.log"
        self._properties, self._logback = root / "s3proxy.properties", root / "logback.xml"
        self._properties.write_text(_PROPERTIES.format(port=self.port, identity=ACCESS_KEY, credential=SECRET_KEY, data=self.data))
        self._logback.write_text(_LOGBACK)
        self._process: subprocess.Popen[bytes] | None = None

    def config(self, **more: object) -> S3Config:
        """Settings of a client; `more` replaces some."""
        settings: dict[str, object] = {
            "bucket": BUCKET,
            "endpoint_url": f"http://127.0.0.1:{self.port}",
            "addressing": "path",
            "access_key_id": ACCESS_KEY,
            "secret_access_key": SECRET_KEY,
        }
        return S3Config.model_validate(settings | more)

    def start(self) -> None:
        """Start, and wait until it answers. RuntimeError with its log when it does not."""
        command = JARS.java("org.gaul.s3proxy.Main", "--properties", str(self._properties), logback_configurationFile=self._logback)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        give_up = time.monotonic() + _START_S
        while not self._answers():
            if time.monotonic() > give_up or self._process.poll() is not None:
                raise RuntimeError(f"S3Proxy did not start:\n{self._log.read_text()[-2000:]}")
            time.sleep(0.1)

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=1)
        except urllib.error.HTTPError:  # it wants a signature
            return True
        except OSError:
            return False
        return True

    def hang(self, hanging: bool) -> None:
        """SIGSTOP: connections are taken by the kernel, and nobody answers; False: go on."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP if hanging else signal.SIGCONT)

    def stop(self) -> None:
        """SIGKILL; the port stays its own for a new start."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextmanager
def running(root: Path) -> Iterator[S3Server]:
    """A server that is up, and down afterwards."""
    server = S3Server(root)
    try:
        server.start()
        yield server
    finally:
        server.stop()
