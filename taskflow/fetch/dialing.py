"""Connects to one of several addresses, and starts TLS."""

from __future__ import annotations

import functools
import ipaddress
import itertools
import socket
import ssl
from collections.abc import Sequence
from typing import Final

import trio

from taskflow.fetch.special_addresses import family_of
from taskflow.fetch.stream import TlsStream, socket_of
from taskflow.model.hostname import Address

MAX_ADDRESSES: Final = 8
"""Maximum number of addresses that are tried."""

HEAD_START_SECONDS: Final = 0.25
"""Delay before the next address is tried in parallel (RFC 8305 section 5)."""


@functools.cache
def default_ssl_context() -> ssl.SSLContext:
    """Return the TLS configuration that trusts the system's certificate authorities.

    They are read once for each process, which takes 20 ms. All callers share it: do not change it.
    """
    return new_ssl_context()


def new_ssl_context(authorities: str | None = None) -> ssl.SSLContext:
    """Return a TLS configuration for HTTP/1.1.

    Args:
        authorities: The certificates to trust, in PEM; by default the system's.
    """
    context = ssl.create_default_context(cadata=authorities)
    context.set_alpn_protocols(["http/1.1"])
    return context


async def dial(addresses: Sequence[Address], port: int) -> trio.SocketStream:
    """Connect to the first address that accepts a connection (a subset of RFC 8305).

    Args:
        addresses: At least one address; the first ``MAX_ADDRESSES`` are tried.
        port: The port.

    Raises:
        OSError: No address accepted a connection. It is the error of the first address.
    """
    candidates = _interleaved(addresses)[:MAX_ADDRESSES]
    if len(candidates) == 1:
        return trio.SocketStream(await _connect(candidates[0], port))
    return trio.SocketStream(await _Race(port).run(candidates))


async def secure(stream: trio.abc.Stream, host: str, context: ssl.SSLContext) -> TlsStream:
    """Do the TLS handshake; the stream is closed if it fails.

    Raises:
        ssl.SSLError: It failed, or the certificate is not trusted for this host.
        trio.BrokenResourceError: Trio's wrapper of the same, or the connection broke.
    """
    return TlsStream(await start_tls(stream, host, context))


async def start_tls(
    stream: trio.abc.Stream, host: str, context: ssl.SSLContext
) -> trio.SSLStream[trio.abc.Stream]:
    """Do the same as ``secure``; the result can carry another layer of TLS."""
    # https_compatible: many servers close without a TLS alert, and HTTP itself delimits bodies.
    secured = trio.SSLStream(stream, context, server_hostname=host, https_compatible=True)
    try:
        await secured.do_handshake()
    except BaseException:
        socket_of(stream).close()
        raise
    return secured


class _Race:
    """Connection attempts that start one after the other; the first to connect wins."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._winner: trio.socket.SocketType | None = None
        self._errors: dict[Address, OSError] = {}

    async def run(self, candidates: Sequence[Address]) -> trio.socket.SocketType:
        """Return the first connected socket."""
        try:
            async with trio.open_nursery() as nursery:
                for address in candidates:
                    failed = trio.Event()
                    nursery.start_soon(self._attempt, address, failed, nursery.cancel_scope)
                    with trio.move_on_after(HEAD_START_SECONDS):
                        await failed.wait()
        except BaseException:
            # Cancelled from outside just after an attempt had won.
            if self._winner is not None:
                self._winner.close()
            raise
        if self._winner is None:
            raise self._errors[candidates[0]]
        return self._winner

    async def _attempt(
        self, address: Address, failed: trio.Event, everyone: trio.CancelScope
    ) -> None:
        try:
            connected = await _connect(address, self._port)
        except OSError as error:
            self._errors[address] = error
            failed.set()
            return
        if self._winner is None:
            self._winner = connected
            everyone.cancel()
        else:
            # Two attempts connected in the same scheduler pass.
            connected.close()


async def _connect(address: Address, port: int) -> trio.socket.SocketType:
    sock = trio.socket.socket(family_of(address), socket.SOCK_STREAM)
    try:
        # SocketStream sets TCP_NODELAY.
        await sock.connect((str(address), port))
        _check_peer(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock


def _check_peer(sock: trio.socket.SocketType, address: Address) -> None:
    """Check that the peer is the address that the guard allowed.

    Systems may connect elsewhere: some treat 0.0.0.0 as this machine.
    """
    peer = ipaddress.ip_address(sock.getpeername()[0].partition("%")[0])
    if peer != address:
        raise ConnectionAbortedError("the connection led to another address")


def _interleaved(addresses: Sequence[Address]) -> list[Address]:
    """Alternate address families, so that a broken one costs a single delay."""
    first = [a for a in addresses if a.version == addresses[0].version]
    second = [a for a in addresses if a.version != addresses[0].version]
    pairs = itertools.zip_longest(first, second)
    return [address for pair in pairs for address in pair if address is not None]
