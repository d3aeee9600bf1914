"""A web server to fetch from that does next to nothing, for measurements."""

from __future__ import annotations

import trio

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"
_HEAD_END = b"\r\n\r\n"
_LONGEST_HEAD_BYTES = 64 * 2**10


async def serve_target(*, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED) -> None:
    """Answer every request on a free port of the loopback address; reports its URL."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, _answer, listeners)
        task_status.started(f"http://127.0.0.1:{port}/")


async def _answer(stream: trio.SocketStream) -> None:
    head = b""
    try:
        while data := await stream.receive_some():
            head += data
            if len(head) > _LONGEST_HEAD_BYTES:
                return
            while _HEAD_END in head:
                head = head.partition(_HEAD_END)[2]
                await stream.send_all(_ANSWER)
    except trio.BrokenResourceError:
        pass  # who asked has left
    finally:
        await trio.aclose_forcefully(stream)
