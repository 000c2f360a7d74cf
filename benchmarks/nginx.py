"""nginx as the origin of files, without a measured cost, and as the proxy that m3uproxy is compared with.

The origin sends the files of a folder and logs each request. The proxy uses ``proxy_pass`` on persistent connections
without a cache. It writes nothing to disk. Its buffers are larger than Debian's defaults, because the comparison needs
the least cost of nginx. With the defaults nginx costs three to four times as much for files and somewhat more for
segments.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.rig import BenchError, child, free_port, resident_bytes, wait_for_port
from benchmarks.servers import Provider, Server, path_and_query

_CONFIG = """
daemon off;
master_process off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 1024; }}
http {{
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    types {{ application/vnd.apple.mpegurl m3u8; video/mp2t ts; video/mp4 mp4; }}
    {server}
}}
"""
_ORIGIN = """
    log_format asked "$uri";
    access_log {folder}/asked asked;
    server {{ listen 127.0.0.1:{port}; root {folder}/files; }}
"""
_PROXY = """
    access_log off;
    proxy_max_temp_file_size 0;
    proxy_buffer_size 64k;
    proxy_buffers 16 64k;
    proxy_busy_buffers_size 256k;
    upstream origin {{ server 127.0.0.1:{origin}; keepalive 64; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{ proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection ""; }}
    }}
"""


def program() -> str:
    """Return the path of nginx.

    :raises BenchError: nginx is not installed.
    """
    path = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if path is None:
        raise BenchError("no nginx for hls and vod (Debian: apt-get install nginx); others can be named without them")
    return path


@dataclass(frozen=True)
class Origin:
    """A running origin. It sends the files in ``files``."""

    port: int
    files: Path
    _log: Path

    def url(self, name: str) -> str:
        """Return the URL of a file."""
        return f"http://127.0.0.1:{self.port}/{name}"

    def asked(self) -> Counter[str]:
        """Return the number of requests for each file name."""
        return Counter(line.lstrip("/") for line in self._log.read_text().splitlines())


@contextmanager
def _running(cpu: int, folder: Path, server: str, port: int) -> Iterator[subprocess.Popen[str]]:
    config = folder / "nginx.conf"
    config.write_text(_CONFIG.format(folder=folder, server=server))
    command = [program(), "-p", str(folder), "-e", "stderr", "-c", str(config)]
    with child(command, cpu, stdout=subprocess.DEVNULL) as process:
        wait_for_port(port, process)
        yield process


@contextmanager
def origin(cpu: int) -> Iterator[Origin]:
    """Start an origin with an empty folder."""
    with tempfile.TemporaryDirectory(prefix="m3uproxy-bench-") as name:
        folder, port = Path(name), free_port()
        (folder / "files").mkdir()
        with _running(cpu, folder, _ORIGIN.format(folder=folder, port=port), port):
            yield Origin(port, folder / "files", folder / "asked")


@contextmanager
def nginx(cpu: int, provider: Provider) -> Iterator[Server]:
    """Start a proxy in front of an origin."""
    with tempfile.TemporaryDirectory(prefix="m3uproxy-bench-") as name:
        port = free_port()
        with _running(cpu, Path(name), _PROXY.format(origin=provider.port, port=port), port) as process:
            yield Server("nginx", process.pid, port, path_and_query, False, resident_bytes(process.pid))
