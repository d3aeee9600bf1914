"""A real nginx with the configuration that the documentation shows."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests import debian
from tests.service.processes import wait_until

SHOWN = Path(__file__).parents[2] / "docs" / "deploy" / "nginx.conf"
LISTEN, SERVER = "listen 80;", "server 127.0.0.1:8080;"

# What stands around the file that is shown; nothing of it is outside of the folder.
AROUND = """
daemon off;
pid pid;
{user}
events {{}}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    include taskflow.conf;
}}
"""


def binary() -> Path:
    """Where nginx is; skips the test if it is nowhere."""
    found = [*debian.find("usr/sbin/nginx"), *filter(None, [shutil.which("nginx")])]
    if not found:
        pytest.skip("nginx is not installed")
    return Path(found[0])


@contextlib.contextmanager
def nginx_before(urls: Sequence[str], folder: Path) -> Iterator[str]:
    """Run nginx before these servers, and yield its URL."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        host, port = listener.getsockname()
        write(folder, f"{host}:{port}", [url.removeprefix("http://") for url in urls])
        # It takes over the socket, as it does from the nginx before it at an upgrade: so nobody
        # else can have the port, and whoever connects already is served.
        with (
            (folder / "log").open("wb") as log,
            subprocess.Popen(
                [binary(), "-p", folder, "-c", "nginx.conf", "-e", folder / "error.log"],
                env={"NGINX": f"{listener.fileno()};", **libraries()},
                pass_fds=[listener.fileno()],
                stderr=log,
            ) as process,
        ):
            try:
                wait_until(lambda: process.poll() is not None or (folder / "pid").exists())
                assert process.poll() is None, (folder / "log").read_text()
                yield f"http://{host}:{port}"
            finally:
                process.terminate()


def write(folder: Path, address: str, servers: Sequence[str]) -> None:
    """Write the configuration, with other addresses."""
    shown = SHOWN.read_text("utf-8")
    assert (shown.count(LISTEN), shown.count(SERVER)) == (1, 1)
    shown = shown.replace(LISTEN, f"listen {address};")
    shown = shown.replace(SERVER, " ".join(f"server {server};" for server in servers))
    (folder / "taskflow.conf").write_text(shown)
    user = "user root;" if os.geteuid() == 0 else ""  # nobody could not enter the folder
    (folder / "nginx.conf").write_text(AROUND.format(user=user))


def libraries() -> dict[str, str]:
    """Where one that is only unpacked has its libraries."""
    folders = {str(file.parent) for file in debian.find("usr/lib/*/libpcre2-8.so.0")}
    return {"LD_LIBRARY_PATH": ":".join(folders)}
