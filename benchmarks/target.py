"""A target that costs little: answers every request at once, in a process of its own."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator

import trio

ANSWER = (
    b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n{"ok": true}'
)


@contextlib.contextmanager
def target_process() -> Iterator[str]:
    """The URL of a target that is stopped at the end."""
    command = [sys.executable, "-m", "benchmarks.target"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


async def serve() -> None:
    """Serve on a free port of the loopback address, and print the URL."""
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    print(f"http://127.0.0.1:{listener.socket.getsockname()[1]}/", flush=True)
    await trio.serve_listeners(answer, [listener])


async def answer(stream: trio.SocketStream) -> None:
    """Answer each request head on this connection."""
    received = b""
    with contextlib.suppress(trio.BrokenResourceError):
        while data := await stream.receive_some(65_536):
            *heads, received = (received + data).split(b"\r\n\r\n")
            if heads:
                await stream.send_all(ANSWER * len(heads))


if __name__ == "__main__":
    trio.run(serve)
