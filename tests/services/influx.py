"""A real InfluxDB 1.x behind a real nginx that speaks the v2 write path: `/api/v2/write?org=&bucket=db/rp` becomes `/write?db=&rp=`."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

DATABASE: Final = "vigil"
_START_S: Final = 30.0

_INFLUX_CONF: Final = """
reporting-disabled = true
bind-address = "127.0.0.1:{rpc}"
[meta]
  dir = "{root}/meta"
  logging-enabled = false
[data]
  dir = "{root}/data"
  wal-dir = "{root}/wal"
  query-log-enabled = false
  index-version = "inmem"
[monitor]
  store-enabled = false
[http]
  bind-address = "127.0.0.1:{http}"
  log-enabled = false
[logging]
  level = "warn"
"""

_NGINX_CONF: Final = """
daemon off;
worker_processes 1;
pid {root}/nginx.pid;
error_log {root}/nginx.log warn;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_max_body_size 64m;
  client_body_buffer_size 64m;  # its workers may not write below a private folder
  client_body_temp_path {root}/body;
  proxy_temp_path {root}/proxy;
  fastcgi_temp_path {root}/fastcgi;
  uwsgi_temp_path {root}/uwsgi;
  scgi_temp_path {root}/scgi;
  map $arg_bucket $db {{ ~*^(?<d>[^%/]+)(%2F|/) $d; default $arg_bucket; }}
  map $arg_bucket $rp {{ ~*^[^%/]+(%2F|/)(?<r>.+)$ $r; default ""; }}
  server {{
    listen 127.0.0.1:{front};
    location = /api/v2/write {{
      rewrite ^ /write?db=$db&rp=$rp&precision=n? break;
      proxy_pass http://127.0.0.1:{http};
    }}
    location / {{ proxy_pass http://127.0.0.1:{http}; }}
  }}
}}
"""


class Influx(NamedTuple):
    """A running server. `url` speaks v2 writes; `bucket` is the database to write."""

    url: str
    bucket: str

    def query(self, influxql: str) -> list[dict[str, Any]]:
        """Rows of an InfluxQL query, one dict each; a series' tags are columns too."""
        data = urllib.parse.urlencode({"q": influxql, "db": DATABASE, "epoch": "ns"}).encode()
        with urllib.request.urlopen(f"{self.url}/query", data, timeout=10) as answer:
            result = json.load(answer)["results"][0]
        if "error" in result:
            raise ValueError(result["error"])
        rows = []
        for series in result.get("series", []):
            rows += [{**series.get("tags", {}), **dict(zip(series["columns"], values, strict=True))} for values in series.get("values", [])]
        return rows


def missing() -> str | None:
    """Why this service cannot run here; None when it can."""
    absent = [name for name in ("influxd", "nginx") if shutil.which(name) is None and not Path(f"/usr/sbin/{name}").exists()]
    return f"not installed: {', '.join(absent)}" if absent else None


def free_ports(count: int) -> list[int]:
    """Loopback ports that were free a moment ago."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:
            return int(answer.status) < 300
    except OSError:
        return False


@contextmanager
def running(root: Path) -> Iterator[Influx]:
    """Start server and front in `root`, make the database, end both afterwards. RuntimeError when they do not come up."""
    http, rpc, front = free_ports(3)
    (root / "influx.conf").write_text(_INFLUX_CONF.format(root=root, http=http, rpc=rpc))
    (root / "nginx.conf").write_text(_NGINX_CONF.format(root=root, http=http, front=front))
    nginx = shutil.which("nginx") or "/usr/sbin/nginx"
    with (root / "influx.log").open("wb") as log:
        processes = [
            subprocess.Popen(["influxd", "-config", str(root / "influx.conf")], stdout=log, stderr=log),
            subprocess.Popen(
                [nginx, "-e", str(root / "nginx.log"), "-p", str(root), "-c", str(root / "nginx.conf")], stdout=log, stderr=log
            ),
        ]
    try:
        influx = Influx(f"http://127.0.0.1:{front}", DATABASE)
        give_up = time.monotonic() + _START_S
        while not _answers(f"{influx.url}/ping"):
            if time.monotonic() > give_up or any(process.poll() is not None for process in processes):
                raise RuntimeError(f"InfluxDB did not start:\n{(root / 'influx.log').read_text()[-2000:]}")
            time.sleep(0.1)
        influx.query(f"CREATE DATABASE {DATABASE}")
        yield influx
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(10)
