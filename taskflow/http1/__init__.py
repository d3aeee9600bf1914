"""HTTP/1.1 on a connection, in both directions: bytes to events, and heads to bytes. No I/O.

llhttp (``httptools``) parses each head. It cannot be paused at the end of a message and bounds
nothing, so ``Inbox`` delimits what it gets, within limits, and ``framing`` frames what follows.
``docs/http.md`` lists what is accepted and what is rejected.

From the bottom up::

    errors       the error of a peer, and the error of a caller
    events       what a reader returns: heads, data, signals
    inbox        received bytes that are not parsed yet
    framing      bodies by length, in chunks, or up to the end of the connection
    odd_heads    heads that deviate from the standard and are accepted
    heads        heads parsed by llhttp, and the framing that follows from their headers
    readers      the readers of requests and of responses
    writing      heads and bodies to bytes
"""
