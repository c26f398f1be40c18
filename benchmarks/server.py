"""The server all contenders load: nginx with one worker on a core of its own, or our own small one where it is missing.

It counts requests, so what a contender has done is read from the server and not from the contender.
"""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.machine import pinned
from benchmarks.target import BODY

HERE = Path(__file__).resolve().parent
PATH = "/products/CH-1189"
LARGE_BYTES = 262_144
"""What `/large` answers; only nginx has it."""
_NGINX = """
daemon off; master_process off; worker_processes 1; worker_rlimit_nofile 40000; pid {folder}/nginx.pid; {user}
error_log {folder}/error.log crit;
events {{ worker_connections 32000; multi_accept on; }}
http {{
  access_log off; client_body_buffer_size 128k; sendfile on;
  keepalive_requests 1000000000; keepalive_timeout 3600s; server_tokens off;
  client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;
  uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
  server {{
    listen 127.0.0.1:{port} reuseport backlog=16384; listen 127.0.0.1:{tls_port} ssl reuseport;
    ssl_certificate {folder}/server.pem; ssl_certificate_key {folder}/server.key; ssl_protocols TLSv1.3;
    default_type application/json;
    location / {{ return 200 '{body}'; }}
    location = /requests {{ stub_status; }}
    location = /large {{ root {folder}; }}
  }}
}}
"""


@dataclass(slots=True)
class Certificate:
    """Files of the server's key and certificate; the certificate is its own authority."""

    folder: Path

    @property
    def authority(self) -> Path:
        """What a client must trust."""
        return self.folder / "server.pem"

    def write(self) -> None:
        """Make an RSA-2048 key and a certificate for 127.0.0.1."""
        import datetime as dt
        import ipaddress

        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import rsa
        from cryptography.x509.oid import NameOID

        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
        now = dt.datetime.now(dt.UTC)
        alternative = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        certificate = (
            builder.not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(days=2))
            .add_extension(alternative, critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(key, hashes.SHA256())
        )
        plain = serialization.NoEncryption()
        kind = serialization.PrivateFormat.TraditionalOpenSSL
        (self.folder / "server.key").write_bytes(key.private_bytes(serialization.Encoding.PEM, kind, plain))
        self.authority.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


class Server:
    """`with Server(folder, core) as server`: serves until left. `tls_url` is "" where only our own target is there."""

    def __init__(self, folder: Path, core: int) -> None:
        self.folder = folder
        self.certificate = Certificate(folder)
        self.name = "our own target in Python (nginx: missing)"
        self.port = 0
        self.tls_port = 0
        self.core = core
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
        if nginx is None:
            self._start_target()
        else:
            self._start_nginx(nginx)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(10)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()

    @property
    def url(self) -> str:
        """Where the answer is."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def tls_url(self) -> str:
        """The same over TLS, or ""."""
        return f"https://127.0.0.1:{self.tls_port}" if self.tls_port else ""

    @property
    def pid(self) -> int:
        """The server's process."""
        assert self._process is not None
        return self._process.pid

    def requests(self) -> int:
        """Return how many requests were answered; this one counts in the next answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.request("GET", "/requests")
        text = connection.getresponse().read().decode()
        connection.close()
        if text.isdigit():
            return int(text)
        return int(text.splitlines()[2].split()[2])

    def _start_nginx(self, nginx: str) -> None:
        self.certificate.write()
        self.port, self.tls_port = _free_ports(2)
        user = "user root;" if os.geteuid() == 0 else ""
        configuration = _NGINX.format(
            folder=self.folder, port=self.port, tls_port=self.tls_port, body=BODY.decode(), user=user
        )
        (self.folder / "large").write_bytes(b"x" * LARGE_BYTES)
        (self.folder / "nginx.conf").write_text(configuration, encoding="utf-8")
        said = subprocess.run([nginx, "-v"], capture_output=True, text=True, check=True)
        self.name = (said.stderr or said.stdout).strip().rpartition(": ")[2]
        command = [nginx, "-c", str(self.folder / "nginx.conf"), "-e", str(self.folder / "start.log")]
        self._process = subprocess.Popen(pinned(self.core, command), text=True)
        self._await_port()

    def _start_target(self) -> None:
        command = [sys.executable, str(HERE / "target.py")]
        self._process = subprocess.Popen(
            pinned(self.core, command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout
        self.port = int(self._process.stdout.readline())

    def _await_port(self) -> None:
        assert self._process is not None
        until = time.monotonic() + 20
        while time.monotonic() < until and self._process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        log = self.folder / "start.log"
        raise RuntimeError(f"nginx does not start: {log.read_text() if log.exists() else 'no log'}")


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
