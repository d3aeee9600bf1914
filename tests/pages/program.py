"""A program of a page: has another process start it, passes signals on, and ends as it ends."""

import json
import os
import signal
import socket
import sys

address, folder, *arguments = sys.argv[1:]
wanted = {"arguments": arguments, "cwd": folder, "environ": dict(os.environ)}
with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
    server.connect(address)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda number, _: server.send(bytes([number])))
    socket.send_fds(server, [json.dumps(wanted).encode()], [0, 1, 2])
    code = int(server.recv(64))
if code < 0:
    signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
sys.exit(code)
