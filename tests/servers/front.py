"""nginx or Caddy in front of a server, with a file of `deploy/`."""

import os
import re
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.servers.certificates import CertificateFiles, make_certificate

DEPLOY: Final = Path(__file__).parents[2] / "deploy"
SEARCHED: Final = f"{os.environ.get('PATH', '')}:/usr/sbin"
"""Where Debian puts servers is not on the path of every user."""
START_SECONDS_MAX: Final = 60.0
PORT_IN_FILES: Final = "127.0.0.1:8484"
NGINX_MAIN: Final = """\
daemon off;
pid FOLDER/nginx.pid;
error_log FOLDER/error.log;
events { worker_connections 128; }
http {
    access_log FOLDER/access.log;
    client_body_temp_path FOLDER/body;
    proxy_temp_path FOLDER/proxy;
    fastcgi_temp_path FOLDER/fastcgi;
    uwsgi_temp_path FOLDER/uwsgi;
    scgi_temp_path FOLDER/scgi;
    SITE
}
"""
NGINX_SITE: Final = """\
server {
    listen 127.0.0.1:443 ssl;
    server_name www.example.com;
    ssl_certificate FOLDER/site.pem;
    ssl_certificate_key FOLDER/site.key;
    include FOLDER/file.conf;
}
"""


@dataclass(frozen=True)
class FrontSite:
    """A site that a proxy serves treadle at.

    Attributes:
        file: of `deploy/`, such as "nginx/treadle.conf".
        host: the name in the file.
        path: under which treadle is; empty for its own name.
        port: where the proxy listens, at 127.0.0.1, with TLS.
    """

    file: str
    host: str
    path: str
    port: int

    @property
    def program(self) -> str:
        """Return "nginx" or "caddy"."""
        return self.file.partition("/")[0]

    @property
    def url(self) -> str:
        return f"https://{self.host}:{self.port}{self.path}"


def find_program(name: str) -> str | None:
    return shutil.which(name, path=SEARCHED)


def pick_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@contextmanager
def run_front(site: FrontSite, target: int) -> Iterator[ssl.SSLContext]:
    """Run the proxy in front of a server, as a user without rights; gives what trusts it.

    Args:
        site: what it serves.
        target: port of treadle, at 127.0.0.1.
    """
    # Not below the folder of the test, which no other user may enter.
    with tempfile.TemporaryDirectory(prefix="treadle-front-") as name:
        folder = Path(name)
        files = make_certificate(folder, "site", (site.host,))
        write = write_nginx if site.program == "nginx" else write_caddy
        command = write(site, target, folder, files)
        is_root = os.geteuid() == 0
        if is_root:
            for path in (folder, *folder.iterdir()):
                shutil.chown(path, "nobody", "nogroup")
        said = (folder / "said.log").open("w+")
        home = {"HOME": name, "XDG_DATA_HOME": name, "XDG_CONFIG_HOME": name}
        process = subprocess.Popen(
            command,
            stdout=said,
            stderr=said,
            env={**os.environ, **home},
            user="nobody" if is_root else None,
            group="nogroup" if is_root else None,
        )
        try:
            wait_for_port(site.port, process, folder)
            yield ssl.create_default_context(cafile=str(files.cert))
        finally:
            process.terminate()
            process.wait(60)
            said.close()


def write_nginx(
    site: FrontSite, target: int, folder: Path, files: CertificateFiles
) -> Sequence[str]:
    """Write the configuration around a file of nginx; returns the command that runs it."""
    text = (DEPLOY / site.file).read_text()
    if site.path:
        (folder / "file.conf").write_text(text.replace(PORT_IN_FILES, f"127.0.0.1:{target}"))
        text = NGINX_SITE
    text = text.replace(PORT_IN_FILES, f"127.0.0.1:{target}")
    text = text.replace("/etc/letsencrypt/live/treadle.example.com/fullchain.pem", str(files.cert))
    text = text.replace("/etc/letsencrypt/live/treadle.example.com/privkey.pem", str(files.key))
    text = re.sub(r"listen \[::\]:443 ssl;", "", text)
    text = re.sub(r"listen (127\.0\.0\.1:)?443 ssl;", f"listen 127.0.0.1:{site.port} ssl;", text)
    main = NGINX_MAIN.replace("SITE", text).replace("FOLDER", str(folder))
    (folder / "nginx.conf").write_text(main)
    program = find_program("nginx")
    assert program is not None
    return [program, "-p", str(folder), "-e", f"{folder}/error.log", "-c", f"{folder}/nginx.conf"]


def write_caddy(
    site: FrontSite, target: int, folder: Path, files: CertificateFiles
) -> Sequence[str]:
    """Write a file of Caddy for another port and certificate; returns the command that runs it."""
    text = (DEPLOY / site.file).read_text().replace(PORT_IN_FILES, f"127.0.0.1:{target}")
    head = f"{site.host} {{\n"
    assert head in text
    mine = f"{site.host}:{site.port} {{\n\tbind 127.0.0.1\n\ttls {files.cert} {files.key}\n"
    # Without its port for commands, and without asking anybody for certificates.
    options = "{\n\tadmin off\n\tauto_https off\n}\n"
    (folder / "Caddyfile").write_text(options + text.replace(head, mine))
    program = find_program("caddy")
    assert program is not None
    return [program, "run", "--config", f"{folder}/Caddyfile", "--adapter", "caddyfile"]


def wait_for_port(port: int, process: "subprocess.Popen[bytes]", folder: Path) -> None:
    """Wait until somebody listens at a port of this machine."""
    deadline = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < deadline:
        with socket.socket() as tried:
            if tried.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert process.poll() is None, read_logs(folder)
        time.sleep(0.02)
    raise AssertionError(f"the proxy did not listen in time: {read_logs(folder)}")


def read_logs(folder: Path) -> str:
    return "\n".join(path.read_text() for path in sorted(folder.glob("*.log")))
