"""The errors of HTTP/1.1."""

from __future__ import annotations

from http import HTTPStatus


class ProtocolError(Exception):
    """The peer sent what is not valid HTTP/1.1, or is beyond a limit.

    The message quotes none of the received bytes: they may contain a secret.

    Args:
        message: What is wrong.
        status: The status of the response, if the peer is a client.
    """

    def __init__(self, message: str, status: int = HTTPStatus.BAD_REQUEST) -> None:
        super().__init__(message)
        self.status = status


class UnsendableError(Exception):
    """This side tried to send what is not valid HTTP/1.1."""
