"""How a URL is fetched.

From the bottom up::

    errors              what can be the matter with a fetch
    hostname, target    the one strict view of a URL
    resolver, dialing   from a name to addresses, from an address to a stream
    connection, transport   a stream as asks wants it; idle ones are kept
    decoding, body      content codings undone within a bound; bytes as JSON, text or base64
    hop                 one request on the way, and the one that a redirect asks for
    exchange            asks' RequestProcessor, narrowed
    client              HttpFetcher: all of this behind the seam in ``base``
"""
